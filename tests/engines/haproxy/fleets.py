"""Fleets of every kind that HAProxy can express, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Listener,
    Policy,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Route,
    Server,
    Timeouts,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,12}", fullmatch=True)
TOKENS = st.from_regex(r"[A-Za-z0-9_$#&!.*~|^%+-]{1,12}", fullmatch=True)
PATHS = st.from_regex(r"/[A-Za-z0-9 _'\"$#&{}\\().*~?=%+-]{0,20}", fullmatch=True).filter(lambda p: " " not in p)
HOSTS = st.sampled_from(["127.0.0.1", "10.1.2.3", "::1", "fe80::1"])
DOMAINS = st.sampled_from(["app.example.com", "API.example.com", "localhost", "a-b.c"])
SECONDS = st.floats(0.001, 100_000.0)
WEIGHTS = st.one_of(st.integers(0, 256).map(float), st.floats(0.0, 1e6))


def limits(most: int) -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(0, most)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    consistent = draw(st.booleans())
    on = draw(st.sampled_from(["header", "cookie", "source", "path"]))
    bounded = draw(st.none() | st.floats(1.001, 10.0)) if consistent else None
    named = draw(TOKENS) if on in ("header", "cookie") else ""
    hashed = Hash(on, named, consistent, bounded)  # type: ignore[arg-type]
    return draw(st.sampled_from([RoundRobin(), LeastRequest(), RandomPick(draw(st.integers(1, 5))), hashed]))


@st.composite
def servers(draw: st.DrawFn) -> Server:
    name = draw(NAMES.filter(lambda n: n not in ("FRONTEND", "BACKEND")))
    return Server(
        name, draw(HOSTS), draw(st.integers(1, 65535)), weight=draw(WEIGHTS), admin=draw(st.sampled_from(Admin)),
        in_flight_limit=draw(limits(1000)),
    )  # fmt: skip


@st.composite
def pools(draw: st.DrawFn, name: str) -> Pool:
    check = draw(st.none() | st.builds(
        Check, path=st.none() | PATHS, status=st.sampled_from(["200", "200-399", "200,204", "404"]), interval_s=SECONDS,
        timeout_s=SECONDS, fall=st.integers(1, 10), rise=st.integers(1, 10), host=st.none() | DOMAINS,
        port=st.none() | st.integers(1, 65535),
    ))  # fmt: skip
    members = draw(st.lists(servers(), min_size=1, max_size=5, unique_by=lambda s: s.name))
    return Pool(
        name, tuple(members), policy=draw(policies()), check=check,
        ejection=draw(st.none() | st.builds(Ejection, st.integers(1, 100))) if check is not None else None,
        timeouts=draw(st.builds(Timeouts, SECONDS, SECONDS, SECONDS, SECONDS, SECONDS)),
        retries=Retries(draw(st.integers(0, 5))), limits=Limits(draw(limits(100)), draw(limits(100))),
        affinity_cookie=draw(st.none() | TOKENS), slow_start_s=draw(st.just(0.0) | st.floats(0.5, 100.0)),
    )  # fmt: skip


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    names = draw(st.lists(NAMES.filter(lambda n: n not in ("GLOBAL", "MASTER")), min_size=1, max_size=3, unique=True))
    made = tuple(draw(pools(name)) for name in names)
    routes = st.builds(Route, st.sampled_from(names), st.none() | DOMAINS, st.just("/") | PATHS)
    listeners = tuple(
        Listener(
            draw(st.just(name) | st.just(f"in-{name}")), draw(HOSTS | st.just("*")), 20_000 + i,
            tuple(draw(st.lists(routes, max_size=4))), connections=draw(limits(5000)),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    unique = {listener.name: listener for listener in listeners}
    client = draw(st.just("source") | TOKENS.map(lambda t: f"header:{t}") | TOKENS.map(lambda t: f"cookie:{t}"))
    return Fleet(tuple(unique.values()), made, client)
