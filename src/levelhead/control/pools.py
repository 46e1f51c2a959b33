"""One pool, one tick: opens, explains, mitigates, verifies and closes its incident."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from levelhead import mitigate, predict
from levelhead.control import harm
from levelhead.control.base import LEVELHEAD, Doing, Keep, PoolState, Put, Report, Tell, Watch
from levelhead.control.turn import Turn, standing
from levelhead.detect.base import Kind, Signal
from levelhead.diagnose import CERTAIN_ENOUGH, diagnose, title
from levelhead.diagnose.base import NONE_OF_THESE, Case, Story
from levelhead.incident import Action, Clocks, Incident, Phase, may, moved, written
from levelhead.mitigate.base import Plan, Refusal
from levelhead.model import Admin, Mode

# After acting, users must be well again within this time, and stay so for a moment, before the plan counts as a help.
VERIFY_S = 10.0
SETTLED_S = 2.0
# While what waited before is worked off (by this part in each such time), a plan is given more time, up to the longest.
MORE_S, EASED, LONGEST_S = 5.0, 0.8, 60.0
FEW = 5.0  # requests more or less are no backlog
# A calm pool's incident is watched for so long, then closed.
QUIET_S = 8.0
CALM_S = 1.5
COOLDOWN_S = 5.0
# What nobody could name for so long is handed to a person.
PATIENCE_S = 3.0
# Trouble that stays as it is is explained anew after this part of its age, and after so long at the latest.
AGAIN_PART, AGAIN_S = 0.1, 10.0
KEEP_EVERY_S = 1.0
MEASURED_AFTER_S = 5.0
# Where what cannot be borne is refused, the others must be served well: so few of them late, and so many served.
MOST_LATE, ALL_BUT = 0.1, 0.85

# A change of configuration this long ago can still be the beginning of an incident.
SUSPECT_S = 30.0

# None of these is trouble by itself: users decide.
HARMLESS = frozenset({Kind.SURGE, Kind.SLOWDOWN, Kind.RETRIES, Kind.QUEUE, Kind.CLIENTS, Kind.PINNED})


def troubles(case: Case) -> tuple[Signal, ...]:
    return tuple(s for s in case.signals if s.kind not in HARMLESS)


def standing_now(signals: tuple[Signal, ...]) -> frozenset[tuple[Kind, str]]:
    """Which signals stand, about whom."""
    return frozenset((s.kind, s.server) for s in signals)


def pool_turn(turn: Turn) -> tuple[Turn, str]:
    """The pool after this tick, and the sentence that says what it did or why it did nothing."""
    trouble = troubles(turn.case)
    if turn.state.incident is None:
        if not trouble:
            return turn, calm_sentence(turn.case)
        turn = _noticed(turn, trouble)
    before, doing = turn.incident.phase, turn.state.doing
    turn = _measured(turn)
    turn = _explained(turn, trouble)
    turn = _verified(turn, trouble)
    turn = _calmed(turn, trouble)
    turn = _taken_back(turn, trouble)
    if doing is None:
        # The tick that ends a plan does not begin the next one: do one thing, look again.
        turn = _mitigated(turn, trouble)
    sentence = _sentence(turn)
    asking = any(isinstance(effect, Tell) and effect.kind == "changed" for effect in turn.effects)
    if turn.incident.phase is not before and not asking:
        turn = _announced(turn)
    turn = _kept(turn, before)
    return _filed(turn), sentence


def calm_sentence(case: Case) -> str:
    """What to say of a pool in which nothing is wrong."""
    surge = case.about(Kind.SURGE)
    if surge:
        return f"{case.pool.name}: {surge[0].sentence}; shares are even and users are well: nothing to do"
    if case.requests < 1:
        return f"{case.pool.name}: no requests lately: nothing to judge"
    spread = " / ".join(f"{share:.0%}" for share in case.observed)
    if predict.moves_by_key(case.pool):
        return f"{case.pool.name}: nothing amiss ({spread} of {case.rate:.0f} requests/s, spread by client)"
    return f"{case.pool.name}: as intended ({spread} of {case.rate:.0f} requests/s): nothing to do"


def reported(turn: Turn, report: Report) -> Turn:
    """What the engine made of a change that this pool's incident tells of."""
    doing = turn.state.doing
    if report.revision is None:
        return _not_done(turn, report)
    if doing is None or doing.ticket != report.ticket:
        return turn
    doing = replace(doing, applied_at=turn.at, due=turn.at + _window_s(doing.plan))
    return turn.remembering(replace(turn.state, doing=doing))


