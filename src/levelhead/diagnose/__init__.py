"""diagnose(case) -> stories: every cause argued, likeliest first, normalised with "none of these"."""

from __future__ import annotations

import math

from levelhead.diagnose import distribution, servers, traffic
from levelhead.diagnose.base import NONE_OF_THESE, Account, Case, Cause, Story

CAUSES = (
    Cause("server-down", "A server does not take connections", servers.server_down),
    Cause("shallow-check", "A server fails requests while its check passes", servers.shallow_check),
    Cause("slow-server-gray-failure", "One slow but healthy-looking server", servers.slow_server),
    Cause("traffic-surge", "More requests than were to be expected", traffic.surge),
    Cause("weight-typo-skew", "A wrong weight moves most of the traffic to one server", distribution.weight_typo),
)

CERTAIN_ENOUGH = 0.6


def diagnose(case: Case) -> tuple[Story, ...]:
    """All causes as stories, normalised together with "none of these", which stays even when it is unlikely."""
    accounts = [(cause.name, cause.argue(case)) for cause in CAUSES]
    accounts.append((NONE_OF_THESE, Account(0.0, ())))
    logs = [account.prior + sum(clue.nats for clue in account.clues) for _, account in accounts]
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
