"""The body of an answer: read up to a limit, and decoded.

The status and the headers, which came before, remain valid even if the body is too large, truncated or wrongly encoded. So that
is not an error here but a flaw, which `usable` raises if the request needs the body.
"""

import zlib

import aiohttp

from crm_sync.core.codes import Code
from crm_sync.errors import BatchRefusedError, LaneError, OutageError

LARGEST_BODY_BYTES = 4 * 1024 * 1024
KEPT_BYTES = 16 * 1024  # of a body with a flaw: enough to quote

# What it takes to decode grows with the square of their number, and nothing else runs meanwhile. Servers send one or two.
MOST_MEMBERS = 100
MOST_CODINGS = 3

_ANY = zlib.MAX_WBITS | 32  # gzip or zlib, according to the header
_BARE = -zlib.MAX_WBITS
_DEFLATED = 8  # the method in a zlib header


async def read(response: aiohttp.ClientResponse, timeout_s: float) -> tuple[bytes, LaneError | None]:
    """The body, and what is wrong with it. timeout_s: named in the reason if it was too slow."""
    body = bytearray()
    try:
        content = response.content
        while not content.at_eof() and (part := await content.read(LARGEST_BODY_BYTES + 1 - len(body))):
            body += part
            _measure(body)
        codings = response.headers.get("Content-Encoding")
        return _decoded(bytes(body), codings) if codings else bytes(body), None
    except _TooLargeError:
        # With fewer contacts it will be smaller.
        flaw: LaneError = BatchRefusedError(
            Code.BROKEN_ANSWER, f"the answer ({response.status}) is over {LARGEST_BODY_BYTES >> 20} MiB", retried=True
        )
    except TimeoutError:
        flaw = OutageError(Code.TIMEOUT, f"no whole answer within {timeout_s:g} s")
    except (aiohttp.ClientError, OSError) as error:
        flaw = OutageError(Code.BROKEN_ANSWER, f"the answer ({response.status}) was interrupted: {type(error).__name__}")
    except ValueError as error:
        flaw = OutageError(Code.BROKEN_ANSWER, f"the answer ({response.status}) {error}")
    return bytes(body[:KEPT_BYTES]), flaw


class _TooLargeError(Exception):
    """More than the limit."""


def _measure(body: bytearray) -> None:
    if len(body) > LARGEST_BODY_BYTES:
        raise _TooLargeError


def _decoded(body: bytes, codings: str) -> bytes:
    """Raises ValueError, and _TooLargeError if the result would be too large."""
    names = [coding.strip().lower() for coding in codings.split(",")]
    if len(names) > MOST_CODINGS:
        raise ValueError(f"has more than {MOST_CODINGS} encodings, one in the other")
    for coding in reversed(names):
        match coding:
            case "" | "identity":
                pass
            case "gzip" | "x-gzip" | "deflate":
                body = _inflated(body, coding)
            case _:
                raise ValueError("has an encoding that was not asked for")
    return body


def _inflated(body: bytes, coding: str) -> bytes:
    """Decodes all members: gzip may have several. Some servers send deflate without its header."""
    found = bytearray()
    rest = body
    bare = coding == "deflate" and body and body[0] & 0xF != _DEFLATED
    members = 0
    while rest:
        members += 1
        if members > MOST_MEMBERS:
            raise ValueError(f"is {coding} of more than {MOST_MEMBERS} parts")
        inflater = zlib.decompressobj(_BARE if bare else _ANY)
        try:
            found += inflater.decompress(rest, LARGEST_BODY_BYTES + 1 - len(found))
        except zlib.error as error:
            raise ValueError(f"is not valid {coding}") from error
        _measure(found)
        if not inflater.eof:
            raise ValueError(f"is truncated {coding}")
        rest = inflater.unused_data.lstrip(b"\0")  # padding that some servers add
    return bytes(found)
