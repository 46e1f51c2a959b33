"""Whole drills in virtual time: every packaged scenario passes, and healthy pools see no action at all."""

from dataclasses import replace

import pytest

from levelhead import control
from levelhead.control.base import Approve, Order, Put, Reply, View
from levelhead.drills.base import DependencyFault, Raw, Scenario, Traffic
from levelhead.drills.rehearse import BEGAN, TICK_S, Rehearsing, rehearse
from levelhead.drills.text import parse_scenario
from levelhead.errors import UsageError
from levelhead.incident import Phase
from levelhead.lab.library import scenarios
from levelhead.model import SetWeight, apply
from levelhead.stage import read_raw
from levelhead.telemetry import Missing, Sample

ALL = {name: parse_scenario(text, name) for name, text in scenarios().items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_levelhead_passes_its_own_drill(name: str, seed: int) -> None:
    rehearsal = rehearse(ALL[name], mode="act", seed=seed)

    assert rehearsal.record.missed == ()


@pytest.mark.parametrize("name", ["march-10", "slow-server", "failing-server"])
def test_nobody_does_much_worse(name: str) -> None:
    alone, helped = rehearse(ALL[name], mode="off").record, rehearse(ALL[name], mode="act").record

    assert alone.harm.requests_harmed > 5 * helped.harm.requests_harmed
    assert not alone.passed


def test_the_same_seed_gives_the_same_drill() -> None:
    assert rehearse(ALL["march-10"], mode="act") == rehearse(ALL["march-10"], mode="act")


@pytest.mark.parametrize("name", ALL)
def test_shadow_says_what_it_would_do_and_does_nothing(name: str) -> None:
    rehearsal = rehearse(ALL[name], mode="shadow")

    assert {put.author for put in rehearsal.puts} <= {"deploy"}
    if ALL[name].expect.plan not in (None, "none"):
        assert any("mode shadow" in e.text for i in rehearsal.incidents for e in i.entries)


def test_asking_waits_for_a_person() -> None:
    rehearsal = rehearse(ALL["march-10"], mode="ask")
    questions = [e for i in rehearsal.incidents for e in i.entries if e.kind == "plan"]

    assert {put.author for put in rehearsal.puts} == {"deploy"}
    assert questions[0].text.startswith("may I roll back to revision 1")


def test_who_approves_and_why_is_in_the_record() -> None:
    rehearsal, approve = waiting()
    rehearsal.orders = (*rehearsal.orders, approve)
    first = round(rehearsal.world.now_s / TICK_S) + 1
    for tick in range(first, first + 8):
        rehearsal.tick(tick * TICK_S)

    (action,) = next(iter(rehearsal.incidents.values())).actions
    assert action.who == "ann"
    assert action.because.endswith("; approved: it is ours")


def test_a_plan_that_was_drawn_up_against_another_fleet_is_not_carried_out() -> None:
    rehearsal, approve = waiting()
    fleet = apply(rehearsal.fleet, (SetWeight("web", "server-4", 90.0),))
    rehearsal.revisions = (*rehearsal.revisions, replace(rehearsal.revisions[-1], number=3, fleet=fleet))

    outcome = control.step(rehearsal.state, looking(rehearsal, approve, rehearsal.world.sample()))

    assert [e for e in outcome.effects if isinstance(e, Put)] == []
    assert [e.text for e in outcome.effects if isinstance(e, Reply)] == [
        "the fleet has changed since this plan was drawn up: approve the next one"
    ]


def test_nothing_is_approved_blindly() -> None:
    rehearsal, approve = waiting()

    outcome = control.step(rehearsal.state, looking(rehearsal, approve, Missing(BEGAN, "it was lost")))

    assert [e for e in outcome.effects if isinstance(e, Put)] == []
    assert [e.accepted for e in outcome.effects if isinstance(e, Reply)] == [False]


def waiting() -> tuple[Rehearsing, Order]:
    """A drill in which a plan waits for an approval, and the approval."""
    rehearsal = Rehearsing(ALL["march-10"], "ask", 7)
    ticks = iter(range(1, 400))
    while not asked(rehearsal):
        rehearsal.tick(next(ticks) * TICK_S)
    return rehearsal, Order("a", BEGAN, "ann", "it is ours", Approve(next(iter(rehearsal.incidents))))


def looking(rehearsal: Rehearsing, approve: Order, sample: Sample | Missing) -> View:
    before = rehearsal.state.sample
    assert before is not None
    if isinstance(sample, Sample):
        sample = replace(sample, at_s=before.at_s + TICK_S)
    return View(at=before.at_s + TICK_S, sample=sample, revisions=rehearsal.revisions, orders=(approve,))


def test_an_incident_is_closed_when_the_trouble_is_over() -> None:
    (incident,) = rehearse(ALL["march-10"], mode="act").incidents

    assert incident.phase is Phase.RESOLVED
    assert incident.cause == "weight-typo-skew"
    assert "traffic-surge" in {s.cause for s in incident.refuted}
    assert incident.actions[0].effect.endswith("5 s later")
    assert [e.kind for e in incident.entries][:2] == ["change", "symptom"]


def asked(rehearsal: Rehearsing) -> bool:
    return any(e.kind == "plan" for i in rehearsal.incidents.values() for e in i.entries)


def healthy(**users: object) -> Scenario:
    quiet = ALL["march-10"]
    traffic = users.pop("events", ())
    changed = quiet.users.model_copy(update=users)
    return quiet.model_copy(update={"users": changed, "events": traffic, "duration_s": 600.0, "expect": quiet.expect})


@pytest.mark.parametrize("shape", ["steady", "burst"])
def test_a_healthy_pool_sees_no_action(shape: str) -> None:
    rehearsal = rehearse(healthy(shape=shape, rps=60.0), mode="act", seed=4)

    assert rehearsal.puts == ()
    assert [i.title for i in rehearsal.incidents] == []


def test_a_surge_that_is_borne_sees_no_action() -> None:
    surge = replace_events("marketing-surge", factor=3.0)
    rehearsal = rehearse(healthy(events=surge, rps=40.0), mode="act", seed=4)

    assert rehearsal.puts == ()
    assert any("against a forecast of" in sentence for _, sentence in rehearsal.sentences)


def test_what_levelhead_took_out_is_not_taken_for_forgotten() -> None:
    busy = ALL["slow-server"].users.model_copy(update={"rps": 360.0})
    rehearsal = rehearse(ALL["slow-server"].model_copy(update={"users": busy, "duration_s": 60.0}), mode="act")

    assert [put.why.partition(":")[0] for put in rehearsal.puts] == ["drain"]
    assert {i.cause for i in rehearsal.incidents} == {"slow-server-gray-failure"}


def replace_events(name: str, factor: float) -> tuple[object, ...]:
    first = ALL[name].events[0]
    assert first.traffic is not None
    traffic = first.traffic.model_copy(update={"factor": factor})
    return (first.model_copy(update={"at_s": 200.0, "until_s": 400.0, "traffic": traffic}),)


def test_a_plan_is_a_whole_desired_fleet() -> None:
    put = next(p for p in rehearse(ALL["march-10"], mode="act").puts if p.author == "levelhead")

    assert isinstance(put, Put)
    assert put.restores == 1
    assert [s.weight for s in put.fleet.pools[0].servers] == [100.0] * 4
    assert replace(put.fleet) == put.fleet


def test_what_all_servers_share_gets_none_of_them_drained_even_where_few_requests_come() -> None:
    fault = ALL["slow-server"].events[0].model_copy(update={"server": None, "dependency": DependencyFault(errors=1.0)})
    broken = healthy(rps=2.0, events=(fault,)).model_copy(update={"duration_s": 120.0})

    assert rehearse(broken, mode="act", seed=3).puts == ()


def test_traffic_that_stays_becomes_the_forecast_and_its_configuration_good() -> None:
    grown = ALL["marketing-surge"].events[0].model_copy(
        update={"at_s": 60.0, "until_s": None, "traffic": Traffic(factor=4.0)}
    )
    day = Rehearsing(healthy(rps=10.0, events=(grown,)), "act", 4)
    for i in range(1, 2400):
        day.tick(i * 0.25)

    assert day.state.good == (1,)
    assert "forecast" not in day.sentences[-1][1], "what has lasted for minutes is no surge any more"


EVENTS = {
    "deploy": "{every_s: 3, down_s: 1.5, errors: 0.6}",
    "zone": "{name: east, slow_ms: 1500}",
    "check": "{path: /status}",
    "raw": '{haproxy: "backend web\\n  server server-1 x:1 check weight 200\\n  server server-2 x:1 check weight 20\\n'
    '  server server-3 x:1 check weight 20\\n  server server-4 x:1 check weight 20\\n"}',
}
TOLD = {
    "deploy": "bad-deploy", "zone": "gray-failure-zone", "check": "check-protocol-mismatch", "raw": "weight-typo-skew",
}  # fmt: skip


@pytest.mark.parametrize("kind", EVENTS)
def test_what_is_made_of_parts_or_text_is_named_too(kind: str) -> None:
    servers = "".join(f"    server-{i}: {{zone: {zone}}}\n" for i, zone in enumerate(("east", "west") * 2, 1))
    text = (
        "name: trial\ntitle: A trial\nsource: {title: made up}\nteaches: [bad-deploy]\nduration_s: 45\n"
        f"pool:\n  servers:\n{servers}users: {{rps: 120}}\nevents:\n  - at_s: 15\n    {kind}: {EVENTS[kind]}\n"
    )
    told = rehearse(parse_scenario(text, "trial.yaml"), mode="shadow", read=read_raw).record

    assert told.stories[0].cause == TOLD[kind]


def test_a_raw_text_that_nobody_can_read_is_refused() -> None:
    event = ALL["march-10"].events[0].model_copy(update={"config": None, "raw": Raw(haproxy="backend web\n")})
    with pytest.raises(UsageError, match="nobody here can read it"):
        rehearse(ALL["march-10"].model_copy(update={"events": (event,)}), mode="act")


def trouble(events: str, *, servers: str = "{count: 4}", rps: float = 120.0, more: str = "") -> Scenario:
    """A pool of four workers of 50 ms each per server to which this happens."""
    text = (
        "name: trial\ntitle: A trial\nsource: {title: made up}\nteaches: [bad-deploy]\nduration_s: 45\n"
        f"pool:\n  servers: {servers}\n{more}users: {{rps: {rps}}}\nevents:\n{events}"
    )
    return parse_scenario(text, "trial.yaml")


def test_a_surge_that_cannot_be_borne_is_shed_as_long_as_it_lasts() -> None:
    """It is judged by how those are served who are let in, not by those who are refused: they could not be."""
    surge = trouble("  - {at_s: 15, until_s: 35, traffic: {factor: 5}}\n")
    helped, alone = rehearse(surge, mode="act"), rehearse(surge, mode="off")

    assert [(a.plan, a.undone) for a in helped.record.actions] == [("shed", False)]
    assert helped.record.harm.requests_harmed < 0.75 * alone.record.harm.requests_harmed
    assert helped.record.stories[0].cause == "traffic-surge"


def test_a_slow_server_in_a_surge_is_drained() -> None:
    both = trouble("  - {at_s: 15, traffic: {factor: 2}}\n  - {at_s: 17, server: {name: server-2, slow_ms: 1500}}\n",
                   rps=80.0)  # fmt: skip
    told = rehearse(both, mode="act")

    assert [(a.plan, a.what) for a in told.record.actions] == [("drain", "drain server-2")]
    assert told.record.harm.requests_harmed < 0.03 * told.record.harm.requests_total


def test_a_limit_that_was_shipped_too_low_is_taken_back() -> None:
    tight = trouble("  - {at_s: 15, config: {limits: {server_in_flight: 1}}}\n", rps=160.0)

    assert [(a.plan, a.undone) for a in rehearse(tight, mode="act").record.actions] == [("roll-back", False)]


def test_servers_left_without_weight_are_let_in_again() -> None:
    steps = "".join(
        f"  - {{at_s: {15 + 2 * i}, config: {{weights: {{{', '.join(f'server-{j}: 0' for j in range(1, i + 2))}}}}}}}\n"
        for i in range(4)
    )  # fmt: skip
    drained = trouble(steps, servers="{count: 6}", rps=240.0).model_copy(update={"duration_s": 90.0})
    told = rehearse(drained, mode="act")

    assert told.record.stories[0].cause == "forgotten-drain"
    assert "re-admit" in [a.plan for a in told.record.actions if not a.undone]
    assert told.incidents[-1].phase is Phase.RESOLVED


def test_repetitions_that_help_are_not_limited() -> None:
    resets = "".join(f"  - {{at_s: 15, server: {{name: server-{i}, resets: 0.6}}}}\n" for i in range(1, 5))
    helped, alone = (rehearse(trouble(resets, more="  retries: 4\n"), mode=m) for m in ("act", "off"))

    assert helped.record.actions == ()
    assert helped.record.harm.requests_harmed <= alone.record.harm.requests_harmed


def test_a_check_on_what_fails_is_not_ignored() -> None:
    """All servers fail requests, and their checks with them: nobody is well."""
    broken = trouble("  - {at_s: 15, dependency: {errors: 1.0}}\n", servers="{count: 4, deep_check: true}")

    assert rehearse(broken, mode="act").record.actions == ()


def test_a_check_that_has_to_pass_again_is_given_the_time_it_takes() -> None:
    """Two passes of a check every 6 s take longer than a plan is given otherwise."""
    path = trouble("  - {at_s: 15, check: {path: /status}}\n", more="  check: {interval_s: 6, fall: 1}\n")
    actions = rehearse(path.model_copy(update={"duration_s": 60.0}), mode="act").record.actions

    assert [(a.plan, a.undone) for a in actions] == [("roll-back", False)]


def test_an_incident_is_open_while_a_server_that_was_taken_out_holds_requests() -> None:
    """They time out one by one, long after the drain: that is the same trouble, and no reason to do anything else."""
    hung = trouble("  - {at_s: 15, server: {name: server-3, hang: true}}\n", more="  timeouts_s: {server: 12}\n")
    told = rehearse(hung, mode="act")

    (incident,) = told.incidents
    assert [(a.plan, a.what) for a in told.record.actions] == [("drain", "drain server-3")]
    assert incident.phase is Phase.RESOLVED
    assert incident.clocks.resolved is not None
    assert incident.clocks.resolved - incident.clocks.detected > 11.0
