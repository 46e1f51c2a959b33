"""Records what a real HAProxy says, for the tests of stats: `python -m tests.engines.haproxy.record`.

One pool in every state at once: a server that is fine, one drained, one in maintenance, one that refuses, one that
closes without an answer, one without a check in a pool of its own, requests in flight and requests that wait.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from levelhead.engines.haproxy import talk
from levelhead.engines.haproxy.driver import HAProxyEngine
from levelhead.engines.haproxy.process import Binary, every_binary
from levelhead.model import Admin, Check, Fleet, Limits, Listener, Pool, RoundRobin, Route, Server
from tests.live.conftest import Backend, ask, until
from tests.live.free import free_port

RECORDED = Path(__file__).parent / "recorded"
NAMES = ("fine", "drained", "away", "down", "closes", "slow", "plain")


def fleet(port: int, ports: dict[str, int]) -> Fleet:
    """The fleet that was recorded; with any ports it has the same rows."""
    admins = {"drained": Admin.DRAIN, "away": Admin.MAINT}
    members = tuple(
        Server(n, "127.0.0.1", ports.get(n, 1), weight=w, admin=admins.get(n, Admin.READY))
        for n, w in (("fine", 30.0), ("drained", 100.0), ("away", 100.0), ("down", 100.0), ("closes", 10.0))
    )
    check = Check(path="/health", interval_s=0.2, fall=2, rise=2)
    web = Pool("web", members, RoundRobin(), check=check, slow_start_s=0.0)
    slow = Pool("slow", (Server("slow", "127.0.0.1", ports.get("slow", 1)),), check=Check(), limits=Limits(2, 3))
    plain = Pool("plain", (Server("plain", "127.0.0.1", ports.get("plain", 1), weight=0.5),), check=None)
    routes = (Route("slow", None, "/sleep"), Route("plain", None, "/plain"), Route("web"))
    return Fleet((Listener("main", "127.0.0.1", port, routes),), (web, slow, plain))


@contextmanager
def servers() -> Iterator[dict[str, Backend]]:
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Backend(name, Path(folder)) for name in NAMES}
        for backend in made.values():
            backend.start()
        made["down"].kill()
        yield made
        for backend in made.values():
            backend.kill()


async def record(binary: Binary, folder: Path, backends: dict[str, Backend]) -> None:
    port = free_port()
    wanted = fleet(port, {name: b.port for name, b in backends.items()})
    engine = HAProxyEngine(folder, binary=binary)
    await engine.start(wanted)
    try:
        await ask(port, 8)  # one of the ten refused connections that the down server is given before its check fails
        for _ in range(3):
            await ask(port, 1, "/close")
            await ask(port, 1, "/close", "POST")
        await ask(port, 3, "/status/503")
        await ask(port, 2, "/plain")
        users = [asyncio.create_task(ask(port, 1, "/sleep/1.5")) for _ in range(7)]
        socket = folder / "haproxy.sock"

        async def settled() -> bool:
            (stat,) = await talk.ask(socket, ("show stat",))
            return "\nslow,BACKEND,3," in stat and re.search(r"^web,down,.*,DOWN,", stat, re.M) is not None

        await until(settled)
        into = RECORDED / ".".join(str(n) for n in binary.version[:2])
        said = await talk.ask(socket, ("show info", "show stat -1 6 -1", "show servers state"))
        processes = await talk.ask_master(folder / "master.sock", "show proc")
        for name, text in zip(("info", "stat", "states", "proc"), (*said, processes), strict=True):
            write(into, name, text)
        await asyncio.gather(*users)
    finally:
        await engine.close(stop=True)


def write(into: Path, name: str, text: str) -> None:
    into.mkdir(parents=True, exist_ok=True)
    clean = re.sub(r"(?m)^(node|Node|description): .*$", r"\1: here", text)
    (into / f"{name}.txt").write_text(clean)


def main() -> None:
    for binary in every_binary():
        with tempfile.TemporaryDirectory() as folder, servers() as started:
            asyncio.run(record(binary, Path(folder), started))


if __name__ == "__main__":
    main()
