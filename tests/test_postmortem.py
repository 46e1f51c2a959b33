"""A record becomes a page: figures, times and words are the record's, and what is unknown is called so."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from levelhead.diagnose import CAUSES
from levelhead.diagnose.base import NONE_OF_THESE, Story
from levelhead.incident import Action, Clocks, Entry, EntryKind, Harm, Incident, Phase
from levelhead.model import Slo
from levelhead.postmortem import ADVICE, markdown

GOLDEN = Path(__file__).parent / "golden"
NINE = 1710061200.0  # 2024-03-10 09:00:00 UTC

TYPO = Story(
    "weight-typo-skew",
    0.994,
    (
        "web-1 gets 75% of 96 requests and is meant to get 25%",
        "observed shares are those that the weights predict",
        "revision 7 by alice@desk moved web-1 from 25% to 75% of requests 0.9 s ago",
    ),
    (),
    ("web-1",),
)
SURGE = Story(
    "traffic-surge",
    0.0004,
    (),
    (
        "no surge: 118 requests/s against a forecast of 120",
        "a surge leaves shares alone, but web-1 gets more than meant",
    ),
)
OPEN = Incident(
    id="INC-3",
    pool="web",
    title="A wrong weight moves most of the traffic to one server (web-1) in web",
    phase=Phase.MITIGATING,
    clocks=Clocks(fault=NINE, detected=NINE + 0.9, diagnosed=NINE + 0.9, acted=NINE + 1.1),
    harm=Harm(requests=2048, requests_harmed=131, users=300, users_harmed=36, sampled=0.05),
    entries=(
        Entry(NINE, "change", "alice@desk", "revision 7 by alice@desk came into force; it moves web-1 from 25% to 75%"),
        Entry(NINE + 0.9, "symptom", "levelhead", "web-1 gets 75% of 96 requests and is meant to get 25%"),
        Entry(NINE + 0.9, "refuted", "levelhead", "traffic-surge ruled out: no surge: 118 requests/s against 120"),
        Entry(NINE + 0.9, "story", "levelhead", "weight-typo-skew at 99%: observed shares are as predicted"),
        Entry(NINE + 1.1, "action", "levelhead", "roll back to revision 6 (even weights by bob): weight-typo-skew"),
    ),
    stories=(TYPO, replace(SURGE, cause="server-down", contra=("every server passes its check",))),
    refuted=(SURGE,),
    actions=(
        Action(
            NINE + 1.1,
            "levelhead",
            "roll back to revision 6 (even weights by bob)",
            "weight-typo-skew at 99%; revision 7 by alice@desk moved web-1 from 25% to 75%",
            "roll-back",
        ),
    ),
)
CLOSED = replace(
    OPEN,
    phase=Phase.RESOLVED,
    clocks=replace(OPEN.clocks, recovered=NINE + 3.4, resolved=NINE + 9000),
    entries=(
        *OPEN.entries,
        Entry(
            NINE + 6.1, "effect", "levelhead", "roll-back helped: 0.0% of requests harmed, largest share 26% (web-2)"
        ),
        Entry(NINE + 60, "acknowledgement", "bob@desk", "acknowledged: looking"),
        Entry(NINE + 61, "notice", "levelhead", "notice to slack sent at attempt 2: opened: web-1 gets 75%"),
        Entry(NINE + 70, "note", "bob@desk", "the file says 900 where 90 was meant <see the *review*>"),
        Entry(NINE + 9000, "resolution", "levelhead", "roll back to revision 6 by levelhead; calm for 8 s since"),
    ),
    actions=(replace(OPEN.actions[0], effect="6.4% of requests harmed before; 0.0% 5 s later"),),
    acknowledged_by="bob@desk",
    resolution="roll back to revision 6 by levelhead; calm for 8 s since",
    tasks=("Ask alice@desk how the review could have shown it",),
)
SLOW = Story("slow-server-gray-failure", 0.91, ("web-2 holds 9 requests in flight, its peers 2",), (), ("web-2",))
UNDONE = replace(
    CLOSED,
    id="INC-4",
    title="One slow but healthy-looking server (web-2) in web",
    harm=Harm(requests=1, requests_harmed=1, users=1, users_harmed=1, sampled=1.0),
    stories=(SLOW, replace(TYPO, probability=0.07)),
    refuted=(SURGE,),
    entries=(
        Entry(NINE + 0.9, "symptom", "levelhead", "web-2 is slower than its peers"),
        Entry(NINE + 1.0, "story", "levelhead", "weight-typo-skew at 71%: web-2 gets 31%"),
        Entry(NINE + 1.1, "action", "levelhead", "return web to its intended shares: weight-typo-skew"),
        Entry(NINE + 11.1, "undo", "levelhead", "intended-shares did not help within 10 s: it is undone"),
        Entry(NINE + 16.1, "action", "levelhead", "drain web-2: slow-server-gray-failure at 91%"),
        Entry(NINE + 86400, "resolution", "carol@desk", "the disk of web-2 was replaced"),
    ),
    actions=(
        Action(NINE + 1.1, "levelhead", "return web to its intended shares", "weight-typo-skew: 25% each",
               "intended-shares", "no change", NINE + 11.1),
        Action(NINE + 16.1, "levelhead", "drain web-2", "slow-server-gray-failure at 91%", "drain",
               "12.0% of requests harmed before; 0.0% 5 s later"),
        Action(NINE + 90, "carol@desk", "put back web-2 in web", "", effect=""),
    ),
    acknowledged_by=None,
    tasks=(),
)  # fmt: skip

PAGES = {
    "closed": (CLOSED, UTC, Slo(1000.0, 0.999)),
    "open": (OPEN, timezone(timedelta(hours=1), "CET"), Slo(250.0, 0.99)),
    "undone": (UNDONE, UTC, None),
    "nothing-known": (
        Incident("INC-5", "api", "api harms its users", Phase.RESOLVED, Clocks(NINE, NINE), harm=Harm()),
        UTC,
        Slo(),
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_reads_as_its_golden_file(name: str) -> None:
    incident, tz, slo = PAGES[name]
    page = markdown(incident, tz=tz, slo=slo)
    golden = GOLDEN / f"postmortem-{name}.md"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(page, encoding="utf-8")
    assert page == golden.read_text(encoding="utf-8")


def test_every_section_of_the_form_is_there_in_order() -> None:
    page = markdown(CLOSED, tz=UTC)
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == [
        "# Postmortem INC-3: A wrong weight moves most of the traffic to one server (web-1) in web",
        "## Issue Summary",
        "## Timeline",
        "## Misleading Paths",
        "## Root Cause and Resolution",
        "### Root cause",
        "### Resolution",
        "## Detection",
        "## Communication",
        "## Corrective and Preventative Measures",
        "## Tasks",
    ]


def test_every_cause_has_advice_with_two_to_four_measures_and_specific_tasks() -> None:
    assert set(ADVICE) == {cause.name for cause in CAUSES} | {NONE_OF_THESE}
    for cause in ADVICE:
        story = Story(cause, 0.9, ("revision 12 by eve moved web-1 from 1% to 2%",), (), ("web-9",))
        page = markdown(replace(CLOSED, stories=(story,), pool="checkout"), tz=UTC)
        measures = page.split("## Corrective")[1].split("## Tasks")[0]
        tasks = page.split("## Tasks")[1]
        assert 2 <= measures.count(":** ") <= 4, cause
        assert tasks.count("- [ ] ") >= 4, cause
        assert "pool checkout" in tasks, cause
        if cause not in ("traffic-surge", NONE_OF_THESE):
            assert "server web-9" in tasks, cause
        if cause == "weight-typo-skew":
            assert "revision 12" in tasks


def test_a_cause_that_is_not_certain_is_not_told_as_one() -> None:
    page = markdown(replace(CLOSED, stories=(replace(TYPO, probability=0.41),)), tz=UTC)
    assert "**Root cause:** Not certain. The likeliest: A wrong weight" in page
    assert "Find the cause of the trouble in pool web" in page
    assert "Correct the weight" not in page


def test_users_are_said_to_be_sampled_only_when_they_are() -> None:
    sampled = "counted from sampled requests"
    assert sampled in markdown(CLOSED, tz=UTC)
    assert "one in 20" in markdown(CLOSED, tz=UTC)
    assert sampled not in markdown(replace(CLOSED, harm=replace(CLOSED.harm, sampled=1.0)), tz=UTC)


def test_shares_are_never_rounded_to_nothing_or_to_all() -> None:
    few = replace(CLOSED, harm=Harm(1_000_000, 1, 100_000, 99_999, 1.0))
    page = markdown(few, tz=UTC)
    assert "99,999 of 100,000 users (more than 99.9%)" in page
    assert "1 of 1,000,000 requests (less than 0.1%)" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.0 s"), (9.9, "9.9 s"), (9.96, "10 s"), (59.6, "1 min"), (61, "1 min 1 s"), (9000, "2 h 30 min"),
        (3600, "1 h"), (90000, "1 d 1 h"), (-1.0, "an unknown time"), (float("nan"), "an unknown time"),
    ],
)  # fmt: skip
def test_lengths_of_time(seconds: float, words: str) -> None:
    clocks = replace(CLOSED.clocks, recovered=CLOSED.clocks.fault + seconds)
    assert f"({words})." in markdown(replace(CLOSED, clocks=clocks), tz=UTC)


def test_a_day_of_its_own_is_named_in_the_timeline() -> None:
    timeline = markdown(UNDONE, tz=UTC).split("## Timeline")[1].split("## Misleading")[0]
    assert timeline.index("2024-03-10:") < timeline.index("drain web-2") < timeline.index("2024-03-11:")
    assert timeline.index("2024-03-11:") < timeline.index("the disk of web-2 was replaced")


times = st.one_of(st.floats(0, 4e9), st.floats())
words = st.text(max_size=60)
stories = st.builds(
    Story,
    st.sampled_from([*ADVICE, "unheard-of"]) | words,
    st.floats(0, 1),
    st.lists(words, max_size=2).map(tuple),
    st.lists(words, max_size=2).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)
incidents = st.builds(
    Incident,
    id=words,
    pool=words,
    title=words,
    phase=st.sampled_from(Phase),
    clocks=st.builds(Clocks, times, times, *[st.none() | times for _ in range(4)]),
    harm=st.builds(
        Harm, *[st.integers(0, 10**9) for _ in range(4)], st.floats(0, 1, allow_subnormal=True)
    ),
    entries=st.lists(
        st.builds(Entry, times, st.sampled_from(get_args(EntryKind)), words, words), max_size=5
    ).map(tuple),
    stories=st.lists(stories, max_size=3).map(tuple),
    refuted=st.lists(stories, max_size=2).map(tuple),
    actions=st.lists(
        st.builds(Action, times, words, words, words, words, words, st.none() | times), max_size=3
    ).map(tuple),
    acknowledged_by=st.none() | words,
    resolution=words,
    tasks=st.lists(words, max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=50)
@given(incidents, st.none() | st.builds(Slo, st.floats(0, 1e6), st.floats(0, 1)), st.none() | times)
def test_any_record_gives_a_page_on_which_every_entry_reads_as_it_was_written(
    incident: Incident, slo: Slo | None, at: float | None
) -> None:
    page = markdown(incident, tz=UTC, slo=slo, at=at)
    read = _as_read(page)
    for entry in incident.entries:
        assert _one_line(entry.text) in read
    assert len([line for line in page.splitlines() if line.startswith("#")]) == 11


def _as_read(page: str) -> str:
    """The text of the rendered page, as a reader sees it."""
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(page)
    return "\n".join(
        "".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"
    )


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
