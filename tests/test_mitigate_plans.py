"""What each mitigation does to the configuration, when it refuses, and what people are asked instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from levelhead import mitigate
from levelhead.detect.base import Kind
from levelhead.diagnose.base import Case, Story
from levelhead.mitigate import questions
from levelhead.mitigate.base import Plan, Refusal, Situation
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Fleet,
    Hash,
    Limits,
    Listener,
    Pool,
    Retries,
    Revision,
    Route,
    SetAdmin,
    apply,
)
from tests.build import pool
from tests.test_diagnose import case, past, shipped, signal

SERVERS = ("s1", "s2", "s3", "s4")
PLAIN = pool(*[100.0] * 4)


def asked(
    cause: str, it: Case, of: Pool = PLAIN, *servers: str, connections: int | None = None, good: Revision | None = None
) -> Plan | Refusal:
    """What is planned for this cause, told as certain, in this pool."""
    fleet = Fleet((Listener("main", "127.0.0.1", 80, (Route("web"),), connections=connections),), (of,))
    situation = Situation(fleet, replace(it, pool=of), good, 2)
    return mitigate.plan(situation, Story(cause, 0.99, ("seen",), (), servers))


def planned(name: str, plan: Plan | Refusal) -> Fleet:
    """The fleet that the plan of this name goes to; its undo is the fleet of before."""
    assert isinstance(plan, Plan), plan
    assert plan.name == name
    (step,) = plan.steps
    assert step.undo != step.target
    return step.target


def refused(plan: Plan | Refusal) -> str:
    assert isinstance(plan, Refusal), plan
    assert plan.question
    return plan.sentence


FAILING = case(failing=frozenset(SERVERS[:3]), harmed_ratio=0.4)


def test_a_check_that_lies_is_ignored() -> None:
    target = planned("ignore-check", asked("deep-check-ejects-all", FAILING))

    assert target.pools[0].check is None


@pytest.mark.parametrize(
    ("it", "of", "why"),
    [
        (FAILING, replace(PLAIN, check=None), "has no check to ignore"),
        (replace(FAILING, failing=frozenset({"s1"})), PLAIN, "the check fails on 1 of 4 servers only"),
        (replace(FAILING, failure_ratio=np.asarray([0.3, 0, 0, 0])), PLAIN, "requests fail too, up to 30%"),
        (replace(FAILING, past=past(ill_before=np.asarray([0.9, 0, 0, 0]))), PLAIN, "requests fail too, up to 90%"),
    ],
)
def test_a_check_that_may_be_right_is_believed(it: Case, of: Pool, why: str) -> None:
    assert why in refused(asked("deep-check-ejects-all", it, of))


def test_what_fails_everywhere_is_no_reason_to_eject() -> None:
    target = planned("stop-ejection", asked("poison-request-ejects-all", FAILING, replace(PLAIN, ejection=Ejection(5))))

    assert target.pools[0].ejection is None
    assert target.pools[0].check == Check()
    assert "ejects nobody" in refused(asked("poison-request-ejects-all", FAILING))


@pytest.mark.parametrize(("before", "after"), [(3, 1), (2, 1), (1, 0)])
def test_retries_that_multiply_are_limited(before: int, after: int) -> None:
    many = replace(FAILING, signals=(signal(Kind.RETRIES), signal(Kind.SLOWDOWN)))
    target = planned("limit-retries", asked("retry-amplification", many, replace(PLAIN, retries=Retries(before))))

    assert target.pools[0].retries.attempts == after
    assert "repeats nothing" in refused(asked("retry-amplification", many, replace(PLAIN, retries=Retries(0))))
    assert "few requests are repeated" in refused(asked("retry-amplification", FAILING))


def test_repetitions_that_are_borne_are_left_alone() -> None:
    """Without them more requests would fail."""
    borne = replace(FAILING, signals=(signal(Kind.RETRIES),), past=past())
    slow = replace(borne, past=past(pace_now_s=np.full(4, 0.2)))

    assert "some of them succeed" in refused(asked("retry-amplification", borne, replace(PLAIN, retries=Retries(3))))
    planned("limit-retries", asked("retry-amplification", slow, replace(PLAIN, retries=Retries(3))))


def test_the_limit_in_the_way_is_doubled() -> None:
    it = case(signal(Kind.REFUSED))
    one = replace(PLAIN.servers[0], in_flight_limit=3)
    limited = replace(PLAIN, limits=Limits(8, 20), servers=(one, *PLAIN.servers[1:]))

    servers = planned("raise-limit", asked("server-maxconn-too-low", it, limited)).pools[0]
    assert (servers.limits, servers.servers[0].in_flight_limit) == (Limits(16, 20), 6)
    assert planned("raise-limit", asked("lb-maxconn-too-low", it, connections=100)).listeners[0].connections == 200
    assert "has a limit" in refused(asked("lb-maxconn-too-low", it))
    assert "has a limit" in refused(asked("server-maxconn-too-low", it))


def test_where_the_pace_is_known_a_limit_is_raised_to_what_the_rate_needs() -> None:
    # 120 requests/s of 0.5 s each are 60 at a time; half as many more, on four servers.
    it = case(signal(Kind.QUEUE), past=past(pace_s=np.full(4, 0.5)))
    tight = planned("raise-limit", asked("server-maxconn-too-low", it, replace(PLAIN, limits=Limits(2, 20))))

    assert tight.pools[0].limits.server_in_flight == 23
    assert planned("raise-limit", asked("lb-maxconn-too-low", it, connections=10)).listeners[0].connections == 90
    wide = refused(asked("server-maxconn-too-low", it, replace(PLAIN, limits=Limits(40, 20))))
    assert "it is the servers that are slow" in wide


def test_what_was_rolled_back_already_is_not_rolled_back_again() -> None:
    fleet = Fleet((Listener("main", "127.0.0.1", 80, (Route("web"),)),), (PLAIN,))

    assert "what is in force is what served well" in refused(
        asked("duplicate-server-entry", FAILING, good=Revision(1, fleet, "ann", 0.0, "first"))
    )


@pytest.mark.parametrize("cause", ["server-maxconn-too-low", "lb-maxconn-too-low"])
def test_a_limit_that_was_just_shipped_is_taken_back(cause: str) -> None:
    tight = replace(PLAIN, limits=Limits(1))
    fleet = Fleet((Listener("main", "127.0.0.1", 80, (Route("web"),), connections=9),), (PLAIN,))
    good = Revision(1, fleet, "ann", 0.0, "first")

    back = planned("roll-back", asked(cause, case(shipped=shipped("limits")), tight, connections=9, good=good))
    assert back == fleet
    planned("raise-limit", asked(cause, case(shipped=shipped("weights")), tight, connections=9, good=good))


SURGE = case(signal(Kind.SURGE), signal(Kind.HARM), rate=600.0, forecast=120.0, harmed_ratio=0.5)


def test_what_cannot_be_borne_is_refused_at_the_front() -> None:
    # 30 requests/s each in calm, half a second each at most: 15 at a time.
    shed = planned("shed", asked("traffic-surge", SURGE)).pools[0]
    assert (shed.limits, shed.timeouts.queue_s) == (Limits(15, 60), 0.25)

    # Where fewer are left than were in calm, none bears more than it was seen to: 20, so 10 at a time.
    fewer = replace(SURGE, past=past(got=np.full(4, 20.0)))
    assert planned("shed", asked("traffic-surge", fewer)).pools[0].limits == Limits(10, 40)

    able = replace(PLAIN, servers=tuple(replace(s, capacity=100.0) for s in PLAIN.servers))
    assert planned("shed", asked("traffic-surge", SURGE, able)).pools[0].limits == Limits(50, 200)


@pytest.mark.parametrize(
    ("it", "of", "why"),
    [
        (SURGE, replace(PLAIN, limits=Limits(4, 32)), "the balancer is not touched, its limits are set"),
        (replace(SURGE, harmed_ratio=0.01), PLAIN, "too few to refuse others for"),
        (replace(SURGE, forecast=float("nan")), PLAIN, "nobody knows what the servers can bear"),
        (SURGE, replace(PLAIN, servers=tuple(replace(s, capacity=200.0) for s in PLAIN.servers)), "are within the 800"),
    ],
)
def test_what_can_be_borne_is_not_refused(it: Case, of: Pool, why: str) -> None:
    assert why in refused(asked("traffic-surge", it, of))


def test_the_forgotten_are_let_back_in_unless_their_check_fails() -> None:
    before = Fleet((), (PLAIN,))
    out = apply(before, tuple(SetAdmin("web", name, Admin.DRAIN) for name in ("s1", "s2"))).pools[0]

    back = planned("re-admit", asked("forgotten-drain", case(failing=frozenset({"s2"})), out, "s1", "s2")).pools[0]
    assert [s.admin for s in back.servers] == [Admin.READY, Admin.DRAIN, Admin.READY, Admin.READY]
    assert "let in already" in refused(asked("forgotten-drain", case(), PLAIN, "s1"))
    unwanted = pool(100.0, 0.0, 100.0, 100.0)
    again = planned("re-admit", asked("forgotten-drain", case(), unwanted, "s2")).pools[0]
    assert [s.weight for s in again.servers] == [100.0] * 4
    assert "the check fails on s1" in refused(asked("forgotten-drain", case(failing=frozenset({"s1"})), out, "s1"))


def test_a_hot_key_overflows_to_the_next_server() -> None:
    hashed = replace(PLAIN, policy=Hash("header", "x-user"))

    assert planned("bound-load", asked("hash-hot-key", case(), hashed)).pools[0].policy == Hash(
        "header", "x-user", bounded_load=1.25
    )


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (PLAIN, "does not spread by a key"),
        (replace(PLAIN, policy=Hash("source", consistent=False)), "would move nearly every key"),
        (replace(PLAIN, policy=Hash("source", bounded_load=1.2)), "is bounded at 1.2 times the mean already"),
        (replace(PLAIN, policy=Hash("source"), affinity_cookie="who"), "a cookie ties users to their server"),
    ],
)
def test_a_bound_is_refused_where_it_would_not_help(of: Pool, why: str) -> None:
    assert why in refused(asked("hash-hot-key", case(), of))


def test_a_change_of_the_check_is_rolled_back_without_a_change_of_shares() -> None:
    good = Revision(1, Fleet((), (PLAIN,)), "ann", 0.0, "first")
    of = replace(PLAIN, check=Check(path="/new"))
    plan = asked("check-protocol-mismatch", FAILING, of, good=good)

    assert planned("roll-back", plan) == good.fleet
    assert isinstance(plan, Plan)
    assert plan.because == "check-protocol-mismatch at 99%; revision 2 came into force since"


@pytest.mark.parametrize("cause", questions.QUESTIONS)
def test_every_cause_has_a_question_for_people(cause: str) -> None:
    of_two = questions.question(Story(cause, 0.9, (), (), ("s1", "s2")))

    assert "{" not in of_two
    assert questions.question(Story(cause, 0.9, (), ()))
