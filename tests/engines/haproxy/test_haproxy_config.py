"""A fleet as HAProxy's file: the whole text for a few fleets, and what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead.engines.haproxy.config import Paths, Version, complaint, render, weights
from levelhead.errors import ConfigError
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Fleet,
    Hash,
    LeastRequest,
    Limits,
    Listener,
    Origin,
    Pool,
    RandomPick,
    Retries,
    RoundRobin,
    Route,
    Server,
    Timeouts,
)
from tests.engines.haproxy.fleets import fleets

GOLDEN = Path(__file__).parent / "golden"
PATHS = Paths("/run/lh/haproxy.sock", "/run/lh/servers.state", "/run/lh/sampling.acl", "/run/lh/sampling.map")
HERE = Origin("levelhead.yaml", 7, 3)


def one(*servers: Server, **settings: object) -> Fleet:
    members = servers or (Server("s1", "10.0.0.1", 3001), Server("s2", "10.0.0.2", 3002))
    pool = Pool("web", members, **({"origin": HERE} | settings))  # type: ignore[arg-type]
    return Fleet((Listener("main", "0.0.0.0", 8080, (Route("web"),)),), (pool,))


EVERYTHING = Fleet(
    (
        Listener("shop", "*", 443, (Route("api", "Shop.example.com", "/api"), Route("web")), "/etc/lh/it's.pem", 5000),
        Listener("inside", "::1", 8080, (Route("api", None, "/a b".replace(" ", "%20")),)),
    ),
    (
        Pool(
            "web", (
                Server("a", "10.0.0.1", 80, weight=0.5), Server("b", "fe80::2", 80, weight=1.5, admin=Admin.MAINT),
                Server("c", "c.internal", 8080, weight=0.0, admin=Admin.DRAIN, in_flight_limit=7),
            ),
            policy=Hash("cookie", "sid", bounded_load=1.25), check=Check("/health", "200,204", 2.5, 1.0, 4, 1, port=81),
            ejection=Ejection(5), timeouts=Timeouts(0.5, 61.0, 20.0, 1.0, 5.0), retries=Retries(0),
            limits=Limits(100, 20), affinity_cookie="lh", slow_start_s=0.0,
        ),
        Pool("api", (Server("one", "127.0.0.1", 1),), policy=RandomPick(3), check=None, limits=Limits(1, 0)),
    ),
    "cookie:sid",
)  # fmt: skip
CASES: dict[str, tuple[Fleet, Version, bool]] = {
    "usual-2.8": (one(), (2, 8, 25), True),
    "everything-2.6": (EVERYTHING, (2, 6, 12), True),
    "oldest-2.4": (
        replace(one(policy=Hash("header", "X-User", consistent=False), check=Check("/up", host="up.local")),
                listeners=(Listener("main", "127.0.0.1", 80, (Route("web", "a.example"),)),), client="header:X-User"),
        (2, 4, 0), True,
    ),
    "without-records-2.8": (one(policy=LeastRequest()), (2, 8, 25), False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_file_reads_as_its_golden_one(name: str) -> None:
    fleet, version, records = CASES[name]
    text = render(fleet, PATHS, version, records=records)
    golden = GOLDEN / f"{name}.cfg"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@given(fleets())
@settings(max_examples=100, deadline=None)
def test_the_same_fleet_gives_the_same_plain_text(fleet: Fleet) -> None:
    text = render(fleet, PATHS, (2, 8, 0))

    assert text == render(fleet, PATHS, (2, 8, 0))
    assert text.isascii()
    sections = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) == len(sections)
    assert sum(line.startswith("    server ") for line in text.splitlines()) == sum(len(p.servers) for p in fleet.pools)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ((100, 100), (100, 100)), ((1, 256, 0), (1, 256, 0)), ((0.5, 1.5), (85, 255)), ((300, 100), (255, 85)),
        ((0.1, 0.2, 0.3), (85, 170, 255)), ((0, 0), (0, 0)), ((0, 0.25), (0, 256)), ((1000, 1), (256, 1)),
        ((1e6, 1e-9), (256, 1)),
    ],
)  # fmt: skip
def test_weights_become_integers(wanted: tuple[float, ...], taken: tuple[int, ...]) -> None:
    pool = Pool("web", tuple(Server(f"s{i}", "h", 1, weight=w) for i, w in enumerate(wanted)))

    assert weights(pool) == taken


@given(st.lists(st.floats(1.0, 256.0), min_size=1, max_size=20), st.floats(0.001, 1000.0))
def test_weights_keep_their_proportions(wanted: list[float], scale: float) -> None:
    pool = Pool("web", tuple(Server(f"s{i}", "h", 1, weight=w * scale) for i, w in enumerate(wanted)))
    taken = weights(pool)
    top, unit = max(wanted), max(taken)
    bound = top / min(wanted) / 512

    assert all(abs(t * top / (w * unit) - 1) <= bound + 1e-9 for w, t in zip(wanted, taken, strict=True))
    if top / min(wanted) <= 5:
        assert bound < 0.01


@given(st.lists(st.integers(0, 256), min_size=1, max_size=8))
def test_weights_that_haproxy_knows_go_through(wanted: list[int]) -> None:
    pool = Pool("web", tuple(Server(f"s{i}", "h", 1, weight=float(w)) for i, w in enumerate(wanted)))

    assert weights(pool) == tuple(wanted)


BAD_SERVER = Server("s1", "10.0.0.1", 3001, weight=-1.0, origin=HERE)


@pytest.mark.parametrize(
    ("fleet", "says"),
    [
        (one(policy=Hash("cookie", "sid")), "hashes on a cookie, which HAProxy 2.4 cannot"),
        (one(policy=Hash("header")), "without a usable name"),
        (one(policy=Hash("path", consistent=False, bounded_load=1.25)), "bounds the load of a hash"),
        (one(policy=Hash("path", bounded_load=1.0)), "bounds the load of a hash"),
        (one(BAD_SERVER), "weight -1"),
        (one(replace(BAD_SERVER, weight=float("nan"))), "weight nan"),
        (one(replace(BAD_SERVER, weight=1.0, name="a b")), "no server called 'a b'"),
        (one(replace(BAD_SERVER, weight=1.0, name="BACKEND")), "no server called 'BACKEND'"),
        (one(replace(BAD_SERVER, weight=1.0, host="a;b")), "has the address a;b:3001"),
        (one(replace(BAD_SERVER, weight=1.0, port=0)), "has the address 10.0.0.1:0"),
        (one(replace(BAD_SERVER, weight=1.0), replace(BAD_SERVER, weight=2.0)), "two servers of pool web"),
        (one(check=None, ejection=Ejection()), "could never come back"),
        (one(check=Check("health")), "'health' is no path"),
        (one(check=Check("/a\nb")), "is no path"),
        (one(check=Check("/", status="fine")), "expects 'fine'"),
        (one(affinity_cookie="a b"), "'a b' is no cookie name"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_its_place(fleet: Fleet, says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        render(fleet, PATHS, (2, 4, 0))

    assert says in refusal.value.what
    assert str(refusal.value).startswith("levelhead.yaml:7:3: ")
    assert refusal.value.next_step


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"client": "cookie:"}, "clients cannot be told apart"),
        ({"client": "moon"}, "clients cannot be told apart"),
        ({"listeners": (Listener("l", "0.0.0.0", 80, (Route("nowhere"),)),)}, "the pool nowhere, which is not there"),
        ({"listeners": (Listener("l", "0.0.0.0", 80, (Route("web", "a b"),)),)}, "'a b' is no host name"),
        ({"listeners": (Listener("l", "0.0.0.0", 80, (Route("web", None, "x"),)),)}, "'x' is no path"),
        ({"listeners": (Listener("l", "0.0.0.0", 80, ()), Listener("l", "0.0.0.0", 81, ()))}, "two listeners"),
        ({"listeners": (Listener("l", "0.0.0.0", 70_000, ()),)}, "has the address 0.0.0.0:70000"),
        ({"pools": (Pool("GLOBAL", ()),), "listeners": ()}, "no pool called 'GLOBAL'"),
    ],
)
def test_fleets_that_hang_together_wrongly_are_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        render(replace(one(), **change), PATHS, (2, 8, 0))  # type: ignore[arg-type]

    assert says in refusal.value.what


def test_what_haproxy_says_is_told_without_its_temporary_file() -> None:
    text = "global\n    one\nbackend web\n    server s1 nowhere.invalid:80\n"
    said = (
        "[NOTICE]   (7) : haproxy version is 2.6.12\n"
        "[ALERT]    (7) : config : parsing [/run/lh/haproxy.cfg.candidate:2] : unknown keyword 'one' in 'global'.\n"
        "[ALERT]    (7) : config : [/run/lh/haproxy.cfg:4] : 'server web/s1' : could not resolve 'nowhere.invalid'.\n"
        "[ALERT]    (7) : Binding [/run/lh/haproxy.cfg:3] for frontend main: cannot bind socket\n"
        "[ALERT]    (7) : config : Error(s) found in configuration file : /run/lh/haproxy.cfg.candidate\n"
        "[ALERT]    (7) : config : Fatal errors found in configuration.\n"
    )

    assert complaint(said, text, "/run/lh") == (
        "line 2 (one): unknown keyword 'one' in 'global'; "
        "line 4 (server s1 nowhere.invalid:80): 'server web/s1' : could not resolve 'nowhere.invalid'; "
        "Binding [line 3 (backend web)] for frontend main: cannot bind socket"
    )
    assert complaint("", text, "/run/lh") == "it did not say why"
    assert complaint("Segmentation fault\n", text, "/run/lh") == "Segmentation fault"


def test_policies_have_their_words() -> None:
    def balance(fleet: Fleet) -> list[str]:
        lines = render(fleet, PATHS, (2, 8, 0)).splitlines()
        return [line.strip() for line in lines if line.strip().startswith(("balance", "hash-"))]

    hashed = "hash-type consistent djb2 avalanche"
    assert balance(one(policy=RoundRobin())) == ["balance roundrobin"]
    assert balance(one(policy=LeastRequest())) == ["balance leastconn"]
    assert balance(one(policy=RandomPick(2))) == ["balance random(2)"]
    assert balance(one(policy=Hash("source"))) == ["balance source", hashed]
    assert balance(one(policy=Hash("path", consistent=False))) == [
        "balance uri path-only", "hash-type map-based djb2 avalanche",
    ]  # fmt: skip
    assert balance(one(policy=Hash("header", "X-Key", bounded_load=1.5))) == [
        "balance hdr(X-Key)", hashed, "hash-balance-factor 150",
    ]  # fmt: skip
