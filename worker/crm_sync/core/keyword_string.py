"""The other form of a Postgres connection string, as libpq defines it: host=one user=ada password='a b'.

No message quotes any part of it: if it is malformed, what is in place of a name may be part of the password.
"""

import re

_PAIR = re.compile(r"\s*([^=\s]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(?![\s'])((?:[^\s\\]|\\.|\\\Z)*))", re.DOTALL | re.ASCII)
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)


def is_keyword_string(text: str) -> bool:
    """As opposed to a URL."""
    return "=" in text.partition("://")[0]


def pairs_of(text: str) -> dict[str, str]:
    """By name; of two with one name the last counts, and what is empty counts as not set. Raises ValueError."""
    found: dict[str, str] = {}
    place = 0
    while text[place:].strip():
        pair = _PAIR.match(text, place)
        if pair is None:
            raise ValueError(
                "expected pairs of name=value, separated by spaces. A value with spaces is in single quotes; "
                r"a quote or a backslash in it is written \' or \\"
            )
        name, quoted, plain = pair.groups()
        found[name] = _ESCAPED.sub(r"\1", plain if quoted is None else quoted)
        place = pair.end()
    if any("\0" in value for value in found.values()):
        raise ValueError("it has a NUL character")
    return {name: value for name, value in found.items() if value}
