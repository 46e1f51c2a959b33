"""The lab's servers, users and world, as real processes on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

import numpy as np
import pytest

from levelhead.drills.base import CheckFault, ConfigChange, DependencyFault, Event, Restart, Scenario
from levelhead.drills.score import NO_ANSWER, TIMED_OUT, UNANSWERED
from levelhead.drills.text import parse_scenario
from levelhead.errors import UsageError
from levelhead.lab.wire import DRAW_HEADER
from levelhead.lab.world import World, support

pytestmark = pytest.mark.live

T = TypeVar("T")

# A service time without spread, so that counting is enough.
FIXED = """
name: lab
title: The lab itself
source: {title: none}
teaches: [traffic-surge]
duration_s: 2
pool: {servers: {count: 2, workers: 2, service_ms: {median: 100, p99: 100}}}
users: {count: 5, rps: 40, timeout_s: 3}
"""


def lab(*changes: tuple[str, str]) -> Scenario:
    text = FIXED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_scenario(text, "lab.yaml")


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


def fault(**what: object) -> Event:
    return Event.model_validate({"at_s": 0, "server": {"name": "server-1", **what}})


async def ask(address: tuple[str, int], path: str = "/item/1", extra: str = "") -> tuple[int, float]:
    """Status (0 for a reset, -1 for a refused connection) and seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        reader, writer = await asyncio.open_connection(*address)
    except OSError:
        return -1, loop.time() - start
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{extra}\r\n".encode())
        answer = await reader.read()
    except OSError:
        answer = b""
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            answer = b""
    return (int(answer[9:12]) if answer else 0), loop.time() - start


async def statuses(address: tuple[str, int], n: int) -> list[int]:
    return [status for status, _ in await asyncio.gather(*(ask(address) for _ in range(n)))]


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never happened"
        await asyncio.sleep(0.02)


def running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be buried."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- servers ----------------------------------------------------------------------------------------------------------


def test_requests_beyond_the_workers_wait_their_turn() -> None:
    """Two workers, 100 ms each, ten at once: five waves, the last five times as late as the first."""

    async def burst() -> list[float]:
        async with World(lab()) as world:
            await ask(world.addresses["server-1"])  # warm
            answers = await asyncio.gather(*(ask(world.addresses["server-1"]) for _ in range(10)))
        assert {status for status, _ in answers} == {200}
        return sorted(seconds for _, seconds in answers)

    took = run(burst())
    waves = [np.mean(took[i : i + 2]) for i in range(0, 10, 2)]
    for i, wave in enumerate(waves):
        assert wave / waves[0] == pytest.approx(i + 1, rel=0.3)


def test_the_plan_decides_how_long_a_request_takes() -> None:
    spread = lab(("median: 100, p99: 100", "median: 20, p99: 200"))

    async def both() -> tuple[float, float]:
        async with World(spread) as world:
            address = world.addresses["server-1"]
            _, quick = await ask(address, extra=f"{DRAW_HEADER}: 0\r\n")
            _, slow = await ask(address, extra=f"{DRAW_HEADER}: 2.3263\r\n")
        return quick, slow

    quick, slow = run(both())
    assert quick >= 0.02
    assert slow >= 0.2
    assert slow / quick > 4


def test_keep_alive_bodies_and_pieces() -> None:
    async def talk() -> bytes:
        async with World(lab(("median: 100, p99: 100", "median: 1, p99: 1"))) as world:
            reader, writer = await asyncio.open_connection(*world.addresses["server-2"])
            writer.write(b"POST /item/1 HTTP/1.1\r\nHost: lab\r\nContent-Length: 5\r\n\r\n12")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(b"345GET /healthz HTTP/1.1\r\nHo")
            await asyncio.sleep(0.05)
            writer.write(b"st: lab\r\n\r\nGET /item/2 HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
            said = await reader.read()
            writer.close()
            await writer.wait_closed()
        return said

    said = run(talk())
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert said.count(b"X-Server: server-2\r\n") == 3


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 70_000, b"431"),
    ],
)
def test_what_the_server_cannot_read_it_refuses(request_line: bytes, status: bytes) -> None:
    async def talk() -> bytes:
        async with World(lab()) as world:
            reader, writer = await asyncio.open_connection(*world.addresses["server-1"])
            writer.write(request_line)
            said = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        return said

    assert run(talk()).startswith(b"HTTP/1.1 " + status)


