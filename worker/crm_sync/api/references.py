"""What represents a contact's key in answers, links and pages: the key itself, or a sealed reference to it.

A key is sealed if it would reveal an address to a caller who may only read, or if a path cannot carry it. References are accepted
wherever keys are. A reference is the key encrypted under a secret of this process (SIV: a tag of the key, which also generates
the key stream, so equal keys have equal references), so it reveals nothing and cannot be forged.
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
LONGEST_PLAIN = 3_000  # characters: even in UTF-8 and percent-encoded, a request line still has room for it
LONGEST_TAKEN = 4_000  # characters of a key or a reference sent by a caller: any key that Postgres can index is shorter
EMPTY = "(empty)"
_TAG = 16  # bytes
_BLOCK = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # not every proxy and framework passes these on
_NO_PART = ("", ".", "..")  # of a path: clients drop these


class References:
    """secret: shared by all processes that accept each other's references; None: only this process."""

    def __init__(self, secret: bytes | None = None) -> None:
        given = secrets.token_bytes(32) if secret is None else secret
        self._tagging, self._hiding = (hmac.digest(given, purpose, "sha256") for purpose in (b"tag", b"hide"))

    def of(self, key: str) -> str:
        """The key or reference that represents it."""
        can_stand = key not in _NO_PART and len(key) <= LONGEST_PLAIN and _CONTROL.search(key) is None
        return key if can_stand and not has_address(key) and not key.startswith(PREFIX) else self.sealed(key)

    def sealed(self, key: str) -> str:
        """A reference that does not reveal it."""
        packed = zlib.compress(key.encode())
        tag = self._tag(packed)
        return PREFIX + urlsafe_b64encode(tag + self._hidden(tag, packed)).rstrip(b"=").decode()

    def again(self, text: str) -> str:
        """The current representation of a key or a reference."""
        return text if self._opened(text) is not None else self.of(text)

    def key(self, text: str) -> str:
        """The key that a key or a reference represents. Raises NotFoundError for a reference that was not
        made with this secret.
        """
        if not text.startswith(PREFIX):
            return text
        if (key := self._opened(text)) is None:
            raise NotFoundError(
                "this reference to a contact was made before the last start, or elsewhere: find the contact again"
            )
        return key

    def shown(self, text: str) -> str:
        """For people: a key unchanged, or the key behind a reference with its addresses masked."""
        key = self._opened(text)
        return (text if key is None else label(key)) or EMPTY

    def _opened(self, text: str) -> str | None:
        """None if it is not one of our references."""
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
        """Encrypts the text; applied to an encrypted text, decrypts it."""
        blocks = range(len(text) // _BLOCK + 1)
        stream = b"".join(hmac.digest(self._hiding, tag + number.to_bytes(4, "big"), "sha256") for number in blocks)
        return bytes(one ^ other for one, other in zip(text, stream, strict=False))


def label(key: str) -> str:
    """A key for people who must not see an address."""
    masked = without_addresses(key)
    if masked == key and has_address(key):  # in a form that is not taken for an address
        return MASK
    return masked or EMPTY
