"""What a cause is: a table that says, question by question, how much each answer speaks for it or against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from levelhead.diagnose.base import Account, Case, Clue
from levelhead.diagnose.measures import Servers
from levelhead.diagnose.signs import Signs, answers

# What every answer comes to that a table does not name by itself.
ELSE = "*"

# Log-likelihood ratios in nats: how much likelier this answer is where the cause holds than where it does not.
Table = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Cause:
    """A named failure mode, its table, and whom it accuses. An answer that is unknown counts nothing."""

    name: str
    title: str
    table: Table
    whom: Callable[[Case, Signs], Servers]
    prior: float = -3.0


def argued(cause: Cause, case: Case, signs: Signs) -> Account:
    """The cause's account of this case: one clue for each question that its table asks and the case answers."""
    found = answers(signs)
    clues = []
    for question, nats in cause.table.items():
        answer = found[question]
        weight = nats.get(answer.word, nats.get(ELSE, 0.0)) if answer.word != "unknown" else 0.0
        if weight:
            clues.append(Clue(weight, answer.sentence))
    return Account(cause.prior, tuple(clues), tuple(sorted(cause.whom(case, signs))))