def test_faults_come_and_go_one_by_one() -> None:
    async def tour() -> dict[str, object]:
        seen: dict[str, object] = {}
        async with World(lab(("median: 100, p99: 100", "median: 10, p99: 10"))) as world:
            address, other = world.addresses["server-1"], world.addresses["server-2"]
            await world.apply(fault(errors=1.0))
            await world.apply(fault(slow_ms=300))
            seen["errors"] = await statuses(address, 8), await statuses(other, 8)
            await world.undo(fault(errors=1.0))
            seen["slow"] = (await ask(address))[1] / (await ask(other))[1]
            await world.undo(fault(slow_ms=300))
            await world.apply(fault(resets=1.0))
            seen["resets"] = await statuses(address, 8), (await ask(address, "/healthz"))[0]
            await world.undo(fault(resets=1.0))
            await world.apply(fault(errors=0.5))
            seen["half"] = np.mean([s == 500 for s in await statuses(address, 200)])
            await world.undo(fault(errors=0.5))
            seen["well"] = await statuses(address, 8)
        return seen

    seen = run(tour())
    assert seen["errors"] == ([500] * 8, [200] * 8)
    assert isinstance(seen["slow"], float)
    assert seen["slow"] > 5
    assert seen["resets"] == ([0] * 8, 200), "the check is shallow"
    assert seen["half"] == pytest.approx(0.5, abs=0.2)
    assert seen["well"] == [200] * 8


def test_a_hung_server_goes_on_where_it_stopped() -> None:
    async def hang() -> tuple[bool, list[tuple[int, float]]]:
        async with World(lab()) as world:
            address = world.addresses["server-1"]
            under_way = asyncio.create_task(ask(address))
            await asyncio.sleep(0.03)
            await world.apply(fault(hang=True))
            waiting = [under_way, asyncio.create_task(ask(address)), asyncio.create_task(ask(address, "/healthz"))]
            done, _ = await asyncio.wait(waiting, timeout=0.4)
            await world.undo(fault(hang=True))
            return bool(done), list(await asyncio.gather(*waiting))

    early, answers = run(hang())
    assert not early
    assert [status for status, _ in answers] == [200, 200, 200]


def test_fewer_workers_are_left() -> None:
    async def burst() -> float:
        async with World(lab(("workers: 2", "workers: 8"))) as world:
            address = world.addresses["server-1"]
            whole = max(t for _, t in await asyncio.gather(*(ask(address) for _ in range(8))))
            await world.apply(fault(capacity=0.25))
            left = max(t for _, t in await asyncio.gather(*(ask(address) for _ in range(8))))
        return left / whole

    assert run(burst()) == pytest.approx(4, rel=0.4)


def test_checks_that_lie_and_flap() -> None:
    def check(**what: object) -> Event:
        return Event(at_s=0, check=CheckFault.model_validate({"servers": ["server-1"], **what}))

    async def tour() -> list[object]:
        seen: list[object] = []
        async with World(lab()) as world:
            address = world.addresses["server-1"]
            await world.apply(check(lies="failing"))
            seen.append(((await ask(address, "/healthz"))[0], (await ask(address))[0]))
            await world.apply(check(lies="passing"))
            await world.apply(fault(hang=True))
            seen.append((await ask(address, "/healthz"))[0])
            await world.undo(fault(hang=True))
            await world.apply(check(flaps=0.1))
            found = set()
            for _ in range(100):
                found.add((await ask(address, "/healthz"))[0])
                if len(found) == 2:
                    break
                await asyncio.sleep(0.01)
            seen.append(found)
            await world.undo(check(flaps=0.1))
            seen.append({(await ask(address, "/healthz"))[0] for _ in range(5)})
        return seen

    assert run(tour()) == [(503, 200), 200, {200, 503}, {200}]


