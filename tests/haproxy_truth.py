"""A started HAProxy says which servers it has; the reader must say the same of its configuration.

HAProxy runs in a network namespace of its own that has no network at all, so that no health check leaves it.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from levelhead.engines.haproxy import syntax
from levelhead.engines.haproxy.keywords import HEADERS
from levelhead.engines.haproxy.picture import Proxy, Reading, ServerLine

ENABLED, AGENT_ENABLED = 0x04, 0x04
CONFIG_MAINT, RESOLUTION_MAINT = 0x04, 0x20
DEADLINE_S, PAUSE_S = 8.0, 0.01
_DROPPED_GLOBALS = frozenset({
    "chroot", "user", "group", "uid", "gid", "daemon", "pidfile", "master-worker", "stats", "maxconn", "ulimit-n",
    "cpu-map", "nbthread", "server-state-file", "server-state-base", "fd-hard-limit", "thread-groups", "thread-group",
    "mworker-max-reloads", "localpeer", "expose-experimental-directives", "default-path", "log",
})  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One server, in the words of `show servers state` and `show stat`."""

    name: str
    number: int
    address: str
    fqdn: str
    port: int
    weight: int
    backup: bool | None
    checked: bool
    asked: bool
    disabled: bool
    ssl: bool
    check_port: int
    check_host: str
    agent_port: int
    agent_host: str
    maxconn: int | None
    maxqueue: int | None
    cookie: str | None


def sealed() -> list[str]:
    """The command prefix that takes the network away; empty where this user may not."""
    return list(_sealed())


@functools.cache
def _sealed() -> tuple[str, ...]:
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    for prefix in ((unshare, "-n"), (unshare, "-rn")):
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    return ()


def runnable(text: str, folder: Path) -> str:
    """The same configuration with listeners on paths in a folder, without what needs privileges, servers untouched.

    Servers with a host name get `init-addr none`: there is nobody to ask for it.
    """
    tree = syntax.parse(text)
    out: list[str] = []
    section, binds = "", 0
    for line in tree.lines:
        if line.keyword in HEADERS:
            section = line.keyword
        if section == "global" and line.keyword in _DROPPED_GLOBALS:
            continue
        if (
            line.keyword in ("log", "unique-id-format", "log-format", "errorfile", "stats-file")
            and section != "http-errors"
        ):
            continue
        if line.keyword == "bind" and section in ("frontend", "listen"):
            for _ in line.words[1].text.split(","):
                binds += 1
                out.append(f"    bind unix@{folder}/b{binds}\n")
            continue
        if line.keyword in ("server", "server-template") and section in ("backend", "listen"):
            at = 2 if line.keyword == "server" else 3
            if len(line.words) > at and not any(w.text == "init-addr" for w in line.words):
                out.append(line.text.split("#")[0].rstrip() + " init-addr last,libc,none\n")
                continue
        out.append(line.text if line.text.endswith("\n") else line.text + "\n")
    return "".join(out)


def checked(binary: str, path: Path) -> bool:
    said = subprocess.run([*sealed(), binary, "-c", "-f", str(path)], capture_output=True, check=False)
    return said.returncode == 0


