"""Causes that lie in one server."""

from __future__ import annotations

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Account, Case, Clue

MOSTLY = 0.7


def server_down(case: Case) -> Account:
    """A server does not take connections: its check fails, or attempts on it must be repeated elsewhere."""
    clues: list[Clue] = []
    down = case.accused(Kind.CHECK)
    refusing = unanswering(case)
    accused = down | refusing
    if down:
        clues.append(Clue(8.0, f"the check of {', '.join(sorted(down))} fails"))
    if refusing:
        names = ", ".join(sorted(refusing))
        clues.append(Clue(9.0, f"{names} takes no connections: what is sent there has to be sent again elsewhere"))
    if not accused:
        clues.append(Clue(-8.0, "every server takes connections and passes its check"))
    healthy = len(case.servers) - len(accused)
    if accused and healthy == 0:
        clues.append(Clue(-12.0, "every server fails at once: something they share is more likely"))
    return Account(-1.5, tuple(clues), tuple(sorted(accused)))


def unanswering(case: Case) -> frozenset[str]:
    """Servers accused of failing whose failures are refused or broken connections, not answers."""
    return frozenset(s for s in case.accused(Kind.ERRORS) if case.unconnected[case.index(s)] > MOSTLY)


def slow_server(case: Case) -> Account:
    """One server answers, and answers well, but late; its peers do not."""
    clues: list[Clue] = []
    slow = case.accused(Kind.LATENCY)
    clues += [Clue(7.0, s.sentence) for s in case.about(Kind.LATENCY)[:1]]
    if not slow:
        clues.append(Clue(-8.0, "no server holds more requests in flight than its peers' pace explains"))
    over = case.accused(Kind.SHARE)
    if slow and slow <= over:
        clues.append(Clue(-7.0, f"{', '.join(sorted(slow))} also gets more than its share, which explains its queue"))
    elif slow:
        clues.append(Clue(2.0, "its share of requests is not above the intended one"))
    if slow and slow & case.failing:
        clues.append(Clue(-5.0, "its check fails: it is more than slow"))
    failing = {s for s in slow if case.failure_ratio[case.index(s)] > 0.2 and s in case.accused(Kind.ERRORS)}
    if failing:
        clues.append(Clue(-4.0, f"{', '.join(sorted(failing))} fails requests, not only late"))
    if len(slow) > len(case.servers) / 2:
        clues.append(Clue(-10.0, "most servers are slow: something they share is more likely"))
    return Account(-1.5, tuple(clues), tuple(sorted(slow - over or slow)))


def shallow_check(case: Case) -> Account:
    """One server fails requests while its check passes: the check does not see what users see."""
    clues: list[Clue] = []
    bad = case.accused(Kind.ERRORS)
    clues += [Clue(6.0, s.sentence) for s in case.about(Kind.ERRORS)[:1]]
    if not bad:
        clues.append(Clue(-8.0, "no server fails more often than its peers"))
    if bad and bad & case.failing:
        clues.append(Clue(-7.0, "its check fails too"))
    elif bad and case.pool.check is not None:
        clues.append(Clue(2.0, f"the check of {', '.join(sorted(bad))} passes"))
    if bad & unanswering(case):
        clues.append(Clue(-8.0, f"{', '.join(sorted(bad & unanswering(case)))} gives no answers at all, not bad ones"))
    if len(bad) > len(case.servers) / 2:
        clues.append(Clue(-10.0, "most servers fail: something they share is more likely"))
    return Account(-1.5, tuple(clues), tuple(sorted(bad)))