def test_a_deep_check_waits_for_a_worker() -> None:
    async def busy(text: str) -> float:
        async with World(lab(("workers: 2", text))) as world:
            address = world.addresses["server-1"]
            load = [asyncio.create_task(ask(address)) for _ in range(6)]
            await asyncio.sleep(0.03)
            _, check_s = await ask(address, "/healthz")
            await asyncio.gather(*load)
        return check_s

    assert run(busy("workers: 2, deep_check: true")) / run(busy("workers: 2")) > 5


def test_a_dependency_hurts_all_servers() -> None:
    event = Event(at_s=0, dependency=DependencyFault(errors=1.0))

    async def tour() -> list[list[int]]:
        async with World(lab()) as world:
            await world.apply(event)
            sick = [status for address in world.addresses.values() for status in await statuses(address, 2)]
            await world.undo(event)
            well = [status for address in world.addresses.values() for status in await statuses(address, 2)]
        return [sick, well]

    assert run(tour()) == [[500] * 4, [200] * 4]


def test_a_killed_server_refuses_and_comes_back_where_it_was() -> None:
    async def tour() -> None:
        async with World(lab()) as world:
            address, pid = world.addresses["server-1"], world.pids["server-1"]
            broken = asyncio.create_task(ask(address))
            await asyncio.sleep(0.03)
            await world.apply(fault(down=True))
            assert (await broken)[0] == 0, "what was under way is cut off"
            assert not running(pid)
            assert "server-1" not in world.pids
            assert (await ask(address))[0] == -1
            assert (await ask(world.addresses["server-2"]))[0] == 200
            await world.apply(fault(errors=1.0))  # takes hold when it is back
            await world.undo(fault(down=True))
            assert world.addresses["server-1"] == address
            assert (await ask(address))[0] == 500
            assert world.pids["server-1"] != pid

    run(tour())


def test_a_restart_ends_by_itself() -> None:
    async def tour() -> None:
        async with World(lab()) as world:
            before = world.pids["server-1"]
            await world.apply(Event(at_s=0, restart=Restart(name="server-1", down_s=0.2)))
            await until(lambda: "server-1" not in world.pids)
            await until(lambda: "server-1" in world.pids and world.pids["server-1"] != before)
            deadline = asyncio.get_running_loop().time() + 5
            while (await ask(world.addresses["server-1"]))[0] != 200:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.02)

    run(tour())


def test_a_server_ends_with_its_stdin() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "levelhead.lab.server", "--port", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert "listening" in json.loads(server.stdout.readline())
        server.stdin.write(b'{"errors": "many"}\nnonsense\n{"slow_ms": 5}\n')
        server.stdin.flush()
        assert "refused" in json.loads(server.stdout.readline())
        assert "refused" in json.loads(server.stdout.readline())
        assert json.loads(server.stdout.readline()) == {"obeyed": {"slow_ms": 5}}
        server.stdin.close()
        assert server.wait(10) == 0


# -- users ------------------------------------------------------------------------------------------------------------


def test_every_planned_request_has_an_outcome() -> None:
    async def drill() -> World:
        async with World(lab(("median: 100, p99: 100", "median: 5, p99: 5"))) as world:
            await world.start_users(*world.addresses["server-2"])
            await world.run()
            return world

    world = run(drill())
    found, harm = world.outcomes(), world.harm()
    assert (harm.requests_total, harm.requests_harmed, harm.users_harmed) == (len(found), 0, 0)
    assert set(found.status) == {200}
    assert set(found.server) == {1}
    # Timers may come a fraction of a millisecond early.
    assert (found.latency_ms >= 4.5).all()
    punctual = world.punctuality
    assert punctual is not None
    assert punctual.sent == len(found) > 40
    assert punctual.late_p50_ms < 50
    assert int(world.series().requests.sum()) == len(found)


def test_users_do_not_wait_for_each_other() -> None:
    """Overload: 40 requests per second for 20. In a closed loop the latency would stay; here it grows with time."""
    slow = lab(("timeout_s: 3", "timeout_s: 3, session: keepalive"))

    async def drill() -> World:
        async with World(slow) as world:
            await world.start_users(*world.addresses["server-1"])
            await world.run()
            return world

    found = run(drill()).outcomes()
    answered = found.status == 200
    early, late = found.latency_ms[answered & (found.at_s < 0.5)], found.latency_ms[answered & (found.at_s > 1.2)]
    assert late.mean() > 2 * early.mean()
    assert found.at_s.max() > 1.8, "the last were sent in spite of it"


