"""What checks say, and whether traffic agrees: who fails, what came before, in which order, how often they turn."""

from __future__ import annotations

import numpy as np

from levelhead.diagnose.base import UNKNOWN, Answer, Case
from levelhead.diagnose.measures import FAILS, SLOW, Measured
from levelhead.diagnose.words import named

# Checks that fall within one interval (and the time of a tick) of each other fell together.
TICKS_S = 0.6
AT_ONCE_S = 0.3
RECENT_S = 60.0
# A server that was in trouble so shortly before its check fell was so when it fell.
JUST_BEFORE_S = 8.0


def checks(case: Case, m: Measured) -> Answer:
    """How many of the servers that should serve fail their check."""
    meant = [s for s in case.servers if s not in case.away]
    if case.pool.check is None:
        return Answer("unchecked", "the pool has no check")
    down = case.failing - case.away
    if not down:
        return Answer("pass", "all checks pass")
    said = f"the check of {named(down)} fails"
    if len(down) >= max(2, 0.9 * len(meant)):
        return Answer("all", said)
    return Answer("one" if len(down) == 1 else "some", said)


def before(case: Case, m: Measured) -> Answer:
    """How those whose checks fell lately were just before."""
    past = case.past
    if past is None:
        return UNKNOWN
    # Who was taken out since is out for another reason.
    fell = [i for i, s in enumerate(case.servers) if case.at - past.fell_at[i] <= RECENT_S and s not in case.away]
    if not fell:
        return UNKNOWN
    counts = dict.fromkeys(("refused", "failing", "slow", "well"), 0)
    for i in fell:
        counts[_state(case, i)] += 1
    found = max(counts, key=lambda kind: counts[kind])
    names = named(case.servers[i] for i in fell)
    said = {
        "refused": f"{names} took no connections when the check fell",
        "failing": f"{names} failed requests before the check fell",
        "slow": f"{names} had become slow before the check fell",
        "well": f"{names} served well until the check fell",
    }
    return Answer(found, said[found])


def _state(case: Case, i: int) -> str:
    past = case.past
    if past is None:
        return "well"
    fell = past.fell_at[i]
    if abs(past.mute_at[i] - fell) <= JUST_BEFORE_S:
        return "refused"
    if past.ill_before[i] > FAILS:
        return "failing"
    return "slow" if past.slow_before[i] > SLOW else "well"


def falling(case: Case) -> Answer:
    """In which order checks fell: within one interval, one after another, or all in the same moment."""
    past, check = case.past, case.pool.check
    if past is None or check is None:
        return UNKNOWN
    times = np.sort(past.fell_at[case.at - past.fell_at <= RECENT_S])
    if len(times) < 2:
        return UNKNOWN
    span = float(times[-1] - times[0])
    together = max(int(((times >= t) & (times <= t + AT_ONCE_S)).sum()) for t in times)
    if together > max(2, 0.5 * len(times)):
        return Answer("at-once", f"{together} checks fell in the same moment")
    if span <= check.interval_s + TICKS_S:
        return Answer("together", f"{len(times)} checks fell within {span:.1f} s, one interval of the check")
    return Answer("in-turn", f"{len(times)} checks fell one after another, over {span:.0f} s")


def flapping(m: Measured) -> Answer:
    """Whose check turns again and again."""
    if not m.seen:
        return UNKNOWN
    if not m.flapping:
        return Answer("none", "no check turns to and fro")
    return Answer("one" if len(m.flapping) == 1 else "many", f"the check of {named(m.flapping)} turns to and fro")


def blamed(case: Case, m: Measured) -> Answer:
    """Whether so few failed requests may take a server out that one bad request takes out all it reaches."""
    ejection = case.pool.ejection
    if ejection is None:
        return Answer("no", "no server is taken out for failed requests")
    row = ejection.consecutive_errors
    said = f"{row} failed request{'s' if row > 1 else ''} in a row take a server out"
    return Answer("yes" if row <= 3 else "no", said)


