"""An address as it is shown to somebody who need not know it."""

from crm_sync.core.text import EMAIL, MASK


def masked(address: str | None) -> str | None:
    """a***@example.com. What is not an address is masked as a whole; the first letter of a part that has no other is not
    shown.
    """
    if not address or not address.strip():
        return address
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return MASK
    return f"{local[0] if len(local) > 1 else ''}{MASK}@{domain}"


def has_address(text: str) -> bool:
    """Whether something in it may be one."""
    return "@" in text or "%40" in text


def without_addresses(text: str, hide: str = "") -> str:
    """The whole text, each address in it masked. hide: a text that may have one, masked wherever it stands."""
    if hide and has_address(hide):
        text = text.replace(hide, without_addresses(hide))
    return EMAIL.sub(lambda found: masked(found[0]) or MASK, text) if has_address(text) else text
