"""levelhead run under fire: even shares, and servers, the control plane and HAProxy killed under traffic."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.conftest import Backend, Backends, Client
from tests.live.free import free_port
from tests.live.outside import Home, Running, Traffic, answers, at_home, comes, fleet_text

pytestmark = pytest.mark.live

FULL = os.environ.get("LEVELHEAD_FULL") == "1"


@pytest.fixture
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    with at_home(request) as home:
        yield home


def test_requests_are_spread_evenly(home: Home, backends: Backends) -> None:
    async def check() -> None:
        servers, port = backends(4), free_port()
        members = [word for b in servers for word in ("--server", f"127.0.0.1:{b.port}")]
        serving = home.start("run", "--json", *members, "--listen", f"127.0.0.1:{port}")
        assert (await asyncio.to_thread(serving.first))["listeners"] == [f"http://127.0.0.1:{port}"]
        each = 1250 if FULL else 250

        async def user(client: Client) -> Counter[str]:
            got = Counter([(await client.ask("/")).body for _ in range(each)])
            await client.close()
            return got

        got = sum(await asyncio.gather(*(user(Client(port)) for _ in range(8))), Counter[str]())
        assert got.total() == 8 * each
        assert set(got) == {b.name for b in servers}
        executed = [b.counts()["GET"] for b in servers]
        assert sum(executed) == 8 * each, "each request was executed once"
        assert max(executed) / (sum(executed) / 4) <= 1.01
        assert (await asyncio.to_thread(serving.end)).code == 0
        assert not answers(port)

    asyncio.run(check())


def test_a_killed_server_costs_no_request_and_comes_back_slowly(home: Home, backends: Backends) -> None:
    async def check() -> None:
        servers, port = backends(4), free_port()
        serving = await begun(home, fleet_text(port, servers, "slow_start_s: 4"))
        watch = home.start("status", "--watch", "--json")
        await comes(lambda: bool(watch.lines()), "the status")
        victim = servers[1]
        async with (
            Traffic(port, 200, fresh=0.5, path="/sleep/0.02", tag="get-") as gets,
            Traffic(port, 40, fresh=0.5, connections=4, method="POST", path="/sleep/0.02", tag="post-") as posts,
        ):
            await asyncio.sleep(1.5)
            victim.kill()
            await comes(lambda: health(watch, victim) == "failing", "the check's verdict")
            await comes(lambda: phases(watch)[-1] is not None, "the incident")
            await asyncio.to_thread(victim.start)
            await comes(lambda: health(watch, victim) == "passing", "its return")
            await comes(lambda: share(watch, victim) > 0.22, "its full share")
        await comes(lambda: phases(watch)[-1] is None, "the end of the incident")
        watch.end(signal.SIGINT)

        assert gets.failures == []
        executed = Counter(name for b in servers for method, _, name in b.journal() if method == "POST")
        assert executed.most_common(1)[0][1] == 1
        assert {s.id for s in posts.sent} >= set(executed)
        assert len(posts.failures) <= 3, "those that the server had begun are lost, and no other"

        shares = after_return(watch, victim)
        assert (shares[0]["ramp"] < 0.5, shares[0]["observed"] < 0.125) == (True, True), shares[0]
        assert [s["ramp"] for s in shares] == sorted(s["ramp"] for s in shares)
        assert shares[-1]["ramp"] == 1
        incident = await home.tells("incident", "show", "INC-1")
        assert (incident["phase"], incident["stories"][0]["cause"]) == ("resolved", "server-down")
        assert (incident["actions"], {s["revision"] for s in watch.lines()}) == ([], {1}), "nothing had to be done"
        serving.end()

    asyncio.run(check())


def test_a_killed_control_plane_costs_no_request_and_takes_up_where_it_was(home: Home, backends: Backends) -> None:
    async def check() -> None:
        servers, port = backends(4), free_port()
        first = await begun(home, fleet_text(port, servers, "slow_start_s: 1"))
        proxy = home.haproxy()
        async with Traffic(port, 100, fresh=0.5) as traffic:
            watch = home.start("status", "--watch", "--json")
            await comes(lambda: bool(watch.lines()), "the status")
            servers[0].kill()
            await comes(lambda: phases(watch)[-1] is not None, "the incident")
            os.kill(first.pid, signal.SIGKILL)
            gone = await asyncio.to_thread(watch.wait)
            killed = time.monotonic()
            assert (gone.code, "cannot be reached" in gone.err) == (3, True)
            await asyncio.sleep(1.0)
            assert len(traffic.after(killed)) >= 50
            second = await begun(home, fleet_text(port, servers, "slow_start_s: 1"))
            assert second.first()["how"].startswith("adopt: it was serving already")
            assert (home.haproxy(), second.first()["revision"]) == (proxy, 1)
            watch = home.start("status", "--watch", "--json")
            await comes(lambda: bool(watch.lines()) and phases(watch)[-1] is not None, "the open incident")
            await asyncio.to_thread(servers[0].start)
            await comes(lambda: phases(watch)[-1] is None, "the end of the incident")
        assert traffic.failures == []
        watch.end(signal.SIGINT)
        (row,) = (await home.tells("incident", "list"))["incidents"]
        assert (row["id"], row["phase"]) == ("INC-1", "resolved")
        incident = await home.tells("incident", "show", "INC-1")
        assert incident["stories"][0]["cause"] == "server-down"
        told = [e["text"] for e in incident["entries"] if e["kind"] != "notice"]
        assert sorted(told) == sorted(set(told)), "the second did not tell again what the first had told"
        second.end()

    asyncio.run(check())


@pytest.mark.parametrize("whom", ["master", "worker"])
def test_a_killed_haproxy_is_back_in_a_moment(home: Home, backends: Backends, whom: str) -> None:
    async def check() -> None:
        servers, port = backends(4), free_port()
        serving = await begun(home, fleet_text(port, servers))
        master, (worker,) = home.haproxy()
        async with Traffic(port, 100, fresh=0.5) as traffic:
            await asyncio.sleep(1.0)
            killed = time.monotonic()
            os.kill(master if whom == "master" else worker, signal.SIGKILL)
            await asyncio.sleep(4.0)
        # What was on its way when it died is lost with it.
        assert [s for s in traffic.failures if s.at + s.answer.seconds < killed - 0.1] == []
        later = traffic.after(killed + 1.5)
        assert sum(not s.failed for s in later) >= 0.98 * len(later) > 150
        new_master, (new_worker,) = home.haproxy()
        assert (new_master != master, new_worker != worker) == (True, True)
        incident = await home.tells("incident", "show", "INC-1")
        told = " / ".join(e["text"] for e in incident["entries"] if e["kind"] == "engine")
        assert re.match(r"haproxy died / it serves again after \d\.\d\d s", told), told
        assert (await home.tells("status"))["engine_alive"]
        serving.end()

    asyncio.run(check())


async def begun(home: Home, text: str, *args: str) -> Running:
    """`levelhead run` over a file with this text, serving."""
    file = home.folder / "levelhead.yaml"
    file.write_text(text)
    serving = home.start("run", str(file), "--json", *args)
    await asyncio.to_thread(serving.first)
    return serving


def server(status: dict[str, Any], wanted: Backend) -> dict[str, Any]:
    found: dict[str, Any] = next(s for p in status["pools"] for s in p["servers"] if s["name"] == wanted.name)
    return found


def health(watch: Running, wanted: Backend) -> str:
    return str(server(watch.lines()[-1], wanted)["health"])


def share(watch: Running, wanted: Backend) -> float:
    return float(server(watch.lines()[-1], wanted)["observed"])


def phases(watch: Running) -> list[str | None]:
    return [status["pools"][0]["phase"] for status in watch.lines()]


def after_return(watch: Running, wanted: Backend) -> list[dict[str, Any]]:
    """What was seen of a server since its check passed again, while there was traffic."""
    seen = [server(status, wanted) for status in watch.lines()]
    last_down = max(i for i, s in enumerate(seen) if s["health"] != "passing")
    return [s for s in seen[last_down + 1 :] if s["observed"] is not None]
