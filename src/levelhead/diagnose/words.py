"""How lists of servers and shares are said."""

from __future__ import annotations

from collections.abc import Iterable


def named(servers: Iterable[str]) -> str:
    """The names, or how many they are where they are too many to read."""
    names = sorted(servers)
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more servers"


def percent(ratio: float) -> str:
    return f"{ratio:.0%}" if ratio >= 0.01 or ratio == 0 else f"{ratio:.1%}"
