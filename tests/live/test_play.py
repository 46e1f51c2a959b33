"""levelhead drill play: one person on call mends March 10 by the command line alone, another makes it worse first."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from levelhead.lab.library import scenarios
from tests.live.outside import Done, Home, Running, at_home

pytestmark = pytest.mark.live

# Far more than it takes; a slow machine gets them.
MINUTES = "4"
ALERT_S = 60.0
WELL_S = 100.0


@dataclass(frozen=True)
class Played:
    """What the play came to, and what each command answered on the way."""

    debrief: Done
    answers: dict[str, Done]
    postmortem: str


class OnCall:
    """A person with a terminal: every command is kept under a name."""

    def __init__(self, home: Home) -> None:
        self.home, self.answers = home, dict[str, Done]()

    def asks(self, name: str, *args: str) -> Done:
        self.answers[name] = self.home.do(*args, "--json")
        return self.answers[name]

    def sees(self, *args: str) -> dict[str, Any]:
        return self.home.told(*args)

    def waits_for(self, seen: Callable[[], bool], within_s: float) -> None:
        end = time.monotonic() + within_s
        while not seen():
            assert time.monotonic() < end, "it did not come in time"
            time.sleep(0.3)

    def is_paged(self) -> str:
        """Looks at the list of incidents until there is one."""

        def paged() -> bool:
            done = self.asks("incident list", "incident", "list")
            return done.code == 0 and bool(done.json["incidents"])

        self.waits_for(paged, ALERT_S)
        return str(self.answers["incident list"].json["incidents"][0]["id"])

    def sees_users_well(self) -> bool:
        return self.sees("status")["pools"][0]["phase"] in ("monitoring", None)

    def sees_effect(self, incident: str) -> bool:
        """Whether what was done last has been measured."""
        actions = self.asks("measured", "incident", "show", incident).json["actions"]
        return bool(actions and actions[-1]["effect"])


def mend(person: OnCall) -> None:
    incident = person.is_paged()
    person.asks("ack", "incident", "ack", incident, "--why", "I am looking")
    servers = person.sees("server", "list")["pools"][0]["servers"]
    assert person.sees("status")["because"] == "you are on call: Levelhead looks on and says nothing"
    assert max(servers, key=lambda s: s["observed"])["name"] == "server-1"
    newest, before = person.sees("revision", "list")["revisions"]
    assert (newest["author"], newest["in_force"], before["number"]) == ("deploy", True, 1)
    # Whether revision 1 had time to prove itself depends on the machine.
    if person.asks("rollback", "rollback").code == 4:
        person.asks("rollback", "rollback", "--to", str(before["number"]), "--why", "server-1 gets most of it")
    person.waits_for(person.sees_users_well, WELL_S)
    person.waits_for(lambda: person.sees_effect(incident), WELL_S)
    person.asks("resolve", "incident", "resolve", incident, "the weights were wrong")


def worsen(person: OnCall) -> None:
    incident = person.is_paged()
    person.asks("drain", "server", "drain", "server-2", "--why", "it idles")
    person.asks("another drain", "server", "drain", "server-3", "--why", "it idles too")
    person.asks("refused", "incident", "show", incident)
    person.asks("forced", "server", "drain", "server-2", "--why", "it idles", "--force", "I know better")
    person.waits_for(lambda: person.sees_effect(incident), WELL_S)
    person.asks("revisions", "revision", "list")
    person.asks("rollback", "rollback", "--to", "1", "--why", "that was wrong")
    # It is closed without a word of anybody, when users have been well for a while.


def play(home: Home, script: Callable[[OnCall], None]) -> Played:
    """The play in one terminal, the script in another."""
    file = home.folder / "quick.yaml"
    text = scenarios()["march-10"].replace("at_s: 15", "at_s: 6")
    # With six workers, what has piled up before a server is worked off in seconds.
    file.write_text(text.replace("workers: 4", "workers: 6"))
    terminal: Running = home.start("drill", "play", str(file), "--minutes", MINUTES)
    person = OnCall(home)
    try:
        script(person)
    except BaseException:
        terminal.end()
        raise
    debrief = terminal.wait(60.0)
    return Played(debrief, person.answers, home.do("incident", "postmortem", "INC-1").out)


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[str, Played]]:
    """Both at the same time, each in a home of their own."""
    with ExitStack() as homes, ThreadPoolExecutor(2) as threads:
        scripts = {"mended": mend, "worsened": worsen}
        work = {name: threads.submit(play, homes.enter_context(at_home(request)), s) for name, s in scripts.items()}
        yield {name: future.result() for name, future in work.items()}


def test_who_rolls_back_mends_it(played: dict[str, Played]) -> None:
    mended = played["mended"]
    assert mended.debrief.code == 0
    assert {name: done.code for name, done in mended.answers.items()} == dict.fromkeys(mended.answers, 0)
    said = mended.debrief.err
    assert [word for word in ("ALERT INC-1: server-1 got", "INC-1: closed") if word not in said] == []


def test_who_drains_the_healthy_is_refused_with_reasons_and_recorded_who_insists(played: dict[str, Played]) -> None:
    answers = played["worsened"].answers
    for drain in (answers["drain"], answers["another drain"]):
        assert (drain.code, drain.json["accepted"]) == (4, False)
        assert "server-1 would get 82% of requests" in drain.json["objections"][0]
        assert "to do it all the same, say why: --force REASON" in drain.err
    refusals = [e for e in answers["refused"].json["entries"] if e["kind"] == "refusal"]
    assert ["server-2" in refusals[0]["text"], "server-3" in refusals[1]["text"]] == [True, True]

    assert answers["forced"].code == 0
    (action,) = answers["measured"].json["actions"]
    assert action["who"] == refusals[0]["who"] != "levelhead"
    assert "forced: I know better; against the objection that server-1 would get 82%" in action["because"]
    assert "before;" in action["effect"]
    assert re.search(r"largest share (7[5-9]|8\d)% \(server-1\) 5 s later", action["effect"])
    revision = answers["revisions"].json["revisions"][0]
    assert (revision["number"], revision["author"]) == (3, action["who"])
    assert "forced: I know better" in revision["why"]


def test_the_record_at_the_end_tells_what_was_done(played: dict[str, Played]) -> None:
    words = ("alert after", "first action after", "users well after", "users harmed", "requests harmed",
             "you", "nobody", "levelhead", "what you did", "at the end no incident was open",
             "what really happened: A weight change sends most users to one server", "weight-typo-skew at")  # fmt: skip
    own = {
        "mended": ("INC-1 acknowledged: I am looking", "roll back to revision 1", "5 s later",
                   "INC-1 closed: the weights were wrong"),
        "worsened": ("refused: drain server-2 in web", "refused: drain server-3 in web", "forced: I know better",
                     "because: server-1 would get 82% of requests", "roll back to revision 1", "why: that was wrong"),
    }  # fmt: skip
    for name, record in played.items():
        assert [word for word in (*words, *own[name]) if word not in record.debrief.out] == []
        rows = {line.split("  ")[0]: line.split("  ")[1:] for line in record.debrief.out.splitlines()}
        assert not any("never" in cell for cell in rows["users well after"][:1])
        assert "roll back to revision 1" in record.postmortem
