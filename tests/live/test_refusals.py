"""What cannot be is refused in one clear message, and changes nothing; a full disk and Ctrl-C leave order behind."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import Backends
from tests.live.free import free_port
from tests.live.outside import Done, Home, Running, answers, at_home, fleet_text, wait_until

pytestmark = pytest.mark.live

SERVERS = "servers: {a: 127.0.0.1:3001, b: 127.0.0.1:3002}"


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    with at_home(request) as home:
        yield home


def refused(done: Done, *said: str) -> None:
    """One message on stderr, with the next step, and nothing on stdout."""
    assert (done.code, done.out) == (2, ""), done
    assert [word for word in said if word not in done.err] == [], done.err
    first, *rest = done.err.strip().splitlines()
    assert first.startswith("error: ")
    assert [line.startswith("  next: ") for line in rest] == [True], done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"listen: 127.0.0.1:9\n{SERVERS}\npolcy: random\n", ("bad.yaml:3:1: ", "unknown key 'polcy'")),
        (f"pools:\n  web:\n    {SERVERS}\n    slow_start_s: soon\n", ("bad.yaml:4:19: ", "must be a number", "'soon'")),
        (f"pools:\n  web:\n    {SERVERS}\n    intent: {{explicit: {{a: 1, b: 1, c: 2}}}}\n",
         ("bad.yaml:4:", "web has no server 'c'")),
        ("listen: 127.0.0.1:99999\nservers: [127.0.0.1:3001]\n", ("bad.yaml:1:9: ", "a number from 1 to 65535")),
        ("servers: [127.0.0.1:3001, 127.0.0.1]\n", ("bad.yaml:1:27: ", "has no port")),
        ("servers: [127.0.0.1:3001\n", ("bad.yaml:2:1: ", "this is not YAML")),
        ("", ("bad.yaml: ", "the file holds no settings")),
        (b"servers: [127.0.0.1:3001]\n# caf\xe9\n", ("bad.yaml:2:6: ", "this is not UTF-8 text")),
        (None, ("bad.yaml: ", "there is no such file")),
        ("FOLDER", ("bad.yaml: ", "this is a folder")),
    ],
    ids=["key", "type", "server-in-intent", "port", "address", "syntax", "empty", "bytes", "absent", "folder"],
)  # fmt: skip
def test_a_bad_file_is_refused_at_its_line(home: Home, text: str | bytes | None, said: tuple[str, ...]) -> None:
    file = home.folder / "bad.yaml"
    if text == "FOLDER":
        file.mkdir()
    elif text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    refused(home.do("run", str(file)), *said)

    assert not home.path.exists(), "nothing was begun"


def test_what_stands_in_the_way_of_a_start_is_said(home: Home, backends: Backends) -> None:
    (server,), port = backends(1), free_port()
    flags = ("--server", f"127.0.0.1:{port}", "--listen", f"127.0.0.1:{server.port}")

    refused(home.do("run", *flags), f"cannot listen on 127.0.0.1:{server.port}", "is in use by python")
    assert home.left() == {}
    refused(home.do("run", "--server", "127.0.0.1", *flags[2:]), "--server: '127.0.0.1' has no port")

    home.path = home.folder / ("x" * 90)
    refused(home.do("run", *flags), "too long for the sockets", "LEVELHEAD_HOME")
    assert not home.path.exists()
    home.path = home.folder / "a-file"
    home.path.write_text("")
    refused(home.do("run", *flags), "cannot be used: Not a directory", "LEVELHEAD_HOME")


def test_bad_changes_of_a_running_one_change_nothing(home: Home, backends: Backends) -> None:
    servers, port = backends(2), free_port()
    file, other = home.folder / "levelhead.yaml", home.folder / "bad.yaml"
    good = fleet_text(port, servers)
    serving = begun(home, good)
    proxy, watch = home.haproxy(), watching(home)

    other.write_text(good + "polcy: random\n")
    refused(home.do("apply", str(other)), f"{other}:8:1: ", "unknown key 'polcy'")
    other.write_text(good.replace(f":{port}", f":{servers[0].port}").replace(f"s1: 127.0.0.1:{servers[0].port}", ""))
    refused(home.do("apply", str(other)), "bad.yaml:1:", "is in use by python")
    refused(home.do("run", str(file)), "an instance called default is running already", "status")

    for text, said in (
        (f"{good}polcy: random\n", "levelhead.yaml:8:1: unknown key 'polcy'"),
        (other.read_text(), "cannot listen on"),
        ("servers: [caf\udce9]\n", "levelhead.yaml:1:14: this is not UTF-8 text"),
        (None, "cannot be read: No such file or directory"),
    ):
        edited(file, text)
        wait_until(lambda said=said: said in " ".join(notes(watch)), said)  # type: ignore[misc]
        assert all(note.startswith("refused, the old configuration stays: ") for note in notes(watch))
    assert "unknown key 'polcy'" in serving.err, "the terminal says it too"

    status = watch.lines()[-1]
    assert (status["revision"], home.haproxy()) == (1, proxy)
    assert status["listeners"] == [f"http://127.0.0.1:{port}"]
    edited(file, good)
    wait_until(lambda: notes(watch) == [], "peace")
    edited(file, good.replace("rise: 2", "rise: 3"))
    wait_until(lambda: watch.lines()[-1]["revision"] == 2, "the next good edit")
    wait_until(lambda: "revision 2 in force by reload" in serving.err, "what became of it")
    assert serving.end().code == 0


def test_a_full_disk_stops_nothing_and_is_said(home: Home, backends: Backends) -> None:
    servers, port = backends(2), free_port()
    serving = begun(home, fleet_text(port, servers))
    watch = watching(home)
    soft, hard = resource.prlimit(serving.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(serving.pid, resource.RLIMIT_FSIZE, (1, hard))
    servers[0].kill()
    wait_until(lambda: any("the record cannot be written" in note for note in notes(watch)), "the note")
    incident = home.told("incident", "show", "INC-1")
    assert incident["phase"] in ("identified", "monitoring"), "it is judged all the same"

    done = home.do("server", "drain", "s1", "--why", "it is dead")
    assert (done.code, "cannot be written" in done.err) == (3, True), "HAProxy's file could not be written"
    assert home.told("status")["revision"] == 1
    assert answers(port)
    servers[0].start()
    wait_until(lambda: watch.lines()[-1]["pools"][0]["incident"] is None, "its end")
    assert home.do("incident", "list", "--json").json["incidents"] == [], "nothing of it is stored yet"

    resource.prlimit(serving.pid, resource.RLIMIT_FSIZE, (soft, hard))
    wait_until(lambda: notes(watch) == [], "that it is written")
    stored = home.told("incident", "show", "INC-1")
    assert (stored["phase"], stored["clocks"]["resolved"] is not None) == ("resolved", True)
    assert home.do("server", "weight", "s1", "90", "--why", "to see").code == 0
    assert serving.end().code == 0
    assert home.told("incident", "list")["incidents"][0]["phase"] == "resolved"


@pytest.mark.parametrize(
    ("how", "after_s"), [(signal.SIGINT, 0.2), (signal.SIGINT, 2.0), (signal.SIGINT, 6.0), (signal.SIGTERM, 4.0)]
)
def test_ctrl_c_at_any_moment_leaves_nothing_behind(
    request: pytest.FixtureRequest, how: signal.Signals, after_s: float
) -> None:
    with at_home(request) as one, at_home(request) as other:
        playing = {one: one.start("demo"), other: other.start("drill", "play", "march-10")}
        at = time.monotonic() + after_s
        for home, running in playing.items():
            wait_until(lambda pid=running.pid: is_under_way(pid, at), "its beginning")  # type: ignore[misc]
            done = running.end(how, group=how is signal.SIGINT)

            # A shell shows both as the same: the interpreter ends by the signal itself if it came in mid-import.
            assert done.code in (128 + how, -how)
            assert home.left() == {}
            assert not (home.folder / "postmortems").exists()


def begun(home: Home, text: str) -> Running:
    file = home.folder / "levelhead.yaml"
    file.write_text(text)
    serving = home.start("run", str(file), "--json")
    serving.first()
    return serving


def watching(home: Home) -> Running:
    watch = home.start("status", "--watch", "--json")
    watch.first()
    return watch


def is_under_way(pid: int, at: float) -> bool:
    """Whether it is time, and the interpreter has had enough of a processor to be past its own start."""
    words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    processor_s = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return time.monotonic() >= at and processor_s >= 0.15


def notes(watch: Running) -> list[str]:
    """What the status says besides, at its last refresh."""
    return list(watch.lines()[-1]["notes"])


def edited(file: Path, text: str | None) -> None:
    """The whole new file in place of the old one, as editors do it; None: it is gone."""
    if text is None:
        file.unlink()
        return
    fresh = file.with_suffix(".new")
    fresh.write_text(text, errors="surrogateescape")
    fresh.replace(file)
