"""Configuration changes under traffic: edited files and `levelhead apply`, at run time and by reload, lose nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.live.conftest import Backend, Backends
from tests.live.free import free_port
from tests.live.outside import Done, Home, Traffic, at_home, fleet_text

pytestmark = pytest.mark.live

FULL = os.environ.get("LEVELHEAD_FULL") == "1"
CHANGES, PER_S, LONGER_S = (20, 400.0, 4.0) if FULL else (8, 200.0, 0.0)


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    with at_home(request) as home:
        yield home


@dataclass(frozen=True)
class Wanted:
    """What the file says; every change is another value of one of these."""

    members: int = 4
    weight: int = 100
    server_s: int = 30
    policy: str = "round-robin"

    def text(self, port: int, servers: tuple[Backend, ...]) -> str:
        text = fleet_text(
            port, servers[: self.members], "slow_start_s: 0", f"policy: {self.policy}",
            f"timeouts: {{server_s: {self.server_s}}}",
        )  # fmt: skip
        first = f"127.0.0.1:{servers[0].port}\n"
        return text.replace(first, f"{{address: {first[:-1]}, weight: {self.weight}}}\n")


def steps(count: int) -> Iterator[tuple[str, Wanted]]:
    """By which way each change comes, and what is wanted then; the file and the command take turns."""
    now = Wanted()
    for i in range(count):
        match i % 4:
            case 0:
                now = replace(now, weight=100 - 3 * (i + 1))
            case 1:
                now = replace(now, members=9 - now.members)
            case 2:
                now = replace(now, server_s=30 + i)
            case _:
                now = replace(now, policy="least-request" if now.policy == "round-robin" else "round-robin")
        yield ("file" if i % 2 == 0 else "apply"), now


def test_changes_under_traffic_lose_no_request(home: Home, backends: Backends) -> None:
    async def check() -> None:
        servers, port = backends(5), free_port()
        file = home.folder / "levelhead.yaml"
        file.write_text(Wanted().text(port, servers))
        serving = home.start("run", str(file), "--json")
        await asyncio.to_thread(serving.first)
        proxy = home.haproxy()
        applied: list[asyncio.Task[Done]] = []
        async with Traffic(port, PER_S) as traffic:
            due = time.monotonic() + 0.5
            for way, wanted in steps(CHANGES):
                await asyncio.sleep(due - time.monotonic())
                due += 1.0
                if way == "file":
                    written(file, wanted.text(port, servers))
                else:
                    # A file of its own: on a slow machine the command may read it when the next change is due.
                    other = home.folder / f"change-{len(applied)}.yaml"
                    other.write_text(wanted.text(port, servers))
                    ordered = asyncio.to_thread(home.do, "apply", str(other), "--why", f"change to {wanted}")
                    applied.append(asyncio.create_task(ordered))
                    await asyncio.sleep(0)
            done = await asyncio.gather(*applied)
            await asyncio.sleep(1.5 + LONGER_S)
        assert traffic.failures == []
        assert len(traffic.sent) > 0.9 * PER_S * CHANGES
        assert [d.code for d in done] == [0] * len(applied), done
        ways = {word for d in done for word in ("runtime", "reload") if f"in force by {word}" in d.out}
        assert ways == {"runtime", "reload"}
        revisions = (await home.tells("revision", "list", "--limit", "100"))["revisions"]
        assert len(revisions) == 1 + CHANGES
        assert Counter("edited" in r["why"] for r in revisions) == {True: CHANGES // 2, False: CHANGES // 2 + 1}
        assert home.haproxy() != proxy, "some of it took a new worker"
        executed = [b.counts()["GET"] for b in servers]
        assert sum(executed) == len(traffic.sent), "each request was executed once"
        assert min(executed) > 0, "also by the server that came and went"
        serving.end()

    asyncio.run(check())


def written(file: Path, text: str) -> None:
    """The whole new file in place of the old one, as editors do it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
