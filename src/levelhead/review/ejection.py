"""Rules on taking servers out by the errors of their requests, on how many may be out, and on what is left then."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.engines.text import Value
from levelhead.model import Admin, Fleet, Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.wording import counted, lasting, listed

_FEW: Final = 5  # fewer errors than this in a row are no proof
_MEASURED: Final = "(measured: 600 of 601 good requests lost)"
_USUAL_FAIL_TIMEOUT_S: Final = 10.0
_CAPPED_FROM: Final = (1, 28)  # before, Envoy ejected one host whatever the percentage said
_NEVER_A_FAILURE: Final = frozenset({"http_403", "http_404"})


def _nginx_one_error(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH033. Silent where nothing but nginx's own defaults is in force: a server that breaks a connection is out for
    10 s, and its clients have no tie to it."""
    for group in config.reading.upstreams:
        live = [s for s in group.servers if not (s.down or s.backup)]
        touchy = [s for s in live if s.max_fails.value == 1 and s.fail_timeout_s.value > 0]
        if group.module != "http" or len(live) < 2 or touchy != live:
            continue
        passes = _passes(config.reading, group)
        out = lasting(max(s.fail_timeout_s.value for s in live))
        first = live[0]
        bad = _counted_statuses(passes)
        if bad:
            words, origin = bad
            answers = f"an answer of {words[0].removeprefix('http_')}"
            message = (
                f"{_one_request(passes, len(live))} out for {out}: max_fails is 1, and {answers} counts as a failure"
                f" {_MEASURED}"
            )
        elif isinstance(group.policy, nginx.IpHash | nginx.Hash) or group.sticky:
            origin = first.origin
            message = f"one failed request moves everything tied to a server elsewhere for {out}: max_fails is 1"
        elif not first.max_fails.is_default or any(s.fail_timeout_s.value > _USUAL_FAIL_TIMEOUT_S for s in live):
            origin = first.origin if first.max_fails.is_default else first.max_fails.origin
            message = f"{_one_request(passes, len(live))} out for {out}: max_fails is 1 {_MEASURED}"
        else:
            continue
        yield Trouble(origin, message, group.name, first.address.text)


def _passes(reading: nginx.Reading, group: nginx.Upstream) -> tuple[nginx.Pass, ...]:
    """What passes requests to this group, as far as the text tells."""
    name = group.name.lower()
    to = ((p, {p.upstream.lower(), *(c.lower() for c in p.candidates)}) for p in reading.passes)
    return tuple(p for p, names in to if p.module == group.module and name in names)


def _counted_statuses(passes: tuple[nginx.Pass, ...]) -> tuple[list[str], Origin] | None:
    """The answers that count as failures beside broken connections, and where that is written."""
    for passed in passes:
        words = [w for w in passed.next_upstream.value if w.startswith("http_") and w not in _NEVER_A_FAILURE]
        if words:
            return words, passed.next_upstream.origin
    return None


def _one_request(passes: tuple[nginx.Pass, ...], servers: int) -> str:
    """How far one request gets: it goes on to the next server until it is answered or its tries are used up."""
    tries = [p.next_upstream_tries.value or servers if p.next_upstream.value else 1 for p in passes]
    reach = min(max(tries, default=servers), servers)
    which = f"all {servers} servers" if reach == servers else counted(reach, "server")
    return f"one bad request can take {which}"


