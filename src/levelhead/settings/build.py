"""A checked file to Settings: short forms written out, weights from intents, and every fault between two settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from levelhead import model
from levelhead.nodes import Node
from levelhead.settings import schema
from levelhead.settings.explain import did_you_mean, label
from levelhead.settings.nodes import Problem, place
from levelhead.settings.targets import Secret, Target

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole levelhead.yaml: the fleet it wants, who is told of incidents, and what `levelhead review` is to know.

    `false_alarms_per_month` is the budget of each pool; `text` is what it was read from.
    """

    fleet: model.Fleet
    notify: tuple[Target, ...]
    facts: schema.FactsModel = field(default_factory=schema.FactsModel)
    false_alarms_per_month: float = 1.0
    origin: model.Origin = field(default=model.Origin(), compare=False)
    root: Node | None = field(default=None, compare=False, repr=False)
    text: str = field(default="", compare=False, repr=False)

    def place(self, *path: str | int) -> model.Origin:
        """Where a setting was written, `place("pools", "web", "check", "path")`; else what encloses it."""
        return self.origin if self.root is None else place(self.root, path)


def build(file: schema.File, root: Node) -> tuple[Settings, tuple[Problem, ...]]:
    """The settings of a file, and what is wrong between its parts; with problems the settings are not to be used."""
    pools = tuple(_pools(file, root))
    listeners = tuple(_listeners(file, root, tuple(pool.name for pool in pools)))
    targets = tuple(_targets(file, root))
    problems = tuple(_one_of_two(file, root)) or (
        *(problem for pool in pools for problem in _pool_problems(file, pool, root)),
        *_listener_problems(file, listeners, pools, root),
        *_target_problems(targets),
    )
    settings = Settings(model.Fleet(listeners, pools, file.client), targets, file.facts, file.false_alarms_per_month,
                        place(root, ()), root)  # fmt: skip
    return settings, problems


def weights_by_intent(intent: model.Intent, servers: tuple[model.Server, ...]) -> tuple[float, ...]:
    """The weights that make the intended shares come true, the largest 100; 0 for a server the intent knows not."""
    match intent.kind:
        case "equal":
            return tuple(100.0 for _ in servers)
        case "capacity":
            wanted = [server.capacity or 0.0 for server in servers]
        case "explicit":
            shares = dict(intent.shares)
            wanted = [shares.get(server.name, 0.0) for server in servers]
    largest = max(wanted, default=0.0)
    return tuple(100.0 * value / largest if largest else 0.0 for value in wanted)


def _pools(file: schema.File, root: Node) -> Iterator[model.Pool]:
    if file.servers is not None:
        short = schema.PoolModel(servers=file.servers)
        yield _pool("web", short, ("servers",), place(root, ("servers",), key=True), root)
    for name, pool in (file.pools or {}).items():
        where = place(root, ("pools", name), key=True)
        yield _pool(name, pool, ("pools", name, "servers"), where, root)


def _pool(name: str, pool: schema.PoolModel, servers_at: Path, where: model.Origin, root: Node) -> model.Pool:
    intent = _intent(pool)
    return model.Pool(
        name=name,
        servers=_servers(pool, intent, servers_at, root),
        policy=_policy(pool.policy),
        check=_check(pool.check),
        ejection=None if isinstance(pool.ejection, str) else model.Ejection(pool.ejection.consecutive_errors),
        timeouts=model.Timeouts(**pool.timeouts.model_dump()),
        retries=model.Retries(pool.retries),
        limits=model.Limits(**pool.limits.model_dump()),
        affinity_cookie=None if isinstance(pool.affinity, str) else pool.affinity.cookie,
        slow_start_s=pool.slow_start_s,
        slo=model.Slo(**pool.slo.model_dump()),
        intent=intent,
        mode=model.Mode(pool.mode),
        minimum_servers=pool.minimum_servers,
        origin=where,
    )


def _intent(pool: schema.PoolModel) -> model.Intent:
    if isinstance(pool.intent, schema.IntentModel):
        return model.Intent("explicit", tuple(pool.intent.explicit.items()))
    return model.Intent(pool.intent)


