"""Real `crm-sync` processes, forked from one that has everything imported: a start costs 20 ms instead of a second.

    python -m tests.fork_server FD

FD is a socket. Each message is a line of JSON with arguments and environment, and three files: standard output, standard error,
and one for the process id and then the exit code, in the form used by `subprocess`.
"""

import gc
import json
import os
import signal
import socket
import sys
import time
from importlib import import_module

from crm_sync.cli import COMMANDS

MESSAGE_BYTES = 1 << 20


def serve(control: socket.socket) -> None:
    """Returns when the other end is closed, and in each command."""
    while True:
        message, files, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 3)
        if not message:
            return
        if not os.fork():
            control.close()
            _supervise(json.loads(message), *files)
            return
        for file in files:
            os.close(file)


def _supervise(wanted: tuple[list[str], dict[str, str]], out: int, err: int, told: int) -> None:
    """Starts the command, and reports how it ended. Returns only in the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        os.close(told)
        _command(*wanted, out, err)
        return
    for file in (0, 1, 2, out, err):
        os.close(file)
    os.write(told, b"%d\n" % pid)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _command(arguments: list[str], env: dict[str, str], out: int, err: int) -> None:
    """Becomes the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, out), (2, err)):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[:0] = [folder for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    os.chdir("/")
    sys.argv = ["crm-sync", *arguments]
    from crm_sync.cli import main  # noqa: PLC0415 (after the fork, in the environment of the command)

    main()


def load() -> None:
    """Imports everything that any command needs, once for all."""
    for name in ("crm_sync.daemon.process", *(f"crm_sync.commands.{name.replace('-', '_')}" for name in COMMANDS)):
        import_module(name)
    # The garbage collector skips these objects from now on, so that the commands share their memory.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    # Ctrl-C is for the parent, which closes the other end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        load()
        serve(listening)
