"""A configuration is reviewed before it comes into force: by apply, by the API, by the watched file; and --force."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from levelhead import settings
from levelhead.cli import main
from levelhead.control.base import Outcome, Put, Reply, Revise
from levelhead.engines.base import Applied, Capabilities
from levelhead.model import Fleet
from levelhead.plane.loop import FILE_LOOK_S, Plane
from levelhead.plane.shipping import objections, revise
from levelhead.store import Store
from levelhead.telemetry import NO_RECORDS, Missing, Records
from tests.paper_plane import PaperPlane, served
from tests.test_control import MARCH, Day

FINE = "listen: 127.0.0.1:8080\nservers:\n  a: 127.0.0.1:3001\n  b: 127.0.0.1:3002\n"
DEAD = FINE.replace("127.0.0.1:3001", "{address: 127.0.0.1:3001, state: maint}").replace(
    "127.0.0.1:3002", "{address: 127.0.0.1:3002, state: maint}"
)
MEANT = DEAD.replace("servers:\n", "# levelhead: ignore[LH004] closed for the night\nservers:\n")
SENTENCE = "levelhead.yaml:2:1: pool web has no server that can be chosen"


def against(text: str) -> tuple[str, ...]:
    return objections(settings.parse(text, "levelhead.yaml"), text)


def test_a_finding_of_severity_error_is_an_objection_with_its_place() -> None:
    (said,) = against(DEAD)

    assert said.startswith(SENTENCE)
    assert said.endswith("(LH004 pool-cannot-serve)")


def test_a_fine_file_and_one_that_says_why_meet_none() -> None:
    assert against(FINE) == against(MEANT) == ()


def test_the_facts_of_the_file_and_what_its_servers_declare_are_known_to_its_review() -> None:
    tight = "servers:\n  a: {address: 127.0.0.1:1, capacity: 100}\n  b: {address: 127.0.0.1:2, capacity: 100}\n"

    assert against(tight) == ()
    assert any("LH003" in said for said in against(tight + "facts: {peak_rps: 300}\n"))


# -- control ----------------------------------------------------------------------------------------------------------


def day() -> Day:
    made = Day(MARCH.model_copy(update={"events": ()}))
    made.until(10)
    return made


def changed(made: Day) -> Fleet:
    return replace(made.fleet, client="header:X")


def test_what_the_review_objects_to_is_refused_with_its_sentences() -> None:
    made = day()
    reply = made.order(Revise(changed(made), "text", ("a.yaml:1:1: no",)))

    assert isinstance(reply, Reply)
    assert (reply.accepted, reply.objections) == (False, ("a.yaml:1:1: no",))
    assert reply.text.startswith("refused: ship a new configuration (")


def test_a_person_may_insist_and_the_revision_keeps_the_reason() -> None:
    made = day()
    put = made.order(Revise(changed(made), "text", ("a.yaml:1:1: no",)), force="it is a test bed")

    assert isinstance(put, Put)
    assert put.why == "because (forced: it is a test bed; against the objection that a.yaml:1:1: no)"


def test_without_objections_force_is_not_mentioned() -> None:
    made = day()
    put = made.order(Revise(changed(made), "text"), force="just in case")

    assert isinstance(put, Put)
    assert put.why == "because"


# -- the watched file -------------------------------------------------------------------------------------------------


class PaperEngine:
    """An engine that takes every fleet and shows no telemetry."""

    def __init__(self) -> None:
        self.fleets: list[Fleet] = []
        self.capabilities = Capabilities("paper", "1", True, True, 256, 1.0)

    async def validate(self, fleet: Fleet) -> None: ...

    async def start(self, fleet: Fleet) -> Applied:
        return await self.apply(fleet)

    async def apply(self, fleet: Fleet) -> Applied:
        self.fleets.append(fleet)
        return Applied("runtime", 0.0, "it is paper")

    async def sample(self) -> Missing:
        return Missing(0.0, "paper shows nothing")

    def records(self) -> Records:
        return NO_RECORDS

    def alive(self) -> bool:
        return True

    async def restart(self) -> Applied:
        return Applied("start", 0.0, "it is paper")

    async def close(self, *, stop: bool) -> None: ...


@contextlib.asynccontextmanager
async def watching(file: Path, engine: PaperEngine, said: list[str]) -> AsyncIterator[Plane]:
    with Store(file.parent / "store.db") as store:
        plane = Plane(
            settings=settings.load(file), source=FINE, engine=engine, store=store, file=file, told=said.append
        )
        await plane.start()
        try:
            yield plane
        finally:
            await plane.close(stop_proxy=True)


async def rounds(plane: Plane, many: int = 3) -> Outcome:
    """Some ticks, each of which looks at the file as if its time had come."""
    for _ in range(many):
        plane._looked_at -= FILE_LOOK_S
        outcome = await plane.tick()
        await asyncio.sleep(0)
    return outcome


def test_a_watched_file_with_errors_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    file, engine, said = tmp_path / "levelhead.yaml", PaperEngine(), list[str]()
    file.write_text(FINE)

    async def story() -> None:
        async with watching(file, engine, said) as plane:
            await rounds(plane)
            file.write_text(DEAD)
            await rounds(plane)
            assert len(engine.fleets) == 1
            (note,) = plane.status().notes
            assert note.startswith(f"refused, the old configuration stays: {tmp_path}/{SENTENCE}")
            assert said == [note]
            file.write_text(MEANT)
            await rounds(plane)
            assert len(engine.fleets) == 2
            assert plane.status().notes == ()

    asyncio.run(story())


# -- the command ------------------------------------------------------------------------------------------------------


def test_apply_refuses_with_code_4_until_somebody_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVELHEAD_HOME", str(tmp_path))
    monkeypatch.delenv("LEVELHEAD_INSTANCE", raising=False)
    (tmp_path / "default").mkdir()
    file = tmp_path / "levelhead.yaml"
    file.write_text(DEAD)
    with served(PaperPlane(), tmp_path / "default" / "api.sock"):
        refused = main(["apply", str(file), "--json"])
        out, err = capsys.readouterr()
        forced = main(["apply", str(file), "--force", "a test bed", "--json"])
        taken = json.loads(capsys.readouterr().out)

    assert (refused, forced) == (4, 0)
    assert "LH004 pool-cannot-serve" in json.loads(out)["objections"][0]
    assert "--force REASON" in err
    assert taken["accepted"]


def test_the_wish_carries_text_and_fleet_as_they_are() -> None:
    loaded = settings.parse(FINE, "levelhead.yaml")
    assert revise(loaded, FINE) == Revise(loaded.fleet, FINE, ())