def test_a_dead_listener_and_a_silent_one() -> None:
    impatient = lab(("timeout_s: 3", "timeout_s: 0.5"))

    async def drill(event: Event) -> tuple[set[int], float, int]:
        async with World(impatient) as world:
            await world.start_users(*world.addresses["server-1"])
            await world.apply(event)
            await world.run()
            return set(world.outcomes().status), float(world.outcomes().latency_ms.max()), world.harm().requests_harmed

    assert run(drill(fault(down=True)))[0] == {NO_ANSWER}
    kinds, longest_ms, harmed = run(drill(fault(hang=True)))
    assert TIMED_OUT in kinds
    assert kinds <= {TIMED_OUT, UNANSWERED}
    assert longest_ms >= 500
    assert harmed > 40


def test_a_reset_on_a_used_connection_is_tried_once_more_unless_it_is_a_post() -> None:
    """The race of every keep-alive connection: the server ends it while the user sends."""

    async def drill(post_share: str) -> list[int]:
        scenario = lab(("timeout_s: 3", f"timeout_s: 3, post_share: {post_share}"), ("count: 5", "count: 1"))
        greeted: set[asyncio.StreamWriter] = set()

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Answers the first request of a connection and ends it unanswered at the second."""
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await reader.readuntil(b"\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError):
                pass
            greeted.add(writer)
            writer.close()

        async with World(scenario) as world, await asyncio.start_server(once, "127.0.0.1", 0) as listener:
            await world.start_users(*listener.sockets[0].getsockname()[:2])
            await world.run()
            for writer in greeted:
                await writer.wait_closed()
            return list(world.outcomes().status)

    assert set(run(drill("0.0"))) == {200}
    assert set(run(drill("1.0"))) == {200, NO_ANSWER}


def test_each_user_comes_from_an_address_of_its_own_with_its_cookies() -> None:
    seen: list[tuple[str, bytes]] = []

    async def drill() -> None:
        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    cookie = next((line for line in head.split(b"\r\n") if line.startswith(b"Cookie: ")), b"")
                    seen.append((writer.get_extra_info("peername")[0], cookie))
                    writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: stick=s9; path=/\r\ncontent-length: 0\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        scenario = lab(("timeout_s: 3", "timeout_s: 3, session: cookie"))
        async with World(scenario) as world, await asyncio.start_server(note, "127.0.0.1", 0) as listener:
            await world.start_users(*listener.sockets[0].getsockname()[:2])
            await world.run()
        await asyncio.sleep(0)

    run(drill())
    assert {address for address, _ in seen} == {f"127.1.0.{i}" for i in range(1, 6)}
    assert {cookie for address, cookie in seen if address == "127.1.0.2"} == {
        b"Cookie: session=u1", b"Cookie: session=u1; stick=s9",
    }  # fmt: skip


# -- world ------------------------------------------------------------------------------------------------------------

EVENTS = """
events:
  - {at_s: 0.5, until_s: 1.2, server: {name: server-1, errors: 1.0}}
  - {at_s: 0.8, config: {weights: {server-1: 10}}}
