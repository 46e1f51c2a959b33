"""Causes that send traffic where it should not go."""

from __future__ import annotations

import numpy as np

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Account, Case, Clue
from levelhead.telemetry import Floats

# Observed and predicted shares agree when no server is off by more than this and the noise of so many requests.
CLOSE = 0.06


def weight_typo(case: Case) -> Account:
    """Weights give one server far more than it is meant to get: observed as predicted, both unlike intended."""
    clues: list[Clue] = []
    over = case.accused(Kind.SHARE)
    if over:
        clues += [Clue(4.0, s.sentence) for s in case.about(Kind.SHARE)[:1]]
    else:
        clues.append(Clue(-8.0, "every server gets the share it is meant to get"))
    must_skew = float(np.nanmax(np.abs(case.predicted - case.intended), initial=0.0))
    if np.isnan(case.predicted).any():
        pass  # The weights in force are unknown this tick: no evidence either way.
    elif must_skew > 0.05:
        clues.append(_as_predicted(case, over))
        clues.append(Clue(2.0, f"the weights in force are {_weights(case)}, which gives {_shares(case)}"))
    else:
        clues.append(Clue(-7.0, f"the weights in force ({_weights(case)}) give the intended shares"))
    configured = np.asarray([s.weight for s in case.pool.servers])
    if case.changed is not None:
        c = case.changed
        clues.append(Clue(3.0, f"revision {c.revision} by {c.author} moved {c.server} from {c.share_before:.0%} "
                               f"to {c.share_after:.0%} of requests {case.at - c.at:.1f} s ago"))  # fmt: skip
    elif over and len(configured) == len(case.weight) and not _proportional(configured, case.weight):
        clues.append(Clue(3.0, "the weights in force are not those of the configuration: "
                               "somebody changed them in the proxy itself"))  # fmt: skip
    elif over:
        clues.append(Clue(-1.0, "no change of configuration moved shares lately"))
    return Account(-2.0, tuple(clues), tuple(sorted(over)))


def _as_predicted(case: Case, over: frozenset[str]) -> Clue:
    noise = 2.0 * np.sqrt(case.predicted * (1 - case.predicted) / max(case.requests, 1.0))
    off = np.abs(case.observed - case.predicted)
    # The window may still hold requests from before the change: then observed lies between intended and predicted.
    between = (case.observed >= np.minimum(case.intended, case.predicted) - noise - CLOSE) & (
        case.observed <= np.maximum(case.intended, case.predicted) + noise + CLOSE
    )
    if bool((off <= noise + CLOSE).all()):
        return Clue(4.0, "observed shares are those that the weights predict")
    if over and bool(between.all()):
        return Clue(2.5, "observed shares are moving to those that the weights predict")
    return Clue(-4.0, "observed shares are not those that the weights predict")


def _proportional(configured: Floats, weight: Floats) -> bool:
    if np.isnan(weight).any() or configured.sum() <= 0 or weight.sum() <= 0:
        return True
    return bool(np.abs(configured / configured.sum() - weight / weight.sum()).max() < 0.02)


def _weights(case: Case) -> str:
    return ", ".join("unknown" if np.isnan(w) else f"{w:g}" for w in case.weight)


def _shares(case: Case) -> str:
    return " / ".join(f"{p:.0%}" for p in case.predicted)
