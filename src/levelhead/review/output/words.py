"""How figures of a report are worded, the same in every form for people."""

from __future__ import annotations

import math

from levelhead.review.base import Finding
from levelhead.review.changes import PoolChange
from levelhead.review.outlook import Prospect


def share(value: float | None) -> str:
    """`33%`; `-` for none, `?` where nobody can tell."""
    if value is None:
        return "-"
    if math.isnan(value):
        return "?"
    return f"{value:.1%}" if 0 < value < 0.0995 else f"{value:.0%}"


def seconds(value: float) -> str:
    """`2.5 s`, `4 min`."""
    if value >= 7200:
        return f"{value / 3600:.0f} h"
    if value >= 120:
        return f"{value / 60:.0f} min"
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def without(prospect: Prospect) -> str:
    """What becomes of the pool when this server goes: `b gets 50%, 33% moves`."""
    if math.isnan(prospect.share):
        return "?"
    if prospect.share == 0:
        return "nothing changes"
    if prospect.lost is None:
        return "nobody is left"
    lost = prospect.lost
    more = f" (overloaded: {', '.join(lost.overloaded[:3])})" if lost.overloaded else ""
    moves = "" if abs(lost.moved - prospect.share) < 0.005 else f", {share(lost.moved)} of keys move"
    return f"{lost.largest} gets {share(lost.max_share)}{moves}{more}"


def kept(prospect: Prospect) -> str:
    """For how long it keeps its share once dead: `up to 6.0 s`, `for ever`, `until 3 requests fail`; `-` for none."""
    how_long = prospect.kept
    if prospect.share == 0:
        return "-"
    if math.isnan(how_long.most_s):
        return "?"
    if math.isinf(how_long.most_s):
        return "for ever"
    count = how_long.requests
    failed = ("until 1 request fails" if count == 1 else f"until {count} requests fail") if count else ""
    waiting = f"up to {seconds(how_long.most_s)}" if how_long.most_s >= 0.05 else ""
    return ", ".join(part for part in (failed, waiting) if part) or "at once"


def headline(change: PoolChange) -> str:
    """What a change does to a pool, in a line without its name."""
    gone = f"{', '.join(change.removed[:4])}{' and others' if len(change.removed) > 4 else ''} removed"
    moved = "nobody can tell how much moves" if math.isnan(change.moved) else f"{change.moved:.0%} of requests move"
    return f"{moved}; {gone}" if change.removed else moved


def place(finding: Finding) -> str:
    """`file:line:column`, as terminals and editors know it."""
    return str(finding.origin)