def _not_done(turn: Turn, report: Report) -> Turn:
    """An action, whoever took it, that the engine refused or failed: nothing has changed, and nothing is measured."""
    state = turn.state
    index = next((w.action for w in state.watching if w.ticket == report.ticket), None)
    if state.doing is not None and state.doing.ticket == report.ticket:
        index = state.doing.action
        state = replace(state, doing=None, hands_off_until=turn.at + COOLDOWN_S)
    if index is None:
        return turn
    left = tuple(w for w in state.watching if w.ticket != report.ticket)
    turn = turn.remembering(replace(state, watching=left)).amending(index, effect=f"failed: {report.text}")
    turn = turn.writing("effect", f"{turn.incident.actions[index].what} failed: {report.text}")
    acted = min((a.at for a in turn.incident.actions if not a.effect.startswith("failed")), default=None)
    turn = turn.having(replace(turn.incident, clocks=replace(turn.incident.clocks, acted=acted)))
    return turn.moving("failed") if may(turn.incident, "failed") else turn


def opened(turn: Turn, symptom: str, fault: float) -> Turn:
    """An incident that begins with this symptom; harm since the fault began is counted into it."""
    incident = Incident(
        id=f"INC-{turn.incidents}", pool=turn.case.pool.name, title=symptom, phase=Phase.INVESTIGATING,
        clocks=Clocks(fault=fault, detected=turn.at),
    )  # fmt: skip
    before = turn.state
    state = PoolState(
        incident=incident, lately=before.lately, forced=before.forced, turned_at=before.turned_at,
        counted_at=before.counted_at, hands_off_until=before.hands_off_until,
    )  # fmt: skip
    turn = replace(turn.remembering(harm.opened(state, fault)), incidents=turn.incidents + 1)
    return turn.wanting(Tell(turn.incident, "opened", symptom))


def taken_up(incident: Incident) -> PoolState:
    """An incident that an earlier control plane left open. What it wrote is not written again; what it did and could
    not verify any more counts as not having helped, so that it is looked at anew."""
    said = {entry.text for entry in incident.entries} | {f"refuted/{story.cause}" for story in incident.refuted}
    said |= {f"story/{story.cause}/{','.join(story.servers)}" for story in incident.stories[:1]}
    said |= {_wording(entry.text) for entry in incident.entries if entry.kind == "plan"}
    if incident.phase is Phase.MITIGATING and incident.actions and incident.actions[-1].who == LEVELHEAD:
        incident = moved(incident, "failed")
    return PoolState(incident=incident, said=frozenset(said))


