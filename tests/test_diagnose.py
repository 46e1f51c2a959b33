"""Each cause on hand-made cases: the right story first, look-alikes refuted, unknown is no evidence."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.detect.base import Kind, Signal
from levelhead.detect.memory import Past
from levelhead.diagnose import CAUSES, diagnose
from levelhead.diagnose.base import NONE_OF_THESE, Case, ShareChange, Shipped
from levelhead.diagnose.cause import ELSE
from levelhead.diagnose.signs import ANSWERS, Signs, answers, signs
from levelhead.model import Admin, Check, Ejection, Hash, LeastRequest, Limits, Pool, Server
from levelhead.telemetry import Floats
from tests.build import pool

NAMES = ("s1", "s2", "s3", "s4")
AT = 110.0
EVEN = np.full(4, 0.25)
SKEWED = np.asarray([0.75, 0.25 / 3, 0.25 / 3, 0.25 / 3])
NEVER = np.full(4, np.nan)


def signal(kind: Kind, server: str = "") -> Signal:
    return Signal(kind, "web", server, 100.0, 20.0, f"{server or 'the pool'}: {kind.value}")


def case(*signals: Signal, **known: object) -> Case:
    calm = Case(
        pool=pool(*[100.0] * 4), at=AT, servers=NAMES, signals=signals, intended=EVEN, predicted=EVEN, observed=EVEN,
        requests=200.0, weight=np.full(4, 100.0), failing=frozenset(), unserving=frozenset(), failure_ratio=np.zeros(4),
        unconnected=np.zeros(4), in_flight=np.full(4, 2.0), rate=120.0, forecast=118.0, harmed_ratio=0.0, changed=None,
    )  # fmt: skip
    return replace(calm, **known)  # type: ignore[arg-type]


def past(**known: object) -> Past:
    """Four servers at 30 requests/s each, 50 ms a request, seen for 2.9 s; nothing has ever happened."""
    calm = Past(
        gap_at=float("nan"), requests=np.full(4, 87.0), refused_by=np.zeros(4), broken=np.zeros(4),
        answered=np.zeros(4), records=np.full(4, 80.0), late=np.zeros(4), good_ms=np.full(4, 50.0), bad_ms=NEVER,
        pace_now_s=np.full(4, 0.05),
        pace_s=np.full(4, 0.05), got=np.full(4, 30.0), fell_at=NEVER, rose_at=NEVER, left_at=NEVER, back_at=NEVER,
        born_at=NEVER, turns=np.zeros(4), ill_before=NEVER, slow_before=NEVER, troubled_at=NEVER, mute_at=NEVER,
        burden=np.ones(4), relieved_at=NEVER, attempts=348.0, arrived=348.0, refused=0.0, queued=0.0, in_flight=6.0,
        seconds=2.9, surged_at=float("nan"), clients=tuple((f"10.0.0.{i}", 4.0) for i in range(60)),
    )  # fmt: skip
    return replace(calm, **known)  # type: ignore[arg-type]


def one(value: float, other: float = 0.0, which: int = 0) -> Floats:
    """`other` everywhere, `value` at one server."""
    found = np.full(4, other)
    found[which] = value
    return found


def members(**of: object) -> Pool:
    """The pool of four, with something set for each of its servers: a sequence per field."""
    servers = list(pool(*[100.0] * 4).servers)
    for name, values in of.items():
        servers = [replace(s, **{name: v}) for s, v in zip(servers, values, strict=True)]  # type: ignore[call-overload]
    return replace(pool(100.0), servers=tuple(servers))


def shipped(*touched: str) -> Shipped:
    return Shipped(2, "deploy", 109.0, frozenset(touched))


def down(*names: str, **known: object) -> dict[str, object]:
    return {"failing": frozenset(names), "unserving": frozenset(names), **known}


BAD = np.asarray([0.5, 0, 0, 0])
SHIPPED = ShareChange(2, "deploy", 109.0, "s1", 0.25, 0.75)
TYPO = case(signal(Kind.SHARE, "s1"), predicted=SKEWED, observed=SKEWED, weight=np.asarray([90.0, 10, 10, 10]),
            changed=SHIPPED, shipped=shipped("weights"))  # fmt: skip
HEAVY = np.asarray([260.0, 30, 30, 28])
SLOW = np.full(4, 0.5)
SOURCE = pool(*[100.0] * 4, policy=Hash("source"))
ALL_AT_ONCE = past(fell_at=np.asarray([106.0, 106.25, 106.25, 106.5]), ill_before=np.zeros(4), slow_before=np.ones(4),
                   refused=300.0)  # fmt: skip
CASES = {
    "a typo, with its overload": (
        replace(TYPO, signals=(*TYPO.signals, signal(Kind.LATENCY, "s1"), signal(Kind.HARM))), "weight-typo-skew",
    ),
    "a typo while traffic shifts": (
        replace(TYPO, observed=np.asarray([0.45, 0.55 / 3, 0.55 / 3, 0.55 / 3])), "weight-typo-skew",
    ),
    "weights changed behind our back": (replace(TYPO, changed=None, shipped=None), "weight-typo-skew"),
    "a surge that harms": (
        case(signal(Kind.SURGE), signal(Kind.REFUSED), signal(Kind.HARM), rate=600.0), "traffic-surge",
    ),
    "a server that is gone": (case(signal(Kind.CHECK, "s1"), **down("s1")), "server-down"),
    "a server that is gone, before its check sees it": (
        case(signal(Kind.ERRORS, "s1"), failure_ratio=BAD * 2, unconnected=np.asarray([1.0, 0, 0, 0])), "server-down",
    ),
    "a slow server": (case(signal(Kind.LATENCY, "s1")), "slow-server-gray-failure"),
    "a failing server whose check passes": (case(signal(Kind.ERRORS, "s1"), failure_ratio=BAD), "shallow-check"),
    "everything fails alike": (case(signal(Kind.HARM)), NONE_OF_THESE),
    "every check falls, and requests were well": (
        case(*(signal(Kind.CHECK, s) for s in NAMES), **down(*NAMES), past=ALL_AT_ONCE), "deep-check-ejects-all",
    ),
    "every check falls after a change of the check": (
        case(**down(*NAMES), past=ALL_AT_ONCE, shipped=shipped("check")), "check-protocol-mismatch",
    ),
    "every server falls to one bad request": (
        case(**down(*NAMES), past=replace(ALL_AT_ONCE, fell_at=np.full(4, 106.0)),
             pool=pool(*[100.0] * 4, ejection=Ejection(1))), "poison-request-ejects-all",
    ),
    "checks time out one after another": (
        case(**down("s1", "s2"), past=past(fell_at=np.asarray([101.0, 106.0, np.nan, np.nan]), pace_now_s=SLOW,
             slow_before=np.full(4, 5.0), turns=np.asarray([3.0, 3, 0, 0]))), "overload-ejection-cascade",
    ),
    "a check that turns to and fro": (
        case(signal(Kind.FLAPPING, "s2"), past=past(turns=one(5.0, which=1), fell_at=one(108.0, np.nan, 1),
             ill_before=np.zeros(4), slow_before=np.ones(4))), "check-flapping",
    ),
    "all fail alike": (case(signal(Kind.HARM), past=past(answered=np.full(4, 40.0))), "dependency-failure"),
    "all are slow alike": (case(signal(Kind.HARM), past=past(pace_now_s=SLOW)), "dependency-failure"),
    "the slow ones share an address": (
        case(pool=members(port=(3001, 3001, 3003, 3004)), past=past(pace_now_s=np.asarray([0.5, 0.5, 0.05, 0.05]))),
        "duplicate-server-entry",
    ),
    "fast to fail and preferred for it": (
        case(pool=pool(*[100.0] * 4, policy=LeastRequest()), past=past(requests=HEAVY, answered=one(255.0),
             pace_now_s=one(0.001, 0.05))), "fast-fail-black-hole",
    ),
    "one client is most of one server": (
        case(pool=SOURCE, past=past(requests=HEAVY, pace_now_s=one(0.4, 0.05),
             clients=(("10.1.1.1", 120.0), *((f"10.0.0.{i}", 2.0) for i in range(60))))), "hash-hot-key",
    ),
    "all clients are one address": (
        case(pool=SOURCE, past=past(requests=np.asarray([348.0, 0, 0, 0]), pace_now_s=one(0.4, 0.05),
             clients=(("10.1.1.1", 240.0),))), "nat-source-hash-collapse",
    ),
    "new servers stay empty, cookies bind": (
        case(pool=pool(*[100.0] * 4, affinity_cookie="SRV"), shipped=shipped("members"),
             past=past(requests=np.asarray([170.0, 170, 4, 4]), got=np.asarray([60.0, 60, np.nan, np.nan]),
             born_at=np.asarray([np.nan, np.nan, 100.0, 100.0]))), "sticky-session-skew",
    ),
    "new servers stay empty, connections bind": (
        case(shipped=shipped("members"), past=past(requests=np.asarray([170.0, 170, 4, 4]),
             born_at=np.asarray([np.nan, np.nan, 100.0, 100.0]))), "keepalive-pinning-after-scale-out",
    ),
    "a server came back and drowns": (
        case(pool=pool(*[100.0] * 4, policy=LeastRequest()), past=past(pace_now_s=one(0.9, 0.05),
             fell_at=one(95.0, np.nan), rose_at=one(105.0, np.nan), mute_at=one(94.0, np.nan))), "restart-flood",
    ),
    "servers left one by one, and none came back": (
        case(**down("s1", "s2"), past=past(fell_at=np.asarray([96.0, 104.0, np.nan, np.nan]), ill_before=np.ones(4),
             mute_at=np.asarray([95.0, 103.0, np.nan, np.nan]))), "stale-backend-slots",
    ),
    "the proxy started anew and forgot a drain": (
        case(pool=members(admin=(Admin.DRAIN, *[Admin.READY] * 3)), intended=np.asarray([0.0, *[1 / 3] * 3]),
             past=past(gap_at=105.0, answered=one(60.0), back_at=one(105.0, np.nan))), "runtime-drain-lost-on-reload",
    ),
    "half the pool is drained, the rest drowns": (
        case(unserving=frozenset({"s1", "s2"}), away=frozenset({"s1", "s2"}), shipped=shipped("admin"),
             past=past(requests=np.asarray([0.0, 0, 174, 174]), pace_now_s=np.asarray([0, 0, 0.6, 0.6]))),
        "forgotten-drain",
    ),
    "nobody is left": (
        case(unserving=frozenset(NAMES), away=frozenset(NAMES), past=past(refused=330.0, requests=np.zeros(4))),
        "pool-emptied-by-admin-state",
    ),
    "listeners let nobody in": (
        case(signal(Kind.FULL), connections=8.0, past=past()), "lb-maxconn-too-low",
    ),
    "servers may take too little": (
        case(signal(Kind.QUEUE), pool=pool(*[100.0] * 4, limits=Limits(server_in_flight=2)), queued=40.0, past=past(),
             shipped=shipped("limits")), "server-maxconn-too-low",
    ),
    "one is gone and the rest drowns": (
        case(**down("s1"), past=past(requests=np.asarray([0.0, 116, 116, 116]),
             pace_now_s=np.asarray([0, 0.6, 0.6, 0.6]), fell_at=one(102.0, np.nan), ill_before=np.ones(4),
             mute_at=one(102.0, np.nan))), "no-failure-headroom",
    ),
    "each request is tried thrice": (
        case(past=past(broken=np.full(4, 150.0), requests=np.full(4, 260.0), attempts=1040.0)), "retry-amplification",
    ),
    "two of one zone are bad": (
        case(pool=members(zone=("a", "a", "b", "b")), past=past(broken=np.asarray([40.0, 40, 0, 0]))),
        "gray-failure-zone",
    ),
    "those that were restarted are bad": (
        case(past=past(answered=np.asarray([50.0, 50, 0, 0]), mute_at=np.asarray([95.0, 100.0, np.nan, np.nan]))),
        "bad-deploy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_right_story_comes_first(name: str) -> None:
    it, cause = CASES[name]

    stories = diagnose(it)

    assert stories[0].cause == cause
    if cause != NONE_OF_THESE:
        assert stories[0].probability > 0.6


def test_every_cause_has_a_case_made_by_hand() -> None:
    assert {c.name for c in CAUSES} <= {cause for _, cause in CASES.values()}


@pytest.mark.parametrize("name", [n for n in CASES if "typo" in n])
def test_a_typo_is_no_surge_and_no_sick_server(name: str) -> None:
    refuted = {s.cause for s in diagnose(CASES[name][0]) if s.refuted}

    assert {"traffic-surge", "server-down", "shallow-check"} <= refuted


def test_a_surge_is_no_fault_of_the_balancer() -> None:
    refuted = {s.cause for s in diagnose(CASES["a surge that harms"][0]) if s.refuted}

    assert "weight-typo-skew" in refuted


SLOW_ONE = case(
    signal(Kind.SURGE), signal(Kind.LATENCY, "s2"), rate=260.0,
    past=past(pace_now_s=one(1.2, 0.05, 1), requests=np.full(4, 188.0), arrived=752.0, attempts=752.0),
)  # fmt: skip


def test_one_slow_server_is_no_surge_while_the_others_bear_it() -> None:
    told = diagnose(SLOW_ONE)[0]
    strained = replace(SLOW_ONE, past=past(pace_now_s=np.full(4, 0.2), arrived=752.0, attempts=752.0))

    assert (told.cause, told.servers) == ("slow-server-gray-failure", ("s2",))
    assert "the other 3 take 1.0 times as long as usual" in {
        c for s in diagnose(SLOW_ONE) if s.cause == "traffic-surge" for c in s.contra
    }
    assert diagnose(strained)[0].cause == "traffic-surge"
    # Behind limits the others are as fast as ever, and the surge waits in the proxy.
    limited = replace(SLOW_ONE, signals=(*SLOW_ONE.signals, signal(Kind.HARM), signal(Kind.QUEUE)), queued=200.0)
    assert signs(limited).rest.word == "unknown"


@pytest.mark.parametrize(("ended_s", "cause"), [(4.0, "traffic-surge"), (90.0, "dependency-failure")])
def test_what_a_surge_left_behind_is_still_the_surge(ended_s: float, cause: str) -> None:
    late = past(pace_now_s=np.full(4, 0.6), late=np.full(4, 70.0), surged_at=AT - ended_s)
    since = Signal(Kind.HARM, "web", "", AT - 90.0, np.inf, "70% of the last 250 requests failed or were late")

    assert diagnose(case(since, harmed_ratio=0.7, past=late))[0].cause == cause


def test_trouble_that_began_after_a_surge_is_not_its_doing() -> None:
    late = past(pace_now_s=np.full(4, 0.6), late=np.full(4, 70.0), surged_at=AT - 8.0)
    since = Signal(Kind.HARM, "web", "", AT - 2.0, np.inf, "70% of the last 250 requests failed or were late")

    assert diagnose(case(since, harmed_ratio=0.7, past=late))[0].cause == "dependency-failure"


@pytest.mark.parametrize(("since", "cause"), [(AT - 0.25, NONE_OF_THESE), (AT - 2.0, "shallow-check")])
def test_a_server_that_breaks_off_may_be_dying(since: float, cause: str) -> None:
    broken = Signal(Kind.ERRORS, "web", "s3", since, 20.0, "9 of 25 requests to s3 failed")

    assert diagnose(case(broken, past=past(broken=one(9.0, 0.0, 2))))[0].cause == cause


def test_a_server_that_fails_at_once_is_known_by_what_it_draws() -> None:
    failing = Signal(Kind.ERRORS, "web", "s3", AT - 0.5, 20.0, "20 of 22 requests to s3 failed")
    drawn = case(failing, past=past(answered=one(20.0, 0.0, 2)), latest=np.asarray([4.0, 3.0, 22.0, 4.0]))
    idle = replace(drawn.pool, policy=LeastRequest())

    assert diagnose(replace(drawn, pool=idle))[0].cause == "fast-fail-black-hole"
    assert diagnose(drawn)[0].cause == "shallow-check"
    even = replace(drawn, pool=idle, latest=np.full(4, 8.0), latest_failed=one(7.0, 0.0, 2))
    assert diagnose(even)[0].cause == "shallow-check"
    at_once = past(answered=one(20.0, 0.0, 2), bad_ms=one(1.0, np.nan, 2))
    assert diagnose(replace(even, past=at_once))[0].cause == "fast-fail-black-hole"
    assert diagnose(replace(even, past=replace(at_once, bad_ms=one(50.0, np.nan, 2))))[0].cause == "shallow-check"


def test_connections_that_are_renewed_pin_nothing() -> None:
    grown = case(signal(Kind.STARVED, "s4"), past=past(born_at=one(AT - 30.0, np.nan, 3), requests=one(1.0, 116.0, 3)),
                 shipped=shipped("members"))  # fmt: skip
    pinned = replace(grown, signals=(*grown.signals, signal(Kind.PINNED)), connection_age_s=900.0)

    assert diagnose(pinned)[0].cause == "keepalive-pinning-after-scale-out"
    assert diagnose(pinned)[0].probability > diagnose(grown)[0].probability
    assert diagnose(replace(grown, connection_age_s=2.0))[0].probability < diagnose(grown)[0].probability


def test_a_zone_stays_the_trouble_while_its_servers_are_drained() -> None:
    zones = members(zone=("a", "b", "a", "b"))
    both = case(signal(Kind.LATENCY, "s1"), pool=zones, away=frozenset({"s3"}), unserving=frozenset({"s3"}),
                past=past(pace_now_s=one(1.2, 0.05)))  # fmt: skip

    assert diagnose(replace(both, drained=frozenset({"s3"})))[0].cause == "gray-failure-zone"
    assert diagnose(both)[0].cause != "gray-failure-zone"


def test_the_story_names_the_server_and_its_reasons() -> None:
    story = diagnose(TYPO)[0]

    assert story.servers == ("s1",)
    assert "revision 2 by deploy moved s1 from 25% to 75% of requests 1.0 s ago" in story.pro


def test_the_sentences_carry_the_numbers_of_the_case() -> None:
    story = diagnose(CASES["one is gone and the rest drowns"][0])[0]

    assert "1 of 4 servers are gone, and 3 of the 3 that are left have become slow" in story.pro
    assert story.servers == ("s1",)


def test_unknown_weights_are_no_evidence() -> None:
    blank = np.full(4, np.nan)
    stories = diagnose(replace(TYPO, weight=blank, predicted=blank))

    assert not any("weights in force are" in s for story in stories for s in (*story.pro, *story.contra))


# -- tables -----------------------------------------------------------------------------------------------------------


def test_tables_ask_known_questions_and_know_their_answers() -> None:
    wrong = [
        (cause.name, question, word)
        for cause in CAUSES
        for question, nats in cause.table.items()
        for word in nats
        if question not in ANSWERS or word not in (*ANSWERS[question], ELSE)
    ]

    assert wrong == []


def test_every_question_is_asked_by_some_cause_and_answered() -> None:
    asked = {question for cause in CAUSES for question in cause.table}
    questions = {f.name for f in fields(Signs)} - {"measured"}

    assert questions == set(ANSWERS)
    assert questions - asked == set()


@pytest.mark.parametrize("name", CASES)
def test_answers_are_words_of_the_question_with_a_sentence(name: str) -> None:
    for question, answer in answers(signs(CASES[name][0])).items():
        assert answer.word in (*ANSWERS[question], "unknown")
        assert bool(answer.sentence) == (answer.word != "unknown")


def test_causes_stand_in_the_order_of_their_names() -> None:
    assert [c.name for c in CAUSES] == sorted(c.name for c in CAUSES)


# -- properties -------------------------------------------------------------------------------------------------------


ROW_KINDS = (Kind.SHARE, Kind.UNPREDICTED, Kind.ERRORS, Kind.LATENCY, Kind.CHECK)
server_signals = st.builds(signal, st.sampled_from(ROW_KINDS), st.sampled_from(NAMES))
pool_signals = st.builds(signal, st.sampled_from([Kind.HARM, Kind.REFUSED, Kind.SURGE]))
ratios = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.asarray)
counts = st.lists(st.floats(0, 400), min_size=4, max_size=4).map(np.asarray)
times = st.lists(st.floats(90, 110) | st.just(float("nan")), min_size=4, max_size=4).map(np.asarray)
pasts = st.builds(
    past, requests=counts, answered=counts, refused_by=counts, broken=counts, pace_now_s=ratios,
    pace_s=ratios | st.just(NEVER), fell_at=times, rose_at=times, mute_at=times, born_at=times, turns=ratios,
    refused=st.floats(0, 348), gap_at=st.floats(90, 110),
)  # fmt: skip
pools = st.sampled_from([
    pool(*[100.0] * 4), SOURCE, pool(*[100.0] * 4, policy=LeastRequest()), pool(*[100.0] * 4, check=None),
    pool(*[100.0] * 4, affinity_cookie="SRV"), members(port=(3001, 3001, 3003, 3004)),
    members(zone=("a", "a", "b", "b")), pool(*[100.0] * 4, check=Check(fall=1), ejection=Ejection(1)),
])  # fmt: skip


@given(st.lists(server_signals | pool_signals, max_size=6), ratios, ratios, st.none() | pasts, pools)
def test_stories_are_a_probability_over_all_causes(
    signals: list[Signal], failing: Floats, unconnected: Floats, lately: Past | None, where: Pool
) -> None:
    stories = diagnose(case(*signals, failure_ratio=failing, unconnected=unconnected, past=lately, pool=where))

    assert sum(s.probability for s in stories) == pytest.approx(1.0)
    assert {s.cause for s in stories} == {c.name for c in CAUSES} | {NONE_OF_THESE}
    assert [s.probability for s in stories] == sorted((s.probability for s in stories), reverse=True)
    assert {name for s in stories for name in s.servers} <= set(NAMES)


def test_a_pool_of_one_server_can_be_judged() -> None:
    single = Pool("web", (Server("s1", "127.0.0.1", 3001),))
    calm = past()
    narrow = replace(calm, **{f.name: getattr(calm, f.name)[:1] for f in fields(Past)
                              if isinstance(getattr(calm, f.name), np.ndarray)})  # fmt: skip
    whole = case(signal(Kind.HARM))
    known = {f.name: getattr(whole, f.name)[:1] for f in fields(Case)
             if isinstance(getattr(whole, f.name), np.ndarray)}  # fmt: skip
    it = replace(whole, pool=single, servers=("s1",), past=narrow, **known)

    assert sum(s.probability for s in diagnose(it)) == pytest.approx(1.0)
