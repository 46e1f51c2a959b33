"""Reads load assignments: localities, their endpoints, and where those listen."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import Address, Endpoint, Locality
from levelhead.engines.envoy.schema import enum
from levelhead.engines.text import Problem
from levelhead.nodes import Mapping, Node, Scalar

_LAST_PRIORITY: Final = 128
_LAST_PORT: Final = 65_535


def localities(assignment: View, problems: list[Problem]) -> tuple[Locality, ...]:
    """The localities of a ClusterLoadAssignment, in their order."""
    return tuple(_locality(view, problems) for view in assignment.views("endpoints"))


def address(view: View | None, problems: list[Problem]) -> Address | None:
    """Where an Address points; None where it says nothing that can be read."""
    if view is None:
        return None
    socket = view.view("socket_address")
    if socket is not None:
        return _socket(socket, problems)
    pipe = view.view("pipe")
    if pipe is not None:
        return Address("pipe", pipe.text("path").value, None, pipe.where)
    internal = view.view("envoy_internal_address")
    if internal is not None:
        return Address("internal", internal.text("server_listener_name").value, None, internal.where)
    return None


def is_ip(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address."""
    for kind in (IPv4Address, IPv6Address):
        try:
            kind(host)
        except AddressValueError:
            continue
        return True
    return False


def _socket(view: View, problems: list[Problem]) -> Address:
    host = view.text("address")
    port = view.count("port_value")
    if port.value is not None and not 0 <= port.value <= _LAST_PORT:
        problems.append(Problem(port.origin, f"a port is at most {_LAST_PORT}, not {port.value}"))
    return Address("ip" if is_ip(host.value) else "name", host.value, port.value, view.where)


def _locality(view: View, problems: list[Problem]) -> Locality:
    place = view.view("locality")
    weight, priority = view.count("load_balancing_weight"), view.whole("priority", 0)
    if weight.value is not None and weight.value < 1:
        problems.append(Problem(weight.origin, f"the weight of a locality is at least 1, not {weight.value}"))
    if not 0 <= priority.value <= _LAST_PRIORITY:
        problems.append(Problem(priority.origin, f"a priority is 0 to {_LAST_PRIORITY}, not {priority.value}"))
    return Locality(
        region=place.text("region").value if place else "",
        zone=place.text("zone").value if place else "",
        sub_zone=place.text("sub_zone").value if place else "",
        priority=priority,
        weight=weight,
        endpoints=tuple(_endpoint(v, problems) for v in view.views("lb_endpoints")),
        origin=view.where,
    )


def _endpoint(view: View, problems: list[Problem]) -> Endpoint:
    inner = view.view("endpoint")
    weight = view.whole("load_balancing_weight", 1)
    if weight.value < 1:
        said = f"the weight of an endpoint is at least 1, not {weight.value}: leave it out, or set it DRAINING"
        problems.append(Problem(weight.origin, said))
    check = view.within("endpoint").within("health_check_config")
    return Endpoint(
        at=address(inner.view("address"), problems) if inner else None,
        weight=weight,
        health=view.word("health_status", "UNKNOWN", enum("core.HealthStatus")),
        hostname=inner.text("hostname").value if inner else "",
        check_port=check.count("port_value"),
        unchecked=check.flag("disable_active_health_check"),
        labels=_labels(view),
        origin=view.where,
    )


def _labels(view: View) -> tuple[tuple[str, str], ...]:
    """The metadata that subsets choose by."""
    metadata = view.view("metadata")
    filters = metadata.view("filter_metadata") if metadata else None
    chosen = filters.view("envoy.lb") if filters else None
    if chosen is None or not isinstance(chosen.node, Mapping):
        return ()
    return tuple((entry.key, _shown(entry.value)) for entry in chosen.node.entries.values())


def _shown(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else "..."
