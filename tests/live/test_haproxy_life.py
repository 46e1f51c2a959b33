"""The life of a real HAProxy: started, adopted, refused, killed, brought back, ended; and the records it hands over."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from levelhead.engines.haproxy import config, process, runtime
from levelhead.engines.haproxy.driver import Files, HAProxyEngine
from levelhead.engines.haproxy.process import Binary, every_binary, find_binary
from levelhead.engines.haproxy.runtime import Sampling
from levelhead.errors import ConfigError, EngineError, EngineRefused
from levelhead.model import Admin, Fleet, Hash, Listener, Server
from levelhead.telemetry import Missing, Records
from tests.engines.haproxy.fleets import fleets
from tests.live.conftest import Answer, Backends, ask, load, until
from tests.live.free import free_port
from tests.live.test_haproxy_traffic import edit, failures, fleet_of, running, sampled

pytestmark = pytest.mark.live


@pytest.mark.parametrize("binary", every_binary(), ids=lambda b: b.release)
@given(fleet=fleets())
@settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)  # fmt: skip
def test_haproxy_takes_every_fleet_without_a_word(binary: Binary, fleet: Fleet) -> None:
    with tempfile.TemporaryDirectory(prefix="lh-") as made:
        files = Files.under(Path(made))
        files.states.write_text(runtime.state_file(Fleet((), ()), {}, frozenset()))
        patterns, values = runtime.sampling_files(Sampling())
        files.sampling_acl.write_text(patterns)
        files.sampling_map.write_text(values)
        file = files.config
        file.write_text(config.render(fleet, files.paths, binary.version))
        said = subprocess.run([binary.path, "-c", "-f", file], capture_output=True, text=True, check=False, timeout=20)

        words = (said.stdout + said.stderr).replace("Configuration file is valid", "").strip()
        assert (said.returncode, words) == (0, "")


def test_a_proxy_outlives_its_control_plane_and_is_adopted(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(3), asyncio.Event()
        fleet = fleet_of(port, servers)
        first = HAProxyEngine(folder, binary=binary)
        await first.start(fleet)
        master = process.owned(folder / "haproxy.cfg")
        epoch = (await sampled(first)).epoch
        del first
        gc.collect()

        clients = asyncio.create_task(load(port, 4, stop))
        second = HAProxyEngine(folder, binary=binary)
        try:
            applied = await second.start(edit(fleet, "s2", weight=7))
            reading = await sampled(second)
            await asyncio.sleep(0.2)
            stop.set()

            assert failures(await clients) == []
            assert (applied.mechanism, "weights" in applied.because) == ("adopt", True)
            assert process.owned(folder / "haproxy.cfg") == master
            assert (reading.epoch, reading.weight.tolist()) == (epoch, [100, 7, 100])
        finally:
            await second.close(stop=True)

    asyncio.run(check())


def test_an_adopted_proxy_with_another_file_is_reloaded(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers)
        first = HAProxyEngine(folder, binary=binary)
        await first.start(edit(fleet, "s1", admin=Admin.DRAIN))
        await first.close(stop=False)
        second = HAProxyEngine(folder, binary=binary)
        try:
            wanted = edit(fleet_of(port, servers, policy=Hash("path")), "s1", admin=Admin.DRAIN)
            applied = await second.start(wanted)
            answers = await ask(port, 20)

            assert (applied.mechanism, "balance uri path-only" in applied.because) == ("adopt", True)
            assert {a.body for a in answers} == {"s2"}
        finally:
            await second.close(stop=True)

    asyncio.run(check())


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_a_killed_proxy_comes_back_with_what_it_knew(
    folder: Path, binary: Binary, backends: Backends, victim: str
) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(3)
        fleet = edit(fleet_of(port, servers), "s1", admin=Admin.DRAIN)
        async with running(folder, binary, fleet) as engine:
            servers[1].health(500)
            await until(lambda: _is_down(engine, 1))
            before = await sampled(engine)
            found = process.owned(folder / "haproxy.cfg")
            os.kill(found[0 if victim == "master" else -1].pid, signal.SIGKILL)
            await until(lambda: _dead(engine))
            await until(lambda: _silent(engine))
            applied = await engine.restart()
            answers = await ask(port, 20)
            after = await sampled(engine)

            assert applied.mechanism == "start"
            assert {a.body for a in answers} == {"s3"}, "drained and down are known from the first request"
            assert after.epoch == before.epoch + 1
            assert len(process.owned(folder / "haproxy.cfg")) == 2
            assert (await engine.restart()).mechanism == "none"

    asyncio.run(check())


def test_a_port_in_use_is_named_with_its_holder(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            engine = HAProxyEngine(folder, binary=binary)
            with pytest.raises(EngineError, match=rf"127.0.0.1:{port}.* in use by .*\(pid {os.getpid()}\)"):
                await engine.start(fleet_of(port, backends(1)))

            assert process.owned(folder / "haproxy.cfg") == ()
            assert not engine.alive()
            await engine.close(stop=True)

    asyncio.run(check())


def test_another_haproxy_on_the_port_is_not_joined(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(1)
        async with running(folder, binary, fleet_of(port, servers)):
            with tempfile.TemporaryDirectory(prefix="lh-") as other:
                engine = HAProxyEngine(Path(other), binary=binary)
                with pytest.raises(EngineError, match="in use by haproxy"):
                    await engine.start(fleet_of(port, servers))
                await engine.close(stop=True)

    asyncio.run(check())


def test_a_refused_fleet_leaves_the_old_one_in_force(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers, stop = free_port(), backends(2), asyncio.Event()
        fleet = fleet_of(port, servers)
        listener = fleet.listeners[0]
        broken = [
            replace(fleet, listeners=(replace(listener, certificate="/nowhere.pem"),)),
            edit(fleet, "s1", host="no-such-host.invalid"),
        ]
        async with running(folder, binary, fleet) as engine:
            before = (folder / "haproxy.cfg").read_text()
            clients = asyncio.create_task(load(port, 4, stop))
            for unusable in broken:
                with pytest.raises(EngineRefused) as refusal:
                    await engine.apply(unusable)
                assert str(folder) not in refusal.value.what
                assert "line " in refusal.value.what
                assert (folder / "haproxy.cfg").read_text() == before
            with pytest.raises(ConfigError, match="s1"):
                await engine.apply(edit(fleet, "s1", weight=-1.0))
            with pytest.raises(EngineRefused):
                await engine.validate(broken[0])
            await engine.validate(fleet)
            with socket.socket() as holder:
                holder.bind(("127.0.0.1", 0))
                holder.listen()
                taken = replace(fleet, listeners=(listener, Listener("b", "127.0.0.1", holder.getsockname()[1], ())))
                with pytest.raises(EngineError, match="in use"):
                    await engine.apply(taken)
            stop.set()

            assert failures(await clients) == []
            assert engine.alive()
            assert (await engine.apply(edit(fleet, "s1", weight=3))).mechanism == "runtime"
            assert (await engine.apply(fleet_of(port, servers, slow_start_s=3.0))).mechanism == "reload"

    asyncio.run(check())


def test_a_listener_takes_another_address_on_its_port(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port = free_port()
        fleet = fleet_of(port, backends(1))
        wide = replace(fleet, listeners=(replace(fleet.listeners[0], host="0.0.0.0"),))
        async with running(folder, binary, fleet) as engine:
            for wanted in (wide, fleet):
                applied = await engine.apply(wanted)

                assert (applied.mechanism, "bind" in applied.because) == ("reload", True)
                assert failures(await ask(port, 5)) == []

    asyncio.run(check())


def test_a_proxy_that_does_not_run_cannot_be_changed(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        fleet = fleet_of(free_port(), backends(1))
        async with running(folder, binary, fleet) as engine:
            os.kill(process.owned(folder / "haproxy.cfg")[0].pid, signal.SIGKILL)
            await until(lambda: _dead(engine))
            with pytest.raises(EngineError, match="not running"):
                await engine.apply(edit(fleet, "s1", weight=3))

    asyncio.run(check())


def test_of_many_changes_at_once_the_newest_is_made(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers)
        async with running(folder, binary, fleet) as engine:
            wanted = [fleet_of(port, servers, slow_start_s=float(n)) for n in range(1, 9)]
            applied = await asyncio.gather(*(engine.apply(f) for f in wanted))
            made = [n for n, a in enumerate(applied) if a.mechanism == "reload"]

            assert made[-1] == 7
            assert len(made) <= 2
            assert "slowstart 8000ms" in (folder / "haproxy.cfg").read_text()
            assert (await sampled(engine)).epoch == 1 + len(made)

    asyncio.run(check())


def test_a_fixed_table_is_reloaded_for_a_weight_and_says_why(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers, policy=Hash("path", consistent=False))
        async with running(folder, binary, fleet) as engine:
            weighed = await engine.apply(edit(fleet, "s1", weight=25))
            drained = await engine.apply(edit(edit(fleet, "s1", weight=25), "s2", admin=Admin.DRAIN))

            assert (weighed.mechanism, "fixed table" in weighed.because) == ("reload", True)
            assert drained.mechanism == "runtime"
            assert (await sampled(engine)).weight.tolist() == [25, 100]

    asyncio.run(check())


def test_a_server_that_moves_keeps_its_name(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(3)
        fleet = fleet_of(port, servers[:2])
        async with running(folder, binary, fleet) as engine:
            applied = await engine.apply(edit(fleet, "s2", port=servers[2].port))
            answers = await ask(port, 20)

            assert applied.mechanism == "runtime"
            assert {a.body for a in answers} == {"s1", "s3"}
            assert failures(answers) == []

    asyncio.run(check())


def test_after_it_is_stopped_nothing_is_left(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port = free_port()
        async with running(folder, binary, fleet_of(port, backends(1))) as engine:
            assert (folder / "haproxy.sock").stat().st_mode & 0o777 == 0o600
            with pytest.raises(EngineError, match="another control plane"):
                await HAProxyEngine(folder, binary=binary).start(fleet_of(port, ()))
        await engine.close(stop=True)

        assert process.owned(folder / "haproxy.cfg") == ()
        left = set(os.listdir(folder))
        assert left == {"haproxy.cfg", "haproxy.cfg.last-good", "haproxy.log", "engine.json"}
        assert not engine.alive()
        with pytest.raises(EngineError, match="never started"):
            await engine.restart()

    asyncio.run(check())


def test_a_folder_that_cannot_be_used_is_refused(folder: Path, backends: Backends) -> None:
    async def check() -> None:
        fleet = fleet_of(free_port(), backends(1))
        long, shared = folder / ("x" * 90), folder / "shared"
        shared.mkdir()
        shared.chmod(0o755)
        with pytest.raises(EngineError, match="97 bytes"):
            await HAProxyEngine(long).start(fleet)
        with pytest.raises(EngineError, match="open to others"):
            await HAProxyEngine(shared).start(fleet)

    asyncio.run(check())


def test_a_binary_is_found_named_or_refused(folder: Path) -> None:
    old = folder / "haproxy"
    old.write_text("#!/bin/sh\necho 'HA-Proxy version 2.2.9-2+deb11u6 2023/12/16'\n")
    old.chmod(0o700)
    chosen = every_binary()[-1]

    assert find_binary({"LEVELHEAD_HAPROXY": str(chosen.path), "PATH": ""}) == chosen
    assert find_binary({"PATH": str(folder)}).version >= (2, 4, 0)
    with pytest.raises(EngineError, match=r"2\.2\.9"):
        find_binary({"LEVELHEAD_HAPROXY": str(old), "PATH": ""})
    with pytest.raises(EngineError, match="is no HAProxy"):
        find_binary({"LEVELHEAD_HAPROXY": shutil.which("true") or "/bin/true"})


def test_records_are_all_of_few_requests(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = replace(fleet_of(port, servers), client="header:x-user")
        async with running(folder, binary, fleet) as engine:
            got = []
            for path in ("/", "/status/404", "/status/503", "/close", "/sleep/0.05"):
                for _ in range(2):
                    await ask(port, 1, path, "POST", x_user=f"user {path}")
                await sampled(engine)
                got.append(await _recorded(engine, 2))
            read = [(r.status.tolist(), set(r.row.tolist()), set(r.client), r.weight) for r in got]

            assert [statuses for statuses, *_ in read] == [[200] * 2, [404] * 2, [503] * 2, [502] * 2, [200] * 2]
            assert all(rows == {0, 1} for _, rows, _, _ in read)
            assert [c for _, _, c, _ in read][:2] == [{"user /"}, {"user /status/404"}]
            assert {weight for *_, weight in read} == {1.0}
            assert engine.malformed_records == 0
            assert got[-1].latency_ms.min() >= 50
            assert got[0].latency_ms.min() < got[-1].latency_ms.min()

    asyncio.run(check())


def test_records_keep_to_their_target_at_a_high_rate(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, stop = free_port(), asyncio.Event()
        async with running(folder, binary, fleet_of(port, backends(2)), record_target_per_s=100.0) as engine:
            clients = asyncio.create_task(load(port, 16, stop))
            for _ in range(4):  # the first readings find the rate
                await asyncio.sleep(0.25)
                start = await sampled(engine)
                engine.records()
            recorded, stood_for = 0, 0.0
            for _ in range(8):
                await asyncio.sleep(0.25)
                end = await sampled(engine)
                records = engine.records()
                recorded += len(records)
                stood_for += len(records) * records.weight
            stop.set()
            answers: list[Answer] = await clients

            arrived = (end.pool.arrived - start.pool.arrived).sum()
            rate = recorded / (end.at_s - start.at_s)
            assert arrived > 4 * recorded, "the load was not high enough to sample"
            assert 50 <= rate <= 200
            assert stood_for == pytest.approx(arrived, rel=0.5)
            assert engine.malformed_records == 0
            assert failures(answers) == []
            assert np.isfinite(end.requests).all()

    asyncio.run(check())


def test_a_surge_is_thinned_out_while_nobody_watches(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        async with running(folder, binary, fleet_of(port, servers), record_target_per_s=5.0) as engine:
            answers = [a for part in await asyncio.gather(*(ask(port, 250) for _ in range(16))) for a in part]
            records = engine.records()

            assert failures(answers) == []
            assert 20 <= len(records) <= 0.5 * len(answers)
            assert len(records) * records.weight == pytest.approx(len(answers), rel=0.5)

    asyncio.run(check())


def test_tls_is_spoken_where_a_certificate_is_given(folder: Path, binary: Binary, backends: Backends) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is needed to make a certificate")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())

    async def check() -> None:
        port = free_port()
        fleet = fleet_of(port, backends(1))
        fleet = replace(fleet, listeners=(replace(fleet.listeners[0], certificate=str(folder / "both.pem")),))
        async with running(folder, binary, fleet):
            trust = ssl.create_default_context(cafile=folder / "cert.pem")
            reader, writer = await asyncio.open_connection("localhost", port, ssl=trust)
            writer.write(b"GET /headers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            said = (await reader.read()).decode().lower()
            writer.close()
            await writer.wait_closed()

            assert "x-forwarded-proto: https" in said
            assert "x-forwarded-for: 127.0.0.1" in said

    asyncio.run(check())


def test_names_are_looked_up_at_a_reload(folder: Path, binary: Binary, backends: Backends) -> None:
    async def check() -> None:
        port, servers = free_port(), backends(2)
        fleet = fleet_of(port, servers[:1])
        named = Server("s2", "localhost", servers[1].port)
        wider = replace(fleet, pools=(replace(fleet.pools[0], servers=(*fleet.pools[0].servers, named)),))
        async with running(folder, binary, fleet) as engine:
            added = await engine.apply(wider)
            weighed = await engine.apply(edit(wider, "s2", weight=50))
            answers = await ask(port, 30)

            assert (added.mechanism, "localhost" in added.because) == ("reload", True)
            assert weighed.mechanism == "runtime"
            assert sorted({a.body for a in answers}) == ["s1", "s2"]

    asyncio.run(check())


async def _recorded(engine: HAProxyEngine, count: int) -> Records:
    """So many records; one is written when its request is over, which may be after the user has the answer."""
    parts: list[Records] = []

    async def enough() -> bool:
        parts.append(engine.records())
        return sum(len(p) for p in parts) >= count

    await until(enough)
    parts = [p for p in parts if len(p)]
    return Records(
        np.concatenate([p.row for p in parts]), np.concatenate([p.status for p in parts]),
        np.concatenate([p.latency_ms for p in parts]), tuple(c for p in parts for c in p.client), parts[0].weight,
    )  # fmt: skip


async def _is_down(engine: HAProxyEngine, row: int) -> bool:
    return bool((await sampled(engine)).health[row] == 2)


async def _silent(engine: HAProxyEngine) -> bool:
    """A worker notices a moment later that its master is gone."""
    return isinstance(await engine.sample(), Missing)


async def _dead(engine: HAProxyEngine) -> bool:
    return not engine.alive()
