"""What a form has done, said once by the page that it leads to: so a page can be loaded again, and nothing is sent again.

It is in a cookie, because there is no store of sessions: signed, for one person and one page, and for a minute. No part of it is
in an address, where somebody else could have written it. A browser drops the cookie once its page was shown. What was revealed
is not left to the browser: the cookies that have revealed something are remembered for that minute.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

COOKIE = "crm_sync_console_done"
LASTS_S = 60  # from the form to the page
LONGEST_TEXT = 1_000  # bytes: a proxy takes 4,096 of headers, and so does a browser of a cookie


@dataclass(frozen=True, slots=True)
class Flash:
    """text and tone: of a notice; without a text there is none. reveals: the page shows a contact in full, which has been
    written down.
    """

    text: str = ""
    tone: str = "still"
    reveals: bool = False


class Flashes:
    """Of one process: another takes none of its own, and shows the page without it."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._spent: dict[str, float] = {}  # until when each is remembered

    def __len__(self) -> int:
        """How many are remembered as spent."""
        return len(self._spent)

    def seal(self, flash: Flash, *, visitor: str, path: str) -> str:
        """The cookie. path: of the page that is to say it, decoded."""
        cut = flash.text.encode(errors="replace")[:LONGEST_TEXT].decode(errors="ignore")
        said = {
            **asdict(flash),
            "text": cut,
            "until": self._clock() + LASTS_S,
            "for": _name(visitor, path),
            "once": secrets.token_hex(8),
        }
        text = base64.urlsafe_b64encode(json.dumps(said, ensure_ascii=False).encode()).decode()
        return f"{text}.{self._signature(text)}"

    def open(self, cookie: str, *, visitor: str, path: str) -> Flash | None:
        """None if it is not ours, too old, or meant for another person or page."""
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signature(text).encode(), signature.encode(errors="replace")):
            return None
        said = json.loads(base64.urlsafe_b64decode(text))
        if said["for"] != _name(visitor, path) or self._clock() >= said["until"]:
            return None
        return Flash(said["text"], said["tone"], said["reveals"])

    def spend(self, cookie: str) -> bool:
        """Whether this is the first time."""
        now = self._clock()
        self._spent = {spent: until for spent, until in self._spent.items() if now < until}
        if cookie in self._spent:
            return False
        self._spent[cookie] = now + LASTS_S
        return True

    def give_back(self, cookie: str) -> None:
        """Its page could not be shown."""
        self._spent.pop(cookie, None)

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


def _name(visitor: str, path: str) -> str:
    return hashlib.sha256(f"{visitor}\0{path}".encode(errors="replace")).hexdigest()
