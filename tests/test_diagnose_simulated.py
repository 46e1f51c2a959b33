"""Every cause made to happen in simulated worlds: it is noticed, and told first."""

import pytest

from levelhead.diagnose import CAUSES, diagnose
from levelhead.drills.cases import NOTHING, SPOILERS, Trial, case, pair
from levelhead.drills.trials import play
from levelhead.errors import UsageError


def quiet_one(cause: str) -> Trial:
    """Of a few cases the one with the fewest requests, but enough of them: quick to play, and not the easiest."""
    trials = [case(cause, seed) for seed in range(8)]
    return min((t for t in trials if t.users.rps >= 50), key=lambda trial: trial.users.rps)


@pytest.mark.parametrize("cause", SPOILERS)
def test_a_simulated_case_is_told_as_what_it_is(cause: str) -> None:
    played = play(quiet_one(cause))

    assert played.case is not None, "not noticed"
    first = diagnose(played.case)[0]
    assert first.cause == cause
    assert first.probability > 0.5


def test_there_is_a_world_for_every_cause() -> None:
    assert set(SPOILERS) == {c.name for c in CAUSES}


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_happens_nothing_is_told(seed: int) -> None:
    assert play(case(NOTHING, seed)).case is None


def test_the_same_seed_is_the_same_case() -> None:
    one, two = (play(case("slow-server-gray-failure", 5)) for _ in range(2))

    assert one.case is not None
    assert two.case is not None
    assert diagnose(one.case) == diagnose(two.case)


@pytest.mark.parametrize("cause", SPOILERS)
def test_worlds_vary_within_the_bounds(cause: str) -> None:
    trials = [case(cause, seed) for seed in range(40)]
    sizes = {len(t.fleet.pools[0].servers) for t in trials}

    assert all(2 <= size <= 50 for size in sizes)
    assert len(sizes) > 3
    assert all(20 <= t.users.rps <= 2000 for t in trials)
    assert all(t.happenings for t in trials)


def test_of_two_faults_one_comes_first() -> None:
    played = play(pair("weight-typo-skew", "shallow-check", 2))

    assert played.case is not None
    assert diagnose(played.case)[0].cause in ("weight-typo-skew", "shallow-check")


def test_a_cause_without_a_world_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match="no world is known for solar-flare"):
        case("solar-flare", 1)