def _policy(policy: str | schema.PolicyModel) -> model.Policy:
    match policy:
        case "least-request":
            return model.LeastRequest()
        case "random":
            return model.RandomPick()
        case schema.PolicyModel(random=random) if random is not None:
            return model.RandomPick(random.draws)
        case schema.PolicyModel(hash=("source" | "path") as on):
            return model.Hash(on)
        case schema.PolicyModel(hash=schema.HashModel() as options):
            return _hash(options)
        case _:
            return model.RoundRobin()


def _hash(options: schema.HashModel) -> model.Hash:
    if options.header is not None:
        return model.Hash("header", options.header, options.consistent, options.bounded_load)
    if options.cookie is not None:
        return model.Hash("cookie", options.cookie, options.consistent, options.bounded_load)
    return model.Hash(options.key or "source", "", options.consistent, options.bounded_load)


def _check(check: str | schema.CheckModel) -> model.Check | None:
    if isinstance(check, schema.CheckModel):
        return model.Check(**check.model_dump())
    if check == "off":
        return None
    return model.Check() if check == "tcp" else model.Check(path=check)


def _servers(pool: schema.PoolModel, intent: model.Intent, at: Path, root: Node) -> tuple[model.Server, ...]:
    named = tuple(_named(pool))
    servers = tuple(
        model.Server(
            name=name, host=given.address.host, port=given.address.port, capacity=given.capacity, zone=given.zone or "",
            admin=model.Admin(given.state), in_flight_limit=given.in_flight_limit,
            origin=place(root, (*at, key), key=True),
        )
        for key, name, given in named
    )  # fmt: skip
    derived = weights_by_intent(intent, servers)
    return tuple(
        replace(server, weight=weight if given.weight is None else given.weight)
        for server, weight, (_, _, given) in zip(servers, derived, named, strict=True)
    )


def _named(pool: schema.PoolModel) -> Iterator[tuple[str | int, str, schema.ServerModel]]:
    """Key in the file, name and setting of each server, in order."""
    if isinstance(pool.servers, list):
        for i, address in enumerate(pool.servers):
            yield i, f"server-{i + 1}", schema.ServerModel(address=address)
        return
    for name, server in pool.servers.items():
        yield name, name, schema.ServerModel(address=server) if isinstance(server, schema.Address) else server


def _listeners(file: schema.File, root: Node, pools: tuple[str, ...]) -> Iterator[model.Listener]:
    everything = (model.Route(pools[0]),) if len(pools) == 1 else ()
    if file.listen is not None or file.listeners is None:
        host, port = file.listen or schema.parse_address(DEFAULT_LISTEN)
        yield model.Listener("web", host, port, everything, origin=place(root, ("listen",), key=True))
    for name, listener in (file.listeners or {}).items():
        where = place(root, ("listeners", name), key=True)
        if not isinstance(listener, schema.ListenerModel):
            yield model.Listener(name, listener.host, listener.port, everything, origin=where)
            continue
        routes = everything if listener.routes is None else tuple(map(_route, listener.routes))
        host, port = listener.address
        yield model.Listener(name, host, port, routes, listener.certificate, listener.connections, where)


def _route(route: schema.RouteModel) -> model.Route:
    return model.Route(route.pool, route.host, route.prefix)


def _targets(file: schema.File, root: Node) -> Iterator[Target]:
    counts = {"terminal": 0, "webhook": 0, "slack": 0}
    for i, entry in enumerate(file.notify):
        kind, hook = _kind(entry)
        counts[kind] += 1
        name = kind if counts[kind] == 1 else f"{kind}-{counts[kind]}"
        where = place(root, ("notify", i))
        if hook is None:
            yield Target(name, kind, origin=where)
            continue
        url = Secret(hook.url or "", hook.url_env or "", hook.url_file or "")
        yield Target(hook.name or name, kind, url, tuple(_headers(hook)), where)


def _kind(entry: str | schema.NotifyModel) -> tuple[Literal["terminal", "webhook", "slack"], schema.HookModel | None]:
    if isinstance(entry, str):
        return "terminal", None
    return ("webhook", entry.webhook) if entry.webhook is not None else ("slack", entry.slack)


def _headers(hook: schema.HookModel) -> Iterator[tuple[str, Secret]]:
    if isinstance(hook, schema.WebhookModel):
        yield from ((name, Secret(value=value)) for name, value in hook.headers.items())
        yield from ((name, Secret(env=env)) for name, env in hook.headers_env.items())
        yield from ((name, Secret(file=path)) for name, path in hook.headers_file.items())


