"""What changed lately: who was taken out, added or came back; restarts; what was shipped; what servers share."""

from __future__ import annotations

from collections import Counter

import numpy as np

from levelhead.diagnose.base import UNKNOWN, Answer, Case
from levelhead.diagnose.measures import Measured, Servers
from levelhead.diagnose.words import named, percent
from levelhead.model import Admin

SUSPECT_S = 120.0
# Of what changed, the part that says most comes first.
PARTS = ("check", "policy", "weights", "limits", "members", "admin", "other")


def admin(case: Case) -> Answer:
    """How many servers people have taken out, or left without weight."""
    away = case.away - case.drained
    if not away:
        return Answer("none", "nobody but Levelhead took a server out" if case.drained else "nobody took a server out")
    said = f"{named(away)} of {len(case.servers)} servers: taken out by people, not by checks"
    if len(away) == len(case.servers):
        return Answer("all", said)
    return Answer("one" if len(away) == 1 else "some", said)


def loss(case: Case, m: Measured) -> Answer:
    """Whether servers are gone, and whether those that are left bear their part."""
    gone = (case.failing | case.away | m.mute) & frozenset(case.servers)
    if not gone or not m.seen:
        return Answer("none", "no server is gone") if m.seen else UNKNOWN
    left = m.serving - m.mute
    if not left:
        return UNKNOWN
    crowded = left & m.strained
    said = f"{len(gone)} of {len(case.servers)} servers are gone"
    if len(crowded) >= 0.6 * len(left) or case.queued > 2 * len(left):
        return Answer("not-borne", f"{said}, and {len(crowded)} of the {len(left)} that are left have become slow")
    if crowded:
        return UNKNOWN  # it may be the beginning
    return Answer("borne", f"{said}, and the others bear it")


def newcomers(m: Measured) -> Answer:
    """Whether servers that were added get their part."""
    if not m.seen:
        return UNKNOWN
    born = m.born & m.serving
    if not born:
        return Answer("none", "no server is new")
    starved = born & m.starved
    if len(starved) >= 0.6 * len(born):
        return Answer("starved", f"{named(starved)}, added lately, hardly get any requests")
    return Answer("fed", f"{named(born)}, added lately, get their part")


def returned(case: Case, m: Measured) -> Answer:
    """Whether the trouble is with servers that came back just now."""
    past = case.past
    if past is None:
        return UNKNOWN
    back, troubled = m.returned, (m.answering | m.breaking | m.slow) & m.serving
    if not back:
        return Answer("none", "no server came back lately")
    mine = troubled & back
    if mine and len(mine) >= 0.6 * len(troubled):
        if len(mine) >= 2 and len(mine) >= 0.6 * len(back):
            return Answer("rolling", f"{named(mine)} were restarted one after another, and just these are in trouble")
        return Answer("the-trouble", f"{named(mine)} came back just now, and is in trouble since")
    return Answer("well", f"{named(back)} came back and serves well")


def restart(case: Case) -> Answer:
    """Whether the proxy started again, and forgot whom people had taken out."""
    past = case.past
    if past is None:
        return UNKNOWN
    drained = [s.name for s in case.pool.servers if s.admin is not Admin.READY and s.name not in case.away]
    restarted = case.at - past.gap_at <= SUSPECT_S
    if restarted:
        again = np.abs(past.back_at - past.gap_at) <= 1.0
        drained += [s for s, it in zip(case.servers, again, strict=True) if it and s not in drained]
    if drained and (restarted or case.shipped is None):
        return Answer("drain-lost", f"{named(drained)} had been taken out, and serves again since the proxy began anew")
    if restarted:
        return Answer("restarted", f"the proxy started anew {case.at - past.gap_at:.0f} s ago")
    return Answer("none", "the proxy did not start anew")


def shipped(case: Case) -> Answer:
    """What the last change of configuration touched."""
    last = case.shipped
    if last is None or case.at - last.at > SUSPECT_S:
        return Answer("nothing", "no change of configuration lately")
    part = next((part for part in PARTS if part in last.touched), "other")
    said = f"revision {last.revision} by {last.author} changed the pool's {part} {case.at - last.at:.1f} s ago"
    if case.changed is not None and part == "weights":
        c = case.changed
        said = (f"revision {c.revision} by {c.author} moved {c.server} from {c.share_before:.0%} "
                f"to {c.share_after:.0%} of requests {case.at - c.at:.1f} s ago")  # fmt: skip
    return Answer(part, said)


def twins(case: Case, m: Measured) -> Answer:
    """Whether servers are listed twice, and these are in trouble."""
    counts = Counter(s.address for s in case.pool.servers)
    double = frozenset(s.name for s in case.pool.servers if counts[s.address] > 1)
    if not double:
        return Answer("none", "no address is listed twice")
    said = f"{named(double)} stand for {len({s.address for s in case.pool.servers if s.name in double})} address(es)"
    if double <= m.troubled and (len(double) >= 0.6 * len(m.troubled) or _worst(case, m, double)):
        return Answer("the-trouble", f"{said}: what is listed twice gets a double part, and just that is in trouble")
    return Answer("elsewhere", said)


def _worst(case: Case, m: Measured, these: Servers) -> bool:
    """Whether these servers are far slower than the others."""
    inside, known = np.asarray([name in these for name in case.servers]), ~np.isnan(m.slowness)
    if not (inside & known).any() or not (~inside & known).any():
        return False
    return bool(np.median(m.slowness[inside & known]) > 3 * np.median(m.slowness[~inside & known]))


def zone(case: Case, m: Measured) -> Answer:
    """Whether the trouble keeps to one zone, and that zone is in trouble as a whole."""
    zones = {s.name: s.zone for s in case.pool.servers if s.zone}
    if len(set(zones.values())) < 2:
        return Answer("none", "no zones are known")
    # What Levelhead took out for being sick counts on.
    sick: Servers = m.troubled | case.failing | case.drained
    counts = Counter(zones.get(name, "") for name in sick)
    if not counts:
        return Answer("elsewhere", "no zone is in trouble")
    worst, found = counts.most_common(1)[0]
    members = [name for name, its in zones.items() if its == worst]
    if worst and found >= 0.7 * len(sick) and found >= max(2, 0.6 * len(members)):
        return Answer("the-trouble", f"{found} of {len(members)} servers of {worst} are in trouble, "
                                     f"and {len(sick) - found} elsewhere")  # fmt: skip
    return Answer("elsewhere", f"no one zone has it all: {percent(found / len(sick))} of it is in {worst or 'none'}")
