"""The reader against HAProxy itself: what a started proxy says of its servers, and what `-c` says of a line."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from levelhead.engines.haproxy.picture import Reading
from levelhead.engines.haproxy.preprocess import Setup
from levelhead.engines.haproxy.reading import read
from tests.engines.haproxy.test_corpus import REFUSED_BY_HAPROXY
from tests.haproxy_truth import checked, loopback_only, ours, runnable, sealed, side_by_side

pytestmark = pytest.mark.live
CORPUS: Final = Path(__file__).parents[2].parent / "shared/corpus/configs"
BINARY: Final = shutil.which("haproxy") or ""
VERSION: Final = (2, 6)
ENOUGH: Final = 110
needs_haproxy = pytest.mark.skipif(not BINARY, reason="no haproxy on PATH")


@pytest.fixture
def folder() -> Iterator[Path]:
    # Socket paths have room for 107 bytes; pytest's own folders are too deep for that.
    path = Path(mkdtemp(prefix="lh"))
    yield path
    shutil.rmtree(path)


@needs_haproxy
@pytest.mark.skipif(not CORPUS.exists(), reason="no corpus beside the repository")
def test_servers_of_real_files_are_those_of_the_started_proxy(folder: Path) -> None:
    with (CORPUS / "index.csv").open() as index:
        names = [
            r["file"]
            for r in csv.DictReader(index)
            if r["engine"] == "haproxy" and r["engine_check"] in ("ok", "ok-warn")
        ]
    jobs: list[tuple[str, str, Reading, Path]] = []
    for number, name in enumerate(names):
        if len(jobs) == ENOUGH:
            break
        place = folder / str(number)
        text = runnable((CORPUS / name).read_bytes().decode("utf-8", "surrogateescape"), place)
        reading = read({name: text}, Setup(version=VERSION))
        if ours(reading) and (sealed() or loopback_only(text)):
            place.mkdir()
            jobs.append((BINARY, text, reading, place))
    found = side_by_side(jobs)
    servers = sum(
        len(rows)
        for job, result in zip(jobs, found, strict=True)
        if result is not None
        for rows in ours(job[2]).values()
    )
    compared = sum(result is not None for result in found)
    print(f"\n{compared} of {len(jobs)} files started, {servers} servers compared")

    assert [line for result in found if result for line in result] == []
    assert compared >= (100 if sealed() else 30)


@needs_haproxy
@pytest.mark.parametrize("line", sorted(REFUSED_BY_HAPROXY))
def test_lines_that_another_parser_takes_and_the_reader_does_not_are_refused(line: str, folder: Path) -> None:
    path = folder / "one.cfg"
    use = " server a 127.0.0.1:80 check\n" if line.startswith("default-server") else ""
    path.write_text(f"backend b\n {line}\n{use}frontend f\n bind unix@{folder}/f\n")
    assert not checked(BINARY, path)
    assert read({"one.cfg": path.read_text()}).errors


NAMES = st.sampled_from(["a", "b-1", "s_2", "web.3", "x:4", "A", "srv10"])
ADDRESSES = st.sampled_from([
    "127.0.0.1", "127.0.0.1:80", "127.0.0.2:8080", "[::1]:81", "ipv6@::1:82", "[::1]", "127.0.0.3:+10",
    "127.0.0.3:-5", ":8081",
    "*:9", "/tmp/none.sock", "unix@/tmp/none", "abns@none", "ipv4@127.0.0.4:443", "tcp4@127.0.0.5:1", "localhost:80",
    "nowhere.invalid:7",
    '"127.0.0.${N}:8${N}"', "::1:83", "0.0.0.0:80",
])  # fmt: skip
TIMES = st.sampled_from(["1", "150ms", "2s", "3m", "1h", "1d", "900us"])
OPTIONS = st.one_of(
    st.sampled_from([
        "check", "no-check", "backup", "no-backup", "disabled", "enabled", "agent-check agent-port 7",
        "no-agent-check", "ssl verify none",
        "no-ssl", "non-stick", "stick", "send-proxy", "send-proxy-v2", "no-send-proxy", "check-ssl", "no-check-ssl",
        "check-send-proxy",
        "observe layer4", "on-error mark-down", "error-limit 4", "on-marked-down shutdown-sessions", "tfo", "weight",
        "maxconn 12abc",
    ]),
    st.integers(0, 256).map("weight {}".format),
    st.integers(0, 5000).map("maxconn {}".format),
    st.integers(0, 500).map("maxqueue {}".format),
    st.integers(1, 9).map("fall {}".format),
    st.integers(1, 9).map("rise {}".format),
    st.integers(1, 65535).map("port {}".format),
    st.integers(1, 65535).map("agent-port {}".format),
    st.sampled_from(["addr 127.0.0.9", "addr ::1", "agent-addr 127.0.0.8", "addr 127.0.0.7:80"]),
    st.sampled_from(["cookie c1", "cookie 'c 2'", 'cookie "c$N"']),
    st.tuples(st.sampled_from(["inter", "fastinter", "downinter", "slowstart", "agent-inter"]), TIMES).map(" ".join),
)  # fmt: skip
OPTION_LISTS = st.lists(OPTIONS, max_size=6).map(" ".join)


@st.composite
def servers(draw: st.DrawFn) -> list[str]:
    """Lines of one backend: servers with names of their own, templates, default-server lines in between."""
    lines: list[str] = []
    used: set[str] = set()
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["server", "server", "server", "server-template", "default-server"]))
        given_options = draw(OPTION_LISTS)
        if kind == "default-server":
            lines.append(f"    default-server {given_options or 'inter 5s'}")
            continue
        name = f"{draw(NAMES)}{number}"
        used.add(name)
        address = draw(ADDRESSES)
        lookup = (
            " init-addr libc,none"
            if any(c.isalpha() for c in address) and ("local" in address or "nowhere" in address)
            else ""
        )
        if kind == "server":
            ident = draw(st.sampled_from(["", "", "", f" id {10 + number * 7}"]))
            lines.append(f"    server {name} {address} {given_options}{lookup}{ident}")
        else:
            span = draw(st.sampled_from(["1", "3", "2-4", "0-1"]))
            lines.append(f"    server-template {name.replace(':', '_')}- {span} {address} {given_options}{lookup}")
    if used and draw(st.integers(0, 5)) == 0:
        lines.append(f"    server tracker 127.0.0.1:1 track {min(used)}")
    return lines


@st.composite
def configurations(draw: st.DrawFn) -> str:
    """Defaults sections, named and not, and backends on them; `{p}` stands where names must differ between files."""
    parts: list[str] = []
    named: list[str] = []
    for number in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(["", f"{{p}}d{number}"]))
        parts.append(f"defaults {name}" if name else "defaults")
        named += [name] if name else []
        parts.append(f"    default-server {draw(OPTION_LISTS)}" if draw(st.booleans()) else "    timeout connect 1s")
        parts[-1] = parts[-1] if parts[-1].strip() != "default-server" else "    timeout server 2s"
        if draw(st.booleans()):
            parts.append(f"    balance {draw(st.sampled_from(['leastconn', 'source', 'first', 'static-rr', 'uri']))}")
        parts.append("    mode http")
    if not parts:
        parts = ["defaults", "    mode tcp"]
    for number in range(draw(st.integers(1, 3))):
        explicit = draw(st.booleans())
        heir = f" from {draw(st.sampled_from(named))}" if named and explicit else ""
        kind = draw(st.sampled_from(["backend", "backend", "backend", "listen"]))
        parts.append(f"{kind} {{p}}b{number}{heir}")
        if draw(st.integers(0, 7)) == 0:
            parts.append("    disabled")
        if draw(st.integers(0, 3)) == 0:
            parts.append("    balance roundrobin")
        parts += draw(servers())
    return "\n".join(parts) + "\n"


_COUNT = {"configurations": 0, "servers": 0, "refused": 0}


@needs_haproxy
@settings(
    max_examples=18,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(configurations(), min_size=22, max_size=22))
def test_servers_of_any_configuration_are_those_of_the_started_proxy(found: list[str]) -> None:
    """Many in one proxy: each brings its own defaults. The reader refuses what HAProxy refuses."""
    folder = Path(mkdtemp(prefix="lh"))
    try:
        _compare(found, folder)
    finally:
        shutil.rmtree(folder)


def _compare(found: list[str], folder: Path) -> None:
    variables = {"N": "6"}
    head = "global\n    setenv N 6\n"
    accepted = []
    for number, body in enumerate(found):
        text = body.replace("{p}", f"p{number}")
        path = folder / "one.cfg"
        path.write_text(head + text + "defaults\nfrontend f\n    bind unix@/tmp/none.sock\n")
        reading = read({"one.cfg": path.read_text()}, Setup(version=VERSION))
        fits = checked(BINARY, path)
        assert fits == (not reading.errors), (text, [p.sentence for p in reading.errors])
        if fits:
            accepted.append(text)
        else:
            _COUNT["refused"] += 1
    whole = "".join([head, *accepted, "defaults\nfrontend all\n    bind unix@" + str(folder / "f") + "\n"])
    reading = read({"whole.cfg": whole}, Setup(variables=variables, version=VERSION))
    (result,) = side_by_side([(BINARY, whole, reading, folder)])

    assert result == []
    _COUNT["configurations"] += len(accepted)
    _COUNT["servers"] += sum(len(rows) for rows in ours(reading).values())


@needs_haproxy
def test_enough_configurations_were_compared() -> None:
    """How many HAProxy takes depends on the lot, which differs with what else was imported; a good third is enough."""
    print(f"\n{_COUNT}")
    tried = _COUNT["configurations"] + _COUNT["refused"]
    assert _COUNT["configurations"] >= tried / 3
