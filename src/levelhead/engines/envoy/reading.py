"""Reads an Envoy configuration: text in, `Reading` out, with every problem Envoy would have with it.

A bootstrap, an answer of a control plane (`resources:`), a single resource with its "@type", a list of clusters or
listeners, and what Envoy itself dumps are all understood.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from levelhead.engines.envoy import listeners, routes, schema
from levelhead.engines.envoy.check import check
from levelhead.engines.envoy.clusters import cluster
from levelhead.engines.envoy.endpoints import address, localities
from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import (
    Admin,
    Cluster,
    HttpSide,
    Listener,
    Locality,
    Reading,
    RouteTable,
    Unknown,
)
from levelhead.engines.envoy.syntax import Comment, parse
from levelhead.engines.text import Problem
from levelhead.errors import ConfigError
from levelhead.model import NOWHERE, Origin
from levelhead.nodes import Mapping as Fields
from levelhead.nodes import Node, Scalar, Sequence

_BOOTSTRAP: Final = "bootstrap.Bootstrap"
_ANSWER: Final = "service.discovery.DiscoveryResponse"
_CLUSTER: Final = "cluster.Cluster"
_LISTENER: Final = "listener.Listener"
_TABLE: Final = "route.RouteConfiguration"
_ASSIGNMENT: Final = "endpoint.ClusterLoadAssignment"
# By what only they have, in the order of trying.
_TELLING: Final = (
    (_LISTENER, frozenset({"filter_chains", "filterChains", "listener_filters", "default_filter_chain"})),
    (_TABLE, frozenset({"virtual_hosts", "virtualHosts"})),
    (_CLUSTER, frozenset({"load_assignment", "loadAssignment", "lb_policy", "lbPolicy", "eds_cluster_config",
                          "connect_timeout", "connectTimeout", "cluster_type"})),
    (_ASSIGNMENT, frozenset({"cluster_name", "clusterName"})),
)  # fmt: skip
# What Envoy wraps a resource into where it dumps what it has.
_WRAPPED: Final = (
    "cluster", "listener", "route_config", "endpoint_config", "static_clusters", "dynamic_active_clusters",
    "dynamic_warming_clusters", "static_listeners", "dynamic_listeners", "active_state", "static_route_configs",
    "dynamic_route_configs", "static_endpoint_configs", "dynamic_endpoint_configs", "configs", "bootstrap",
)  # fmt: skip
_SOURCES: Final = ("cds_config", "lds_config")


def read(files: Mapping[str, str], main: str) -> Reading:
    """What the configuration in the file `main` amounts to.

    `files` are the texts by name. Where a bootstrap or a cluster takes more from a file (path_config_source) and that
    file is given, by its path or its last part, it is read too. Raises ConfigError, with file, line and column, for a
    text that is neither YAML nor JSON or is a template, and nothing else.
    """
    if main not in files:
        raise ConfigError("no such file among those given", file=main)
    found = _Found(files)
    found.file(main)
    return found.reading()


@dataclass(slots=True)
class _Found:
    """What was met on the way through the files."""

    files: Mapping[str, str]
    read: list[str] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    tables: list[RouteTable] = field(default_factory=list)
    assignments: dict[str, tuple[Locality, ...]] = field(default_factory=dict)
    admin: Admin = Admin(None)  # noqa: RUF009
    dynamic: list[Unknown] = field(default_factory=list)
    roots: list[Node] = field(default_factory=list)
    others: list[Fields] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    validated: set[Origin] = field(default_factory=set)
    bootstrapped: bool = False

    def file(self, name: str) -> None:
        """Read a file once; several resources may come from it."""
        if name in self.read:
            return
        self.read.append(name)
        text = parse(self.files[name], name)
        self.comments += text.comments
        self.problems += text.problems
        if text.root is not None:
            self.roots.append(text.root)
            self.root(text.root)

    def root(self, node: Node) -> None:
        if isinstance(node, Scalar):
            self.problems.append(Problem(node.where, "this is one word, not a configuration"))
            return
        if isinstance(node, Fields) and _is_bootstrap(node):
            self.problems += check(node, _BOOTSTRAP)
            self.bootstrap(View(node))
            return
        if isinstance(node, Fields) and "resources" in node.entries:
            self.problems += check(node, _ANSWER)
            for resource in View(node).views("resources"):
                self.resource(resource, checked=True)
            return
        for resource in _resources(node):
            self.resource(resource, checked=False)

    def bootstrap(self, view: View) -> None:
        self.bootstrapped = True
        admin = view.view("admin")
        if admin is not None:
            self.admin = Admin(address(admin.view("address"), self.problems), admin.where)
        static = view.within("static_resources")
        for inner in static.views("clusters"):
            self.add_cluster(inner)
        for inner in static.views("listeners"):
            self.add_listener(inner)
        dynamic = view.within("dynamic_resources")
        for source, what in zip(_SOURCES, ("clusters", "listeners"), strict=True):
            config = dynamic.view(source)
            if config is not None:
                self.subscribe(config, f"{what} come by {source[:3].upper()}")

    def resource(self, view: View, *, checked: bool) -> None:
        """A resource by its type, or by what it looks like."""
        kind = view.type or _guess(view)
        if not checked:
            self.problems += check(view.node, kind)
        if kind.endswith(".Bootstrap"):
            self.bootstrap(view)
        elif kind.endswith(".Cluster"):
            self.add_cluster(view)
        elif kind.endswith(".Listener"):
            self.add_listener(view)
        elif kind.endswith(".RouteConfiguration"):
            self.tables.append(routes.table(view, self.problems))
        elif kind.endswith(".ClusterLoadAssignment"):
            name = view.text("cluster_name").value
            self.assignments[name] = localities(view, self.problems)
        elif isinstance(view.node, Fields):
            self.others.append(view.node)
            if not kind:
                self.problems.append(
                    Problem(view.where, "this looks neither like a bootstrap nor like a resource of Envoy")
                )

    def add_cluster(self, view: View) -> None:
        added = cluster(view, self.problems)
        if added.name and any(c.name == added.name for c in self.clusters):
            self.problems.append(Problem(view.where, f'cluster "{added.name[:80]}" is written twice'))
        self.clusters.append(added)
        eds = view.within("eds_cluster_config").view("eds_config")
        if eds is not None:
            self.subscribe(eds, "")

    def add_listener(self, view: View) -> None:
        added = listeners.listener(view, self.problems)
        self.listeners.append(added)
        for chain in (*view.views("filter_chains"), *view.views("default_filter_chain")):
            for inner in chain.views("filters"):
                config = inner.within("typed_config")
                source = config.within("rds").view("config_source")
                if source is not None:
                    self.subscribe(source, "routes come by RDS")
                if config.within("route_config").flag("validate_clusters", True).value:
                    self.validated.add(config.within("route_config").where)
        self.tables += [s.routes for s in added.sides if isinstance(s, HttpSide) and isinstance(s.routes, RouteTable)]

    def subscribe(self, source: View, what: str) -> None:
        """More comes from elsewhere: from a file given here, or from a control plane that nobody can ask."""
        path = source.within("path_config_source").text("path").value or source.text("path").value
        name = self.given(path) if path else None
        if name is not None:
            self.file(name)
        elif what:
            self.dynamic.append(Unknown(what + (f" from {path}, which was not given" if path else ""), source.where))

    def given(self, path: str) -> str | None:
        """The name under which a path was given; None where it was not."""
        wanted = posixpath.normpath(path)
        by_path = {posixpath.normpath(name): name for name in self.files}
        if wanted in by_path:
            return by_path[wanted]
        last = posixpath.basename(wanted)
        return next((name for p, name in by_path.items() if posixpath.basename(p) == last), None)

    def reading(self) -> Reading:
        names = {c.name for c in self.clusters}
        if self.bootstrapped and not any(u.why.startswith("clusters") for u in self.dynamic):
            self.problems += _unknown_clusters([t for t in self.tables if t.origin in self.validated], names)
        return Reading(
            files=tuple(self.read),
            clusters=tuple(self._with_members(c) for c in self.clusters),
            listeners=tuple(self.listeners),
            route_tables=tuple(self.tables),
            assignments=tuple(self.assignments.items()),
            admin=self.admin,
            dynamic=tuple(self.dynamic),
            references=frozenset(name for root in self.roots for name in listeners.references(root)),
            roots=tuple(self.roots),
            others=tuple(self.others),
            comments=tuple(self.comments),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def _with_members(self, read: Cluster) -> Cluster:
        """An EDS cluster whose endpoints were given by themselves has them."""
        found = self.assignments.get(read.eds_name) if read.kind.value == "EDS" else None
        return read if found is None else replace(read, members=found)


def _is_bootstrap(node: Fields) -> bool:
    message = schema.message(_BOOTSTRAP)
    return message is not None and "@type" not in node.entries and any(key in message.fields for key in node.entries)


def _resources(node: Node) -> Iterator[View]:
    """The resources of a list, of a dump, or the only one."""
    waiting = [node]
    while waiting:
        at_hand = waiting.pop()
        if isinstance(at_hand, Sequence):
            waiting += reversed(at_hand.items)
        elif isinstance(at_hand, Fields):
            found = at_hand.entries.values()
            inner = [e for e in found if e.key in _WRAPPED and not isinstance(e.value, Scalar)]
            lists = [e for e in found if e.key in ("clusters", "listeners") and isinstance(e.value, Sequence)]
            if inner or lists:
                waiting += [e.value for e in reversed(inner + lists)]
            else:
                yield View(at_hand)


def _guess(view: View) -> str:
    if isinstance(view.node, Fields):
        for kind, telling in _TELLING:
            if telling & set(view.node.entries):
                return kind
    return ""


def _unknown_clusters(tables: list[RouteTable], names: set[str]) -> list[Problem]:
    """Envoy refuses a table of a listener that names a cluster it does not have."""
    return [
        Problem(target.origin, f'there is no cluster "{target.cluster[:80]}"')
        for table in tables
        for host in table.hosts
        for route in host.routes
        if route.action in ("cluster", "weighted")
        for target in route.clusters
        if target.cluster not in names and target.origin != NOWHERE
    ]
