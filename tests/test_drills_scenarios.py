"""Scenario files, planned arrivals, harm and score."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead import model
from levelhead.drills import score as scoring
from levelhead.drills.arrivals import HOT_KEY, Arrivals, arrivals, path_of, rate, user_address
from levelhead.drills.base import (
    ConfigChange,
    Raw,
    Restart,
    Scenario,
    ServerFault,
    Service,
    changed_pool,
    fleet_of,
    pool_of,
    rewritten,
)
from levelhead.drills.score import (
    NO_ANSWER,
    TIMED_OUT,
    UNANSWERED,
    Action,
    Clocks,
    Facts,
    Harm,
    Outcomes,
    StoryLine,
    score,
    to_json,
)
from levelhead.drills.text import parse_scenario
from levelhead.drills.timeline import Moment, fault_s, moments
from levelhead.errors import ConfigError, UsageError
from levelhead.lab.library import scenarios
from levelhead.stage import read_raw

HEAD = "name: trial\ntitle: A trial\nsource: {title: made up}\nteaches: [traffic-surge]\n"
PACKAGED = scenarios()


def trial(rest: str = "") -> Scenario:
    return parse_scenario(HEAD + rest, "trial.yaml")


def addresses(scenario: Scenario) -> dict[str, tuple[str, int]]:
    return {name: ("127.0.0.1", 9001 + i) for i, name in enumerate(scenario.pool.servers)}


# -- the file ---------------------------------------------------------------------------------------------------------


def test_march_10_reads_as_designed() -> None:
    s = parse_scenario(PACKAGED["march-10"], "march-10.yaml")
    assert (s.name, s.seed, s.duration_s, s.teaches) == ("march-10", 7, 60, ("weight-typo-skew",))
    assert list(s.pool.servers) == ["server-1", "server-2", "server-3", "server-4"]
    assert {spec.workers for spec in s.pool.servers.values()} == {4}
    assert (s.users.count, s.users.rps, s.users.shape) == (300, 120, "steady")
    (event,) = s.events
    assert event.at_s == 15
    assert event.what == ConfigChange(weights={"server-1": 90, "server-2": 10, "server-3": 10, "server-4": 10})
    assert (s.expect.cause, s.expect.refuted, s.expect.plan) == ("weight-typo-skew", ("traffic-surge",), "roll-back")
    assert (s.expect.detect_s, s.expect.recover_s, s.expect.harmed_users) == (2.0, 6.0, 0.02)


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_packaged_scenario_is_sound(name: str) -> None:
    s = parse_scenario(PACKAGED[name], f"{name}.yaml")
    assert s.name == name
    assert s.expect.cause in s.teaches
    assert 45 <= s.duration_s <= 60
    assert rate(s, 0.0) < 0.7 * s.pool.bearable_rps, "before anything goes wrong the pool bears the load"
    assert PACKAGED[name].startswith("# Teaches: ")
    assert "\n# Source: " in PACKAGED[name]


def test_the_surge_is_borne_once_and_not_the_second_time() -> None:
    s = parse_scenario(PACKAGED["marketing-surge"], "")
    bearable = s.pool.bearable_rps
    assert rate(s, 12.0) == 250
    assert rate(s, 12.0) < 0.75 * bearable
    assert 1.4 * bearable < rate(s, 35.0) < 1.6 * bearable
    assert rate(s, 45.0) == 100
    # The harm that is allowed is what cannot be borne, and a fifth more.
    total = len(arrivals(s, s.seed))
    beyond = (500 - bearable) * 12 / total
    assert s.expect.harmed_requests is not None
    assert beyond < s.expect.harmed_requests < 1.3 * beyond


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "f.yaml:1:1", "a scenario is a mapping that starts with name and title"),
        ("- 1\n", "f.yaml:1:1", "a scenario is a mapping that starts with name and title"),
        ("name: [\n", "f.yaml:2:1", "not YAML: "),
        ("name: x\nname: y\n", "f.yaml:2:1", "name is given twice"),
        ("name: x\n", "f.yaml:1:1", "title is missing (and 2 more)"),
        (HEAD + "sede: 3\n", "f.yaml:5:1", "unknown key sede; did you mean seed?"),
        (HEAD + "users:\n  cuont: 3\n", "f.yaml:6:3", "unknown key users.cuont; did you mean count?"),
        (HEAD + "users: 3\n", "f.yaml:5:8", "users: "),
        (HEAD + "users:\n  rps: '3'\n", "f.yaml:6:8", "users.rps: input should be a valid number, not '3'"),
        (HEAD + "duration_s: .inf\n", "f.yaml:5:13", "duration_s: "),
        (HEAD + "pool:\n  servers: {count: 4, worker: 3}\n", "f.yaml:6:23", "did you mean workers?"),
        (HEAD + "pool:\n  servers: {count: many}\n", "f.yaml:6:20", "count must be a whole number from 1 to 100"),
        (HEAD + "pool:\n  servers: {a: {workers: 0}}\n", "f.yaml:6:26", "pool.servers.a.workers: "),
        (HEAD + "pool: {servers: {}}\n", "f.yaml:5:17", "a pool needs at least one server"),
        (HEAD + "pool: {policy: roundrobin}\n", "f.yaml:5:16", "'round-robin'"),
        (HEAD + "pool: {minimum_servers: 5}\n", "f.yaml:5:25", "the pool has only 4 servers"),
        (HEAD + "events:\n  - {at_s: 3}\n", "f.yaml:6:5", "exactly one of config, server, traffic"),
        (HEAD + "events: [{at_s: 3, traffic: {factor: 2}, hot_key: {share: 1}}]\n", "f.yaml:5:10", "not 2"),
        (HEAD + "events: [{at_s: 3, trafic: {factor: 2}}]\n", "f.yaml:5:20", "did you mean traffic?"),
        (HEAD + "events: [{at_s: 3, server: {name: server-1, slow: 2}}]\n", "f.yaml:5:45", "did you mean slow_ms?"),
        (HEAD + "events: [{at_s: 3, server: {name: server-1}}]\n", "f.yaml:5:28", "and none is"),
        (HEAD + "events: [{at_s: 3, server: {name: b, down: true}}]\n", "f.yaml:5:35", "there is no server 'b'"),
        (HEAD + "events: [{at_s: 3, config: {weights: {b: 1}}}]\n", "f.yaml:5:42", "there is no server 'b'"),
        (HEAD + "events: [{at_s: 3, config: {}}]\n", "f.yaml:5:28", "at least one of weights"),
        (HEAD + "events: [{at_s: 60, traffic: {factor: 2}}]\n", "f.yaml:5:17", "the drill is over after 60 s"),
        (HEAD + "events: [{at_s: 9, until_s: 9, traffic: {factor: 2}}]\n", "f.yaml:5:29", "later than at_s"),
        (HEAD + "seed: &a [*a]\n", "f.yaml:5:7", "seed: "),
        (HEAD + "events: [{at_s: 3, zone: {name: a, down: true}}]\n", "f.yaml:5:33", "no server stands in zone 'a'"),
    ],
)
def test_fault_is_named_with_its_place(text: str, place: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_scenario(text, "f.yaml")
    error = caught.value
    assert str(error).startswith(place + ": ")
    assert what in error.what


def test_faults_are_reported_from_the_top_of_the_file() -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml:5:7: seed: .* \(and 1 more\)"):
        parse_scenario(HEAD + "seed: -1\nusers: {rps: 0}\n", "f.yaml")


def test_defaults_are_those_of_the_model() -> None:
    s = trial()
    pool = pool_of(s, addresses(s))
    assert pool == model.Pool("web", pool.servers, check=model.Check("/healthz"))
    assert [srv.weight for srv in pool.servers] == [100.0] * 4


def test_fleet_has_one_listener_before_the_pool() -> None:
    s = trial("pool: {servers: {a: {capacity: 30, weight: 5}, b: {}}, limits: {server_in_flight: 4, queue: 8}}\n")
    fleet = fleet_of(s, 8080, addresses(s))
    listener = model.Listener("front", "127.0.0.1", 8080, (model.Route("web"),))
    assert fleet.listeners == (listener,)
    assert fleet.client == "source"
    (pool,) = fleet.pools
    assert pool.servers == (
        model.Server("a", "127.0.0.1", 9001, weight=5, capacity=30), model.Server("b", "127.0.0.1", 9002),
    )  # fmt: skip
    assert pool.limits == model.Limits(4, 8)


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("round-robin", model.RoundRobin()),
        ("least-request", model.LeastRequest()),
        ("{kind: random, draws: 3}", model.RandomPick(3)),
        ("{kind: hash, on: path, consistent: false}", model.Hash("path", consistent=False)),
        ("{kind: hash, on: cookie, name: sid, bounded_load: 1.25}", model.Hash("cookie", "sid", bounded_load=1.25)),
    ],
)
def test_policy_as_word_or_mapping(written: str, policy: model.Policy) -> None:
    s = trial(f"pool: {{policy: {written}}}\n")
    assert pool_of(s, addresses(s)).policy == policy


def test_config_change_touches_only_what_it_names() -> None:
    s = trial("pool: {servers: {a: {}, b: {}, c: {}}}\n")
    where = addresses(s)
    before = pool_of(s, where)
    weights = changed_pool(s, before, ConfigChange(weights={"a": 90.0}), where)
    assert [srv.weight for srv in weights.servers] == [90, 100, 100]
    fewer = changed_pool(s, weights, ConfigChange(members=("c", "a")), where)
    assert [(srv.name, srv.weight) for srv in fewer.servers] == [("c", 100), ("a", 90)]
    back = changed_pool(s, fewer, ConfigChange(members=("a", "b")), where)
    assert [(srv.name, srv.weight) for srv in back.servers] == [("a", 90), ("b", 100)]
    unchecked = changed_pool(s, before, ConfigChange.model_validate({"check": None}), where)
    assert unchecked == replace(before, check=None)


def test_moments_begin_and_end_in_order() -> None:
    s = trial(
        "events:\n  - {at_s: 20, until_s: 30, server: {name: server-1, down: true}}\n"
        "  - {at_s: 5, until_s: 20, traffic: {factor: 2}}\n  - {at_s: 40, until_s: 80, hot_key: {share: 0.5}}\n"
    )
    down, surge, hot = s.events
    assert moments(s) == (
        Moment(5, surge, True), Moment(20, surge, False), Moment(20, down, True), Moment(30, down, False),
        Moment(40, hot, True),
    )  # fmt: skip
    assert fault_s(s) == 5
    assert fault_s(trial()) is None


def test_a_deploy_is_told_as_what_happens_to_each_server() -> None:
    s = trial("events: [{at_s: 10, deploy: {every_s: 4, errors: 0.5}}]\npool: {servers: {count: 2}}\n")
    parts = [(m.at_s, m.event.what) for m in moments(s)]
    told = [(at_s, type(it), it.name) for at_s, it in parts if isinstance(it, (Restart, ServerFault))]

    assert told == [
        (10, Restart, "server-1"), (pytest.approx(11.01), ServerFault, "server-1"),
        (14, Restart, "server-2"), (pytest.approx(15.01), ServerFault, "server-2"),
    ]  # fmt: skip


def test_the_trouble_of_a_zone_is_that_of_its_servers() -> None:
    text = "pool: {servers: {a: {zone: east}, b: {zone: west}, c: {zone: east}}}\n"
    s = trial(text + "events: [{at_s: 5, until_s: 9, zone: {name: east, slow_ms: 800}}]\n")

    assert [(m.at_s, m.event.server and m.event.server.name, m.begins) for m in moments(s)] == [
        (5, "a", True), (5, "c", True), (9, "a", False), (9, "c", False),
    ]  # fmt: skip


def test_a_raw_text_changes_what_it_says_and_keeps_the_rest() -> None:
    s = trial("pool: {servers: {a: {capacity: 90}, b: {}}, retries: 2}\n")
    where = {"a": ("127.0.0.1", 9001), "b": ("127.0.0.1", 9002)}
    text = read_raw(Raw(haproxy="backend web\n  balance leastconn\n  timeout server 7s\n  server a x:1 weight 9\n"))
    pool = rewritten(s, pool_of(s, where), text, where)

    assert [(x.name, x.port, x.weight, x.capacity) for x in pool.servers] == [("a", 9001, 9.0, 90.0)]
    assert (pool.policy, pool.check, pool.retries.attempts) == (model.LeastRequest(), None, 2)
    assert (pool.timeouts.server_s, pool.timeouts.client_s) == (7.0, model.Timeouts().client_s)


def test_a_raw_text_may_name_servers_by_their_hosts() -> None:
    s = trial()
    text = read_raw(Raw(nginx="upstream web { least_conn; server server-1:80 weight=5; server server-2:80; }"))
    pool = rewritten(s, pool_of(s, addresses(s)), text, addresses(s))

    assert [(x.name, x.port) for x in pool.servers] == [("server-1", 9001), ("server-2", 9002)]
    assert pool.servers[0].weight == 5 * pool.servers[1].weight
    assert pool.policy == model.LeastRequest()


def test_a_raw_text_that_no_balancer_would_load_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match="raw haproxy:2:"):
        read_raw(Raw(haproxy="backend web\n  servr a x:1\n"))
    with pytest.raises(ConfigError, match="raw nginx"):
        read_raw(Raw(nginx="upstream web { server"))


@pytest.mark.parametrize(
    ("text", "what"),
    [("backend other\n", "has no pool web"), ("backend web\n  server z x:1\n", "z, which the pool does not have")],
)
def test_a_raw_text_about_something_else_is_refused(text: str, what: str) -> None:
    s = trial()
    with pytest.raises(UsageError, match=what):
        rewritten(s, pool_of(s, addresses(s)), read_raw(Raw(haproxy=text)), addresses(s))


def test_service_time_has_the_given_median_and_p99() -> None:
    service = Service(median=60, p99=250)
    demand = service.demand_ms(np.random.Generator(np.random.PCG64(1)).standard_normal(200_000))
    assert np.median(demand) == pytest.approx(60, rel=0.02)
    assert np.quantile(demand, 0.99) == pytest.approx(250, rel=0.03)
    assert demand.mean() == pytest.approx(service.mean_ms, rel=0.02)


# -- arrivals ---------------------------------------------------------------------------------------------------------


def same(a: Arrivals, b: Arrivals) -> bool:
    columns = ("at_s", "user", "post", "key", "draw")
    return all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns)


@given(seed=st.integers(0, 2**32), shape=st.sampled_from(["steady", "ramp", "diurnal", "burst"]))
@settings(max_examples=30, deadline=None)
def test_a_seed_gives_one_plan_within_bounds(seed: int, shape: str) -> None:
    s = trial(f"duration_s: 20\nusers: {{count: 50, rps: 200, shape: {shape}, post_share: 0.25}}\n")
    plan = arrivals(s, seed)
    assert same(plan, arrivals(s, seed))
    assert not same(plan, arrivals(s, seed + 1))
    # Six standard deviations of a Poisson count: one false alarm in 10^9.
    assert abs(len(plan) - 4000) < 6 * 4000**0.5
    assert np.all(np.diff(plan.at_s) >= 0)
    assert plan.at_s[0] >= 0
    assert plan.at_s[-1] < 20
    assert set(np.unique(plan.user)) <= set(range(50))
    assert plan.key.min() > HOT_KEY
    assert abs(plan.post.mean() - 0.25) < 6 * (0.25 * 0.75 / len(plan)) ** 0.5


def test_traffic_follows_the_events_and_leaves_the_time_before_alone() -> None:
    calm = arrivals(trial("users: {rps: 200}\n"), 3)
    s = trial("users: {rps: 200}\nevents: [{at_s: 20, until_s: 40, traffic: {factor: 3}}]\n")
    surge = arrivals(s, 3)
    counts = [int(np.sum((surge.at_s >= a) & (surge.at_s < a + 20))) for a in (0, 20, 40)]
    for count, expected in zip(counts, (4000, 12_000, 4000), strict=True):
        assert abs(count - expected) < 6 * expected**0.5
    before = surge.at_s < 20
    assert np.array_equal(surge.at_s[before], calm.at_s[: before.sum()])
    assert np.array_equal(surge.draw[before], calm.draw[: before.sum()])


@pytest.mark.parametrize(
    ("shape", "early", "late"), [("steady", 1.0, 1.0), ("ramp", 0.6, 1.4), ("diurnal", 0.61, 0.61)]
)
def test_shape_of_the_day(shape: str, early: float, late: float) -> None:
    s = trial(f"users: {{rps: 500, shape: {shape}}}\n")
    at_s = arrivals(s, 5).at_s
    for first, expected in ((0, early), (48, late)):
        count = int(np.sum((at_s >= first) & (at_s < first + 12)))
        assert count == pytest.approx(500 * 12 * expected, rel=0.08)


def test_bursts_stand_out() -> None:
    at_s = arrivals(trial("users: {rps: 500, shape: burst}\n"), 5).at_s
    in_burst = at_s % 10 >= 9
    assert in_burst.sum() * 9 / (~in_burst).sum() == pytest.approx(3.0, rel=0.1)


def test_hot_key_takes_its_share_while_it_lasts() -> None:
    s = trial("users: {rps: 500}\nevents: [{at_s: 20, until_s: 40, hot_key: {share: 0.6}}]\n")
    plan = arrivals(s, 5)
    hot = plan.key == HOT_KEY
    during = (plan.at_s >= 20) & (plan.at_s < 40)
    assert hot[during].mean() == pytest.approx(0.6, abs=0.03)
    assert not hot[~during].any()
    assert path_of(HOT_KEY) == "/item/0"


def test_some_users_are_busier_but_nobody_rules() -> None:
    counts = np.bincount(arrivals(trial("users: {count: 300, rps: 2000}\n"), 1).user, minlength=300)
    assert counts.min() > 0
    assert 2 < counts.max() / np.median(counts) < 20


def test_each_user_has_an_address() -> None:
    assert [user_address(i) for i in (0, 254, 255, 59_999)] == ["127.1.0.1", "127.1.0.255", "127.1.1.0", "127.1.234.96"]


# -- harm -------------------------------------------------------------------------------------------------------------

SLO = model.Slo(latency_ms=1000)


def outcomes(*rows: tuple[float, int, int, float, int]) -> Outcomes:
    """Rows of planned time, user, status, latency and server."""
    at_s, user, status, latency, server = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Outcomes(
        servers=("a", "b"),
        at_s=np.asarray(at_s, dtype=np.float64),
        user=np.asarray(user, dtype=np.int64),
        status=np.asarray(status, dtype=np.int64),
        latency_ms=np.asarray(latency, dtype=np.float64),
        server=np.asarray(server, dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("status", "latency_ms", "is_harmed"),
    [
        (200, 20, False),
        (200, 1000, False),
        (200, 1000.1, True),
        (404, 20, False),
        (429, 20, False),
        (404, 2000, True),
        (500, 1, True),
        (503, 1, True),
        (599, 1, True),
        (NO_ANSWER, 1, True),
        (TIMED_OUT, 10_000, True),
        (TIMED_OUT, 500, True),
        (UNANSWERED, 999, False),
        (UNANSWERED, 1001, True),
    ],
)
def test_harmed_request(status: int, latency_ms: float, is_harmed: bool) -> None:
    assert scoring.harmed(outcomes((0.0, 1, status, latency_ms, 0)), SLO).tolist() == [is_harmed]


def test_users_are_harmed_once() -> None:
    found = scoring.harm(
        outcomes((0, 7, 503, 1, -1), (1, 7, 200, 2000, 0), (2, 8, 200, 10, 0), (3, 9, 200, 10, 1)), SLO
    )
    assert found == Harm(requests_total=4, requests_harmed=2, users_total=3, users_harmed=1)
    assert scoring.harm(outcomes(), SLO) == Harm(0, 0, 0, 0)


@given(st.lists(st.tuples(st.floats(0, 9.9), st.integers(0, 5), st.sampled_from([200, 404, 500, -1, -2, -3]),
                          st.floats(0, 5000), st.integers(-1, 1)), max_size=40))  # fmt: skip
def test_harm_agrees_with_its_definition_row_by_row(rows: list[tuple[float, int, int, float, int]]) -> None:
    bad = [r for r in rows if r[2] >= 500 or r[2] in (-1, -2) or r[3] > 1000]
    data = outcomes(*rows)
    assert scoring.harm(data, SLO) == Harm(len(rows), len(bad), len({r[1] for r in rows}), len({r[1] for r in bad}))
    series = scoring.per_second(data, SLO, 10.0)
    assert (int(series.requests.sum()), int(series.harmed.sum())) == (len(rows), len(bad))
    assert int(series.per_server.sum()) == sum(1 for r in rows if r[4] >= 0)


def test_series_by_planned_second() -> None:
    series = scoring.per_second(
        outcomes((0.1, 1, 200, 10, 0), (0.9, 2, 200, 30, 1), (2.5, 3, 503, 1, -1), (3.0, 3, NO_ANSWER, 1, -1)), SLO, 2.5
    )
    assert series.requests.tolist() == [2, 0, 2]
    assert series.harmed.tolist() == [0, 0, 2]
    assert series.failed.tolist() == [0, 0, 2]
    assert series.per_server.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert series.p50_ms[0] == 20
    assert np.isnan(series.p50_ms[1]), "unknown, not zero"
    assert series.p50_ms[2] == 1, "a 503 is an answer"


def test_glance() -> None:
    rows = outcomes((0, 1, 200, 10, 0), (0, 1, 200, 30, 0), (0, 2, 200, 2000, 1), (0, 3, 503, 5, -1), (0, 3, -1, 5, -1))
    seen = scoring.glance(rows, SLO, 2)
    assert (seen.rps, seen.p50_ms, seen.failed_share, seen.harmed_share) == (2.5, 20.0, 0.4, 0.6)
    assert dict(seen.shares) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    nothing = scoring.glance(outcomes(), SLO, 5)
    assert nothing.rps == 0
    assert np.isnan([nothing.p50_ms, nothing.p99_ms, nothing.failed_share, nothing.shares[0][1]]).all()


# -- score ------------------------------------------------------------------------------------------------------------

MARCH_10 = parse_scenario(PACKAGED["march-10"], "march-10.yaml")
SKEW = StoryLine("weight-typo-skew", 0.97, ("server-1 gets 75 % of the requests, meant are 25 %",), ())
SURGE = StoryLine("traffic-surge", 0.01, (), ("volume is as forecast",))
ROLL_BACK = Action(16.1, "roll-back", "set the weight of server-1 in web to 100", "revision 2 sends it 75 %")
WELL = Facts(
    engine="haproxy",
    mode="act",
    seed=7,
    harm=Harm(7200, 6, 300, 6),
    stories=(SURGE, SKEW),
    clocks=Clocks(fault=15.0, detected=15.9, diagnosed=16.0, acted=16.1, recovered=17.5),
    actions=(ROLL_BACK,),
)


def test_a_drill_that_went_well_is_passed() -> None:
    record = score(MARCH_10, WELL)
    assert record.passed
    assert record.missed == ()
    assert [s.cause for s in record.stories] == ["weight-typo-skew", "traffic-surge"]


@pytest.mark.parametrize(
    ("facts", "missed"),
    [
        (replace(WELL, stories=(replace(SKEW, cause="server-down"), SURGE)),
         "cause: expected weight-typo-skew, the likeliest story was server-down (0.97)"),
        (replace(WELL, stories=(SKEW, replace(SURGE, probability=0.3))),
         "refuted: traffic-surge was left at a probability of 0.30"),
        (replace(WELL, stories=(SKEW, replace(SURGE, evidence_against=()))),
         "refuted: traffic-surge has no evidence against it"),
        (replace(WELL, stories=(SKEW,)), "refuted: traffic-surge was not considered"),
        (replace(WELL, actions=()), "plan: expected roll-back, there was nothing"),
        (replace(WELL, actions=(replace(ROLL_BACK, undone=True),)),
         "plan: expected roll-back, there was roll-back (undone)"),
        (replace(WELL, actions=(replace(ROLL_BACK, plan="drain"),)), "plan: expected roll-back, there was drain"),
        (replace(WELL, clocks=replace(WELL.clocks, detected=17.01)),
         "detected: 2.01 s after the fault, expected within 2 s"),
        (replace(WELL, clocks=replace(WELL.clocks, recovered=None)),
         "recovered: never, expected within 6 s of the fault"),
        (replace(WELL, harm=Harm(7200, 9, 300, 7)), "users: 7 of 300 harmed (2.3%), expected at most 2.0%"),
    ],
)  # fmt: skip
def test_what_was_missed_is_said(facts: Facts, missed: str) -> None:
    record = score(MARCH_10, facts)
    assert not record.passed
    assert record.missed == (missed,)


def test_a_drill_in_which_nothing_happened_misses_everything() -> None:
    record = score(MARCH_10, Facts("sim", "off", 1, Harm(0, 0, 0, 0)))
    assert [m.split(":")[0] for m in record.missed] == ["cause", "refuted", "plan", "detected", "recovered", "users"]


def test_wrong_help_is_missed_too() -> None:
    surge = parse_scenario(PACKAGED["marketing-surge"], "")
    facts = Facts(
        "haproxy", "act", 11, Harm(12_000, 2000, 400, 380),
        stories=(StoryLine("traffic-surge", 0.9), StoryLine("weight-typo-skew", 0.01, (), ("nobody changed weights",))),
        clocks=Clocks(fault=10.0, detected=12.0),
    )  # fmt: skip
    assert score(surge, facts).missed == ()
    meddled = replace(facts, actions=(replace(ROLL_BACK, plan="drain"),), changed_weights=("server-2",))
    assert score(surge, meddled).missed == (
        "plan: nothing was to be done, but there was drain",
        "weights: those of server-2 were changed, expected none",
    )


def test_record_as_others_read_it() -> None:
    record = score(MARCH_10, replace(WELL, clocks=replace(WELL.clocks, recovered=None), stories=(SKEW, SURGE)))
    assert json.loads(to_json(record)) == {
        "schema": "levelhead/drill/1",
        "drill": "march-10",
        "engine": "haproxy",
        "mode": "act",
        "seed": 7,
        "stories": [
            {"cause": "weight-typo-skew", "probability": 0.97,
             "for": ["server-1 gets 75 % of the requests, meant are 25 %"], "against": []},
            {"cause": "traffic-surge", "probability": 0.01, "for": [], "against": ["volume is as forecast"]},
        ],
        "clocks_s": {"fault": 15.0, "detected": 15.9, "diagnosed": 16.0, "acted": 16.1, "recovered": None},
        "requests": {"total": 7200, "harmed": 6},
        "users": {"total": 300, "harmed": 6},
        "actions": [{"at_s": 16.1, "what": "set the weight of server-1 in web to 100",
                     "because": "revision 2 sends it 75 %", "undone": False}],
        "passed": False,
        "missed": ["recovered: never, expected within 6 s of the fault"],
    }  # fmt: skip
