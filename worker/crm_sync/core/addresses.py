"""An address as it is shown to somebody who need not know it."""

MASK = "***"


def masked(address: str | None) -> str | None:
    """a***@example.com. What is no address is masked as a whole; the first letter of a part that has no other is not shown."""
    if not address or not address.strip():
        return address
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return MASK
    return f"{local[0] if len(local) > 1 else ''}{MASK}@{domain}"
