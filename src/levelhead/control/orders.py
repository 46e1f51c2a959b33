"""What people order: checked by the guard, carried out, answered, and kept in the timeline with its measured effect."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from levelhead.control.base import (
    Acknowledge,
    Alter,
    Approve,
    Keep,
    Note,
    Order,
    Put,
    Reply,
    Resolve,
    Revise,
    RollBack,
    Tell,
    Watch,
)
from levelhead.control.pools import MEASURED_AFTER_S, acted, resolved
from levelhead.control.turn import Turn, standing
from levelhead.incident import Action, may
from levelhead.mitigate import guard
from levelhead.model import Admin, Fleet, Revision, SetAdmin, apply, differences, sentence


def ordered(turn: Turn, order: Order, revisions: tuple[Revision, ...], fresh: bool) -> Turn:
    """The turn after one order about this pool or its incident. `fresh` is whether the telemetry can be judged by."""
    match order.wish:
        case Alter(changes):
            return _altered(turn, order, changes_text(order.wish), apply(turn.situation.fleet, changes), fresh)
        case RollBack(to):
            return _rolled_back(turn, order, to, revisions, fresh)
        case Revise():
            return _revised(turn, order, order.wish)
        case Approve() | Acknowledge() | Note() | Resolve() if not turn.incident.open:
            # It is filed at the next look at the proxy; until then it is still here.
            reason = f"{turn.incident.id} is resolved already"
            return turn.wanting(Reply(order.id, False, reason, (reason,)))
        case Approve():
            return _approved(turn, order, fresh)
        case Acknowledge() | Note() | Resolve():
            return _about_incident(turn, order)
        case _:
            assert_never(order.wish)


def changes_text(wish: Alter) -> str:
    return "; ".join(sentence(change) for change in wish.changes)


def summary(before: Fleet, after: Fleet) -> str:
    """What differs between two fleets, in a few words."""
    changes = differences(before, after)
    if not changes:
        return "nothing that the proxy need know" if before != after else "nothing differs"
    shown = "; ".join(sentence(c) for c in changes[:4])
    return shown if len(changes) <= 4 else f"{shown}; and {len(changes) - 4} more"


def _revised(turn: Turn, order: Order, wish: Revise) -> Turn:
    """A configuration is taken at its word, unless its review has something against it and nobody insists."""
    if wish.fleet == turn.situation.fleet:
        text = f"nothing differs: revision {turn.situation.current} stays in force"
        return turn.wanting(Reply(order.id, True, text))
    text = f"ship a new configuration ({summary(turn.situation.fleet, wish.fleet)})"
    if wish.against and not order.force:
        return _refused(turn, order, text, wish.against)
    turn = turn.remembering(replace(turn.state, forced=""))
    why = order.why or "configuration file changed"
    if wish.against:
        turn, why = _forced(turn, order, text, why, wish.against)
    turn = _noted_action(turn, order, text, why if wish.against else "")
    return turn.wanting(Put(order.id, wish.fleet, order.who, why, source=wish.source, order=order.id))


def _refused(turn: Turn, order: Order, text: str, against: tuple[str, ...]) -> Turn:
    said = f"{order.who} wanted to {text}; refused: {'; '.join(against)}"
    if turn.state.incident is not None:
        turn = turn.writing("refusal", said, order.who)
        turn = turn.wanting(Keep(turn.incident))
    return turn.wanting(Reply(order.id, False, f"refused: {text}", against))


def _forced(turn: Turn, order: Order, text: str, why: str, against: tuple[str, ...]) -> tuple[Turn, str]:
    """What a person insists on: the turn that remembers it, and the reason that the record keeps."""
    why = f"{why} (forced: {order.force}; against the objection that {'; '.join(against)})"
    return turn.remembering(replace(turn.state, forced=f"{text} by {order.who}: {order.force}")), why


def _altered(turn: Turn, order: Order, text: str, target: Fleet, fresh: bool) -> Turn:
    against = guard.objections(turn.situation.fleet, target, turn.case)
    if not fresh:
        against = (*against, "telemetry is missing: nobody can tell what the change would do")
    if against and not order.force:
        return _refused(turn, order, text, against)
    why = order.why or text
    if against:
        turn, why = _forced(turn, order, text, why, against)
    turn = _noted_action(turn, order, text, why, _plan_of(order))
    return turn.wanting(Put(order.id, target, order.who, why, order=order.id))


def _plan_of(order: Order) -> str:
    """What Levelhead would call the plan that a person carries out."""
    match order.wish:
        case RollBack():
            return "roll-back"
        case Alter(changes) if all(isinstance(c, SetAdmin) and c.admin is Admin.DRAIN for c in changes):
            return "drain"
        case _:
            return ""


def _rolled_back(turn: Turn, order: Order, to: int | None, revisions: tuple[Revision, ...], fresh: bool) -> Turn:
    good = turn.situation.good
    found = good if to is None else next((r for r in revisions if r.number == to), None)
    if found is None:
        missing = "no revision is known to have served well yet: name one with --to"
        missing = missing if to is None else f"there is no revision {to}"
        return turn.wanting(Reply(order.id, False, missing, (missing,)))
    if found.number == turn.situation.current:
        text = f"revision {found.number} is in force already: nothing to do"
        return turn.wanting(Reply(order.id, True, text))
    # Returning to what served well needs no telemetry; anything else is a change like others.
    safe = good is not None and found.number == good.number
    text = f"roll back to revision {found.number}"
    turn = turn.remembering(replace(turn.state, forced="", proposal=None))
    if safe:
        turn = _noted_action(turn, order, text, plan="roll-back")
        why = order.why or text
        return turn.wanting(
            Put(order.id, found.fleet, order.who, why, order=order.id, restores=found.number)
        )
    return _altered(turn, order, text, found.fleet, fresh)


def _noted_action(turn: Turn, order: Order, text: str, why: str = "", plan: str = "") -> Turn:
    """The order as an action of the open incident, whose effect will be measured; nothing where none is open."""
    if turn.state.incident is None:
        return turn
    why = why or order.why or "no reason given"
    turn = turn.writing("action", f"{text}: {why}", order.who).acting(Action(turn.at, order.who, text, why, plan))
    clocks = turn.incident.clocks
    if clocks.acted is None:
        turn = turn.having(replace(turn.incident, clocks=replace(clocks, acted=turn.at)))
    index = len(turn.incident.actions) - 1
    watch = Watch(index, order.id, turn.at + MEASURED_AFTER_S, standing(turn.case))
    # A person has taken over: whatever Levelhead was verifying is theirs now.
    state = replace(turn.state, watching=(*turn.state.watching, watch), doing=None, proposal=None)
    turn = turn.remembering(state)
    turn = turn.moving("acted") if may(turn.incident, "acted") else turn
    return turn.wanting(Keep(turn.incident))


def _about_incident(turn: Turn, order: Order) -> Turn:
    incident = turn.incident
    match order.wish:
        case Acknowledge():
            text = f"acknowledged{f': {order.why}' if order.why else ''}"
            turn = turn.writing("acknowledgement", text, order.who)
            turn = turn.having(replace(turn.incident, acknowledged_by=order.who))
            answer = f"{incident.id} acknowledged by {order.who}"
        case Note(_, text):
            turn = turn.writing("note", text, order.who)
            answer = f"noted in {incident.id}"
        case Resolve(_, text):
            turn = resolved(turn, text or "resolved by a person", order.who)
            turn = turn.wanting(Tell(turn.incident, "closed", turn.incident.resolution))
            answer = f"{incident.id} resolved by {order.who}"
        case _:
            raise AssertionError(f"not about an incident: {order.wish}")
    return turn.wanting(Keep(turn.incident), Reply(order.id, True, answer))


def _approved(turn: Turn, order: Order, fresh: bool) -> Turn:
    """Carries out the plan that waits, if it still fits: a plan is drawn up against one fleet and one look at it."""
    plan = turn.state.proposal
    if plan is None:
        reason = f"no plan of {turn.incident.id} waits for an approval"
        return turn.wanting(Reply(order.id, False, reason, (reason,)))
    against: tuple[str, ...]
    if not fresh:
        against = ("telemetry is missing, and nobody can tell what the plan would do: approve it when it is back",)
    elif plan.steps[0].undo != turn.situation.fleet:
        against = ("the fleet has changed since this plan was drawn up: approve the next one",)
    else:
        against = guard.objections(turn.situation.fleet, plan.steps[0].target, turn.case)
    if against:
        return turn.wanting(Reply(order.id, False, against[0], against))
    turn = acted(turn, plan, order.who, order.why)
    return turn.wanting(Keep(turn.incident), Reply(order.id, True, f"{plan.steps[0].sentence}: on its way"))
