"""What stands for a contact's key in answers, links and pages: the key itself, or a sealed reference to it.

A key is sealed where it would say an address to somebody who may only read, or where no path can carry it. A reference is taken
wherever a key is. It is the key encrypted under a secret of this process (SIV: a tag of the key, which also makes the key stream,
so equal keys have equal references), so it says nothing and cannot be made by anyone else.
"""

import hmac
import re
import secrets
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

from crm_sync.api.tables import NotFoundError
from crm_sync.core.addresses import has_address, without_addresses
from crm_sync.core.text import MASK

PREFIX = "sealed~"
LONGEST_PLAIN = 3_000  # characters: in UTF-8, and as a URL writes it, a line of a request still has room for it
LONGEST_TAKEN = 4_000  # characters of a key or a reference that is sent: what Postgres can have in an index has a shorter one
EMPTY = "(empty)"
_TAG = 16  # bytes
_BLOCK = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # no proxy and no framework hands each of them on
_NO_PART = ("", ".", "..")  # of a path: anyone who sends it leaves these out


class References:
    """secret: of all processes that take each other's references; None: one for this process."""

    def __init__(self, secret: bytes | None = None) -> None:
        given = secrets.token_bytes(32) if secret is None else secret
        self._tagging, self._hiding = (hmac.digest(given, purpose, "sha256") for purpose in (b"tag", b"hide"))

    def of(self, key: str) -> str:
        """What stands for it."""
        can_stand = key not in _NO_PART and len(key) <= LONGEST_PLAIN and _CONTROL.search(key) is None
        return key if can_stand and not has_address(key) and not key.startswith(PREFIX) else self.sealed(key)

    def sealed(self, key: str) -> str:
        """What stands for it, and does not say it."""
        packed = zlib.compress(key.encode())
        tag = self._tag(packed)
        return PREFIX + urlsafe_b64encode(tag + self._hidden(tag, packed)).rstrip(b"=").decode()

    def again(self, text: str) -> str:
        """Of a key or a reference, what stands for it."""
        return text if self._opened(text) is not None else self.of(text)

    def key(self, text: str) -> str:
        """The key that a key or a reference stands for. Raises NotFoundError for a reference that this process has not made."""
        if not text.startswith(PREFIX):
            return text
        if (key := self._opened(text)) is None:
            raise NotFoundError(
                "this reference to a contact was made before the last start, or elsewhere: find the contact again"
            )
        return key

    def shown(self, text: str) -> str:
        """A key as it is, or what a reference stands for with its addresses masked: for people."""
        key = self._opened(text)
        return (text if key is None else label(key)) or EMPTY

    def _opened(self, text: str) -> str | None:
        """None if it is no reference of ours."""
        if not text.startswith(PREFIX):
            return None
        try:
            sealed = urlsafe_b64decode(text.removeprefix(PREFIX) + "===")
        except ValueError:
            return None
        tag, packed = sealed[:_TAG], self._hidden(sealed[:_TAG], sealed[_TAG:])
        return zlib.decompress(packed).decode() if hmac.compare_digest(self._tag(packed), tag) else None

    def _tag(self, packed: bytes) -> bytes:
        return hmac.digest(self._tagging, packed, "sha256")[:_TAG]

    def _hidden(self, tag: bytes, text: bytes) -> bytes:
        """Encrypted; of what is encrypted, the text."""
        blocks = range(len(text) // _BLOCK + 1)
        stream = b"".join(hmac.digest(self._hiding, tag + number.to_bytes(4, "big"), "sha256") for number in blocks)
        return bytes(one ^ other for one, other in zip(text, stream, strict=False))


def label(key: str) -> str:
    """A key for people who are not to see an address."""
    masked = without_addresses(key)
    if masked == key and has_address(key):  # in a form that is not taken for an address
        return MASK
    return masked or EMPTY
