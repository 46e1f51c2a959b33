"""levelhead run: HAProxy, the control plane over it and its API, in this process until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

import levelhead
from levelhead import settings
from levelhead.cli import instances, screen
from levelhead.cli.base import Call, options, talk
from levelhead.cli.person import author
from levelhead.cli.recording import record_option, recording
from levelhead.control.base import Outcome
from levelhead.control.recording import Recorder
from levelhead.engines.base import Engine
from levelhead.engines.haproxy import config
from levelhead.engines.haproxy.driver import Files, HAProxyEngine
from levelhead.engines.haproxy.process import find_binary
from levelhead.engines.sim.driver import SimEngine
from levelhead.errors import UsageError
from levelhead.model import Mode
from levelhead.plane.loop import Plane
from levelhead.plane.shipping import objections
from levelhead.settings import Settings
from levelhead.simulate import UserModel
from levelhead.store import Store
from levelhead.web.app import create_app
from levelhead.web.serve import serve

DEFAULT_FILE: Final = Path("levelhead.yaml")
# A sentence is said at most this often; it may change with every tick.
SAID_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be served: the settings, their text, and the file to watch (None: none)."""

    settings: Settings
    source: str
    file: Path | None


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--server", "-s", "servers", multiple=True, metavar="HOST:PORT", help="A server; repeat for each.")
@click.option("--listen", "-l", metavar="HOST:PORT", help=f"Where clients connect [{settings.DEFAULT_LISTEN}].")
@click.option("--policy", metavar="POLICY", help="round-robin (default), least-request, random, hash:source, ...")
@click.option("--check", metavar="PATH", help="Check servers by HTTP on this path; by TCP otherwise.")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), help="How far Levelhead may go by itself.")
@click.option("--engine", type=click.Choice(["haproxy", "sim"]), default="haproxy", show_default=True,
              help="sim: simulated users, proxy and servers; nothing listens, nothing else is needed.")
@click.option("--rps", type=click.FloatRange(1, 2000), default=100.0, show_default=True,
              help="Simulated requests per second and pool.")
@click.option("--show-config", is_flag=True, help="Print the proxy's configuration and start nothing.")
@click.option("--leave-proxy", is_flag=True, help="Let the proxy serve on when this ends; the next run adopts it.")
@record_option
@options
@click.pass_context
def command(
    ctx: click.Context, file: Path | None, servers: tuple[str, ...], listen: str | None, policy: str | None,
    check: str | None, mode: str | None, engine: str, rps: float, show_config: bool, leave_proxy: bool,
    record: Path | None,
) -> None:  # fmt: skip
    """Serve: balance traffic over servers, watch it, and put it right.

    With --server, one pool of them. With FILE (or a levelhead.yaml here), what the file says; it is watched, and
    applied when it changes. Runs until Ctrl-C, which stops the proxy too. With --engine sim nothing is served: try
    there what you would ship, and see what Levelhead makes of it (instance sim).
    """
    call = ctx.ensure_object(Call)
    wanted = _wanted(file, servers, {"--listen": listen, "--policy": policy, "--check": check})
    if mode is not None:
        wanted = _moded(wanted, Mode(mode))
    # What is only tried is kept apart from what is served.
    usual = instances.DEFAULT if engine == "haproxy" else engine
    instance = instances.named(instances.wished(call.instance, os.environ) or usual, os.environ)
    if show_config:
        _show_config(call, wanted.settings, instance)
        return
    with instance.owned(), Store(instance.database) as store, recording(record) as recorder:
        driver: Engine = SimEngine(users=UserModel(rps=rps)) if engine == "sim" else HAProxyEngine(instance.directory)
        ctx.exit(asyncio.run(_serve(call, wanted, instance, store, driver, leave_proxy, recorder)))


def _wanted(file: Path | None, servers: tuple[str, ...], flags: dict[str, str | None]) -> Wanted:
    """The settings of the file or of the flags. UsageError where both or neither are given."""
    given = [name for name, value in flags.items() if value is not None]
    if servers:
        if file is not None:
            raise UsageError("give a file or --server, not both", next_step="name the servers in the file")
        listen, policy = flags["--listen"] or settings.DEFAULT_LISTEN, flags["--policy"] or "round-robin"
        made = settings.from_flags(list(servers), listen, policy, flags["--check"])
        return Wanted(made, settings.dump(made), None)
    if file is None and not DEFAULT_FILE.exists():
        step = "levelhead run --server 127.0.0.1:3001 --server 127.0.0.1:3002"
        raise UsageError("there is nothing to serve: no file, no --server, no levelhead.yaml here", next_step=step)
    if given:
        raise UsageError(f"{', '.join(given)} goes with --server", next_step=f"write it into {file or DEFAULT_FILE}")
    path = file or DEFAULT_FILE
    loaded = settings.load(path)
    return Wanted(loaded, path.read_text(encoding="utf-8-sig"), path.absolute())


