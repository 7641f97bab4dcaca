"""Email addresses, masked for readers who do not need to know them."""

from crm_sync.core.text import EMAIL, MASK


def masked(address: str | None) -> str | None:
    """a***@example.com. Text that is not an address is masked completely; a part of one character does not show it."""
    if not address or not address.strip():
        return address
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return MASK
    return f"{local[0] if len(local) > 1 else ''}{MASK}@{domain}"


def has_address(text: str) -> bool:
    """Whether the text may contain an address."""
    return "@" in text or "%40" in text


def without_addresses(text: str, hide: str = "") -> str:
    """The whole text with each address in it masked. hide: text that may contain an address, masked wherever it occurs."""
    if hide and has_address(hide):
        text = text.replace(hide, without_addresses(hide))
    return EMAIL.sub(lambda found: masked(found[0]) or MASK, text) if has_address(text) else text
