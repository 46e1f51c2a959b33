"""Fleets of every kind that HAProxy can express, drawn from a seed: fast enough for properties on real binaries."""

from __future__ import annotations

from random import Random

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

WORD = "abcXYZ019"
DOMAINS = ("app.example.com", "API.example.com", "localhost", "a-b.c", None)
ADDRESSES = ("127.0.0.1", "10.1.2.3", "::1", "fe80::1")


def fleets() -> st.SearchStrategy[Fleet]:
    return st.integers(0, 2**32).map(lambda seed: fleet(Random(seed)))


def fleet(rng: Random) -> Fleet:
    names = _unique(rng, 1 + rng.randrange(3))
    pools = tuple(_pool(rng, name) for name in names)
    listeners = tuple(
        Listener(
            name if rng.randrange(2) else f"in-{name}", rng.choice((*ADDRESSES, "*")), 20_000 + i,
            tuple(
                Route(rng.choice(names), rng.choice(DOMAINS), rng.choice(("/", _path(rng))))
                for _ in range(rng.randrange(4))
            ),
            connections=_maybe(rng, 5000),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    unique = tuple({listener.name: listener for listener in listeners}.values())
    return Fleet(unique, pools, rng.choice(("source", f"header:{_token(rng)}", f"cookie:{_token(rng)}")))


def _pool(rng: Random, name: str) -> Pool:
    check = rng.choice((None, Check(), Check(
        _path(rng), rng.choice(("200", "200-399", "200,204", "404")), _seconds(rng), _seconds(rng),
        1 + rng.randrange(10), 1 + rng.randrange(10), rng.choice(DOMAINS), rng.choice((None, 1 + rng.randrange(65535))),
    )))  # fmt: skip
    times = Timeouts(_seconds(rng), _seconds(rng), _seconds(rng), _seconds(rng), _seconds(rng))
    return Pool(
        name, tuple(_server(rng, n) for n in _unique(rng, 1 + rng.randrange(5))), policy=_policy(rng), check=check,
        ejection=rng.choice((None, Ejection(1 + rng.randrange(100)))) if check is not None else None, timeouts=times,
        retries=Retries(rng.randrange(6)), limits=Limits(_maybe(rng, 100), _maybe(rng, 100)),
        affinity_cookie=rng.choice((None, _token(rng))), slow_start_s=rng.choice((0.0, 0.5 + 100 * rng.random())),
    )  # fmt: skip


def _policy(rng: Random) -> Policy:
    on = rng.choice(("header", "cookie", "source", "path"))
    consistent = bool(rng.randrange(2))
    bound = rng.choice((None, 1.001 + 9 * rng.random())) if consistent else None
    hashed = Hash(on, _token(rng) if on in ("header", "cookie") else "", consistent, bound)  # type: ignore[arg-type]
    every: tuple[Policy, ...] = (RoundRobin(), LeastRequest(), RandomPick(1 + rng.randrange(5)), hashed)
    return rng.choice(every)


def _server(rng: Random, name: str) -> Server:
    return Server(
        name, rng.choice(ADDRESSES), 1 + rng.randrange(65535), admin=rng.choice(tuple(Admin)),
        weight=rng.choice((float(rng.randrange(257)), 10 ** rng.uniform(-6, 6))), in_flight_limit=_maybe(rng, 1000),
    )  # fmt: skip


def _unique(rng: Random, count: int) -> tuple[str, ...]:
    return tuple(sorted({_text(rng, WORD + "_.:-", 1) for _ in range(count)}))


def _text(rng: Random, letters: str, least: int) -> str:
    return "".join(rng.choice(letters) for _ in range(least + rng.randrange(9)))


def _token(rng: Random) -> str:
    return _text(rng, WORD + "_$#&!.*~|^%+-", 1)


def _path(rng: Random) -> str:
    return "/" + _text(rng, WORD + "_'\"$#&{}\\().*~?=%+-/", 0)


def _seconds(rng: Random) -> float:
    return float(10 ** rng.uniform(-4, 6))


def _maybe(rng: Random, most: int) -> int | None:
    return rng.choice((None, rng.randrange(most + 1)))
