"""Rules on retries: tries that do not fit their deadline, that multiply load, repeat writes or hit the same server."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from levelhead import nodes
from levelhead.engines.envoy import fields
from levelhead.engines.envoy import picture as envoy
from levelhead.engines.haproxy import picture as haproxy
from levelhead.engines.nginx import picture as nginx
from levelhead.model import Fleet, Origin
from levelhead.review.base import Config, Rule, Trouble
from levelhead.review.groups import percent
from levelhead.review.timeouts import routes_of

_MANY_TRIES: Final = 4
_USUAL_RETRIES: Final = 3
_USUAL_ENVOY_RETRIES: Final = 3
_PREVIOUS_HOSTS: Final = "previous_hosts"
# After these a server may have done the work, or part of it.
_DONE_PERHAPS: Final = frozenset(
    {"all-retryable-errors", "empty-response", "junk-response", "response-timeout", "500", "502", "503", "504"}
)
# These come back from a pool that has too much to do, and more so with every try.
_UNDER_LOAD: Final = _DONE_PERHAPS - {"empty-response", "junk-response"} | {"429"}
_NGINX_UNDER_LOAD: Final = frozenset({"http_500", "http_502", "http_503", "http_504", "http_429"})
_ENVOY_UNDER_LOAD: Final = frozenset({"5xx", "gateway-error", "retriable-status-codes"})
_ENVOY_DONE_PERHAPS: Final = frozenset({"5xx", "gateway-error", "reset"})


def retries_of(proxy: haproxy.Proxy) -> int:
    return _USUAL_RETRIES if proxy.retries is None else proxy.retries.value


def _only_some_fit(tries: int, each: str, each_s: float, within: str, within_s: float) -> str:
    fit = max(1, ceil(within_s / each_s))
    fits = "fits" if fit == 1 else "fit"
    return f"only {fit} of {tries} tries {fits} in {within} of {within_s:g} s: {each} may take {each_s:g} s"


def _haproxy_deadline(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH055: against what waits before us, as HAProxy itself bounds each try and not all of them."""
    outer = config.facts.outer_timeout_s
    seen: set[Origin] = set()
    for proxy in config.reading.pools():
        connect, tries = proxy.timeouts.connect, retries_of(proxy) + 1
        if not outer or connect is None or not proxy.servers or tries < 2 or connect.value * tries <= outer:
            continue
        origin = proxy.retries.origin if proxy.retries else connect.origin
        if origin not in seen:
            seen.add(origin)
            said = _only_some_fit(tries, "a try to connect", connect.value, "the declared outer timeout", outer)
            yield Trouble(origin, said, proxy.name)


