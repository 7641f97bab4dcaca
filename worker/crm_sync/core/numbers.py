"""Numbers on their way to a CRM: finite, and exact for programs that read JSON numbers as doubles, as JavaScript and PHP do."""

import math
import struct
from decimal import Decimal, InvalidOperation

from crm_sync.errors import UnsendableError

MOST_EXACT = 2**53  # integers up to here are exact as doubles
MOST_WRITTEN_OUT = 1000  # digits of a number that came with an exponent
MOST_DIGITS = 15  # any number of up to this many decimal digits is exact

_NO_NUMBER = "no CRM takes NaN or infinity"


def finite(value: float) -> float:
    """The number, without negative zero."""
    if not math.isfinite(value):
        raise UnsendableError(_NO_NUMBER)
    return value + 0.0


def real(value: float) -> float:
    """From 32 bits: the shortest decimal number that reads back as the same value."""
    finite(value)
    for digits in range(1, 9):
        shorter = float(f"{value:.{digits}g}")
        try:
            if struct.unpack("f", struct.pack("f", shorter))[0] == value:
                return shorter + 0.0
        except OverflowError:  # rounded up beyond the largest
            continue
    return float(f"{value:.9g}")


def digits(text: str) -> str:
    """A numeric, as Postgres writes it."""
    if not text[-1].isdecimal():
        raise UnsendableError(_NO_NUMBER)
    return text


def plain_digits(text: str) -> str:
    """A JSON number, from a numeric as Postgres writes it: no exponent, no negative zero. Thousands of digits are kept."""
    number = _decimal(text)
    if number is None:
        return text
    if not number:
        number = abs(number)
    return f"{number:f}" if abs(number.adjusted()) <= MOST_WRITTEN_OUT else text


def exact_whole(number: int) -> int | str:
    """A JSON number if a double holds it exactly, else its text."""
    return number if -MOST_EXACT <= number <= MOST_EXACT else str(number)


def exact(text: str) -> int | float | str:
    """The same for any decimal number."""
    number = _decimal(text)
    if number is None:
        return text
    _, figures, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise UnsendableError(_NO_NUMBER)
    significant = "".join(map(str, figures)).lstrip("0")
    exponent += len(significant) - len(significant := significant.rstrip("0"))
    if not significant:
        return 0
    if exponent >= 0:
        return exact_whole(int(number)) if len(significant) + exponent <= len(str(MOST_EXACT)) else text
    double = float(text)
    # Far below 1e-300 a double has fewer digits.
    return double if len(significant) <= MOST_DIGITS and abs(double) > 1e-300 else text


def _decimal(text: str) -> Decimal | None:
    """None if its exponent is too large for it: the type json, unlike jsonb, takes any that is written correctly."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def number_text(value: float) -> str:
    """The shortest text that reads back as the same value."""
    return str(int(value)) if value.is_integer() and abs(value) <= MOST_EXACT else repr(value)
