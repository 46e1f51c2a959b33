"""The questions that causes ask of a case, each answered once: a word, and the sentence with the case's numbers.

`unknown` is an answer, and it speaks neither for nor against anything. `ANSWERS` lists what each question may be
answered with. They are asked in the order of `docs/causes.md`: volume, retries, shares, servers, checks, limits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from levelhead.detect.base import Kind
from levelhead.diagnose import checking, history
from levelhead.diagnose.base import UNKNOWN, Answer, Case
from levelhead.diagnose.measures import BACKLOG_S, FEWEST, SECOND, Measured, Servers, measured
from levelhead.diagnose.words import named, percent
from levelhead.model import Hash, LeastRequest, RandomPick

RETRIED = 1.2
SLOWER, USUAL = 2.0, 1.6
ABOVE, BELOW = 1.25, 0.75
HEAVY, REST = 0.18, 0.06
SKEW = 0.3
# What a surge leaves behind until its backlog is worked off.
LEFT_BEHIND = (Kind.HARM, Kind.LATENCY, Kind.SLOWDOWN, Kind.REFUSED, Kind.QUEUE)
# The others bear it, or they do not: requests stay with them so many times as long as usual.
WELL, STRAINED = 1.3, 1.6
# A server that breaks requests off may be dying: a moment later it refuses them.
DYING_S = 0.6
# The last look alone shows that a server gets more: by this factor, beyond so many sigmas, of so many requests.
DRAWN, DRAWN_SIGMAS, DRAWN_FEWEST = 1.25, 3.0, 8.0
# Whose bad answers take less than this part of what good ones do fails at once; so much of what it got lately failed,
# or half of what it got in the last look.
INSTANT, MOSTLY_BAD = 0.25, 0.25


@dataclass(frozen=True, slots=True)
class Signs:
    """Every question's answer. `measured` says which servers they are about."""

    measured: Measured
    volume: Answer
    retries: Answer
    shares: Answer
    weights: Answer
    policy: Answer
    clients: Answer
    errors: Answer
    manner: Answer
    troubled: Answer
    down: Answer
    crowd: Answer
    slow: Answer
    rest: Answer
    pace: Answer
    quick: Answer
    overfed: Answer
    checks: Answer
    before: Answer
    falling: Answer
    flapping: Answer
    blamed: Answer
    admin: Answer
    refused: Answer
    limits: Answer
    loss: Answer
    newcomers: Answer
    connections: Answer
    returned: Answer
    restart: Answer
    twins: Answer
    zone: Answer
    shipped: Answer


ANSWERS: dict[str, tuple[str, ...]] = {
    "volume": ("as-forecast", "above", "below"),
    "retries": ("few", "many"),
    "shares": ("fair", "as-weights-say", "unexplained"),
    "weights": ("as-meant", "skewed", "set-behind-our-back"),
    "policy": ("even", "by-load", "by-source", "by-key", "affinity"),
    "clients": ("many", "one-heavy", "few"),
    "errors": ("none", "one", "some", "most"),
    "manner": ("answers", "breaks", "breaks-just-now", "refuses"),
    "troubled": ("none", "one", "some", "most"),
    "down": ("none", "one", "some", "most"),
    "crowd": ("none", "one", "some"),
    "slow": ("none", "one", "some", "most"),
    "rest": ("well", "strained"),
    "pace": ("usual", "slower"),
    "quick": ("quick-and-failing", "no"),
    "overfed": ("sick", "slow", "well"),
    "checks": ("pass", "one", "some", "all", "unchecked"),
    "before": ("well", "failing", "slow", "refused"),
    "falling": ("together", "in-turn", "at-once"),
    "flapping": ("none", "one", "many"),
    "blamed": ("yes", "no"),
    "admin": ("none", "one", "some", "all"),
    "refused": ("none", "some", "all"),
    "limits": ("free", "server", "listener"),
    "loss": ("none", "borne", "not-borne"),
    "newcomers": ("none", "fed", "starved"),
    "connections": ("old", "renewed"),
    "returned": ("none", "well", "the-trouble", "rolling"),
    "restart": ("none", "restarted", "drain-lost"),
    "twins": ("none", "elsewhere", "the-trouble"),
    "zone": ("none", "elsewhere", "the-trouble"),
    "shipped": ("nothing", "weights", "members", "admin", "policy", "check", "limits", "other"),
}


