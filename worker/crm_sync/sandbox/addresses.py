"""Which email addresses HubSpot and Brevo accept. Neither documents its rule, so this is a guess, with domains in all scripts."""

import re

from crm_sync.core.domain import ascii_domain

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{2,59}})")
_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*")


def is_email(address: str) -> bool:
    """address: in lower case, without surrounding whitespace. Letters of all scripts before the @, and anything DNS allows after
    it.
    """
    local_part, _, domain = address.rpartition("@")
    return _LOCAL_PART.fullmatch(local_part) is not None and _DOMAIN.fullmatch(ascii_domain(domain) or "") is not None