"""


def test_events_happen_on_time_and_the_stage_gets_its_own() -> None:
    scenario = parse_scenario(FIXED.replace("median: 100, p99: 100", "median: 1, p99: 1") + EVENTS, "lab.yaml")
    staged: list[tuple[float, Event]] = []

    async def drill() -> World:
        async with World(scenario) as world:

            async def stage(moment: object) -> None:
                staged.append((world.now_s, scenario.events[1]))

            await world.start_users(*world.addresses["server-1"])
            await world.run(stage)
            return world

    world = run(drill())
    found = world.outcomes()
    assert len(staged) == 1
    assert staged[0][0] >= 0.8
    failed = found.at_s[found.status == 500]
    well = found.at_s[found.status == 200]
    assert failed.min() > 0.3
    assert well.max() > failed.max()
    assert world.harm().requests_harmed == len(failed) > 5


def test_glance_shows_what_happens_now() -> None:
    async def drill() -> tuple[float, float]:
        async with World(lab(("median: 100, p99: 100", "median: 5, p99: 5"))) as world:
            await world.start_users(*world.addresses["server-1"])
            task = asyncio.create_task(world.run())
            await until(lambda: len(world.outcomes()) > 30)
            seen = world.glance()
            await task
        assert dict(seen.shares) == {"server-1": 1.0, "server-2": 0.0}
        return seen.rps, seen.p50_ms

    rps, p50_ms = run(drill())
    assert 10 < rps < 100
    assert p50_ms >= 5


def test_a_deploy_restarts_every_server_and_leaves_the_new_version_behind() -> None:
    text = FIXED + "events: [{at_s: 0.2, deploy: {every_s: 0.8, down_s: 0.3, errors: 1}}]\n"
    scenario = parse_scenario(text, "lab.yaml")

    async def drill() -> tuple[bool, list[int]]:
        async with World(scenario) as world:
            before = dict(world.pids)
            await world.run()
            answers = [(await ask(address))[0] for address in world.addresses.values()]
            return set(before.values()).isdisjoint(world.pids.values()), answers

    assert support(scenario.events[0]).by == "parts"
    renewed, answers = run(drill())
    assert renewed
    assert set(answers) == {500}


def test_a_server_that_is_just_starting_obeys_too() -> None:
    async def drill() -> int:
        async with World(lab()) as world:
            await world.apply(fault(down=True))
            starting = asyncio.create_task(world.undo(fault(down=True)))
            await until(lambda: "server-1" in world.pids)
            await asyncio.wait_for(world.apply(fault(errors=1.0)), 10)
            await starting
            return (await ask(world.addresses["server-1"]))[0]

    assert run(drill()) == 500


def test_servers_do_not_know_every_path() -> None:
    async def drill() -> list[int]:
        async with World(lab()) as world:
            address = world.addresses["server-1"]
            return [(await ask(address, path))[0] for path in ("/healthz", "/", "/item/3", "/status", "/healthz2")]

    assert run(drill()) == [200, 200, 200, 404, 404]


def test_config_events_need_a_stage() -> None:
    change = Event(at_s=1, config=ConfigChange(weights={"server-1": 1.0}))
    scenario = lab().model_copy(update={"events": (change,)})

    async def drill() -> None:
        async with World(scenario) as world:
            assert world.supports(change).by == "stage"
            with pytest.raises(UsageError, match="stage"):
                await world.apply(change)
            with pytest.raises(UsageError, match="there is no balancer"):
                await world.run()

    run(drill())


def test_a_server_that_dies_by_itself_spoils_the_drill() -> None:
    from_outside = lab(("duration_s: 2", "duration_s: 0.5"))

    async def drill() -> None:
        async with World(from_outside) as world:
            os.kill(world.pids["server-2"], signal.SIGKILL)
            await until(lambda: "server-2" not in world.pids)
            await world.run()

    with pytest.raises(Exception, match="server-2 ended by itself"):
        run(drill())


def test_no_process_is_left_after_an_exception() -> None:
    pids: list[int] = []

    async def drill() -> None:
        async with World(lab()) as world:
            await world.start_users(*world.addresses["server-1"])
            world.go()
            pids.extend(world.pids.values())
            assert len(pids) == 3
            assert all(running(pid) for pid in pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(drill())
    assert not any(running(pid) for pid in pids)


def test_no_process_is_left_after_an_interruption() -> None:
    async def drill() -> list[int]:
        pids: list[int] = []

        async def held() -> None:
            async with World(lab()) as world:
                await world.start_users(*world.addresses["server-1"])
                pids.extend(world.pids.values())
                await world.run()

        task = asyncio.create_task(held())
        await until(lambda: len(pids) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pids

    assert not any(running(pid) for pid in run(drill()))


OWNER = """
import asyncio, sys
from levelhead.drills.text import parse_scenario
from levelhead.lab.world import World

async def main():
    async with World(parse_scenario(sys.argv[1], "lab.yaml")) as world:
        await world.start_users(*world.addresses["server-1"])
        world.go()
        print(*world.pids.values(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_owner(how: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, FIXED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.send_signal(how)
        owner.wait(10)
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline, "orphans"
        time.sleep(0.02)