def signs(case: Case) -> Signs:
    """All questions, answered for this case."""
    m = measured(case)
    return Signs(
        measured=m, volume=_volume(case), retries=_retries(case), shares=_shares(case, m), weights=_weights(case),
        policy=_policy(case), clients=_clients(case), errors=_errors(case, m), manner=_manner(case, m),
        troubled=_troubled(case, m), down=_down(case, m), crowd=_crowd(m), slow=_slow(case, m), rest=_rest(case, m),
        pace=_pace(case), quick=_quick(case, m), overfed=_overfed(m), checks=checking.checks(case, m),
        before=checking.before(case, m), falling=checking.falling(case), flapping=checking.flapping(m),
        blamed=checking.blamed(case, m), admin=history.admin(case), refused=_refused(case), limits=_limits(case, m),
        loss=history.loss(case, m), newcomers=history.newcomers(m), connections=_connections(case, m),
        returned=history.returned(case, m),
        restart=history.restart(case), twins=history.twins(case, m), zone=history.zone(case, m),
        shipped=history.shipped(case),
    )  # fmt: skip


def answers(found: Signs) -> dict[str, Answer]:
    """The answers by question."""
    return {f.name: getattr(found, f.name) for f in fields(Signs) if f.name != "measured"}


def extent(these: Servers, among: int) -> str:
    """How many servers are concerned, as a word."""
    if not these:
        return "none"
    if len(these) == 1 and among > 1:
        return "one"
    return "some" if len(these) < 0.7 * among else "most"


def _volume(case: Case) -> Answer:
    past = case.past
    if np.isnan(case.forecast) or case.forecast <= 0 or np.isnan(case.rate):
        return UNKNOWN
    rate = past.arrived / max(past.seconds, 1e-9) if past is not None and past.seconds > 2 else case.rate
    said = f"{rate:.0f} requests/s against a forecast of {case.forecast:.0f}"
    surge = case.about(Kind.SURGE)
    if surge and rate > 1.15 * case.forecast:
        return Answer("above", surge[0].sentence)
    noise = 4.0 / max(np.sqrt(case.forecast * 2.0), 1.0)
    if rate <= (ABOVE + noise) * case.forecast:
        if _aftermath(case):
            return Answer("above", f"the trouble began in a surge that ended a moment ago; now {said}")
        return Answer("below" if rate < (BELOW - noise) * case.forecast else "as-forecast", f"no surge: {said}")
    return Answer("above", said)


def _aftermath(case: Case) -> bool:
    """Whether what stands now began while more came than was forecast, not long ago."""
    past = case.past
    if past is None or not case.at - past.surged_at <= BACKLOG_S:
        return False
    return any(s.since <= past.surged_at + SECOND for s in case.about(*LEFT_BEHIND))


def _retries(case: Case) -> Answer:
    past = case.past
    if past is None or past.arrived < 5:
        return UNKNOWN
    per_request = past.attempts / max(past.arrived - past.refused, 1.0)
    again = (past.refused_by + past.broken).sum() / max(past.arrived, 1.0)
    said = f"{per_request:.2f} attempts for each request of a client"
    return Answer("many" if per_request > RETRIED and again > RETRIED - 1 else "few", said)


def _shares(case: Case, m: Measured) -> Answer:
    over = m.over | case.accused(Kind.SHARE)
    if not over:
        known = m.seen or case.requests >= 50
        return Answer("fair", "every server gets the share that is its due") if known else UNKNOWN
    worst = max(sorted(over), key=lambda s: float(m.share[case.index(s)]))
    i = case.index(worst)
    got = float(m.share[i])
    due = percent(float(case.intended[i]))
    said = next((s.sentence for s in case.about(Kind.SHARE) if s.server == worst),
                f"{worst} gets {percent(got)} of requests, and is meant to get {due}")  # fmt: skip
    if not np.isnan(case.predicted).any() and _follows(case, i):
        return Answer("as-weights-say", f"{said}; the weights in force predict {percent(float(case.predicted[i]))}")
    return Answer("unexplained", f"{said}; the weights in force do not explain it")


