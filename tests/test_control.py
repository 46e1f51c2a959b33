"""The tick: people's orders through the guard, missing telemetry, reports, good revisions, and the incident's life."""

from dataclasses import replace

import pytest

from levelhead import control
from levelhead.control import MOST_TURNS
from levelhead.control.base import (
    Acknowledge,
    Alter,
    Approve,
    EngineEvent,
    Note,
    Order,
    Outcome,
    Put,
    Reply,
    Report,
    Resolve,
    Revise,
    RollBack,
    State,
    Tell,
    View,
    Wish,
)
from levelhead.control.cases import last_change, last_share_change
from levelhead.drills.base import Scenario
from levelhead.drills.rehearse import BEGAN, Rehearsing
from levelhead.drills.text import parse_scenario
from levelhead.incident import TRANSITIONS, Incident, Phase, moved
from levelhead.lab.library import scenarios
from levelhead.model import Admin, Pool, Revision, Server, SetAdmin, SetWeight
from levelhead.simulate import Errors, Flows, ServerModel, UserModel
from levelhead.telemetry import Missing

MARCH = parse_scenario(scenarios()["march-10"], "march-10")


class Day(Rehearsing):
    """A rehearsal in which people give orders."""

    def __init__(self, scenario: Scenario = MARCH, mode: str = "shadow") -> None:
        super().__init__(scenario, mode, 7)  # type: ignore[arg-type]
        self.at = 0.0

    def until(self, at_s: float) -> None:
        while self.at < at_s:
            self.at += 0.25
            self.tick(self.at)

    def order(self, wish: Wish, force: str = "") -> Reply | Put:
        name = f"o{len(self.effects)}"
        self.orders = (*self.orders, Order(name, BEGAN + self.at, "ann", "because", wish, force))
        self.until(self.at + 0.25)
        return next(e for e in self.effects if isinstance(e, Reply | Put) and e.order == name)

    @property
    def incident(self) -> Incident:
        return list(self.incidents.values())[-1]


def test_a_person_may_drain_one_server_but_not_the_second() -> None:
    day = Day(MARCH.model_copy(update={"events": ()}))
    day.until(10)

    first = day.order(Alter((SetAdmin("web", "server-1", Admin.DRAIN),)))
    day.until(14)
    second = day.order(Alter((SetAdmin("web", "server-2", Admin.DRAIN),)))

    assert isinstance(first, Put)
    assert isinstance(second, Reply)
    assert not second.accepted
    assert all("would get 50% of requests" in objection for objection in second.objections)


def test_force_passes_over_the_objections_and_is_remembered() -> None:
    day = Day(mode="act")
    day.until(10)

    forced = day.order(Alter((SetWeight("web", "server-1", 900.0),)), force="load test")
    day.until(14.5)

    assert isinstance(forced, Put)
    assert "forced: load test" in forced.why
    assert {p.author for p in day.puts} == {"ann"}, "what a person forced is not taken back"
    assert any("a person insisted on this" in e.text for e in day.incident.entries)


def test_a_roll_back_by_a_person_ends_the_incident_and_its_effect_is_measured() -> None:
    day = Day()
    day.until(18)
    assert day.incident.open

    answer = day.order(RollBack())
    day.until(55)

    assert isinstance(answer, Put)
    assert day.incident.phase is Phase.RESOLVED
    (action,) = day.incident.actions
    assert (action.who, action.plan) == ("ann", "roll-back")
    assert "before;" in action.effect
    assert day.incident.resolution.startswith("roll back to revision 1 by ann")
    assert "weight-typo-skew" not in {s.cause for s in day.incident.refuted}


def test_what_people_did_is_given_time_and_then_looked_past() -> None:
    """A person changed something that does not help: nobody waits for ever."""
    day = Day(mode="ask")
    day.until(17.0)
    assert day.state.pool("web").proposal is not None
    day.order(Alter((SetWeight("web", "server-2", 11.0),)))
    day.until(20.0)
    assert day.state.pool("web").proposal is None
    day.until(30.0)

    assert "the trouble goes on 10 s after ann acted: it is looked at anew" in [e.text for e in day.incident.entries]
    assert day.state.pool("web").proposal is not None


