"""Causes that lie in the traffic itself."""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Account, Case, Clue


def surge(case: Case) -> Account:
    """More requests arrive than were to be expected, and they are spread as they should be."""
    clues: list[Clue] = []
    signals = case.about(Kind.SURGE)
    if signals:
        clues.append(Clue(7.0, signals[0].sentence))
    elif np.isnan(case.forecast) or case.forecast <= 0:
        pass  # Without a forecast nothing can be said of the volume.
    elif case.rate <= 1.25 * case.forecast:
        clues.append(Clue(-8.0, f"no surge: {case.rate:.0f} requests/s against a forecast of {case.forecast:.0f}"))
    else:
        clues.append(Clue(-1.0, f"{case.rate:.0f} requests/s arrive against a forecast of {case.forecast:.0f}: "
                                "within what chance does"))  # fmt: skip
    over = case.accused(Kind.SHARE, Kind.UNPREDICTED)
    if over:
        clues.append(Clue(-5.0, f"a surge leaves shares alone, but {', '.join(sorted(over))} gets more than meant"))
    elif case.requests >= 50:
        clues.append(Clue(1.0, "shares are as intended"))
    sick = case.accused(Kind.ERRORS, Kind.CHECK)
    if sick and signals and not case.about(Kind.REFUSED):
        clues.append(Clue(-2.0, f"a surge would hurt every server, but only {', '.join(sorted(sick))} fails"))
    if case.about(Kind.REFUSED) and signals:
        clues.append(Clue(1.0, case.about(Kind.REFUSED)[0].sentence))
    return Account(-1.5, tuple(clues))