def _follows(case: Case, i: int) -> bool:
    """Whether the share of this server is on its way to what the weights in force predict."""
    must, meant, got = float(case.predicted[i]), float(_meant(case)[i]), float(case.observed[i])
    return must > (1 + SKEW) * meant and got <= must + 0.06 + 2 * np.sqrt(must * (1 - must) / max(case.requests, 1.0))


def _meant(case: Case) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The intended shares among those that serve now."""
    here = np.asarray([0.0 if s in case.unserving else 1.0 for s in case.servers])
    wish = case.intended * here
    return np.asarray(wish / wish.sum() if wish.sum() > 0 else case.intended, dtype=np.float64)


def _weights(case: Case) -> Answer:
    if np.isnan(case.weight).any():
        return UNKNOWN
    here = np.asarray([0.0 if s in case.unserving else 1.0 for s in case.servers])
    force = case.weight * here
    if force.sum() <= 0:
        return UNKNOWN
    must, meant = force / force.sum(), _meant(case)
    said = _weights_said(case, must)
    configured = np.asarray([s.weight for s in case.pool.servers])
    if not bool((must > (1 + SKEW) * meant + 0.005).any()):
        return Answer("as-meant", f"the weights in force ({said}) give the intended shares")
    if len(configured) == len(force) and not np.allclose(
        configured / max(configured.sum(), 1e-9), case.weight / case.weight.sum(), atol=0.02
    ):
        return Answer("set-behind-our-back", f"the weights in force ({said}) are not those of the configuration: "
                                             "somebody changed them in the proxy itself")  # fmt: skip
    return Answer("skewed", f"the weights in force are {said}, which gives {percent(float(must.max()))} to one server")


def _weights_said(case: Case, must: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    if len(case.weight) <= 6:
        return ", ".join(f"{w:g}" for w in case.weight)
    return f"from {case.weight.min():g} to {case.weight.max():g}"


def _policy(case: Case) -> Answer:
    pool, policy = case.pool, case.pool.policy
    if pool.affinity_cookie is not None or pool.affinity:
        return Answer("affinity", "an affinity ties clients to servers")
    match policy:
        case Hash(on="source"):
            return Answer("by-source", "servers are chosen by a hash of the source address")
        case Hash(on=on):
            return Answer("by-key", f"servers are chosen by a hash of the {on}")
        case LeastRequest() | RandomPick():
            return Answer("by-load", f"{policy.kind} prefers servers with little in flight")
        case _:
            return Answer("even", "requests are dealt out in turn")


def _clients(case: Case) -> Answer:
    past = case.past
    counts = [count for _, count in past.clients] if past is not None else []
    total = sum(counts)
    if total < 20:
        return UNKNOWN
    top, rest = counts[0] / total, 1 - sum(counts[:4]) / total
    if rest < REST:
        few = sum(count > 0.02 * total for count in counts)
        return Answer("few", f"all requests come from {few} {'address' if few == 1 else 'addresses'}")
    if top >= HEAVY:
        return Answer("one-heavy", f"one client sends {percent(top)} of the requests")
    return Answer("many", f"requests come from many clients, the busiest sends {percent(top)}")


def _errors(case: Case, m: Measured) -> Answer:
    accused = m.bad
    if not accused:
        return Answer("none", "no server fails requests more than the others do")
    said = next((s.sentence for s in case.about(Kind.ERRORS) if s.server in accused), "")
    if not said:
        worst = max(float(m.failed[case.index(s)]) for s in accused)
        said = f"{named(accused)}: up to {percent(worst)} of requests there fail"
    return Answer(extent(accused, len(case.servers) - len(case.away)), said)


def _manner(case: Case, m: Measured) -> Answer:
    kinds = (("answers", m.answering, "answered badly"), ("breaks", m.breaking, "broken off"),
             ("refuses", m.mute, "given no connection"))  # fmt: skip
    kind, which, said = max(kinds, key=lambda it: len(it[1]))
    if kind == "breaks" and all(case.at - s.since <= DYING_S for s in case.about(Kind.ERRORS) if s.server in which):
        return Answer("breaks-just-now", f"requests to {named(which)} are broken off since a moment")
    return Answer(kind, f"requests to {named(which)} are {said}") if which else UNKNOWN


def _troubled(case: Case, m: Measured) -> Answer:
    word = extent(m.troubled, len(case.servers) - len(case.away))
    said = {
        "none": "no server by itself is in trouble", "one": f"only {named(m.troubled)} is in trouble",
        "some": f"{len(m.troubled)} of {len(case.servers)} servers are in trouble",
        "most": f"{len(m.troubled)} of {len(case.servers)} servers are in trouble: something they share is likely",
    }  # fmt: skip
    return Answer(word, said[word])


def _down(case: Case, m: Measured) -> Answer:
    """Who takes no connections or fails its check."""
    down = (m.failing | m.mute) - case.away
    word = extent(down, len(case.servers) - len(case.away))
    if not down:
        return Answer("none", "every server takes connections and passes its check")
    parts = []
    if m.mute:
        parts.append(f"{named(m.mute)} takes no connections: what is sent there has to be sent again elsewhere")
    if m.failing - case.away:
        parts.append(f"the check of {named(m.failing - case.away)} fails")
    return Answer(word, "; ".join(parts))


def _crowd(m: Measured) -> Answer:
    if not m.over:
        return Answer("none", "no server gets too much") if m.seen else UNKNOWN
    return Answer("one" if len(m.over) == 1 else "some", f"{named(m.over)} got more than was due")


def _slow(case: Case, m: Measured) -> Answer:
    slow = m.slow
    if not slow:
        return Answer("none", "no server is slower than usual")
    said = next((s.sentence for s in case.about(Kind.LATENCY) if s.server in slow), "")
    if not said:
        worst = max(float(m.slowness[case.index(s)]) for s in slow)
        said = f"{named(slow)}: requests take up to {worst:.1f} times as long as usual"
    return Answer(extent(slow, max(len(m.serving), 1)), said)


def _rest(case: Case, m: Measured) -> Answer:
    """How the servers are that are in no trouble, where others are."""
    others = m.serving - m.troubled
    if not others or not (m.troubled | m.failing):
        return UNKNOWN
    if case.queued > len(others) or _refused(case).word in ("some", "all"):
        return UNKNOWN  # limits keep servers as fast as usual, while requests wait in the proxy
    index = [case.index(s) for s in sorted(others)]
    known = m.slowness[index]
    if case.past is not None:
        known = known[case.past.requests[index] >= FEWEST]
    known = known[~np.isnan(known)]
    if not len(known):
        return UNKNOWN
    middle = float(np.median(known))
    said = f"the other {len(others)} take {middle:.1f} times as long as usual"
    if middle <= WELL:
        return Answer("well", said)
    return Answer("strained", said) if middle >= STRAINED else UNKNOWN


def _pace(case: Case) -> Answer:
    past = case.past
    if past is None or past.requests.sum() < 5 or np.isnan(past.pace_s).all():
        return UNKNOWN
    known = ~np.isnan(past.pace_s) & np.asarray([s not in case.away for s in case.servers])
    if not known.any():
        return UNKNOWN
    got = past.requests[known]
    now, usual = float((past.pace_now_s[known] * got).sum()), float((past.pace_s[known] * got).sum())
    ratio = (now + 0.002 * got.sum()) / max(usual + 0.002 * got.sum(), 1e-9)
    said = f"a request stays with a server {ratio:.1f} times as long as usual"
    if ratio < USUAL:
        return Answer("usual", said)
    return Answer("slower", said) if ratio > SLOWER else UNKNOWN


def _quick(case: Case, m: Measured) -> Answer:
    both = frozenset(s for s in m.answering & m.quick if m.share[case.index(s)] > 1.15 * m.due[case.index(s)])
    both |= _drawing(case, m)
    if both:
        return Answer("quick-and-failing", f"{named(both)} fails at once, and so looks idle")
    return Answer("no", "no server is quick to fail and gets more for it") if m.seen else UNKNOWN


def _drawing(case: Case, m: Measured) -> Servers:
    """Servers that look idle to a policy that prefers who has little to do, because they fail at once: most of their
    answers are bad, and those take far less than good ones do, or they were given far more than their due in the last
    look."""
    if _policy(case).word != "by-load":
        return frozenset()
    return m.answering & (_instant(case, m) | _drawn(case, m))


def _instant(case: Case, m: Measured) -> Servers:
    past = case.past
    if past is None or np.isnan(past.good_ms).all():
        return frozenset()
    mostly = m.failed >= MOSTLY_BAD
    if case.latest is not None and case.latest_failed is not None:
        mostly |= (case.latest_failed >= 2) & (case.latest_failed >= 0.5 * case.latest)
    instant = mostly & (past.bad_ms < INSTANT * float(np.nanmedian(past.good_ms)))
    return frozenset(s for s, it in zip(case.servers, instant, strict=True) if it)


def _drawn(case: Case, m: Measured) -> Servers:
    total = 0.0 if case.latest is None else float(np.nansum(case.latest))
    if case.latest is None or total < DRAWN_FEWEST:
        return frozenset()
    mean = total * np.fmax(m.due, case.predicted)
    drawn = case.latest > DRAWN * mean + DRAWN_SIGMAS * np.sqrt(np.maximum(mean, 0.0))
    return frozenset(s for s, it in zip(case.servers, drawn, strict=True) if it)


def _overfed(m: Measured) -> Answer:
    if not m.over:
        return UNKNOWN
    if m.over & m.bad:
        return Answer("sick", f"{named(m.over & m.bad)} got more than was due and fails")
    if m.over & m.slow:
        return Answer("slow", f"{named(m.over & m.slow)} got more than was due, which explains its queue")
    return Answer("well", f"{named(m.over)} got more than was due and bears it")


def _refused(case: Case) -> Answer:
    past = case.past
    if past is None or past.arrived < 3:
        said = case.about(Kind.REFUSED)
        return Answer("some", said[0].sentence) if said else UNKNOWN
    part = past.refused / past.arrived
    said_so = f"the proxy answers {percent(part)} of requests itself: no server, or no place in the queue, is free"
    if part >= 0.7:
        return Answer("all", said_so)
    return Answer("some", said_so) if part >= 0.02 else Answer("none", "the proxy refuses nobody")


def _connections(case: Case, m: Measured) -> Answer:
    """Whether requests follow connections that are older than servers that were added. Connections of a proxy that
    ties clients to servers say nothing: it is the tie that decides."""
    if not m.born & m.serving or _policy(case).word not in ("even", "by-load"):
        return UNKNOWN
    told, past = case.about(Kind.PINNED), case.past
    if told:
        return Answer("old", told[0].sentence)
    if past is None or np.isnan(past.born_at).all() or case.connection_age_s >= case.at - np.nanmax(past.born_at):
        return UNKNOWN
    said = f"connections live {case.connection_age_s:.0f} s, and the newest server is there for longer"
    return Answer("renewed", said) if case.connection_age_s >= 0 else UNKNOWN


def _limits(case: Case, m: Measured) -> Answer:
    past = case.past
    inside = case.queued + float(np.nansum(case.in_flight))
    if past is not None and inside >= 0.9 * case.connections - 1:
        return Answer("listener", f"{inside:.0f} requests are inside, and listeners let in {case.connections:.0f}")
    limits = np.asarray([
        s.in_flight_limit or case.pool.limits.server_in_flight or np.inf for s in case.pool.servers
    ])  # fmt: skip
    if len(limits) != len(case.in_flight) or not m.serving:
        return UNKNOWN
    here = np.asarray([s in m.serving for s in case.servers])
    full = (case.in_flight >= 0.85 * limits - 0.2)[here]
    if full.mean() >= 0.6 and case.queued >= 1:
        return Answer("server", f"{case.queued:.0f} requests queue, because servers may have "
                                f"{limits[here].min():.0f} each at a time")  # fmt: skip
    return Answer("free", "no limit of the proxy is reached")
