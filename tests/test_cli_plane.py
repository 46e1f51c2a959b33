"""Every command against a control plane on a real socket: what people read, what programs read, and the exit code."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from levelhead.cli import main
from levelhead.control.base import Acknowledge, Alter, Approve, Note, Resolve, Revise, RollBack
from levelhead.diagnose.base import Story
from levelhead.errors import EngineError
from levelhead.incident import Entry, Incident, Phase
from levelhead.model import Admin, SetAdmin, SetWeight
from levelhead.store import IncidentSummary, Store
from tests.paper_plane import INCIDENT, NINE, PaperPlane, served


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEVELHEAD_HOME", str(tmp_path))
    for name in ("LEVELHEAD_INSTANCE", "SUDO_USER", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def said(*args: str) -> Said:
        code = main(args)
        return Said(code, *capsys.readouterr())

    return said


@pytest.fixture
def plane(home: Path) -> Iterator[PaperPlane]:
    (home / "default").mkdir()
    paper = PaperPlane()
    with served(paper, home / "default" / "api.sock"):
        yield paper


LOOKING = {
    "status": "levelhead/status/1",
    "server list": "levelhead/status/1",
    "revision list": "levelhead/revisions/1",
    "revision show 1": "levelhead/revision/1",
    "incident list": "levelhead/incidents/1",
    "incident show INC-1": "levelhead/incident/1",
    "incident postmortem INC-1": "levelhead/postmortem/1",
    "schema": "levelhead/settings-schema/1",
    "schema scenario": "levelhead/scenario-schema/1",
}


@pytest.mark.parametrize("words", LOOKING)
def test_programs_read_json_that_names_its_schema(words: str, run: Run, plane: PaperPlane) -> None:
    first, *rest = words.split()
    for args in ([first, *rest, "--json"], ["--json", first, *rest], [first, "--json", *rest]):
        said = run(*args)
        assert said.code == 0, said.err
        assert json.loads(said.out)["schema"] == LOOKING[words]
        assert said.err == ""


@pytest.mark.parametrize("columns", ["20", "60", "80", "200"])
@pytest.mark.parametrize("words", LOOKING)
def test_people_read_tables_that_fit_any_terminal(
    words: str, columns: str, run: Run, plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = run(*words.split())
    assert said.code == 0, said.err
    assert said.out
    if not words.startswith(("schema scenario", "incident postmortem")):
        assert max(len(line.rstrip()) for line in said.out.splitlines()) <= int(columns)


def test_status_says_who_gets_how_much_why_and_what_to_type_next(run: Run, plane: PaperPlane) -> None:
    told = run("status").out
    assert re.search(
        r"^server +state +weight +intended +predicted +observed +bearable +req/s +in flight +errors +p50/p99",
        told,
        re.M,
    )
    assert re.search(r"^web-1 +UP +100 +33% +33% +33% +\S+ +(≥\d+%|-) +39.5 +2 +0.0% +11/80$", told, re.M)
    assert re.search(r"^web-3 +UP +100 +33% +33% +- ", told, re.M)
    assert "because  web: as intended (33% / 33% / 33% of 118 requests/s): nothing to do" in told
    assert "levelhead incident show INC-1" in told
    assert "waiting for you: roll back to revision 1: levelhead incident approve INC-1" in told
    assert "the file on disk says otherwise" in told


def test_status_in_a_narrow_terminal_keeps_the_shares(
    run: Run, plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert re.search(r"^web-1 +UP +33% +33% +33% +39.5 +0.0%$", run("status").out, re.M)


def test_status_in_a_usual_terminal_has_every_column(
    run: Run, plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = run("status").out
    assert re.search(r"^server +state +weight +meant +must +seen +req/s +held +err +p50/99$", told, re.M)
    assert re.search(r"^web-1 +UP +100 +33% +33% +33% +█+ +39.5 +2 +0.0% +11/80$", told, re.M)


def test_what_raises_an_alert_is_explained_with_what_was_learnt(run: Run, plane: PaperPlane) -> None:
    told = run("explain", "alert").out
    assert re.search(r"^ +4 +19\.7 +3,413 +226 +46$", told, re.M)
    assert "share-above-intended" in told
    assert "web: 120.0 requests/s are to be expected, 12 ms at the median and 81 ms at p99" in told
    assert "web-1: meant to get 33%, bears" in told
    pool, *_ = json.loads(run("explain", "alert", "--json").out)["learnt"]
    assert (pool["pool"], pool["forecast"]) == ("web", 120.0)


def test_states_are_words_and_old_figures_are_called_old(run: Run, plane: PaperPlane) -> None:
    assert run("server", "drain", "web-1").code == 0
    assert run("server", "maint", "web-2").code == 0
    plane.age_s, plane.engine_alive = 31.0, False
    told = run("status").out
    assert re.search(r"^web-1 +DRAIN ", told, re.M)
    assert re.search(r"^web-2 +MAINT ", told, re.M)
    assert "STALE" in told
    assert "NOT RUNNING" in told


def test_colours_are_there_for_terminals_and_gone_under_no_color(
    run: Run, plane: PaperPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*\b3[0-7]")
    assert "\x1b" not in run("status").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert coloured.search(run("status").out)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(run("status").out)


def test_causes_ruled_out_are_told_in_short_with_the_command_that_says_why(run: Run, plane: PaperPlane) -> None:
    many = tuple(Story(cause, 0.0, (), (f"no sign of {cause}",)) for cause in ("bad-deploy", "server-down"))
    lines = [Entry(NINE + 1.0, "refuted", "levelhead", f"{s.cause} ruled out: {s.contra[0]}") for s in many]
    refuted = (*INCIDENT.refuted, *many)
    plane.records["INC-1"] = replace(INCIDENT, refuted=refuted, entries=(*INCIDENT.entries, *lines))
    told = run("incident", "show", "INC-1").out

    assert re.search(r"^not +traffic-surge: no surge", told, re.M)
    assert re.search(r"^not +2 other causes; why: levelhead incident postmortem INC-1$", told, re.M)
    assert "2 other causes ruled out (the postmortem says why)" in told
    assert "bad-deploy" not in told
    assert "no sign of bad-deploy" in run("incident", "postmortem", "INC-1").out


def test_what_people_wrote_cannot_steer_the_terminal(run: Run, plane: PaperPlane) -> None:
    plane.records["INC-1"] = replace(INCIDENT, title="\x1b[2Jgone [bold]loud[/bold]")
    for words in (("incident", "list"), ("incident", "show", "INC-1")):
        told = run(*words).out
        assert "\x1b" not in told
        assert "[bold]loud[/bold]" in told


ORDERS = {
    "server drain web-1": Alter((SetAdmin("web", "web-1", Admin.DRAIN),)),
    "server maint web/web-2": Alter((SetAdmin("web", "web-2", Admin.MAINT),)),
    "server ready web-3": Alter((SetAdmin("web", "web-3", Admin.READY),)),
    "server weight web-1 12.5": Alter((SetWeight("web", "web-1", 12.5),)),
    "rollback": RollBack(None),
    "rollback --to 1": RollBack(1),
    "incident ack INC-1": Acknowledge("INC-1"),
    "incident note INC-1 seen": Note("INC-1", "seen"),
    "incident approve INC-1": Approve("INC-1"),
    "incident resolve INC-1 fixed": Resolve("INC-1", "fixed"),
    "incident resolve INC-1": Resolve("INC-1", ""),
}


@pytest.mark.parametrize("words", ORDERS)
def test_orders_are_signed_and_answered(words: str, run: Run, plane: PaperPlane) -> None:
    said = run(*words.split())
    assert said.code == 0, said.err
    assert said.out.strip()
    wish, who, why, force = plane.asked[0]
    assert (wish, why, force) == (ORDERS[words], "", "")
    assert re.fullmatch(r"\S+@\S+", who)


@pytest.mark.parametrize("words", ORDERS)
def test_orders_answer_programs_in_json(words: str, run: Run, plane: PaperPlane) -> None:
    told = json.loads(run(*words.split(), "--json").out)
    assert (told["schema"], told["accepted"]) == ("levelhead/answer/1", True)


def test_the_reason_goes_on_record(run: Run, plane: PaperPlane) -> None:
    run("server", "drain", "web-1", "--why", "new disk")
    run("incident", "ack", "INC-1", "--why", "on it")
    assert [why for _, _, why, _ in plane.asked] == ["new disk", "on it"]


def test_a_file_is_shipped_with_its_place(run: Run, plane: PaperPlane, home: Path) -> None:
    file = home / "fleet.yaml"
    file.write_text("servers: [127.0.0.1:3001, 127.0.0.1:3002]  # two\n")
    said = run("apply", str(file), "--why", "fewer")
    assert (said.code, said.out) == (0, "revision 2 in force by runtime after 12 ms\n")
    wish = plane.asked[0][0]
    assert isinstance(wish, Revise)
    assert wish.source == file.read_text()
    assert run("revision", "show", "2", "--source").out == file.read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"servers: [127.0.0.1:3001]\npolcy: random\n", r"fleet\.yaml:2:1: .*polcy"),
        (b"servers: [\xff]\n", r"fleet\.yaml:1:11: .*UTF-8"),
        (b"", r"fleet\.yaml: the file holds no settings"),
        (None, r"fleet\.yaml: there is no such file"),
    ],
    ids=["wrong key", "not text", "empty", "absent"],
)
def test_a_faulty_file_is_2_with_its_place_and_nothing_is_sent(
    content: bytes | None, words: str, run: Run, plane: PaperPlane, home: Path
) -> None:
    file = home / "fleet.yaml"
    if content is not None:
        file.write_bytes(content)
    said = run("apply", str(file))
    assert (said.code, said.out) == (2, "")
    assert re.search(words, said.err)
    assert "next:" in said.err
    assert plane.asked == []
    told = json.loads(run("apply", str(file), "--json").out)
    assert (told["schema"], told["file"]) == ("levelhead/error/1", str(file))


def test_a_folder_is_no_file(run: Run, plane: PaperPlane, home: Path) -> None:
    said = run("apply", str(home))
    assert said.code == 2
    assert "folder" in said.err


def test_what_the_guard_refuses_is_4_with_each_objection_and_the_way_on(run: Run, plane: PaperPlane) -> None:
    said = run("server", "maint", "api-1")
    assert (said.code, said.out) == (4, "")
    assert said.err.splitlines() == [
        "refused: the change",
        "  - no server of api would be left to serve",
        "  next: levelhead status; to do it all the same, say why: --force REASON",
    ]
    told = json.loads(run("server", "maint", "api-1", "--json").out)
    assert told["schema"] == "levelhead/answer/1"
    assert told["objections"] == ["no server of api would be left to serve"]
    assert run("server", "maint", "api-1", "--force", "api is retired").code == 0
    assert plane.asked[-1][3] == "api is retired"


def test_a_plan_that_is_not_there_cannot_be_approved_nor_forced(run: Run, plane: PaperPlane) -> None:
    plane.proposal = None
    said = run("incident", "approve", "INC-1")
    assert said.code == 4
    assert "no plan of INC-1 waits" in said.err
    assert "--force" not in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("server drain nope", "name one of: web/web-1, web/web-2, web/web-3, api/api-1"),
        ("server drain api/web-1", "there is no server 'api/web-1'"),
        ("incident show INC-9", "there is no incident 'INC-9'"),
        ("incident ack ../../v1/rollback", "there is no incident"),
        ("incident postmortem INC-1 --zone Mars/Olympus", "there is no time zone"),
        ("revision show 9", "there is no revision 9"),
        ("incident note INC-1 ", "must not be empty"),
        ("incident note INC-1 a\x1bb", "control characters"),
    ],
)
def test_what_is_not_there_is_2_in_words(words: str, told: str, run: Run, plane: PaperPlane) -> None:
    said = run(*words.split(" "))
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert plane.asked == []


def test_a_closed_incident_takes_no_orders(run: Run, plane: PaperPlane) -> None:
    plane.records["INC-1"] = replace(INCIDENT, phase=Phase.RESOLVED)
    said = run("incident", "ack", "INC-1")
    assert said.code == 2
    assert "resolved already" in said.err


def test_a_plane_whose_proxy_fails_is_3(run: Run, plane: PaperPlane) -> None:
    plane.failing = EngineError("the proxy does not answer")
    said = run("rollback")
    assert said.code == 3
    assert "the proxy does not answer" in said.err


def test_the_postmortem_goes_to_stdout_or_to_a_file(run: Run, plane: PaperPlane, home: Path) -> None:
    page = run("incident", "postmortem", "INC-1").out
    assert page.startswith("# Postmortem INC-1")
    file = home / "page.md"
    said = run("incident", "postmortem", "INC-1", "--output", str(file))
    assert (said.code, said.out, said.err) == (0, "", f"written to {file}\n")
    assert file.read_text() == page
    assert json.loads(run("incident", "postmortem", "INC-1", "--json").out)["markdown"] == page
    lost = run("incident", "postmortem", "INC-1", "--output", str(home / "no" / "page.md"))
    assert lost.code == 2
    assert "cannot be written" in lost.err


NEEDS_A_PLANE = ["status", "server list", "server drain web-1", "rollback", "incident ack INC-1"]


@pytest.mark.parametrize("words", NEEDS_A_PLANE)
def test_without_a_plane_it_is_3_with_the_next_step(words: str, run: Run) -> None:
    said = run(*words.split())
    assert (said.code, said.out) == (3, "")
    assert "no control plane is running" in said.err
    assert "levelhead run" in said.err


def test_of_two_planes_one_must_be_named(run: Run, plane: PaperPlane, home: Path) -> None:
    (home / "blue").mkdir()
    blue = PaperPlane()
    with served(blue, home / "blue" / "api.sock"):
        for words in ("status", "incident list"):
            said = run(*words.split())
            assert said.code == 3
            assert "2 control planes are running: blue, default" in said.err
        assert run("rollback", "--instance", "blue").code == 0
        assert (len(blue.asked), len(plane.asked)) == (1, 0)
        assert run("--instance", "default", "rollback").code == 0
        assert (len(blue.asked), len(plane.asked)) == (1, 1)


def test_a_socket_that_nobody_answers_on_is_not_alive(run: Run, home: Path) -> None:
    (home / "default").mkdir()
    with served(PaperPlane(), home / "default" / "api.sock"):
        os.link(home / "default" / "api.sock", home / "default" / "left.sock")
    (home / "default" / "left.sock").rename(home / "default" / "api.sock")
    assert run("status").code == 3


@pytest.fixture
def record(home: Path) -> Path:
    """What a plane that has ended left behind."""
    plane = PaperPlane()
    (home / "default").mkdir()
    with Store(home / "default" / "levelhead.db") as store:
        store.add_revision(plane.kept[0])
        store.mark_good(1, NINE)
        closed = replace(INCIDENT, phase=Phase.RESOLVED, resolution="it was a typo")
        summary = IncidentSummary("INC-1", "web", NINE, NINE + 90, "resolved", closed.title)
        store.keep_incident(summary, TypeAdapter(Incident).dump_json(closed))
    return home


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("incident list", "INC-1"),
        ("incident show INC-1", "it was a typo"),
        ("incident postmortem INC-1", "# Postmortem INC-1"),
        ("revision list", "in force, good"),
        ("revision show 1", "first configuration"),
    ],
)
def test_the_record_can_be_read_when_the_plane_is_gone(words: str, told: str, run: Run, record: Path) -> None:
    said = run(*words.split())
    assert said.code == 0, said.err
    assert told in said.out
    assert "this is the record of instance default" in said.err
    assert json.loads(run(*words.split(), "--json").out)["schema"] == LOOKING[words]


def test_what_is_not_in_the_record_is_2(run: Run, record: Path) -> None:
    for words in ("incident show INC-9", "revision show 9"):
        assert run(*words.split()).code == 2


def test_reading_a_record_makes_none(run: Run, home: Path) -> None:
    assert run("incident", "list").code == 3
    assert list(home.iterdir()) == []