def _one_of_two(file: schema.File, root: Node) -> Iterator[Problem]:
    if file.servers is None and file.pools is None:
        yield Problem(place(root, ()), "no servers: give `servers: [HOST:PORT, ...]`, or `pools`")
    if file.servers is not None and file.pools is not None:
        yield Problem(place(root, ("servers",), key=True), "give servers or pools, not both")
    if file.listen is not None and file.listeners is not None:
        yield Problem(place(root, ("listen",), key=True), "give listen or listeners, not both")


def _pool_problems(file: schema.File, pool: model.Pool, root: Node) -> Iterator[Problem]:
    at: Path = ("servers",) if file.pools is None else ("pools", pool.name, "servers")
    seen: dict[tuple[str, int], str] = {}
    for server in pool.servers:
        address = (server.host.lower().rstrip("."), server.port)
        if first := seen.get(address):
            what = f"{server.name} and {first} have the same address {server.address}"
            yield Problem(server.origin, what, label(at))
        seen.setdefault(address, server.name)
        if pool.intent.kind == "capacity" and server.capacity is None:
            what = "the intent is capacity, but this server declares none; add `capacity: ...`, in requests per second"
            yield Problem(server.origin, what, label((*at, server.name)))
    if pool.minimum_servers > len(pool.servers):
        minimum: Path = ("pools", pool.name, "minimum_servers")
        what = f"the pool has only {len(pool.servers)} of the {pool.minimum_servers} servers that must stay"
        yield Problem(place(root, minimum), what, label(minimum))
    if pool.intent.kind == "explicit":
        yield from _intent_problems(pool, root)


def _intent_problems(pool: model.Pool, root: Node) -> Iterator[Problem]:
    at: Path = ("pools", pool.name, "intent", "explicit")
    names = [server.name for server in pool.servers]
    shares = dict(pool.intent.shares)
    for name in shares:
        if name not in names:
            what = f"{pool.name} has no server {name!r}{did_you_mean(name, names)}"
            yield Problem(place(root, (*at, name), key=True), what, label(at))
    if missing := [name for name in names if name not in shares]:
        shown = ", ".join(missing[:5]) + (" and others" if len(missing) > 5 else "")
        yield Problem(place(root, at, key=True), f"every server needs a share; missing: {shown}", label(at))
    if not sum(shares.values()) > 0:
        yield Problem(place(root, at, key=True), "at least one share must be above 0", label(at))


def _listener_problems(
    file: schema.File, listeners: tuple[model.Listener, ...], pools: tuple[model.Pool, ...], root: Node
) -> Iterator[Problem]:
    names = tuple(pool.name for pool in pools)
    seen: dict[tuple[str, int], str] = {}
    for listener in listeners:
        address = (listener.host.lower().rstrip("."), listener.port)
        if first := seen.get(address):
            what = f"{listener.name} and {first} listen on the same address {listener.address}"
            yield Problem(listener.origin, what)
        seen.setdefault(address, listener.name)
        if not listener.routes and len(names) > 1:
            example = f"[{{prefix: /{names[0]}, pool: {names[0]}}}, {{pool: {names[1]}}}]"
            what = f"listener {listener.name}: there are {len(names)} pools; say which gets what, routes: {example}"
            yield Problem(listener.origin, what)
        for i, route in enumerate(listener.routes):
            if route.pool not in names and names:
                at = ("listeners", listener.name, "routes", i, "pool")
                what = f"there is no pool {route.pool!r}{did_you_mean(route.pool, names)}"
                yield Problem(place(root, at), what, label(at))
    for server in (server for pool in pools for server in pool.servers):
        if name := seen.get((server.host.lower().rstrip("."), server.port)):
            what = f"server {server.name} has the address of listener {name}, {server.address}"
            yield Problem(server.origin, f"{what}: requests would go in a circle")


def _target_problems(targets: tuple[Target, ...]) -> Iterator[Problem]:
    seen: set[str] = set()
    for target in targets:
        if target.name in seen:
            yield Problem(target.origin, f"notify: two targets are called {target.name!r}; give one another `name`")
        seen.add(target.name)