def test_what_levelhead_did_or_took_back_suspects_nobody() -> None:
    day = Day(mode="act")
    day.until(17.0)
    first, typo, back = day.revisions

    assert (typo.author, back.author) == ("deploy", "levelhead")
    assert last_change((first, typo), "web", typo.at + 1.0) is not None
    assert last_change(day.revisions, "web", back.at + 1.0) is None
    assert last_share_change(day.revisions, "web", back.at + 1.0) is None


def test_people_write_into_the_incident() -> None:
    day = Day()
    day.until(17)

    for wish in (Acknowledge("INC-1"), Note("INC-1", "called the team"), Resolve("INC-1", "we know")):
        reply = day.order(wish)
        assert isinstance(reply, Reply)
        assert reply.accepted

    first = day.incidents["INC-1"]
    assert first.acknowledged_by == "ann"
    assert first.phase is Phase.RESOLVED
    assert first.clocks.recovered is None, "closing it did not make users well"
    assert [e.text for e in first.entries if e.who == "ann"] == ["acknowledged: because", "called the team", "we know"]


@pytest.mark.parametrize("wish", [Acknowledge("INC-9"), Alter((SetWeight("web", "nobody", 1.0),)), RollBack(77)])
def test_an_order_about_what_is_not_there_is_refused_with_a_reason(wish: Wish) -> None:
    day = Day()
    day.until(10)

    reply = day.order(wish)

    assert isinstance(reply, Reply)
    assert not reply.accepted
    assert reply.text


def test_the_same_configuration_again_is_no_new_revision() -> None:
    day = Day()
    day.until(10)

    reply = day.order(Revise(day.fleet, "text"))

    assert isinstance(reply, Reply)
    assert reply.text == "nothing differs: revision 1 stays in force"


def blind(day: Day, orders: tuple[Order, ...] = (), events: tuple[EngineEvent, ...] = ()) -> Outcome:
    at = BEGAN + day.at
    view = View(at, Missing(at, "the socket does not answer"), day.revisions, orders=orders, events=events)
    return control.step(day.state, view)


def test_without_telemetry_nothing_is_judged_and_changes_are_refused() -> None:
    day = Day()
    day.until(10)
    drain = Order("o", BEGAN, "ann", "", Alter((SetAdmin("web", "server-1", Admin.DRAIN),)))

    outcome = blind(day, (drain,))

    assert "the socket does not answer" in outcome.because
    (reply,) = [e for e in outcome.effects if isinstance(e, Reply)]
    assert "telemetry is missing: nobody can tell what the change would do" in reply.objections


def test_without_telemetry_a_new_configuration_and_a_roll_back_still_go_through() -> None:
    day = Day()
    day.until(17)
    revise = Order("a", BEGAN, "ann", "", Revise(replace(day.fleet, client="header:X"), "text"))
    back = Order("b", BEGAN, "ann", "", RollBack())

    effects = blind(day, (revise, back)).effects

    assert [e.order for e in effects if isinstance(e, Put)] == ["a", "b"]


AGAIN: tuple[Wish, ...] = (Resolve("INC-1", "well"), Acknowledge("INC-1"), Note("INC-1", "?"), Approve("INC-1"))


@pytest.mark.parametrize("again", AGAIN)
def test_an_incident_that_was_resolved_while_nobody_could_see_stays_so(again: Wish) -> None:
    day = Day(mode="shadow")
    day.until(17.0)
    blind = Missing(BEGAN + day.at + 0.25, "it was lost")

    def told(state: State, wish: Wish) -> Outcome:
        order = Order("o", blind.at_s, "ann", "", wish)
        return control.step(state, View(blind.at_s, blind, day.revisions, orders=(order,)))

    first = told(day.state, Resolve("INC-1", "it is well"))
    second = told(first.state, again)

    assert [e.accepted for e in first.effects if isinstance(e, Reply)] == [True]
    assert [(e.accepted, e.text) for e in second.effects if isinstance(e, Reply)] == [
        (False, "INC-1 is resolved already")
    ]


