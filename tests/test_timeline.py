"""A timeline for readers: of causes ruled out those that matter are lines, the others are counted; none is lost."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC

import pytest
from rich.console import Console

from levelhead import postmortem
from levelhead.cli.live import View, drawn
from levelhead.diagnose.base import Story
from levelhead.drills.rehearse import rehearse
from levelhead.drills.score import Glance, Harm
from levelhead.drills.text import parse_scenario
from levelhead.incident import Entry, Incident, folded, remote
from levelhead.lab.library import scenarios
from levelhead.stage import Frame
from tests.paper_plane import INCIDENT, NINE, PaperPlane

MARCH = parse_scenario(scenarios()["march-10"], "march-10")


@pytest.fixture(scope="module")
def march() -> Incident:
    (incident,) = rehearse(MARCH, mode="act").incidents
    return incident


def refuted(*causes: str, likely: float = 0.0001, told: str = "") -> Incident:
    """An incident in which these were ruled out, in this order; `told` was believed before."""
    stories = tuple(Story(cause, likely, (), ("no sign of it",)) for cause in causes)
    believed = [Entry(NINE, "story", "levelhead", f"{told} at 70%: so it seemed")] if told else []
    lines = [Entry(NINE + 1, "refuted", "levelhead", f"{cause} ruled out: no sign of it") for cause in causes]
    return replace(INCIDENT, entries=(*believed, *lines), refuted=stories)


def shown(incident: Incident, *notable: str) -> list[str]:
    lines = folded(incident.entries, remote(incident, notable), "ask")
    return [line.text.partition(":")[0] for line in lines if line.kind == "refuted"]


def test_what_is_blamed_first_has_its_line_and_the_others_are_counted() -> None:
    incident = refuted("bad-deploy", "traffic-surge", "server-down")

    assert shown(incident) == ["traffic-surge ruled out", "2 other causes ruled out (ask)"]


def test_what_a_drill_names_what_was_believed_and_what_is_not_so_unlikely_have_theirs() -> None:
    causes = ("bad-deploy", "server-down", "check-flapping", "hash-hot-key")
    others = "3 other causes ruled out (ask)"

    assert shown(refuted(*causes), "hash-hot-key") == ["hash-hot-key ruled out", others]
    assert shown(refuted(*causes, told="server-down")) == ["server-down ruled out", others]
    assert shown(refuted(*causes, likely=0.02)) == [f"{cause} ruled out" for cause in causes]


def test_one_other_stands_as_it_is_and_so_does_what_is_not_in_a_row() -> None:
    one = refuted("bad-deploy", "traffic-surge")
    between = Entry(NINE + 2, "note", "ann", "hm")
    split = refuted("bad-deploy", "server-down")
    split = replace(split, entries=(split.entries[0], between, split.entries[1]))

    assert folded(one.entries, remote(one), "ask") == one.entries
    assert folded(split.entries, remote(split), "ask") == split.entries


def test_the_postmortem_has_one_line_for_them_in_the_timeline_and_all_their_clues_after_it(march: Incident) -> None:
    page = postmortem.markdown(march, tz=UTC)
    timeline, _, rest = page.partition("## Misleading Paths")
    misleading = rest.partition("## Root Cause")[0]

    assert timeline.count("ruled out") == 2
    assert f"{len(march.refuted) - 1} other causes ruled out (see Misleading Paths)" in timeline
    assert misleading.index("**traffic-surge**") < misleading.index("other causes were looked at")
    assert len(march.refuted) > 20
    for story in march.refuted:
        block = re.split(r"\n(?:- \*\*|\n)", misleading.partition(f"**{story.cause}** (")[2])[0]
        assert [clue for clue in (*story.contra, *story.pro) if clue not in block.replace("\\", "")] == []


@pytest.mark.parametrize("width", [80, 100, 110, 124, 160])
def test_the_live_view_fits_the_terminal(march: Incident, width: int) -> None:
    out = Console(width=width, file=io.StringIO(), record=True)
    out.print(drawn(frame(march), "Levelhead demo", width))
    lines = out.export_text().splitlines()

    assert any(line.startswith(" web-1 ") for line in lines), "names are not broken"
    assert any(" predicted " in line for line in lines), "headings neither"
    assert sum("ruled out" in line for line in lines) == 2


def test_the_live_lines_are_few_and_say_where_the_rest_is(march: Incident, capsys: pytest.CaptureFixture[str]) -> None:
    with View("march-10", ("weight-typo-skew",), reasons="--json says why") as view:
        view.show(frame(march))
        view.show(frame(march))
    told = [line for line in capsys.readouterr().err.splitlines() if "ruled out" in line]

    assert len(told) == 2
    assert told[1].endswith(f"{len(march.refuted) - 1} other causes ruled out (--json says why)")


def frame(incident: Incident) -> Frame:
    return Frame(
        at_s=20.0, duration_s=60.0, status=PaperPlane().status(), glance=Glance(118.0, 60.0, 240.0, 0.0, 0.0, ()),
        harm=Harm(2000, 0, 300, 0), news=(), incidents=(replace(incident, entries=incident.entries[:-3]),),
    )  # fmt: skip
