"""What was recorded is replayed with the same decisions, other decisions are shown, and damage is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from levelhead.cli import main
from levelhead.control.base import (
    Acknowledge,
    Alter,
    Approve,
    EngineEvent,
    Note,
    Order,
    Outcome,
    Report,
    Resolve,
    Revise,
    RollBack,
    Sent,
    State,
    View,
    Wish,
)
from levelhead.control.recording import Opening, Recorded, Script, read, replay
from levelhead.drills.rehearse import rehearse
from levelhead.drills.text import parse_scenario
from levelhead.errors import ConfigError
from levelhead.lab.library import scenarios
from levelhead.model import AddServer, Admin, Rebuild, RemoveServer, Revision, SetAdmin, SetWeight
from levelhead.telemetry import Missing, Sample
from tests.build import fleet, pool

SHORT = parse_scenario(scenarios()["march-10"].replace("duration_s: 60", "duration_s: 22"), "short")


@pytest.fixture(scope="module")
def recorded() -> list[str]:
    lines: list[str] = []
    rehearse(SHORT, mode="act", recorder=Script(lambda line: lines.append(line + "\n")))
    return lines


def test_a_recording_is_replayed_with_the_same_decisions(recorded: list[str]) -> None:
    played = list(replay(recorded, "here"))

    assert len(played) == len(recorded) - 1 == 22 * 4
    assert all(p.same for p in played)
    assert any("put plan-1 by levelhead, roll-back" in effect for p in played for effect in p.effects)


def test_another_decision_is_shown(recorded: list[str]) -> None:
    other = [line.replace("server-1 got 23 of 32", "server-1 got 24 of 32") for line in recorded]

    differing = [p for p in replay(other, "here") if not p.same]
    assert differing
    assert all("server-1 got 23 of 32" in str((p.because, p.effects)) for p in differing)


def test_a_line_says_only_what_is_new(recorded: list[str]) -> None:
    first, later = json.loads(recorded[1]), json.loads(recorded[5])

    assert {"layout", "weight", "revision 1"} <= set(first)
    assert not {"layout", "weight", "revision 1", "orders"} & set(later)


def test_a_recording_that_was_cut_off_is_replayed_up_to_there(recorded: list[str]) -> None:
    cut = [*recorded[:40], recorded[40][:30]]

    assert len(list(replay(cut, "here"))) == 39


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda lines: ["hello\n"], 1),
        (lambda lines: [lines[0].replace("ticks/1", "ticks/9"), *lines[1:]], 1),
        (lambda lines: [*lines[:3], "{}x\n"], 4),
        (lambda lines: [lines[0], "{}\n"], 2),
        (lambda lines: [*lines[:2], '{"weight":[1]}\n'], 3),
        (lambda lines: [*lines[:2], '{"orders":[{"kind":"Quit"}]}\n'], 3),
    ],
)
def test_what_is_no_recording_is_said_with_its_line(
    recorded: list[str], spoil: Callable[[list[str]], list[str]], line: int
) -> None:
    with pytest.raises(ConfigError, match=f"^here:{line}: this is no recording of ticks"):
        list(replay(spoil(recorded), "here"))


FLEET = fleet(pool(1, 2))
WISHES: list[Wish] = [
    Alter((SetWeight("web", "a", 3.5), SetAdmin("web", "b", Admin.DRAIN), RemoveServer("web", "c"))),
    Alter((AddServer("web", FLEET.pools[0].servers[0]), Rebuild(FLEET, "why not"))),
    Revise(FLEET, "text"), RollBack(), RollBack(3),
    Acknowledge("INC-1"), Note("INC-1", "x"), Resolve("INC-1", "y"), Approve("INC-1"),
]  # fmt: skip


@pytest.mark.parametrize("wish", WISHES, ids=repr)
def test_a_view_comes_back_as_it_was(wish: Wish, recorded: list[str]) -> None:
    seen = next(r.view.sample for _, r in read(recorded, "here") if r is not None)
    assert isinstance(seen, Sample)
    seen.weight[0] = np.nan
    view = View(
        at=0.1 + 0.2, sample=seen, revisions=(Revision(4, FLEET, "ann", 1.5, "why", "text"),), busy=True,
        orders=(Order("o", 2.0, "ann", "because", wish, "insist"),), reports=(Report("t", None, "no"),),
        events=(EngineEvent(1.0, "died", True),), notices=(Sent("INC-1", 2.0, "sent"),),
    )  # fmt: skip
    back = written_and_read(view).view

    assert isinstance(back.sample, Sample)
    np.testing.assert_array_equal(back.sample.weight, seen.weight)
    assert (back.at, back.orders, back.reports, back.events, back.notices, back.busy, back.revisions) == (
        view.at, view.orders, view.reports, view.events, view.notices, view.busy, view.revisions,
    )  # fmt: skip


def test_a_missing_sample_is_missing_again() -> None:
    view = View(at=1.0, sample=Missing(0.5, "gone"), revisions=(Revision(1, FLEET, "a", 1.0, ""),))

    assert written_and_read(view).view.sample == Missing(0.5, "gone")


def written_and_read(view: View) -> Recorded:
    lines: list[str] = []
    script = Script(lambda line: lines.append(line + "\n"))
    script.begin(Opening())
    script.tick(view, Outcome(State(), (), "because"))
    (_, (_, found)) = read(lines, "here")
    assert found is not None
    return found


def test_the_command_tells_whether_decisions_are_the_same(
    tmp_path: Path, recorded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ticks.gz"
    assert main(["drill", "run", "march-10", "--engine", "sim", "--record", str(file)]) == 0
    capsys.readouterr()
    assert main(["replay", str(file)]) == 0
    assert capsys.readouterr().out == "240 ticks replayed: the same decisions in all\n"

    spoilt = tmp_path / "other.txt"
    spoilt.write_text("".join(recorded).replace("got 23 of 32", "got 24 of 32"))
    assert main(["replay", str(spoilt)]) == 1
    told = capsys.readouterr().out
    assert "  then  tell INC-1 opened: server-1 got 24 of 32" in told
    assert "  now   tell INC-1 opened: server-1 got 23 of 32" in told
    assert main(["replay", str(spoilt), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["schema"] == "levelhead/replay/1"


@pytest.mark.parametrize("keep", [10, 5_000])
def test_a_damaged_file_is_said_or_read_up_to_the_damage(
    keep: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ticks.gz"
    assert main(["drill", "run", "march-10", "--engine", "sim", "--record", str(file)]) == 0
    file.write_bytes(file.read_bytes()[:keep])
    capsys.readouterr()
    assert main(["replay", str(file)]) in (0, 2)
    assert "bug" not in capsys.readouterr().err
    assert main(["replay", str(tmp_path)]) == 2
    assert main(["drill", "run", "march-10", "--engine", "sim", "--record", str(tmp_path / "no" / "x")]) == 2


@pytest.mark.parametrize("kept", [0, 1])
def test_a_recording_without_a_tick_is_no_success(
    kept: int, recorded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ticks"
    path.write_text("".join(recorded[:kept]))

    assert main(["replay", str(path)]) == 2
    assert "there is no tick in it" in capsys.readouterr().err