def _moded(wanted: Wanted, mode: Mode) -> Wanted:
    """The same with another mode in every pool. The file is not watched then: its modes would come back with it."""
    fleet = wanted.settings.fleet
    fleet = replace(fleet, pools=tuple(replace(pool, mode=mode) for pool in fleet.pools))
    made = replace(wanted.settings, fleet=fleet)
    if wanted.file is not None:
        talk(f"{wanted.file} is not watched, because --mode overrides it; ship changes with `levelhead apply`")
    return Wanted(made, settings.dump(made), None)


def _show_config(call: Call, made: Settings, instance: instances.Instance) -> None:
    binary, files = find_binary(), Files.under(instance.directory)
    text = config.render(made.fleet, files.paths, binary.version)
    if call.json:
        answer: dict[str, object] = {"schema": "levelhead/config/1", "engine": "haproxy", "version": binary.release}
        screen.show_plain_json(answer | {"text": text})
        return
    click.echo(text, nl=False)


async def _serve(
    call: Call, wanted: Wanted, instance: instances.Instance, store: Store, engine: Engine, leave_proxy: bool,
    recorder: Recorder | None,
) -> int:  # fmt: skip
    """Serves until a signal, and returns the exit code: 130 after Ctrl-C, 0 after SIGTERM."""
    stop, codes = asyncio.Event(), list[int]()
    _on_signals(stop, codes)
    plane = Plane(
        settings=wanted.settings, source=wanted.source, engine=engine, store=store, file=wanted.file,
        author=author(os.environ), spoken=_speaker(call), told=_teller(call),
        recorder=recorder,
    )  # fmt: skip
    started = False
    try:
        how = await plane.start()
        started = True
        async with serve(create_app(plane), instance.socket):
            _say_started(call, plane, instance, how)
            for objection in objections(wanted.settings, wanted.source):
                talk(f"review: {objection}")
            await plane.run_until(stop)
    finally:
        # Only a wish stops the proxy. If Levelhead fails, users are served on.
        await plane.close(stop_proxy=stop.is_set() and not leave_proxy)
        if started and (leave_proxy or not stop.is_set()):
            talk("the proxy serves on; the next `levelhead run` adopts it")
    talk("stopped" if leave_proxy else "stopped, and the proxy with it")
    return codes[0] if codes else 0


def _on_signals(stop: asyncio.Event, codes: list[int]) -> None:
    """Ctrl-C and SIGTERM end the loop in order; a second one does not wait for that."""
    loop = asyncio.get_running_loop()

    def ended(number: signal.Signals) -> None:
        codes.append(130 if number is signal.SIGINT else 0)
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, ended, each)


def _say_started(call: Call, plane: Plane, instance: instances.Instance, how: str) -> None:
    status = plane.status()
    if call.json:
        started = {"event": "started", "instance": instance.name, "socket": str(instance.socket), "how": how}
        _event(started | {"listeners": list(status.listeners), "engine": status.engine, "revision": status.revision})
    what = "simulates" if status.engine.startswith("sim ") else "serves"
    talk(f"Levelhead {levelhead.__version__} {what} {', '.join(status.listeners)} with {status.engine} ({how})")
    for pool in status.pools:
        members = ", ".join(f"{server.name} {server.address}" for server in pool.servers[:8])
        more = f" and {len(pool.servers) - 8} more" if len(pool.servers) > 8 else ""
        talk(f"  pool {pool.name} ({pool.policy}, mode {pool.mode}): {members}{more}")
    flag = "" if instance.name == instances.DEFAULT else f" --instance {instance.name}"
    talk(f"  look: levelhead status{flag}    stop: Ctrl-C")


def _speaker(call: Call) -> Callable[[Outcome], None]:
    """Says the sentence of a tick when it says something new; figures alone are not new."""
    said_at, said = 0.0, ""

    def heard(outcome: Outcome) -> None:
        nonlocal said_at, said
        meant = re.sub(r"[0-9][0-9.,]*", "#", outcome.because)
        now = time.monotonic()
        if meant == said or now - said_at < SAID_EVERY_S:
            return
        said_at, said = now, meant
        _say(call, "because", outcome.because)

    return heard


def _teller(call: Call) -> Callable[[str], None]:
    """Says what became of a change, at once and always."""
    return lambda text: _say(call, "change", text)


def _say(call: Call, event: str, text: str) -> None:
    if call.json:
        # Whoever reads it may be gone: no reason to stop serving.
        with contextlib.suppress(OSError):
            _event({"event": event, "at": time.time(), event: text})
    talk(f"{time.strftime('%H:%M:%SZ', time.gmtime())}  {text}")


def _event(fields: dict[str, object]) -> None:
    screen.show_plain_json({"schema": "levelhead/run/1", **fields}, compact=True)
