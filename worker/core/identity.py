"""Which contact is which: the email address, checked before anything is sent."""

import re

LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
LONGEST_LOCAL_PART = 64  # RFC 5321, 4.5.3.1.1

# The pattern browsers use (WHATWG HTML, "valid e-mail address"), with letters of all scripts, and a dot in the domain: a CRM
# sends to the internet, not to a host beside it.
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"[\w.!#$%&'*+/=?^`{{|}}~-]+@(?:{_LABEL}\.)+{_LABEL}")


def check_email(email: str | None) -> str | None:
    """Why this is no email address, in plain words, or None if it is one. Surrounding blanks are forgiven."""
    address = (email or "").strip()
    if not address:
        return "the contact has no email address"
    if len(address) > LONGEST_EMAIL:
        return f"the email address is longer than {LONGEST_EMAIL} characters"
    local_part = address.rpartition("@")[0]
    if _EMAIL.fullmatch(address) is None or local_part.startswith(".") or local_part.endswith(".") or ".." in local_part:
        return "the email address is malformed"
    if len(local_part) > LONGEST_LOCAL_PART:
        return f"the part before the @ of the email address is longer than {LONGEST_LOCAL_PART} characters"
    return None
