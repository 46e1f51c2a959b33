"""Each cause on hand-made cases: the right story first, look-alikes refuted, unknown is no evidence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.detect.base import Kind, Signal
from levelhead.diagnose import CAUSES, diagnose
from levelhead.diagnose.base import NONE_OF_THESE, Case, ShareChange
from tests.build import pool

NAMES = ("s1", "s2", "s3", "s4")
EVEN = np.full(4, 0.25)
SKEWED = np.asarray([0.75, 0.25 / 3, 0.25 / 3, 0.25 / 3])


def signal(kind: Kind, server: str = "") -> Signal:
    return Signal(kind, "web", server, 100.0, 20.0, f"{server or 'the pool'}: {kind.value}")


def case(*signals: Signal, **known: object) -> Case:
    calm = Case(
        pool=pool(*[100.0] * 4), at=110.0, servers=NAMES, signals=signals, intended=EVEN, predicted=EVEN, observed=EVEN,
        requests=200.0, weight=np.full(4, 100.0), failing=frozenset(), unserving=frozenset(), failure_ratio=np.zeros(4),
        unconnected=np.zeros(4), in_flight=np.full(4, 2.0), rate=120.0, forecast=118.0, harmed_ratio=0.0, changed=None,
    )  # fmt: skip
    return replace(calm, **known)  # type: ignore[arg-type]


BAD = np.asarray([0.5, 0, 0, 0])
SHIPPED = ShareChange(2, "deploy", 109.0, "s1", 0.25, 0.75)
TYPO = case(signal(Kind.SHARE, "s1"), predicted=SKEWED, observed=SKEWED, weight=np.asarray([90.0, 10, 10, 10]),
            changed=SHIPPED)  # fmt: skip
CASES = {
    "a typo, with its overload": (
        replace(TYPO, signals=(*TYPO.signals, signal(Kind.LATENCY, "s1"), signal(Kind.HARM))), "weight-typo-skew",
    ),
    "a typo while traffic shifts": (
        replace(TYPO, observed=np.asarray([0.45, 0.55 / 3, 0.55 / 3, 0.55 / 3])), "weight-typo-skew",
    ),
    "weights changed behind our back": (replace(TYPO, changed=None), "weight-typo-skew"),
    "a surge that harms": (
        case(signal(Kind.SURGE), signal(Kind.REFUSED), signal(Kind.HARM), rate=600.0), "traffic-surge",
    ),
    "a server that is gone": (case(signal(Kind.CHECK, "s1"), failing=frozenset({"s1"})), "server-down"),
    "a server that is gone, before its check sees it": (
        case(signal(Kind.ERRORS, "s1"), failure_ratio=BAD * 2, unconnected=np.asarray([1.0, 0, 0, 0])), "server-down",
    ),
    "a slow server": (case(signal(Kind.LATENCY, "s1")), "slow-server-gray-failure"),
    "a failing server whose check passes": (case(signal(Kind.ERRORS, "s1"), failure_ratio=BAD), "shallow-check"),
    "everything fails alike": (case(signal(Kind.HARM)), NONE_OF_THESE),
    "every check fails at once": (
        case(*(signal(Kind.CHECK, s) for s in NAMES), failing=frozenset(NAMES)), NONE_OF_THESE,
    ),
    "most servers slow at once": (
        case(*(signal(Kind.LATENCY, s) for s in NAMES[:3]), signal(Kind.HARM)), NONE_OF_THESE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_right_story_comes_first(name: str) -> None:
    it, cause = CASES[name]

    stories = diagnose(it)

    assert stories[0].cause == cause
    if cause != NONE_OF_THESE:
        assert stories[0].probability > 0.6


@pytest.mark.parametrize("name", [n for n in CASES if "typo" in n])
def test_a_typo_is_no_surge_and_no_sick_server(name: str) -> None:
    refuted = {s.cause for s in diagnose(CASES[name][0]) if s.refuted}

    assert {"traffic-surge", "server-down", "shallow-check"} <= refuted


def test_a_surge_is_no_fault_of_the_balancer() -> None:
    refuted = {s.cause for s in diagnose(CASES["a surge that harms"][0]) if s.refuted}

    assert "weight-typo-skew" in refuted


def test_the_story_names_the_server_and_its_reasons() -> None:
    story = diagnose(TYPO)[0]

    assert story.servers == ("s1",)
    assert "revision 2 by deploy moved s1 from 25% to 75% of requests 1.0 s ago" in story.pro


def test_unknown_weights_are_no_evidence() -> None:
    blank = np.full(4, np.nan)
    stories = diagnose(replace(TYPO, weight=blank, predicted=blank))

    assert stories[0].cause == "weight-typo-skew"
    assert not any("weights in force are unknown" in s for story in stories for s in (*story.pro, *story.contra))


kinds = st.sampled_from([k for k in Kind if k not in (Kind.HARM, Kind.REFUSED, Kind.SURGE)])
server_signals = st.builds(signal, kinds, st.sampled_from(NAMES))
pool_signals = st.builds(signal, st.sampled_from([Kind.HARM, Kind.REFUSED, Kind.SURGE]))
ratios = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.asarray)


@given(st.lists(server_signals | pool_signals, max_size=6), ratios, ratios)
def test_stories_are_a_probability_over_all_causes(
    signals: list[Signal], failing: np.ndarray[tuple[int], np.dtype[np.float64]],
    unconnected: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> None:  # fmt: skip
    stories = diagnose(case(*signals, failure_ratio=failing, unconnected=unconnected))

    assert sum(s.probability for s in stories) == pytest.approx(1.0)
    assert {s.cause for s in stories} == {c.name for c in CAUSES} | {NONE_OF_THESE}
    assert [s.probability for s in stories] == sorted((s.probability for s in stories), reverse=True)
