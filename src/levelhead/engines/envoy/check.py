"""Goes through a whole resource and says of every field whether Envoy has it there, and takes such a value."""

from __future__ import annotations

import difflib
import re
from typing import Final

from levelhead.engines.envoy import scalars, schema
from levelhead.engines.envoy.schema import Field, Message
from levelhead.engines.text import Problem
from levelhead.nodes import Entry, Mapping, Node, Scalar, Sequence

_DURATION: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s")
_MOST_GUESSED: Final = 50
_TYPE: Final = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+")
# What Envoy insists on: one of each row.
_NEEDED: Final = {
    "cluster.Cluster": (("name",),),
    "endpoint.ClusterLoadAssignment": (("cluster_name",),),
    "core.SocketAddress": (("address",), ("port_value", "named_port")),
    "core.HealthCheck": (("timeout",), ("interval",), ("unhealthy_threshold",), ("healthy_threshold",)),
    "route.VirtualHost": (("name",), ("domains",)),
    "route.Route": (("match",),),
    "route.WeightedCluster": (("clusters",),),
    "listener.Filter": (("name",), ("typed_config", "config_discovery")),
    "filters.network.http_connection_manager.HttpFilter": (
        ("name",), ("typed_config", "config_discovery", "disabled", "is_optional"),
    ),
    "filters.network.http_connection_manager.HttpConnectionManager": (
        ("stat_prefix",), ("route_config", "rds", "scoped_routes"),
    ),
    "filters.network.tcp_proxy.TcpProxy": (("stat_prefix",), ("cluster", "weighted_clusters")),
}  # fmt: skip
_REMOVED: Final = re.compile(r"\.v2(alpha)?\.|\.api\.v2\.|\.config\.(filter|transport_socket|access)")


def check(node: Node, name: str) -> list[Problem]:
    """Every problem of a node that is to be the message of this short name, or says itself what it is."""
    problems: list[Problem] = []
    if isinstance(node, Mapping) and "@type" in node.entries:
        _any(node, problems)
        return problems
    message = schema.message(name)
    if message is not None:
        _message(node, message, problems)
    return problems


def _message(node: Node, message: Message, problems: list[Problem], *, typed: bool = False) -> None:
    if isinstance(node, Scalar) and node.null:
        return
    if not isinstance(node, Mapping):
        problems.append(Problem(node.where, f"{_a(message.title)} is made of named fields, and this is none"))
        return
    for entry in node.entries.values():
        field = message.fields.get(entry.key)
        if field is None:
            if entry.key != "@type" or not typed:
                problems.append(_unknown(entry, message, guess=len(problems) < _MOST_GUESSED))
            continue
        _field(entry.value, field, problems)
    for names in _NEEDED.get(message.name, ()):
        if not any(_is_set(node, name) for name in names):
            wanted = " or ".join(f'"{name}"' for name in names)
            problems.append(Problem(node.where, f"{_a(message.title)} needs {wanted}"))


def _is_set(node: Mapping, name: str) -> bool:
    entry = node.entries.get(name) or node.entries.get(schema.camel(name))
    if entry is None or (isinstance(entry.value, Sequence) and not entry.value.items):
        return False
    return not (isinstance(entry.value, Scalar) and (entry.value.null or not entry.value.text))


def _field(node: Node, field: Field, problems: list[Problem]) -> None:
    if field.keyed:
        if isinstance(node, Mapping):
            for entry in node.entries.values():
                _value(entry.value, field, problems)
                if field.kind == "any" and not isinstance(entry.value, Mapping):
                    problems.append(Problem(entry.where, f'"{entry.key[:60]}" needs an "@type" that says what it is'))
        return
    # Envoy takes a single value for a list of one.
    if field.repeated and isinstance(node, Sequence):
        for item in node.items:
            _value(item, field, problems)
        return
    _value(node, field, problems)