@contextlib.contextmanager
def started(binary: str, text: str, folder: Path) -> Iterator[Path | None]:
    """The statistics socket of an HAProxy that runs this text; None if it does not come up."""
    control, config = folder / "control", folder / "haproxy.cfg"
    config.write_text(f"global\n    stats socket {control} level admin\n    nbthread 1\n{text}")
    process = subprocess.Popen(
        [*sealed(), binary, "-db", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(round(DEADLINE_S / PAUSE_S)):
            if process.poll() is not None or _answers(control):
                break
            time.sleep(PAUSE_S)
        yield control if process.poll() is None and _answers(control) else None
    finally:
        process.kill()
        process.wait()


def _answers(control: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(control))
        return True
    return False


def ask(control: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect(str(control))
        talk.sendall(command.encode() + b"\n")
        talk.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: talk.recv(1 << 18), b"")).decode(errors="replace")


def truth(control: Path) -> dict[str, dict[str, Row]]:
    """Rows by pool and server, as HAProxy has them."""
    stats = {(row["pxname"], row["svname"]): row for row in csv.DictReader(io.StringIO(ask(control, "show stat")[2:]))}
    found: dict[str, dict[str, Row]] = {}
    for line in ask(control, "show servers state").splitlines():
        words = line.split(" ")
        if len(words) < 25 or words[0].startswith("#") or words[2] == "0":
            continue
        pool, name = words[1], words[3]
        if (pool, "BACKEND") not in stats:
            continue  # a disabled one
        stat = stats.get((pool, name), {})
        port = int(words[18])
        found.setdefault(pool, {})[name] = Row(
            name, int(words[2]), words[4], "" if words[17] == "-" else words[17],
            port - (1 << 32) if port > 65535 else port,
            int(words[8]), stat["bck"] == "1" if stat else None, bool(int(words[13]) & ENABLED),
            bool(int(words[14]) & AGENT_ENABLED), bool(int(words[6]) & CONFIG_MAINT), words[20] == "1", int(words[21]),
            words[22], int(words[24]), words[23], int(stat["slim"] or 0) if stat else None,
            int(stat["qlimit"] or 0) if stat else None, stat.get("cookie"),
        )  # fmt: skip
    return found


def algorithms(control: Path) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(ask(control, "show stat")[2:]))
    return {row["pxname"]: row["algo"] for row in rows if row["svname"] == "BACKEND"}


def ours(reading: Reading) -> dict[str, dict[str, Row]]:
    return {
        p.name: {s.name: _row(p, s) for s in p.servers}
        for p in reading.pools() if p.servers and not p.disabled
    }  # fmt: skip


def _row(pool: Proxy, server: ServerLine) -> Row:
    where = server.address
    shown = where.host if where.family in ("ip4", "ip6") else "-"
    if where.family == "any":
        shown = where.host or "0.0.0.0"
    return Row(
        server.name, server.number, shown, where.host if where.family == "name" else "", server.port, server.weight,
        server.backup, server.check.enabled, server.agent.enabled, server.disabled, server.ssl, server.check.port,
        server.check.host or "-", server.agent.port, server.agent.host or "-", server.maxconn or 0,
        server.maxqueue or 0,
        server.cookie,
    )  # fmt: skip


def differences(binary: str, text: str, reading: Reading, folder: Path) -> list[str] | None:
    """What the started HAProxy says otherwise; None if it does not start."""
    with started(binary, text, folder) as control:
        if control is None:
            return None
        theirs, algos = truth(control), algorithms(control)
    mine = ours(reading)
    found = []
    for pool in sorted(theirs.keys() | mine.keys()):
        a, b = theirs.get(pool, {}), mine.get(pool, {})
        for name in sorted(a.keys() | b.keys()):
            found += _differing(f"{pool}/{name}", a.get(name), b.get(name))
    for proxy in reading.pools():
        said = algos.get(proxy.name)
        if said and proxy.servers and not _same_algorithm(said, proxy.algorithm):
            found.append(f"{proxy.name}: algorithm {said} != {proxy.algorithm}")
    return found


def _same_algorithm(said: str, mine: str) -> bool:
    known = {"static-rr": "roundrobin", "random": "random", "hdr": "hdr", "rdp-cookie": "rdp-cookie"}
    return said in (mine, known.get(mine), "unknown") or said.startswith(mine)


def _differing(place: str, theirs: Row | None, mine: Row | None) -> list[str]:
    if theirs is None or mine is None:
        return [f"{place}: only {'HAProxy' if mine is None else 'the reader'} has it"]
    found = []
    for name in Row.__dataclass_fields__:
        a, b = getattr(theirs, name), getattr(mine, name)
        if name == "address" and theirs.fqdn and a != b:
            continue  # what a name resolves to is not in the file
        if a is not None and a != b:
            found.append(f"{place}: {name} is {a!r}, the reader says {b!r}")
    return found


def side_by_side(jobs: list[tuple[str, str, Reading, Path]], workers: int = 3) -> list[list[str] | None]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: differences(*job), jobs))


def loopback_only(text: str) -> bool:
    """No address of another machine in it: safe to start even where the network cannot be taken away."""
    return all(ip.startswith(("127.", "0.0.0.0")) for ip in re.findall(r"\d+\.\d+\.\d+\.\d+", text))
