"""Take one sick server out of new traffic, gently; never two at once."""

from __future__ import annotations

from levelhead.detect.base import Kind
from levelhead.diagnose.base import Story
from levelhead.mitigate.base import Plan, Refusal, Situation, one_step
from levelhead.model import Admin, SetAdmin, apply

# What accuses a server beside its peers, with a stated rate of false alarms. A story alone may rest on a handful of
# requests, and an error budget burns on every server where all fail alike: one of them is the first.
MOSTLY = 0.7  # of a server's failures were connections that it did not take
ACCUSING = (Kind.ERRORS, Kind.LATENCY, Kind.SHARE, Kind.UNPREDICTED, Kind.CHECK)


def draft(situation: Situation, story: Story) -> Plan | Refusal:
    """One step that drains one server that the story accuses, the worst; others may follow when that has helped."""
    pool, case = situation.case.pool, situation.case
    if len(story.servers) > max(1, len(pool.servers) // 2):
        return Refusal((f"{len(story.servers)} of {len(pool.servers)} servers are accused: what they share is sick",))
    out = {s.name for s in pool.servers if s.admin is not Admin.READY}
    names = [name for name in story.servers if pool.server(name) is not None and name not in out]
    if not names:
        return Refusal((f"{', '.join(story.servers) or 'nobody'} is already out",))
    serving = [name for name in names if name not in case.failing]
    if not serving:
        return Refusal((f"nothing to do: the check has taken {', '.join(names)} out, and its requests are repeated "
                        "elsewhere",))  # fmt: skip
    mute = [name for name in serving if case.unconnected[case.index(name)] > MOSTLY]
    unheard = story.cause == "server-down" or len(mute) == len(serving)
    if unheard and pool.check is not None and case.harmed_ratio < 0.01:
        return Refusal((f"nothing to do: requests to {', '.join(serving)} are repeated elsewhere until its check takes "
                        "it out",))  # fmt: skip
    accused = [name for name in serving if name in case.accused(*ACCUSING)]
    if not accused:
        return Refusal((f"no test accuses {', '.join(serving)} yet: what was seen may be chance",))
    name = max(accused, key=lambda name: (case.failure_ratio[case.index(name)], case.in_flight[case.index(name)]))
    changes = (SetAdmin(pool.name, name, Admin.DRAIN),)
    return one_step("drain", situation, story, apply(situation.fleet, changes), f"drain {name}")