def test_a_change_that_the_engine_refuses_is_no_action_taken() -> None:
    day = Day()
    day.until(17)
    revise = Order("a", BEGAN, "ann", "", Revise(replace(day.fleet, client="header:X"), "text"))
    at, waiting = BEGAN + day.at, blind(day, (revise,)).state
    report = View(at, Missing(at, "later"), day.revisions, reports=(Report("a", None, "the address is in use"),))

    incident = control.step(waiting, report).state.pool("web").incident

    assert incident is not None
    assert [a.effect for a in incident.actions] == ["failed: the address is in use"]
    assert (incident.phase, incident.clocks.acted) == (Phase.IDENTIFIED, None)


def test_the_death_of_the_proxy_is_an_incident() -> None:
    day = Day(MARCH.model_copy(update={"events": ()}))
    day.until(10)

    state = blind(day, events=(EngineEvent(BEGAN + 10, "haproxy died", True),)).state
    day.state = state
    day.until(25)

    assert day.incident.title == "haproxy died"
    assert day.incident.phase is Phase.RESOLVED
    assert day.puts == []


def test_a_revision_is_good_only_after_it_served() -> None:
    day = Day(mode="act")
    known: list[tuple[int, ...]] = []
    for at_s in (7.0, 12.0, 60.0):
        day.until(at_s)
        known.append(day.state.good)

    assert known == [(), (1,), (1, 3)], "the typo, revision 2, never becomes one to return to"


def test_every_move_of_the_table_leads_somewhere_and_others_are_errors() -> None:
    day = Day()
    day.until(17)
    reachable = {Phase.INVESTIGATING}
    for _ in Phase:
        reachable |= {after for (before, _), after in TRANSITIONS.items() if before in reachable}

    assert reachable == set(Phase)
    with pytest.raises(KeyError):
        moved(replace(day.incident, phase=Phase.RESOLVED), "acted")


def test_only_one_change_of_the_fleet_is_on_its_way() -> None:
    day = Day(mode="act")
    day.until(15)
    view = View(BEGAN + 15.25, day.world.sample(), day.revisions, busy=True)
    day.world.advance(15.5)

    waiting = control.step(day.state, view)
    day.until(16)

    assert not any(isinstance(e, Put) for e in waiting.effects)
    assert [p.why.split(":")[0] for p in day.puts if p.author == "levelhead"] == ["roll-back"]


def test_a_failure_of_very_many_pools_does_not_stop_the_clock() -> None:
    """Each gets its turn, a hundred in a tick; nobody is passed over, and none is called calm."""
    flows = Flows(Pool("web", tuple(Server(f"s{i}", f"10.0.0.{i}", 80) for i in range(3))), 250, UserModel(rps=40.0),
                  seed=5, otherwise=ServerModel(4))  # fmt: skip
    state, revisions = control.begin((), (), 1), (Revision(1, flows.fleet, "ann", BEGAN, "first"),)
    opened: list[int] = []
    for i in range(1, 90):
        if i == 40:
            flows.inject(Errors(0.8))
        flows.advance(i * 0.25)
        sample = replace(flows.sample(), at_s=BEGAN + i * 0.25)
        outcome = control.step(state, View(sample.at_s, sample, revisions, flows.records()))
        state = outcome.state
        opened.append(sum(isinstance(e, Tell) and e.kind == "opened" for e in outcome.effects))
        open_now = sum(p.incident is not None for _, p in state.pools)
        if open_now < 250 and i > 44:
            assert "250 pools: nothing amiss" not in outcome.because

    assert max(opened) == MOST_TURNS
    assert sum(opened) == 250
    turned = [p.turned_at for _, p in state.pools]
    assert max(turned) - min(turned) <= 1.5
