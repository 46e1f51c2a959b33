"""How findings name things: a few names and how many more, a count with its noun, seconds as people say them."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 3


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 4 more`; each name once."""
    once = list(dict.fromkeys(names))
    shown, left = once[:_SHOWN], len(once) - _SHOWN
    last = f"{left} more" if left > 0 else shown.pop() if shown else ""
    return f"{', '.join(shown)} and {last}" if shown else last


def counted(number: int, noun: str) -> str:
    """`1 server`, `4 servers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def lasting(seconds: float) -> str:
    """`30 s`, `10 min`, `2 h`, `3 days`: the largest unit that it has two of, or exactly one."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or seconds == length:
            return f"{seconds / length:.3g} {unit}".replace("1 days", "1 day")
    return f"{seconds:g} s"
