"""Standard input, output and error of a command, whatever the parent process has connected them to: nothing, a pipe that nobody
reads any more, or a full disk.

A command that changes something finishes its work: `crm-sync adopt | head` must not leave the table half adopted. One that only
reads ends at once, as programs do that get SIGPIPE. Python ignores this signal, and it must stay so: connections would end the
process too.
"""

import errno
import io
import os
import sys
from typing import Any, TextIO

EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: what a shell reports for programs that the signal ends


class _Raw(io.FileIO):
    """An unbuffered stream that drops what cannot be written.

    failure: of the first such write; all that follows is dropped too. needed: whether the output is all that the process is for.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.failure: OSError | None = None
        self.needed = False

    def write(self, data: Any, /) -> int:
        """Raises SystemExit if its reader has gone and it is needed."""
        if self.failure is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failure = error
                if self.needed and error.errno == errno.EPIPE:
                    raise SystemExit(EXIT_BROKEN_PIPE) from None
        return len(data)


class StandardStreams:
    """Of this process. They are replaced in `sys`."""

    def __init__(self) -> None:
        _open_closed()
        self._output, sys.stdout = _replaced(sys.stdout, 1)
        self._errors, sys.stderr = _replaced(sys.stderr, 2)

    def end_with_the_reader(self) -> None:
        """From now on, the process ends when nobody reads its standard output any more."""
        self._output.needed = True

    def lost(self) -> str | None:
        """Why standard output is not complete, except that its reader has gone, which is the reader's choice."""
        try:
            sys.stdout.flush()
        except SystemExit:
            return None
        failure = self._output.failure
        if failure is None or failure.errno == errno.EPIPE:
            return None
        return f"standard output cannot be written: {failure.strerror}"


def _open_closed() -> None:
    """If the parent process closed a standard stream, it is opened on /dev/null. Otherwise the first file or socket would get its
    number.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _replaced(stream: TextIO, descriptor: int) -> tuple[_Raw, TextIO]:
    """With the same encoding."""
    raw = _Raw(descriptor)
    text = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=bool(stream.line_buffering)
    )
    return raw, text
