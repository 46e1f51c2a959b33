"""Plans and the guard: what helps is drafted, what would harm is refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from levelhead import mitigate
from levelhead.diagnose import diagnose
from levelhead.diagnose.base import Case, Story
from levelhead.mitigate import guard
from levelhead.mitigate.base import Plan, Refusal, Situation
from levelhead.model import Admin, Fleet, Revision, SetAdmin, SetWeight, apply
from tests.build import fleet, pool
from tests.test_diagnose import CASES, TYPO, case

FIRST = Revision(1, fleet(pool(*[100.0] * 4)), "ann", 0.0, "first")
SECOND = fleet(pool(90, 10, 10, 10))


def situation(it: Case, now: Fleet, good: Revision | None = FIRST, current: int = 2, forced: str = "") -> Situation:
    return Situation(now, replace(it, pool=now.pools[0]), good, current, forced)


def planned(it: Case, now: Fleet, **known: object) -> Plan | Refusal:
    return mitigate.plan(situation(it, now, **known), diagnose(it)[0])  # type: ignore[arg-type]


def test_a_typo_is_rolled_back() -> None:
    plan = planned(TYPO, SECOND)

    assert isinstance(plan, Plan)
    assert (plan.name, plan.restores) == ("roll-back", 1)
    assert plan.steps[0].target == FIRST.fleet
    assert plan.steps[0].undo == SECOND


def test_without_a_good_revision_the_intended_shares_are_restored() -> None:
    plan = planned(TYPO, SECOND, good=None)

    assert isinstance(plan, Plan)
    assert plan.name == "intended-shares"
    assert [s.weight for s in plan.steps[0].target.pools[0].servers] == [100.0] * 4


def test_what_a_person_forced_is_not_taken_back() -> None:
    plan = planned(TYPO, SECOND, forced="weights by ann: load test")

    assert isinstance(plan, Refusal)
    assert "a person insisted on this: weights by ann: load test" in plan.sentence


def test_a_slow_server_is_drained() -> None:
    plan = planned(CASES["a slow server"][0], FIRST.fleet, current=1)

    assert isinstance(plan, Plan)
    drained = plan.steps[0].target.pools[0].server("s1")
    assert drained is not None
    assert drained.admin is Admin.DRAIN


@pytest.mark.parametrize("name", ["a surge that harms", "everything fails alike", "a server that is gone",
                                  "a server that is gone, before its check sees it"])  # fmt: skip
def test_what_the_balancer_cannot_help_is_left_alone_with_a_reason(name: str) -> None:
    plan = planned(CASES[name][0], FIRST.fleet, current=1)

    assert isinstance(plan, Refusal)
    assert plan.reasons


def test_an_uncertain_story_only_gets_the_harmless_plan() -> None:
    doubtful = Story("weight-typo-skew", 0.4, ("maybe",), (), ("s1",))
    plan = mitigate.plan(situation(TYPO, SECOND), doubtful)

    assert isinstance(plan, Plan)
    assert plan.name == "intended-shares"


def test_a_plan_that_did_not_help_is_not_tried_again() -> None:
    plan = mitigate.plan(situation(TYPO, SECOND), diagnose(TYPO)[0], frozenset({"roll-back", "intended-shares"}))

    assert isinstance(plan, Refusal)


def drained(it: Fleet, *names: str) -> Fleet:
    return apply(it, tuple(SetAdmin("web", name, Admin.DRAIN) for name in names))


def test_the_guard_lets_one_of_four_go_and_no_more() -> None:
    before = FIRST.fleet
    judged = case()

    assert guard.objections(before, drained(before, "s1"), judged) == ()
    assert guard.objections(before, drained(before, "s1", "s2"), judged) != ()
    assert "no server would be left to serve" in guard.objections(before, drained(before, *judged.servers), judged)


def test_the_guard_knows_that_a_server_whose_check_fails_bears_nothing() -> None:
    before = FIRST.fleet
    judged = case(failing=frozenset({"s2"}), observed=np.asarray([1 / 3, 0, 1 / 3, 1 / 3]))

    assert guard.objections(before, drained(before, "s1"), judged) != ()
    assert guard.objections(before, drained(before, "s2"), judged) == ()


def test_the_guard_counts_with_declared_capacity() -> None:
    able = tuple(replace(s, capacity=45.0) for s in FIRST.fleet.pools[0].servers)
    before = fleet(replace(FIRST.fleet.pools[0], servers=able))

    (objection,) = set(guard.objections(before, drained(before, "s1"), case(rate=150.0))) - {
        "s3 would get 50 requests/s and can bear 45", "s4 would get 50 requests/s and can bear 45",
    }  # fmt: skip
    assert objection == "s2 would get 50 requests/s and can bear 45"
    assert guard.objections(before, drained(before, "s1"), case(rate=120.0)) == ()


def test_the_guard_refuses_a_skew_and_lets_it_be_undone() -> None:
    skewed = apply(FIRST.fleet, (SetWeight("web", "s1", 900.0),))

    assert guard.objections(FIRST.fleet, skewed, case())
    assert guard.objections(skewed, FIRST.fleet, case(observed=np.asarray([0.75, 0.08, 0.08, 0.09]))) == ()


def test_the_minimum_of_servers_is_kept() -> None:
    strict = fleet(replace(FIRST.fleet.pools[0], minimum_servers=4))

    assert "3 servers would be left, and 4 is the minimum" in guard.objections(strict, drained(strict, "s1"), case())


def test_draining_healthy_servers_beside_an_overloaded_one_is_refused() -> None:
    judged = replace(TYPO, pool=SECOND.pools[0])

    assert guard.objections(SECOND, drained(SECOND, "s2"), judged) == (
        "s1 would get 82% of requests where it gets 75% now, and nobody declared what it can bear",
    )
