"""What somebody searches for, often the address of a person. The URL of the page of results has it encrypted, so it is neither in
the access log of a proxy nor in the history of the browser, and the page can be loaded again.
"""

from crm_sync.api.references import LONGEST_TAKEN, References
from crm_sync.api.tables import NotFoundError
from crm_sync.errors import DeclinedError


class Searches:
    """Its secret is not that of the references to contacts: with one for any guess, a reader could page through keys that are
    addresses.
    """

    def __init__(self) -> None:
        self._sealing = References()

    def sealed(self, text: str) -> str:
        """Raises DeclinedError if it is longer than anything that can be found."""
        if len(text) > LONGEST_TAKEN:
            raise DeclinedError(f"what is looked for has at most {LONGEST_TAKEN:,} characters")
        return self._sealing.sealed(text)

    def opened(self, sealed: str) -> str:
        """Raises NotFoundError for one of another start."""
        try:
            return self._sealing.key(sealed)
        except NotFoundError:
            raise NotFoundError("this search was made before the last start of the console: search again") from None
