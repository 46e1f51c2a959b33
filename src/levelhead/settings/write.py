"""Settings back to YAML: every effective value written out, in one canonical order."""

from __future__ import annotations

from typing import assert_never

import yaml

from levelhead.errors import UsageError
from levelhead.model import (
    Check,
    Hash,
    Intent,
    LeastRequest,
    Listener,
    OtherPolicy,
    Policy,
    Pool,
    RandomPick,
    RoundRobin,
    Server,
)
from levelhead.settings.build import Settings
from levelhead.settings.targets import Secret, Target

Value = str | int | float | bool | list["Value"] | dict[str, "Value"]


def dump(settings: Settings) -> str:
    """The effective settings as levelhead.yaml; `parse(dump(s)) == s`. Secrets that the file holds are in it."""
    whole: dict[str, Value] = {
        "listeners": {listener.name: _listener(listener) for listener in settings.fleet.listeners},
        "pools": {pool.name: _pool(pool) for pool in settings.fleet.pools},
        "client": settings.fleet.client,
        "false_alarms_per_month": _number(settings.false_alarms_per_month),
        "notify": [_target(target) for target in settings.notify],
    }
    if facts := settings.facts.model_dump(exclude_defaults=True):
        whole["facts"] = facts
    dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(whole, Dumper=dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _listener(listener: Listener) -> Value:
    routes: list[Value] = [
        _given({"host": route.host, "prefix": route.prefix, "pool": route.pool}) for route in listener.routes
    ]
    return _given({
        "address": listener.address,
        "certificate": listener.certificate,
        "connections": listener.connections,
        "routes": routes,
    })  # fmt: skip


def _pool(pool: Pool) -> Value:
    return {
        "servers": {server.name: _server(server) for server in pool.servers},
        "policy": _policy(pool.policy),
        "check": "off" if pool.check is None else _check(pool.check),
        "ejection": "off" if pool.ejection is None else {"consecutive_errors": pool.ejection.consecutive_errors},
        "timeouts": {
            "connect_s": _number(pool.timeouts.connect_s),
            "server_s": _number(pool.timeouts.server_s),
            "client_s": _number(pool.timeouts.client_s),
            "queue_s": _number(pool.timeouts.queue_s),
            "keep_alive_s": _number(pool.timeouts.keep_alive_s),
        },
        "retries": pool.retries.attempts,
        "limits": _given({"server_in_flight": pool.limits.server_in_flight, "queue": pool.limits.queue}),
        "affinity": "off" if pool.affinity_cookie is None else {"cookie": pool.affinity_cookie},
        "slow_start_s": _number(pool.slow_start_s),
        "slo": {"latency_ms": _number(pool.slo.latency_ms), "availability": _number(pool.slo.availability)},
        "intent": _intent(pool.intent),
        "mode": pool.mode.value,
        "minimum_servers": pool.minimum_servers,
    }


def _server(server: Server) -> Value:
    return _given({
        "address": server.address,
        "weight": _number(server.weight),
        "capacity": None if server.capacity is None else _number(server.capacity),
        "zone": server.zone or None,
        "in_flight_limit": server.in_flight_limit,
        "state": server.admin.value,
    })  # fmt: skip


def _policy(policy: Policy) -> Value:
    match policy:
        case RoundRobin() | LeastRequest():
            return policy.kind
        case RandomPick(draws):
            return {"random": {"draws": draws}}
        case Hash(on, name, consistent, bounded_load):
            key: dict[str, Value | None] = {on: name} if on in ("header", "cookie") else {"key": on}
            bound = None if bounded_load is None else _number(bounded_load)
            return {"hash": _given({**key, "consistent": consistent, "bounded_load": bound})}
        case OtherPolicy(name):
            raise UsageError(
                f"levelhead.yaml has no policy {name!r}", next_step="use round-robin, least-request, random or hash"
            )
        case _:
            assert_never(policy)


def _check(check: Check) -> Value:
    return _given({
        "path": check.path,
        "status": check.status,
        "interval_s": _number(check.interval_s),
        "timeout_s": _number(check.timeout_s),
        "fall": check.fall,
        "rise": check.rise,
        "host": check.host,
        "port": check.port,
    })  # fmt: skip


def _intent(intent: Intent) -> Value:
    if intent.kind == "explicit":
        return {"explicit": {name: _number(share) for name, share in intent.shares}}
    return intent.kind


def _target(target: Target) -> Value:
    if target.kind == "terminal":
        return "terminal"
    held = _held("url", target.url)
    for kind, part in (("headers", "value"), ("headers_env", "env"), ("headers_file", "file")):
        if group := {name: getattr(secret, part) for name, secret in target.headers if getattr(secret, part)}:
            held[kind] = group
    return {target.kind: {"name": target.name, **held}}


def _held(name: str, secret: Secret) -> dict[str, Value]:
    if secret.env:
        return {f"{name}_env": secret.env}
    return {f"{name}_file": secret.file} if secret.file else {name: secret.value}


def _given(values: dict[str, Value | None]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if value is not None}


def _number(value: float) -> int | float:
    """Whole numbers without a point, as people write them."""
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