def _value(node: Node, field: Field, problems: list[Problem]) -> None:
    if field.kind == "?" or (isinstance(node, Scalar) and node.null):
        return
    if field.kind == "any":
        _any(node, problems)
        return
    inner = schema.message(field.kind)
    if inner is not None:
        _message(node, inner, problems)
        return
    if isinstance(node, Mapping) and field.kind == "duration":
        return
    # A number or a bool may be wrapped in a message of its own.
    if isinstance(node, Mapping) and set(node.entries) == {"value"}:
        node = node.entries["value"].value
    fault = _fault(node, field)
    if fault:
        problems.append(Problem(node.where, f'"{field.name}" {fault}'))


def _any(node: Node, problems: list[Problem]) -> None:
    if not isinstance(node, Mapping):
        return
    entry = node.entries.get("@type")
    if entry is None or not isinstance(entry.value, Scalar):
        if node.entries:
            problems.append(Problem(node.where, 'this needs an "@type" that says what it is'))
        return
    url = entry.value.text
    if _REMOVED.search(url) and ".v3." not in url:
        said = f"{url.rpartition('/')[2][:80]} is of the v2 API, which Envoy no longer has"
        problems.append(Problem(entry.value.where, said))
        return
    message = schema.message(schema.named(url))
    if message is not None:
        _message(node, message, problems, typed=True)
        return
    meant = _meant(schema.named(url))
    if meant or not _TYPE.fullmatch(url.rpartition("/")[2]):
        hint = f": did you mean {meant}?" if meant else ""
        problems.append(Problem(entry.value.where, f'"{url[:120]}" is no type of Envoy {schema.ENVOY}{hint}'))


def _meant(name: str) -> str:
    """The type that a name can only be a slip for; empty where there is none. Other types exist than are known here."""
    alike = [k for k in schema.names() if abs(len(k) - len(name)) <= 1 and (k[:8] == name[:8] or k[-8:] == name[-8:])]
    near = difflib.get_close_matches(name, alike, 1, 0.96)
    return near[0] if near else ""


def _fault(node: Node, field: Field) -> str:
    """Why the value does not fit, as the end of a sentence; empty where it fits."""
    if not isinstance(node, Scalar):
        return "takes one value, not a list or a mapping"
    shown = f'"{node.text[:40]}"'
    match field.kind:
        case "text":
            return "" if scalars.is_text(node) else f"is text: put {node.text[:40]} between quotes"
        case "bool":
            return "" if scalars.flag(node) is not None else f"is true or false, not {shown}"
        case "int":
            return "" if scalars.whole(node) is not None else f"takes a whole number, not {shown}"
        case "number":
            known = scalars.number(node) is not None or scalars.whole(node) is not None
            return "" if known else f"takes a number, not {shown}"
        case "duration":
            return "" if _DURATION.fullmatch(node.text) else f"takes seconds like 0.25s, not {shown}"
        case _:
            values = schema.enum(field.kind)
            known = scalars.whole(node) is not None or node.text.upper() in values or node.text in values
            return "" if known or not values else f"is one of {', '.join(values)}, not {shown}"


def _unknown(entry: Entry, message: Message, *, guess: bool) -> Problem:
    """A field that is not there: mistyped, or a level too high or too low."""
    said = f'"{entry.key[:60]}" is no field of {_a(message.title)} in Envoy {schema.ENVOY}'
    names = {} if not guess else {field.name: field for field in message.fields.values()}
    near = difflib.get_close_matches(entry.key, names, 1, 0.75) if guess and len(entry.key) <= 60 else []
    if near:
        return Problem(entry.where, f'{said}: did you mean "{near[0]}"?')
    inside = [name for name, field in names.items() if entry.key in _fields(field.kind)]
    if inside:
        places = " or ".join(f'"{name}"' for name in sorted(inside)[:3])
        return Problem(entry.where, f"{said}: it belongs inside {places}")
    return Problem(entry.where, said)


def _fields(kind: str) -> frozenset[str]:
    message = schema.message(kind)
    return frozenset(message.fields) if message is not None else frozenset()


def _a(title: str) -> str:
    return f"an {title}" if title[:1] in "AEIOU" else f"a {title}"
