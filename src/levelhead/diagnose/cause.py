"""What a cause is: a table that says, question by question, how much each answer speaks for it or against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from levelhead.diagnose.base import Account, Answer, Case, Clue
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


def argued(causes: Iterable[Cause], case: Case, signs: Signs) -> tuple[tuple[str, Account], ...]:
    """Each cause's name and its account of this case."""
    found = answers(signs)
    return tuple((cause.name, _account(cause, case, signs, found)) for cause in causes)


def _account(cause: Cause, case: Case, signs: Signs, found: Mapping[str, Answer]) -> Account:
    """One clue for each question that the cause's table asks and the case answers."""
    clues = []
    for question, nats in cause.table.items():
        answer = found[question]
        weight = nats.get(answer.word, nats.get(ELSE, 0.0)) if answer.word != "unknown" else 0.0
        if weight:
            clues.append(Clue(weight, answer.sentence))
    return Account(cause.prior, tuple(clues), tuple(sorted(cause.whom(case, signs))))