def _haproxy_one_error(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH033."""
    for proxy, blamed in _blamed(config.reading):
        strict = [s for s in blamed if s.error_limit < _FEW and s.observe == "layer7"]
        if strict and strict == blamed:
            first = strict[0]
            word = first.option("error-limit")
            message = f"{_bad_answers(first.error_limit)} {_all_of(len(strict))} out until its check passes"
            yield Trouble(word.origin if word else first.origin, message, proxy.name, first.name)


def _blamed(reading: haproxy.Reading) -> Iterator[tuple[haproxy.Proxy, list[haproxy.ServerLine]]]:
    """Sections in which errors of requests mark down every server that is no backup, with those servers."""
    for proxy in reading.pools():
        live = [s for s in proxy.servers if not (s.disabled or s.backup) and s.weight]
        if len(live) > 1 and all(s.check.enabled and s.observe and s.on_error == "mark-down" for s in live):
            yield proxy, live


def _bad_answers(number: int) -> str:
    return "one bad answer takes" if number == 1 else f"{number} bad answers in a row take"


def _all_of(servers: int) -> str:
    return f"a server, and the same request repeated all {servers},"


def _envoy_one_error(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH033."""
    for cluster in config.reading.clusters:
        outliers = cluster.outliers
        if outliers is None or outliers.most_ejected_percent.value < 100 or _count(cluster) == 1:
            continue
        for errors, enforced in (
            (outliers.consecutive_5xx, outliers.enforcing_5xx),
            (outliers.consecutive_gateway, outliers.enforcing_gateway),
        ):
            if 0 < errors.value <= 2 and enforced.value:
                servers = _count(cluster)
                which = f"all {servers} servers" if servers else "every server"
                out = lasting(outliers.ejection_s.value)
                requests = counted(errors.value, "bad request")
                message = f"{requests} per server can eject {which} for {out}: nothing caps it"
                yield Trouble(errors.origin, message, cluster.name)


def _fleet_one_error(config: Config[Fleet]) -> Iterator[Trouble]:
    """LH033."""
    for pool in config.reading.pools:
        live = [s for s in pool.servers if s.admin is Admin.READY]
        errors = pool.ejection.consecutive_errors if pool.ejection else _FEW
        if errors < _FEW and len(live) > 1:
            message = f"{_bad_answers(errors)} {_all_of(len(live))} out until its check passes"
            yield Trouble(pool.origin, message, pool.name)


def _count(cluster: envoy.Cluster) -> int | None:
    """How many servers a cluster has, None where names or a control plane decide."""
    return len(cluster.endpoints) if cluster.kind.value == "STATIC" else None


def _never_ejects(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH034."""
    for cluster in config.reading.clusters:
        outliers, servers = cluster.outliers, _count(cluster)
        if outliers is None or servers is None or servers < 2:
            continue
        cap = outliers.most_ejected_percent
        if config.version >= _CAPPED_FROM and not outliers.always_one.value and cap.value * servers < 100:
            needed = f"at {cap.value}% it takes {ceil(100 / cap.value)} servers" if cap.value else "at 0% nobody is"
            message = f"no server is ever ejected: {needed}, and {cluster.name} has {servers}"
            yield Trouble(outliers.origin if cap.is_default else cap.origin, message, cluster.name)
        for hosts, enforced, what in (
            (outliers.success_rate_hosts, outliers.enforcing_success_rate, "success rate"),
            (outliers.failure_hosts, outliers.enforcing_failure_percent, "failure percentage"),
        ):
            if not hosts.is_default and hosts.value > servers and enforced.value:
                message = f"ejection by {what} needs {hosts.value} servers, and {cluster.name} has {servers}"
                yield Trouble(hosts.origin, message, cluster.name)


def _lonely(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH035. nginx spares the only server of a group; an entry that never serves takes that protection away."""
    for group in config.reading.upstreams:
        idle = [s for s in group.servers if s.down]
        live = [s for s in group.servers if not s.down]
        if not idle or len(live) != 1 or live[0].at is None or live[0].at.kind == "name":
            continue
        only = live[0]
        if only.max_fails.value and only.fail_timeout_s.value:
            out, failures = lasting(only.fail_timeout_s.value), counted(only.max_fails.value, "failure")
            message = (
                f"{failures} of {only.address.text}, the only server in use, and nobody is served for {out}:"
                f" beside this entry nginx no longer spares it (measured: 283 of 301 requests failed)"
            )
            yield Trouble(idle[0].origin, message, group.name, only.address.text)


def _no_panic(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH036."""
    for cluster in config.reading.clusters:
        panic, aware = cluster.balancing.panic_percent, cluster.balancing.zone_aware
        if not cluster.checks or _count(cluster) == 1:
            continue
        off: Value[float] | Value[bool] | None = panic if panic.value == 0 else None
        if off is None and aware is not None and aware.fail_on_panic.value:
            off = aware.fail_on_panic
        if off is not None:
            servers = _count(cluster)
            which = f"the checks of all {servers} servers" if servers else "all checks"
            message = f"if {which} fail, rightly or not, every request to {cluster.name} gets 503"
            yield Trouble(off.origin, message, cluster.name)


def _envoy_uncapped(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH037."""
    for cluster in config.reading.clusters:
        cap = cluster.outliers.most_ejected_percent if cluster.outliers else None
        if cap is not None and cap.value >= 100:
            servers = _count(cluster)
            which = f"all {servers} servers" if servers and servers > 1 else "every server"
            yield Trouble(cap.origin, f"{which} of {cluster.name} can be ejected at a time", cluster.name)


def _haproxy_uncapped(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH037. A backup that nobody checks is what is left."""
    for proxy, blamed in _blamed(config.reading):
        if any(s.backup and not s.check.enabled for s in proxy.servers):
            continue
        first = blamed[0]
        word = first.option("observe")
        message = (
            f"errors of requests can mark down all {len(blamed)} servers of {proxy.name} at a time:"
            f" HAProxy has no cap, and no server here stays in whatever happens"
        )
        yield Trouble(word.origin if word else first.origin, message, proxy.name, first.name)


def _undone(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH096."""
    for cluster in config.reading.clusters:
        outliers, panic = cluster.outliers, cluster.balancing.panic_percent.value
        if outliers is None or panic <= 0:
            continue
        cap = outliers.most_ejected_percent
        origin = outliers.origin if cap.is_default else cap.origin
        if _count(cluster) == 1:
            if outliers.always_one.value or cap.value >= 100:
                message = f"{cluster.name} has one server: once it is ejected, panic sends it everything again"
                yield Trouble(origin, message, cluster.name)
        elif cap.value > 100 - panic:
            message = (
                f"up to {cap.value}% may be ejected, but once more than {100 - panic:g}% are out"
                f" traffic goes to all servers again, the ejected ones too (panic threshold {panic:g}%)"
            )
            yield Trouble(origin, message, cluster.name)


def _one_backup(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH040. One server that is replaced by one, then by another, is a chain that somebody wanted."""
    for proxy in config.reading.pools():
        live = [s for s in proxy.servers if not s.disabled and s.weight]
        active, backups = [s for s in live if not s.backup], [s for s in live if s.backup]
        if len(active) < 2 or len(backups) < 2 or proxy.has("allbackups"):
            continue
        first, second = backups[0], backups[1]
        message = (
            f"when all {len(active)} servers are down, {first.name} gets everything:"
            f" {listed([s.name for s in backups[1:]])} would help only if it is down too"
        )
        yield Trouble(second.origin, message, proxy.name, second.name)


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "LH033", "one-error-ejects", "error",
        "a pool that one bad request, tried on every server, can empty",
        "Let 5 errors or more take a server out (max_fails, error-limit, consecutive_5xx), and allow 2 tries.",
        haproxy=_haproxy_one_error, nginx=_nginx_one_error, envoy=_envoy_one_error, levelhead=_fleet_one_error,
    ),
    Rule(
        "LH034", "outlier-can-never-eject", "error",
        "outlier detection that never ejects anybody, because the cluster is too small for its limits",
        "Set max_ejection_percent to 30 to 50, or always_eject_one_host to true.",
        envoy=_never_ejects,
    ),
    Rule(
        "LH035", "down-entry-defeats-single", "error",
        "an entry marked down that makes nginx eject the only server in use",
        "Remove the entry, or give the server max_fails=0.",
        nginx=_lonely,
    ),
    Rule(
        "LH036", "panic-disabled", "warning",
        "a cluster that refuses everything when all checks fail, even if they lie",
        "Set healthy_panic_threshold to the share of servers that bears the peak.",
        envoy=_no_panic,
    ),
    Rule(
        "LH037", "ejection-uncapped", "warning",
        "a pool in which errors can take out every server at a time",
        "Cap it: max_ejection_percent 30 to 50; in HAProxy add the servers again as unchecked backups (allbackups).",
        haproxy=_haproxy_uncapped, envoy=_envoy_uncapped,
    ),
    Rule(
        "LH040", "only-first-backup-used", "warning",
        "several backups of which only the first would be used",
        "Add `option allbackups`.",
        haproxy=_one_backup,
    ),
    Rule(
        "LH096", "ejection-undone-by-panic", "warning",
        "ejection that panic mode takes back, so that ejected servers get requests again",
        "Lower max_ejection_percent, or healthy_panic_threshold, so that they add up to 100 at most.",
        envoy=_undone,
    ),
)  # fmt: skip