def _nginx_deadline(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH055: against the time for all servers together."""
    for passed in config.reading.passes:
        within, connect = passed.next_upstream_timeout_s, passed.connect_timeout_s
        tries = _nginx_tries(config.reading, passed) if "timeout" in passed.next_upstream.value else 1
        if tries < 2 or within.value <= 0 or connect.value * tries <= within.value:
            continue
        name = passed.directive.removesuffix("_pass")
        said = _only_some_fit(
            tries, f"a try to connect ({name}_connect_timeout)", connect.value, f"{name}_next_upstream_timeout",
            within.value,
        )  # fmt: skip
        yield Trouble(within.origin, said, passed.upstream)


def _nginx_tries(reading: nginx.Reading, passed: nginx.Pass) -> int:
    """How many servers a request can see at most, by what is written; 1 where the group is not known."""
    group = reading.upstream(passed.module, passed.upstream)
    if group is None or not passed.next_upstream.value:
        return 1
    servers = sum(not s.down for s in group.servers)
    return min(servers, passed.next_upstream_tries.value or servers)


def _retrying(reading: envoy.Reading) -> Iterator[tuple[envoy.Route, envoy.Retry]]:
    """Routes that retry; a policy of the virtual host comes with each of its routes."""
    for _, route in routes_of(reading):
        if route.retry is not None and route.retry.on and route.retry.count.value > 0:
            yield route, route.retry


def _clusters(reading: envoy.Reading, route: envoy.Route) -> tuple[envoy.Cluster, ...]:
    return tuple(c for w in route.clusters if (c := reading.cluster(w.cluster)) is not None)


def _pool(route: envoy.Route) -> str:
    return route.clusters[0].cluster if len(route.clusters) == 1 else ""


def _written(reading: envoy.Reading, retry: envoy.Retry, name: str) -> Origin:
    """Where this setting of a retry policy stands; the policy itself where it does not."""
    waiting = list(reading.roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, nodes.Mapping):
            entry = fields.View(node).entry(name) if node.where == retry.origin else None
            if entry is not None:
                return entry.where
            waiting += [entry.value for entry in node.entries.values()]
        elif isinstance(node, nodes.Sequence):
            waiting += node.items
    return retry.origin


def _envoy_deadline(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH055: against the timeout of the route, which all tries share."""
    for route, retry in _retrying(config.reading):
        each, tries = retry.per_try_timeout_s, retry.count.value + 1
        within = route.timeout_s
        if not each.value or within.value <= 0 or each.value * tries <= within.value:
            continue
        usual = "the route's timeout" if not within.is_default else "Envoy's own route timeout"
        said = _only_some_fit(tries, "a try (per_try_timeout)", each.value, usual, within.value)
        yield Trouble(each.origin, said, _pool(route))


def _levelhead_deadline(config: Config[Fleet]) -> Iterator[Trouble]:
    outer = config.facts.outer_timeout_s
    for pool in config.reading.pools:
        each, tries = pool.timeouts.connect_s, pool.retries.attempts + 1
        if outer and tries > 1 and each * tries > outer:
            said = _only_some_fit(tries, "a try to connect", each, "the declared outer timeout", outer)
            yield Trouble(pool.origin, said, pool.name)


def _amplified(times: int, after: str) -> str:
    many = f"{times} times"
    return f"a pool that fails gets up to {many} the requests of its clients: each is tried {many}{after}"


def _runs_twice(words: list[str]) -> str:
    return f"a POST is tried again after {_listed(words)}, when the first server may have done it: it can run twice"


def _haproxy_amplify(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    seen: set[Origin] = set()
    for proxy in config.reading.pools():
        tries, on = retries_of(proxy) + 1, proxy.retry_on
        if on is None or tries < _MANY_TRIES or not proxy.servers or on.origin in seen:
            continue
        words = [word for word in on.value if word in _UNDER_LOAD]
        if words:
            seen.add(on.origin)
            yield Trouble(on.origin, _amplified(tries, f" after {_listed(words)}"), proxy.name)


def _nginx_amplify(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    seen: set[Origin] = set()
    for passed in config.reading.passes:
        words = [word for word in passed.next_upstream.value if word in _NGINX_UNDER_LOAD]
        tries, origin = _nginx_tries(config.reading, passed), passed.next_upstream.origin
        bounded = passed.next_upstream_tries.value > 0
        if words and tries >= (_MANY_TRIES if bounded else 3) and origin not in seen:
            seen.add(origin)
            why = "" if bounded else ", once on every server,"
            yield Trouble(origin, _amplified(tries, f"{why} after {_listed(words)}"), passed.upstream)


def _envoy_amplify(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH056: Envoy's own max_retries of 3 at a time holds retries down; where it was raised, only a budget does."""
    for route, retry in _retrying(config.reading):
        words = [word for word in retry.on if word in _ENVOY_UNDER_LOAD]
        for cluster in _clusters(config.reading, route):
            limits = cluster.breakers.default
            if not words or retry.count.value < 2 or limits.budget or limits.retries.value <= _USUAL_ENVOY_RETRIES:
                continue
            said = _amplified(retry.count.value + 1, f" after {_listed(words)}")
            held = f"max_retries {limits.retries.value} of {cluster.name} and no retry_budget"
            yield Trouble(limits.retries.origin, f"{said} ({held})", cluster.name)


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + (" ..." if len(words) > 3 else "")


def _haproxy_repeats_writes(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH057: no rule keeps writes from being tried again, here or in a frontend."""
    seen: set[Origin] = set()
    guarded = any(_guards(p) for p in config.reading.proxies if p.takes_traffic)
    for proxy in config.reading.pools():
        on = proxy.retry_on
        if on is None or guarded or _guards(proxy) or on.origin in seen or not retries_of(proxy) or not proxy.servers:
            continue
        words = [word for word in on.value if word in _DONE_PERHAPS]
        if words and proxy.mode is not None and proxy.mode.value == "http":
            seen.add(on.origin)
            yield Trouble(on.origin, _runs_twice(words), proxy.name)


def _guards(proxy: haproxy.Proxy) -> bool:
    return any(rule.action == "disable-l7-retry" for rule in proxy.rules)


def _nginx_repeats_writes(config: Config[nginx.Reading]) -> Iterator[Trouble]:
    """LH057. Without this word nginx never sends a POST, PATCH or LOCK again once it was sent."""
    seen: set[Origin] = set()
    for passed in config.reading.passes:
        on = passed.next_upstream
        group = config.reading.upstream(passed.module, passed.upstream)
        alone = group is not None and len(group.servers) < 2 and not group.others
        if "non_idempotent" not in on.value or alone or passed.next_upstream_tries.value == 1 or on.origin in seen:
            continue
        seen.add(on.origin)
        words = [word for word in on.value if word != "non_idempotent"]
        yield Trouble(on.origin, _runs_twice(words or ["an error"]), passed.upstream)


def _envoy_repeats_writes(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH057: on routes for any request; one with further conditions may have asked for the method."""
    seen: set[Origin] = set()
    for route, retry in _retrying(config.reading):
        words = [word for word in retry.on if word in _ENVOY_DONE_PERHAPS]
        statuses = [str(status) for status in retry.statuses if status >= 500]
        if "retriable-status-codes" in retry.on:
            words += statuses
        if words and not route.match.conditions and retry.origin not in seen:
            seen.add(retry.origin)
            yield Trouble(_written(config.reading, retry, "retry_on"), _runs_twice(words), _pool(route))


def _haproxy_same_server(config: Config[haproxy.Reading]) -> Iterator[Trouble]:
    """LH058: HAProxy stays with the server that failed, and pauses 1 s before each further try.

    Where nothing checks the servers, that is the greater mistake, and another rule's. A TCP pool that is checked on
    another port asks for a role, as of a database's leader: there only one server is ever up.
    """
    for proxy in config.reading.pools():
        servers = [s for s in proxy.servers if not s.disabled and not s.backup and s.weight]
        retries = retries_of(proxy)
        checked = all(s.check.enabled or s.track or s.agent.enabled for s in servers)
        by_role = (proxy.mode is None or proxy.mode.value == "tcp") and any(s.check.port for s in servers)
        if proxy.disabled or len(servers) < 2 or not retries or proxy.has("redispatch") or not checked or by_role:
            continue
        said = (
            f"all {retries} retries go to the server that failed, 1 s apart: while one of {len(servers)} refuses"
            f" connections, about {percent(1 / len(servers))} of the requests fail after {retries} s, until its check"
            " takes it out"
        )
        option = proxy.option("redispatch")
        yield Trouble(option.origin if option else proxy.origin, said, proxy.name)


def _envoy_same_server(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH058: nothing tells Envoy to go elsewhere; with a hash policy the same key finds the same host."""
    for route, retry in _retrying(config.reading):
        if any(_PREVIOUS_HOSTS in name for name, _ in retry.predicates):
            continue
        for cluster in _clusters(config.reading, route)[:1]:
            hosts = len(cluster.endpoints)
            if hosts < 2:
                continue
            hashed = isinstance(cluster.balancing.policy, envoy.RingHash | envoy.Maglev)
            may = "goes to the same host by its hash" if hashed else "may go to the host that has just failed"
            said = f"no previous_hosts predicate: a retry {may}, though {cluster.name} has {hosts} hosts"
            yield Trouble(retry.origin, said, cluster.name)


def _inert_predicate(config: Config[envoy.Reading]) -> Iterator[Trouble]:
    """LH095: a predicate that nothing comes of."""
    for route, retry in _retrying(config.reading):
        at = _written(config.reading, retry, "retry_host_predicate")
        for name, typed in retry.predicates:
            if not typed:
                said = f"{name} has no typed_config: older Envoys never apply it, and 1.40 does not start with it"
                yield Trouble(at, said, _pool(route))
                continue
            for cluster in _clusters(config.reading, route):
                alone = cluster.kind.value == "STATIC" and len(cluster.endpoints) == 1
                if _PREVIOUS_HOSTS in name and (alone or cluster.kind.value == "LOGICAL_DNS"):
                    said = f"{cluster.name} has one host: {name} finds no other, and every retry goes back to it"
                    fix = "add hosts, or retry only what the same host may do better (connect-failure, reset)"
                    yield Trouble(at, said, cluster.name, fix=fix)


RULES: Final = (
    Rule(
        code="LH055",
        name="retries-exceed-deadline",
        severity="warning",
        summary="more tries than fit into the time for all of them",
        fix="allow fewer tries or make each shorter, so that all fit",
        haproxy=_haproxy_deadline,
        nginx=_nginx_deadline,
        envoy=_envoy_deadline,
        levelhead=_levelhead_deadline,
    ),
    Rule(
        code="LH056",
        name="retries-amplify",
        severity="warning",
        summary="retries that multiply the load of a pool when it fails",
        fix="try twice at most (retries 1, proxy_next_upstream_tries 2), in Envoy with a retry_budget of 20%",
        haproxy=_haproxy_amplify,
        nginx=_nginx_amplify,
        envoy=_envoy_amplify,
    ),
    Rule(
        code="LH057",
        name="retry-non-idempotent",
        severity="error",
        summary="a retry that can make a write happen twice",
        fix="retry only requests that may be repeated: keep POST and PATCH out by their method",
        haproxy=_haproxy_repeats_writes,
        nginx=_nginx_repeats_writes,
        envoy=_envoy_repeats_writes,
    ),
    Rule(
        code="LH058",
        name="retry-same-host",
        severity="warning",
        summary="retries that go to the server that has just failed",
        fix="let retries go elsewhere: `option redispatch 1` (HAProxy), the previous_hosts predicate (Envoy)",
        haproxy=_haproxy_same_server,
        envoy=_envoy_same_server,
    ),
    Rule(
        code="LH095",
        name="retry-predicate-inert",
        severity="warning",
        summary="a retry_host_predicate that cannot have an effect",
        fix="give the predicate its typed_config",
        envoy=_inert_predicate,
    ),
)
