"""diagnose(case) -> stories: every cause argued, likeliest first, normalised with "none of these".

    base.py        the case, answers, clues, accounts and stories
    measures.py    who fails, is slow, gets too much, is gone: sets of servers
    signs.py       the questions that causes ask, each answered once; checking.py and history.py answer their part
    cause.py       what a cause is: a table of questions and answers
    traffic.py, distribution.py, membership.py, health.py, capacity.py, servers.py    the causes by subject
    calibration.py how far the sums of the tables are to be believed
    lessons.py     what to do for good after each cause, for postmortems
"""

from __future__ import annotations

import math

from levelhead.diagnose import capacity, distribution, health, membership, servers, traffic
from levelhead.diagnose.base import NONE_OF_THESE, Account, Case, Story
from levelhead.diagnose.calibration import TEMPERATURE
from levelhead.diagnose.cause import Cause, argued
from levelhead.diagnose.signs import signs

CAUSES: tuple[Cause, ...] = (
    servers.BAD_DEPLOY,
    health.FLAPPING,
    health.PROTOCOL_MISMATCH,
    health.DEEP_CHECK,
    traffic.DEPENDENCY,
    distribution.DUPLICATE,
    distribution.FAST_FAIL,
    membership.FORGOTTEN_DRAIN,
    servers.GRAY_ZONE,
    distribution.HOT_KEY,
    distribution.KEEPALIVE,
    capacity.LB_MAXCONN,
    distribution.NAT_COLLAPSE,
    capacity.NO_HEADROOM,
    health.OVERLOAD_CASCADE,
    health.POISON,
    membership.POOL_EMPTIED,
    distribution.RESTART_FLOOD,
    traffic.RETRY,
    membership.DRAIN_LOST,
    servers.SERVER_DOWN,
    capacity.SERVER_MAXCONN,
    health.SHALLOW_CHECK,
    servers.SLOW_SERVER,
    membership.STALE_SLOTS,
    distribution.STICKY,
    traffic.SURGE,
    distribution.WEIGHT_TYPO,
)

CERTAIN_ENOUGH = 0.6


def diagnose(case: Case) -> tuple[Story, ...]:
    """All causes as stories, normalised together with "none of these", which stays even when it is unlikely."""
    return told(accounts(case), TEMPERATURE)


def accounts(case: Case) -> tuple[tuple[str, Account], ...]:
    """What every cause makes of the case, "none of these" last."""
    return (*argued(CAUSES, case, signs(case)), (NONE_OF_THESE, Account(0.0, ())))


def told(accounts: tuple[tuple[str, Account], ...], temperature: float) -> tuple[Story, ...]:
    """Accounts as stories, likeliest first: probabilities proportional to exp(nats / temperature)."""
    logs = [(account.prior + sum(clue.nats for clue in account.clues)) / temperature for _, account in accounts]
    top = max(logs)
    total = sum(math.exp(log - top) for log in logs)
    stories = [
        Story(
            name,
            math.exp(log - top) / total,
            tuple(c.sentence for c in sorted(account.clues, key=lambda c: -c.nats) if c.nats > 0),
            tuple(c.sentence for c in sorted(account.clues, key=lambda c: c.nats) if c.nats < 0),
            account.servers,
        )
        for (name, account), log in zip(accounts, logs, strict=True)
    ]
    return tuple(sorted(stories, key=lambda story: (-story.probability, story.cause)))


def title(cause: str) -> str:
    """The cause in words."""
    return next((c.title for c in CAUSES if c.name == cause), "None of the known causes")
