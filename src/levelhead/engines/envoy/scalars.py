"""What Envoy takes a scalar for: true or false, a number, or text."""

from __future__ import annotations

import re
from typing import Final

from levelhead.nodes import NULLS, Scalar

# The words that Envoy's YAML library takes for true and false where no quotes are; y and n are among them.
_TRUE: Final = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE: Final = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_WHOLE: Final = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_FRACTION: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def flag(scalar: Scalar) -> bool | None:
    """True or false; None where it is neither."""
    if scalar.plain and scalar.text in _TRUE:
        return True
    if scalar.plain and scalar.text in _FALSE:
        return False
    # Between quotes, only these two.
    return {"true": True, "false": False}.get(scalar.text)


def whole(scalar: Scalar) -> int | None:
    """The whole number it is, also between quotes; None where it is none."""
    text = scalar.text
    if len(text) > 40:
        return None
    if scalar.plain and _WHOLE.fullmatch(text):
        digits = text.lstrip("+-").lower()
        # A leading 0 makes it octal, except where a digit says it cannot be.
        octal = digits.startswith("0") and not set("89") & set(digits)
        base = 16 if digits.startswith("0x") else 8 if octal else 10
        return int(digits, base) * (-1 if text.startswith("-") else 1)
    read = number(scalar)
    return int(read) if read is not None and read.is_integer() else None


def number(scalar: Scalar) -> float | None:
    """The number it is, also between quotes; None where it is none."""
    if len(scalar.text) > 40 or not _FRACTION.fullmatch(scalar.text):
        return None
    return float(scalar.text)


def is_text(scalar: Scalar) -> bool:
    """Whether it is text and nothing else: between quotes, or no other thing."""
    if not scalar.plain:
        return True
    text = scalar.text
    return not (text in NULLS | _TRUE | _FALSE or _WHOLE.fullmatch(text) or _FRACTION.fullmatch(text))