def _noticed(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    case, change = turn.case, turn.case.changed
    guilty = change is not None and change.server in case.accused(Kind.SHARE) and turn.at - change.at <= SUSPECT_S
    if change is None or not guilty:
        return opened(turn, trouble[0].sentence, min(s.since for s in trouble))
    turn = opened(turn, trouble[0].sentence, change.at)
    text = (f"revision {change.revision} by {change.author} came into force; it moves {change.server} "
            f"from {change.share_before:.0%} to {change.share_after:.0%} of requests")  # fmt: skip
    return turn.having(written(turn.incident, change.at, "change", text, change.author))


def _symptoms(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    for signal in trouble:
        turn = turn.writing_once("symptom", signal.sentence, key=f"{signal.kind.value}/{signal.server}")
    return turn


def _explained(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    """Diagnoses anew while there is trouble, and writes down what is new: signals, the likeliest story, refutations.

    Whenever other signals stand; otherwise the more rarely, the older the trouble is.
    """
    if not trouble:
        return turn
    turn = _symptoms(turn, trouble)
    if turn.state.doing is not None:
        # What is seen while a plan takes effect speaks of the plan; the stories that led to it stand.
        return turn
    seen = standing_now(turn.case.signals)
    state, age = turn.state, turn.at - turn.incident.clocks.detected
    if seen == state.explained_by and turn.at - state.explained_at < min(AGAIN_PART * age, AGAIN_S):
        return turn
    turn = turn.remembering(replace(state, explained_at=turn.at, explained_by=seen))
    stories = diagnose(turn.case)
    top = stories[0]
    certain = top.cause != NONE_OF_THESE and top.probability >= CERTAIN_ENOUGH
    # Trouble that fades out explains nothing any more: a certain story gives way only to another certain one.
    told = stories if certain or turn.incident.clocks.diagnosed is None else turn.incident.stories
    refuted = _refuted(turn.incident.refuted, stories, told[0].cause)
    for story in refuted:
        text = f"{story.cause} ruled out: {story.contra[0]}"
        turn = turn.writing_once("refuted", text, key=f"refuted/{story.cause}")
    turn = turn.having(replace(turn.incident, stories=told, refuted=refuted))
    if not certain:
        return turn
    text = f"{top.cause} at {top.probability:.0%}: {'; '.join(top.pro)}"
    turn = turn.writing_once("story", text, key=f"story/{top.cause}/{','.join(top.servers)}")
    clocks = turn.incident.clocks
    if clocks.diagnosed is None:
        turn = turn.having(replace(turn.incident, clocks=replace(clocks, diagnosed=turn.at), title=_title(top, turn)))
    return turn.moving("identified") if may(turn.incident, "identified") else turn


def _title(story: Story, turn: Turn) -> str:
    whom = f" ({', '.join(story.servers)})" if story.servers else ""
    return f"{title(story.cause)}{whom} in {turn.case.pool.name}"


def _refuted(known: tuple[Story, ...], stories: tuple[Story, ...], told: str) -> tuple[Story, ...]:
    """All stories that were ruled out and have not come back; the first evidence against each is kept.

    The story told is not ruled out by the trouble's end: that is what its mitigation is for.
    """
    plausible = {s.cause for s in stories if not s.refuted} | {told}
    kept = [s for s in known if s.cause not in plausible]
    settled = {s.cause for s in kept} | {told}
    return (*kept, *(s for s in stories if s.refuted and s.cause not in settled))


def _mitigated(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    """Plans for the likeliest story and does as the pool's mode says."""
    state, incident = turn.state, turn.incident
    ready = incident.phase in (Phase.INVESTIGATING, Phase.IDENTIFIED) and state.doing is None and not turn.busy
    if not trouble or not ready or turn.at < state.hands_off_until or not incident.stories:
        return turn
    top = incident.stories[0]
    if incident.phase is Phase.INVESTIGATING and turn.at - incident.clocks.detected < PATIENCE_S:
        return turn
    drafted = mitigate.plan(turn.situation, top, state.tried)
    if isinstance(drafted, Refusal):
        return _asked(turn, drafted, top)
    match turn.case.pool.mode:
        case Mode.SHADOW:
            text = f"would {drafted.steps[0].sentence} ({drafted.because}); mode shadow: nothing is done"
            return turn.writing_once("plan", text, key=_about(drafted))
        case Mode.ASK:
            return _proposed(turn, drafted)
        case Mode.ACT:
            return acted(turn, drafted, LEVELHEAD)


def _asked(turn: Turn, refusal: Refusal, story: Story) -> Turn:
    """Says once why nothing is done, and asks a person once what only people can answer."""
    turn = turn.writing_once("refusal", refusal.sentence, key=f"refusal/{story.cause}/{len(turn.state.tried)}")
    if not refusal.question:
        return turn
    return _put_to_people(turn, f"question/{story.cause}", f"to people: {refusal.question}")


def _proposed(turn: Turn, drafted: Plan) -> Turn:
    text = f"may I {drafted.steps[0].sentence}? ({drafted.because})"
    return _put_to_people(turn.remembering(replace(turn.state, proposal=drafted)), _about(drafted), text)


def _put_to_people(turn: Turn, key: str, text: str) -> Turn:
    """Writes a question down and tells it, unless that was done before, be it by an earlier control plane."""
    known = {key, _wording(text)}
    if known & turn.state.said:
        return turn
    turn = turn.remembering(replace(turn.state, said=turn.state.said | known)).writing("plan", text)
    return turn.wanting(Tell(turn.incident, "changed", text.removeprefix("to people: ")))


def _wording(text: str) -> str:
    """A question without the figures behind it, which are others a moment later."""
    return text.partition(" (")[0]


def _about(drafted: Plan) -> str:
    return f"plan/{drafted.name}/{','.join(sorted(_treated(drafted)))}"


def acted(turn: Turn, plan: Plan, who: str, why: str = "") -> Turn:
    """Carries out the plan's first step; the rest follows when the world has been looked at again.

    `why` is what a person who approved it gave as a reason.
    """
    step = plan.steps[0]
    because = f"{plan.because}; approved: {why}" if why else plan.because
    ticket = f"plan-{turn.tickets}"
    before = standing(turn.case)
    turn = turn.writing("action", f"{step.sentence}: {because}", who)
    turn = turn.acting(Action(turn.at, who, step.sentence, because, plan.name))
    clocks = turn.incident.clocks
    if clocks.acted is None:
        turn = turn.having(replace(turn.incident, clocks=replace(clocks, acted=turn.at)))
    index = len(turn.incident.actions) - 1
    doing = Doing(plan, ticket, turn.at, index, turn.case.harmed_ratio)
    watch = Watch(index, ticket, turn.at + MEASURED_AFTER_S, before)
    state = replace(turn.state, doing=doing, proposal=None, watching=(*turn.state.watching, watch))
    put = Put(ticket, step.target, LEVELHEAD, f"{plan.name}: {step.sentence}", restores=plan.restores)
    turn = replace(turn.remembering(state), tickets=turn.tickets + 1)
    return turn.wanting(put).moving("acted")


def _verified(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    """Looks at users after a plan was applied: keeps it when they are well, undoes it when it did not help."""
    doing = turn.state.doing
    if doing is None or doing.applied_at is None:
        return turn
    elapsed = turn.at - doing.applied_at
    helped = not _still(doing, turn.case, trouble)
    if helped and elapsed >= SETTLED_S:
        text = f"{doing.plan.name} helped: {standing(turn.case)}"
        turn = turn.remembering(replace(turn.state, doing=None)).writing("effect", text)
        return turn.moving("verified") if may(turn.incident, "verified") else turn
    backlog = _backlog(turn.case)
    doing = replace(doing, most=max(doing.most, backlog))
    turn = turn.remembering(replace(turn.state, doing=doing))
    if turn.at < doing.due or turn.busy:
        return turn
    if elapsed < LONGEST_S and _easing(doing, backlog, trouble):
        return turn.remembering(replace(turn.state, doing=replace(doing, due=turn.at + MORE_S, most=backlog)))
    return _undone(turn, doing)


def _backlog(case: Case) -> float:
    """Requests that are with servers or wait for them, beyond what this rate explains at the usual pace; 0 where that
    is no more than as much again."""
    inside = float(np.nansum(case.in_flight)) + case.queued
    paced = case.past is not None and not np.isnan(case.past.pace_s).all()
    usual = case.rate * float(np.nanmedian(case.past.pace_s)) if paced and case.past is not None else 0.0
    return inside - usual if inside > 2 * usual + FEW else 0.0


def _window_s(plan: Plan) -> float:
    """How long a plan has to help: servers that come back get their part by and by."""
    before, after = plan.steps[0].undo.pool(plan.pool), plan.steps[0].target.pool(plan.pool)
    if before is None or after is None:
        return VERIFY_S
    away = {s.name for s in before.servers if s.admin is not Admin.READY or s.weight == 0}
    back = any(s.name in away and s.admin is Admin.READY and s.weight > 0 for s in after.servers)
    return min(VERIFY_S + after.slow_start_s, LONGEST_S) if back else VERIFY_S


def _easing(doing: Doing, backlog: float, trouble: tuple[Signal, ...]) -> bool:
    """Whether what is left of the trouble is only on its way out: checks that have to pass again, and a backlog that
    is worked off; those who waited in it are late whatever is done."""
    left = {s.kind for s in trouble} & mitigate.BY_NAME[doing.plan.name].eases
    if left == {Kind.CHECK}:
        return True
    return backlog < EASED * doing.most


def _still(doing: Doing, case: Case, trouble: tuple[Signal, ...]) -> bool:
    """Whether the trouble that the plan treats, or harm to users, goes on; some can only be made smaller."""
    mitigation = mitigate.BY_NAME[doing.plan.name]
    accusing = [s for s in trouble if s.kind in mitigation.eases]
    if accusing:
        # Servers that were suspect before and not treated are the next plan's concern, and so is the harm they do.
        treated = _treated(doing.plan)
        return not all(treated and s.server not in treated and s.since <= doing.at for s in accusing)
    if doing.plan.serves:
        return not _served(doing, case)
    return any(s.kind is Kind.HARM for s in trouble) and case.harmed_ratio > mitigation.enough * doing.harmed


def _served(doing: Doing, case: Case) -> bool:
    """Whether a plan that refuses some serves the others well, and no fewer than it must."""
    refused = 0.0 if case.past is None else min(case.past.refused / max(case.past.arrived, 1.0), 1.0)
    taken = max(1.0 - refused, 1e-9)
    late = max(case.harmed_ratio - refused, 0.0) / taken
    return late <= MOST_LATE and taken * case.rate >= min(ALL_BUT * doing.plan.serves, case.rate)


def _treated(plan: Plan) -> frozenset[str]:
    """Servers that the plan's first step touches; none if it is about the pool as a whole."""
    step = plan.steps[0]
    before, after = step.undo.pool(plan.pool), step.target.pool(plan.pool)
    if before is None or after is None:
        return frozenset()
    return frozenset(s.name for s in before.servers if after.server(s.name) != s)


def _undone(turn: Turn, doing: Doing) -> Turn:
    step, waited = doing.plan.steps[0], turn.at - (doing.applied_at or turn.at)
    text = f"{doing.plan.name} did not help within {waited:.0f} s ({standing(turn.case)}): it is undone"
    ticket = f"undo-{turn.tickets}"
    put = Put(ticket, step.undo, LEVELHEAD, f"undo {doing.plan.name}: it did not help")
    turn = turn.writing("undo", text).amending(doing.action, undone_at=turn.at)
    state = replace(
        turn.state, doing=None, tried=turn.state.tried | {doing.plan.name}, hands_off_until=turn.at + COOLDOWN_S
    )
    turn = replace(turn.remembering(state), tickets=turn.tickets + 1).wanting(put)
    return turn.moving("failed") if may(turn.incident, "failed") else turn


def _measured(turn: Turn) -> Turn:
    """Writes the measured effect of each action whose time has come, whoever took it."""
    for watch in turn.state.watching:
        if turn.at >= watch.due:
            effect = f"{watch.before} before; {standing(turn.case)} {MEASURED_AFTER_S:.0f} s later"
            action = turn.incident.actions[watch.action]
            turn = turn.amending(watch.action, effect=effect).writing("effect", f"{action.what}: {effect}")
    left = tuple(w for w in turn.state.watching if turn.at < w.due)
    return turn.remembering(replace(turn.state, watching=left))


def _taken_back(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    """People who changed something have as long to help as a plan has; if the trouble goes on, so does Levelhead."""
    state, incident = turn.state, turn.incident
    if not trouble or state.doing is not None or incident.phase is not Phase.MITIGATING or not incident.actions:
        return turn
    last = incident.actions[-1]
    if turn.at - last.at < VERIFY_S or state.watching or turn.busy:
        return turn
    text = f"the trouble goes on {VERIFY_S:.0f} s after {last.who} acted: it is looked at anew"
    return turn.writing("effect", text).moving("failed")


def _calmed(turn: Turn, trouble: tuple[Signal, ...]) -> Turn:
    """Follows how long the pool has been calm: recovery, watching, closing, and trouble that comes back."""
    state = turn.state
    if trouble:
        turn = turn.remembering(replace(state, calm_since=None))
        if turn.incident.phase is Phase.MONITORING:
            how = "there is still trouble" if state.calm_since is None else "trouble is back"
            turn = turn.writing("symptom", f"{how}: {trouble[0].sentence}").moving("worsened")
            clocks = replace(turn.incident.clocks, recovered=None)
            turn = turn.having(replace(turn.incident, clocks=clocks))
        return turn
    since = turn.at if state.calm_since is None else state.calm_since
    turn = turn.remembering(replace(state, calm_since=since))
    clocks = turn.incident.clocks
    if clocks.recovered is None and turn.at - since >= CALM_S:
        turn = turn.having(replace(turn.incident, clocks=replace(clocks, recovered=since)))
    if turn.state.doing is None and turn.at - since >= CALM_S and may(turn.incident, "calmed"):
        turn = turn.remembering(replace(turn.state, proposal=None))
        turn = turn.writing("phase", f"calm since {turn.at - since:.0f} s: {standing(turn.case)}").moving("calmed")
    quiet = turn.incident.phase is Phase.MONITORING and turn.at - since >= QUIET_S and not turn.state.watching
    quiet = quiet and not _left_behind(turn.case)
    return resolved(turn, _resolution(turn.incident), LEVELHEAD) if quiet else turn


def _left_behind(case: Case) -> bool:
    """Whether a server that Levelhead took out still holds requests: their users are still to be harmed by it."""
    held = sum(float(case.in_flight[case.index(s)]) for s in case.drained)
    return held >= 1.0  # unknown is not


def resolved(turn: Turn, text: str, who: str) -> Turn:
    """Closes the incident with what ended it. Whoever closes it while users suffer does not make them well."""
    clocks = turn.incident.clocks
    recovered = turn.state.calm_since if clocks.recovered is None else clocks.recovered
    clocks = replace(clocks, resolved=turn.at, recovered=recovered)
    turn = turn.writing("resolution", text, who)
    return turn.having(replace(turn.incident, clocks=clocks, resolution=text)).moving("resolved")


def _resolution(incident: Incident) -> str:
    done = [a for a in incident.actions if a.undone_at is None and not a.effect.startswith("failed")]
    if done:
        last = done[-1]
        return f"{last.what} by {last.who}; calm for {QUIET_S:.0f} s since"
    servers = ", ".join(incident.stories[0].servers) if incident.stories else ""
    if incident.cause == "server-down" and servers:
        return f"{servers} takes connections again; calm for {QUIET_S:.0f} s since"
    return f"the trouble ended without a change of the balancer; calm for {QUIET_S:.0f} s since"


def _sentence(turn: Turn) -> str:
    incident, pool = turn.incident, turn.case.pool.name
    told = [e.text for e in incident.entries if e.kind not in ("notice", "note", "acknowledgement")]
    last = told[-1] if told else incident.title
    match incident.phase:
        case Phase.INVESTIGATING:
            return f"{pool}: investigating: {last}"
        case Phase.IDENTIFIED:
            return f"{pool}: {incident.cause or 'no cause yet'}: {last}"
        case Phase.MITIGATING:
            return f"{pool}: {incident.actions[-1].what if incident.actions else 'acting'}; measuring the effect"
        case Phase.MONITORING:
            return f"{pool}: users are well ({standing(turn.case)}); watching that it stays so"
        case Phase.RESOLVED:
            return f"{pool}: resolved: {incident.resolution}"


def _announced(turn: Turn) -> Turn:
    incident = turn.incident
    if incident.phase is Phase.RESOLVED:
        return turn.wanting(Tell(incident, "closed", incident.resolution))
    return turn.wanting(Tell(incident, "changed", _sentence(turn)))


def _kept(turn: Turn, before: Phase) -> Turn:
    """Stores the record when it moved on, else once a second for its counts of harm."""
    state = turn.state
    moved_on = turn.incident.phase is not before or turn.effects
    if not moved_on and turn.at - state.kept_at < KEEP_EVERY_S:
        return turn
    return turn.remembering(replace(state, kept_at=turn.at)).wanting(Keep(turn.incident))


def _filed(turn: Turn) -> Turn:
    """A resolved incident leaves the desk; what a person insisted on is still remembered."""
    if turn.incident.open:
        return turn
    state = turn.state
    return turn.remembering(PoolState(forced=state.forced, hands_off_until=state.hands_off_until))
