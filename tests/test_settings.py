"""levelhead.yaml: every shape it may have, every fault it may have, and the way back to text."""

from __future__ import annotations

import json
import os
import re
import string
from dataclasses import fields
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead import model
from levelhead.engines.haproxy.expressible import WRITTEN
from levelhead.errors import ConfigError
from levelhead.nodes import MAX_NODES, Mapping, Scalar, Sequence
from levelhead.settings import MAX_BYTES, Secret, Settings, Target, dump, from_flags, json_schema, load, parse, table
from levelhead.settings.build import weights_by_intent
from levelhead.settings.nodes import MAX_DEPTH, compose, plain

GOLDEN = Path(__file__).parent / "settings"


def cases(name: str, result: str) -> list[tuple[str, str, str]]:
    """Title, file and result of every case of a golden file."""
    case = re.compile(rf"## (.*?)\n\n```yaml\n(.*?)```\n\n```{result} result\n(.*?)```\n", re.DOTALL)
    return [(title, text, expected) for title, text, expected in case.findall((GOLDEN / name).read_text())]


FAULTS = cases("faults.md", "text")
SHAPES = cases("shapes.md", "yaml")


def settings_or_error(text: str) -> ConfigError | None:
    """None where the text is settings, and then they survive the way back."""
    try:
        found = parse(text, "f")
    except ConfigError as error:
        return error
    assert parse(dump(found), "f") == found
    return None


def error_of(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "levelhead.yaml")
    return caught.value


def test_the_golden_files_are_read_whole() -> None:
    for name, found in (("faults.md", FAULTS), ("shapes.md", SHAPES)):
        assert len(found) == (GOLDEN / name).read_text().count("\n## ") > 5


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="the words of a syntax error are libyaml's")
@pytest.mark.parametrize(("text", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_fault_is_named_with_its_place(text: str, expected: str) -> None:
    assert f"{error_of(text)}\n" == expected


@pytest.mark.parametrize(("text", "expected"), [s[1:] for s in SHAPES], ids=[s[0] for s in SHAPES])
def test_shape_comes_to_effective_settings(text: str, expected: str) -> None:
    found = parse(text, "levelhead.yaml")

    assert dump(found) == expected
    assert parse(expected, "other.yaml") == found


def test_everything_the_file_says_is_in_the_fleet() -> None:
    text = next(text for title, text, _ in SHAPES if title == "everything")

    fleet = parse(text, "f").fleet

    assert fleet.listeners[0] == model.Listener(
        "web", "127.0.0.1", 8080, (model.Route("api", "api.example.org", "/v1"), model.Route("web")), "cert.pem", 20000
    )
    assert fleet.pools[0] == model.Pool(
        name="web",
        servers=(
            model.Server("web-1", "127.0.0.1", 3001, weight=100.0),
            model.Server("web-2", "127.0.0.1", 3002, weight=50.0, admin=model.Admin.MAINT),
        ),
        policy=model.Hash("header", "X-User", True, 1.25),
        check=model.Check("/healthz", "200", 2.0, 1.0, 3, 2, "web.example", 9000),
        ejection=model.Ejection(20),
        timeouts=model.Timeouts(),
        retries=model.Retries(0),
        limits=model.Limits(100, 200),
        affinity_cookie="LHSERVER",
        slow_start_s=0.0,
        slo=model.Slo(250.5, 0.99),
        intent=model.Intent("explicit", (("web-1", 2.0), ("web-2", 1.0))),
        mode=model.Mode.SHADOW,
        minimum_servers=2,
    )
    assert fleet.client == "cookie:sid"


def test_the_defaults_are_those_of_the_model() -> None:
    found = parse("servers: [127.0.0.1:3001]", "f").fleet.pools[0]

    assert found == model.Pool("web", (model.Server("server-1", "127.0.0.1", 3001),))


def test_places_are_those_of_the_file() -> None:
    text = "listen: 127.0.0.1:80\npools:\n  web:\n    servers:\n      web-1: 127.0.0.1:1\n    check:\n      fall: 2\n"

    found = parse(text, "f.yaml")

    assert found.fleet.listeners[0].origin == model.Origin("f.yaml", 1, 1)
    assert found.fleet.pools[0].origin == model.Origin("f.yaml", 3, 3)
    assert found.fleet.pools[0].servers[0].origin == model.Origin("f.yaml", 5, 7)
    assert found.place("pools", "web", "check", "fall") == model.Origin("f.yaml", 7, 13)
    assert found.place("pools", "web", "check", "rise") == model.Origin("f.yaml", 7, 7)
    assert found.text == text


@pytest.mark.parametrize(
    ("intent", "servers", "weights"),
    [
        (model.Intent(), {"a": None, "b": 5.0}, (100.0, 100.0)),
        (model.Intent("capacity"), {"a": 200.0, "b": 50.0}, (100.0, 25.0)),
        (model.Intent("explicit", (("b", 3.0), ("a", 1.0))), {"a": None, "b": None}, (100.0 / 3, 100.0)),
        (model.Intent("explicit", (("a", 0.0),)), {"a": None}, (0.0,)),
    ],
)
def test_weights_follow_the_intent(
    intent: model.Intent, servers: dict[str, float | None], weights: tuple[float, ...]
) -> None:
    given_servers = tuple(model.Server(n, "127.0.0.1", 1, capacity=c) for n, c in servers.items())

    assert weights_by_intent(intent, given_servers) == pytest.approx(weights)


def test_a_weight_in_the_file_stands_whatever_the_intent() -> None:
    text = """
    pools:
      web:
        servers: {a: {address: "127.0.0.1:1", weight: 90}, b: {address: "127.0.0.1:2", weight: 10}, c: 127.0.0.1:3}
        intent: {explicit: {a: 1, b: 1, c: 1}}
    """

    assert [s.weight for s in parse(text, "f").fleet.pools[0].servers] == [90.0, 10.0, 100.0]


# Flags.


def test_flags_make_one_pool_checked_by_tcp() -> None:
    found = from_flags(["127.0.0.1:3001", "[::1]:3002"], "0.0.0.0:80", "round-robin", None)

    servers = (model.Server("server-1", "127.0.0.1", 3001), model.Server("server-2", "::1", 3002))
    listener = model.Listener("web", "0.0.0.0", 80, (model.Route("web"),))
    assert found.fleet == model.Fleet((listener,), (model.Pool("web", servers, check=model.Check()),))
    assert str(found.fleet.pools[0].servers[0].origin) == "--server"


@pytest.mark.parametrize(
    ("flag", "policy"),
    [
        ("least-request", model.LeastRequest()),
        ("random", model.RandomPick()),
        ("hash:source", model.Hash("source")),
        ("hash:path", model.Hash("path")),
        ("hash:header:X-User", model.Hash("header", "X-User")),
        ("hash:cookie:sid", model.Hash("cookie", "sid")),
    ],
)
def test_policy_flag(flag: str, policy: model.Policy) -> None:
    found = from_flags(["127.0.0.1:1"], "127.0.0.1:80", flag, "/healthz").fleet.pools[0]

    assert (found.policy, found.check) == (policy, model.Check(path="/healthz"))


@pytest.mark.parametrize(
    ("servers", "listen", "policy", "check", "said"),
    [
        (["127.0.0.1"], "127.0.0.1:80", "random", None, "--server: '127.0.0.1' has no port"),
        (["127.0.0.1:1", "127.0.0.1:1"], "127.0.0.1:80", "random", None, "--server: server-2 and server-1 have"),
        (["127.0.0.1:1"], "80", "random", None, "--listen: '80' has no port; write host:port, such as 127.0.0.1:80"),
        (["127.0.0.1:1"], "127.0.0.1:80", "randon", None, "--policy: must be round-robin,"),
        (["127.0.0.1:1"], "127.0.0.1:80", "hash:header:", None, "--policy: '' cannot be the name of a header"),
        (["127.0.0.1:1"], "127.0.0.1:80", "hash", None, "--policy: must be source, path,"),
        (["127.0.0.1:1"], "127.0.0.1:80", "random", "healthz", "--check: 'healthz' must be tcp, off, or a path"),
        (["127.0.0.1:1"], "127.0.0.1:80", "random", "", "--check: '' must be tcp, off, or a path"),
        ([], "127.0.0.1:80", "random", None, "--server: no servers"),
    ],
)
def test_flag_fault(servers: list[str], listen: str, policy: str, check: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_flags(servers, listen, policy, check)

    assert str(caught.value).startswith(said)
    assert "next: " in str(caught.value)


# Files.


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "levelhead.yaml"
    file.write_text(
        "listeners: {web: {address: 127.0.0.1:443, certificate: tls/web.pem}}\nservers: [127.0.0.1:1]\n"
        "notify: [{webhook: {url_file: hook, headers_file: {Authorization: /run/token}}}]\n"
    )

    found = load(file)

    assert found.fleet.listeners[0].certificate == str(tmp_path / "tls/web.pem")
    webhook = Target("webhook", "webhook", Secret(file=str(tmp_path / "hook")),
                     (("Authorization", Secret(file="/run/token")),))  # fmt: skip
    assert found.notify == (webhook,)
    assert parse(dump(found), "x") == found


def test_a_byte_order_mark_and_other_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "levelhead.yaml"
    file.write_bytes(b"\xef\xbb\xbfservers:\r\n- 127.0.0.1:3001\r\n")

    assert load(file).fleet.pools[0].servers[0].port == 3001


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"servers: [127.0.0.1:1]\n# caf\xe9\n", ":2:6: this is not UTF-8 text: byte 0xe9"),
        (b"servers:\n\0", ":2: this is not text: it holds a zero byte"),
        (b"servers:\n- a\x1bb\n", ":2:4: a control character ('\\x1b') is not allowed here"),
        (b" " * (MAX_BYTES + 1), ": it is larger than 4 MiB"),
        (b"", ": the file holds no settings"),
    ],
    ids=["not-utf-8", "binary", "control", "too-large", "empty"],
)
def test_file_that_cannot_be_text(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "levelhead.yaml"
    file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert str(caught.value).startswith(f"{file}{said}")
    assert "next: " in str(caught.value)


def test_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.yaml", "there is no such file"), (tmp_path, "this is a folder")):
        with pytest.raises(ConfigError, match=f"{path}: {said}\n  next: "):
            load(path)


def test_a_path_that_no_system_could_open() -> None:
    with pytest.raises(ConfigError, match="it cannot be read: embedded null"):
        load("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "levelhead.yaml"
    file.touch(mode=0)

    with pytest.raises(ConfigError, match="it cannot be read: Permission denied"):
        load(file)


# Hostile files.


def test_aliases_cannot_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    assert f"more than {MAX_NODES} values" in error_of("\n".join(lines)).what


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_is_bounded(opening: str) -> None:
    assert f"nested more than {MAX_DEPTH} levels deep" in error_of(opening * 5000).what


def test_faults_beyond_those_shown_are_counted() -> None:
    error = error_of("servers: [127.0.0.1:1]\n" + "".join(f"key-{i}: 1\n" for i in range(1000)))

    assert str(error).count("unknown key") == 5
    assert "... and 995 more" in error.what


def test_a_long_wrong_value_is_cut() -> None:
    error = error_of(f"servers: [127.0.0.1:1]\npools: {'x' * 100_000}")

    assert len(error.what) < 300


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_settings_or_a_config_error(text: str) -> None:
    assert error_of(text).next_step


KEYS = sorted({step for row in table() for step in re.findall(r"\w+", row.path)} | {"web", "<<"})
YAML_LIKE = st.recursive(
    st.sampled_from(["127.0.0.1:1", "web", "~", "1", "-1", ".nan", "off", "*a", "&a b", "'", '"x"', "!!int 3", "hash"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        ).map(lambda entries: "{" + ", ".join(f"{k}: {v}" for k, v in entries.items()) + "}"),
    ),
    max_leaves=12,
)


@given(YAML_LIKE)
@settings(max_examples=300, deadline=None)
def test_any_yaml_is_settings_or_a_config_error_with_a_place(text: str) -> None:
    said = "" if (found := settings_or_error(text)) is None else str(found)

    assert said.startswith("f:") or said == ""
    assert "Input should" not in said


# There and back.

LETTERS = string.ascii_letters + string.digits
NAMES = st.text(LETTERS + "_.-", min_size=1, max_size=8).filter(lambda name: name[0] not in ".-")
TOKENS = st.text(LETTERS + "!#$%&'*+.^_`|~-", min_size=1, max_size=8)
PATHS = st.text(LETTERS + string.punctuation, max_size=8).map(lambda rest: f"/{rest}")
HOSTS = st.sampled_from(["127.0.0.1", "::1", "fe80::1", "web.example", "db_1", "10.20.30.40", "xn--caf-dma.example"])
TEXTS = st.text(min_size=1, max_size=12).filter(str.isprintable)
PORTS = st.integers(1, 65535)
COUNTS = st.integers(1, 1_000_000)
SECONDS = st.floats(0, 86400, exclude_min=True)
POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)

POLICIES = st.one_of(
    st.just(model.RoundRobin()),
    st.just(model.LeastRequest()),
    st.builds(model.RandomPick, st.integers(1, 100)),
    st.builds(
        model.Hash, st.sampled_from(("header", "cookie")), TOKENS, st.booleans(), st.none() | st.floats(1.001, 100)
    ),
    st.builds(
        model.Hash, st.sampled_from(("source", "path")), st.just(""), st.booleans(), st.none() | st.floats(1.001, 100)
    ),
)
CHECKS = st.builds(
    model.Check,
    path=st.none() | PATHS,
    status=st.sampled_from(["200", "200-399", "204-204"]),
    interval_s=SECONDS,
    timeout_s=SECONDS,
    fall=COUNTS,
    rise=COUNTS,
    host=st.none() | st.just("web.example"),
    port=st.none() | PORTS,
)
TIMEOUTS = st.builds(
    model.Timeouts, connect_s=SECONDS, server_s=SECONDS, client_s=SECONDS, queue_s=SECONDS, keep_alive_s=SECONDS
)
SECRETS = st.one_of(st.builds(Secret, value=TEXTS), st.builds(Secret, env=TEXTS), st.builds(Secret, file=TEXTS))
URLS = st.one_of(
    st.builds(Secret, value=PATHS.map(lambda path: f"https://hooks.example{path}")),
    st.builds(Secret, env=TEXTS),
    st.builds(Secret, file=TEXTS),
)


@st.composite
def servers(draw: st.DrawFn) -> tuple[model.Server, ...]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    places = draw(
        st.lists(st.tuples(HOSTS, st.integers(1, 60000)), min_size=len(names), max_size=len(names), unique=True)
    )
    return tuple(
        model.Server(
            name, host, port, weight=draw(st.floats(0, 10000)), capacity=draw(POSITIVE),
            admin=draw(st.sampled_from(model.Admin)), in_flight_limit=draw(st.none() | COUNTS),
        )
        for name, (host, port) in zip(names, places, strict=True)
    )  # fmt: skip


@st.composite
def pools(draw: st.DrawFn, name: str) -> model.Pool:
    members = draw(servers())
    shares = tuple((s.name, draw(st.floats(0.001, 1e6))) for s in members)
    return model.Pool(
        name=name,
        servers=members,
        policy=draw(POLICIES),
        check=draw(st.none() | CHECKS),
        ejection=draw(st.none() | st.builds(model.Ejection, COUNTS)),
        timeouts=draw(TIMEOUTS),
        retries=model.Retries(draw(st.integers(0, 100))),
        limits=model.Limits(draw(st.none() | COUNTS), draw(st.none() | COUNTS)),
        affinity_cookie=draw(st.none() | TOKENS),
        slow_start_s=draw(st.floats(0, 86400)),
        slo=model.Slo(draw(POSITIVE), draw(st.floats(0, 1, exclude_min=True, exclude_max=True))),
        intent=draw(st.sampled_from([model.Intent(), model.Intent("capacity"), model.Intent("explicit", shares)])),
        mode=draw(st.sampled_from(model.Mode)),
        minimum_servers=draw(st.integers(1, len(members))),
    )


@st.composite
def targets(draw: st.DrawFn) -> tuple[Target, ...]:
    found = []
    for name in draw(st.lists(NAMES.filter(lambda name: name != "terminal"), max_size=3, unique=True)):
        kind: Literal["webhook", "slack"] = draw(st.sampled_from(("webhook", "slack")))
        tokens = draw(st.lists(TOKENS, max_size=3, unique_by=str.lower)) if kind == "webhook" else []
        held = [(token, draw(SECRETS)) for token in tokens]
        # As the file groups them: values, then variables, then files.
        held.sort(key=lambda pair: (not pair[1].value, not pair[1].env))
        found.append(Target(name, kind, draw(URLS), tuple(held)))
    return (*found, Target("terminal", "terminal")) if draw(st.booleans()) else tuple(found)


@st.composite
def whole(draw: st.DrawFn) -> Settings:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    ports = draw(st.lists(st.integers(60001, 65535), min_size=1, max_size=3, unique=True))
    routes = st.builds(model.Route, st.sampled_from(names), st.none() | st.just("api.example"), PATHS)
    listeners = tuple(
        model.Listener(
            f"listener-{port}", draw(HOSTS), port, tuple(draw(st.lists(routes, min_size=1, max_size=3))),
            draw(st.none() | TEXTS), draw(st.none() | COUNTS),
        )
        for port in ports
    )  # fmt: skip
    client = draw(st.just("source") | TOKENS.map(lambda token: f"header:{token}"))
    fleet = model.Fleet(listeners, tuple(draw(pools(name)) for name in names), client)
    return Settings(fleet, draw(targets()))


@given(whole())
@settings(max_examples=60, deadline=None)
def test_what_is_dumped_parses_to_the_same(given_settings: Settings) -> None:
    assert parse(dump(given_settings), "f") == given_settings


# The table.


def test_the_table_explains_every_setting() -> None:
    rows = table()

    assert [row.path for row in rows if not (row.type and row.help)] == []
    assert len({row.path for row in rows}) == len(rows)
    assert next(row for row in rows if row.path == "pools.<pool>.check.interval_s").default == "1"


def test_every_field_of_the_model_has_a_setting() -> None:
    last_words = {row.path.rpartition(".")[2].removesuffix("[]") for row in table()}
    renamed = {
        "name": "<pool>", "host": "address", "port": "address", "admin": "state", "attempts": "retries",
        "affinity_cookie": "affinity", "origin": "<pool>",
    }  # fmt: skip
    parts = (model.Pool, model.Server, model.Listener, model.Route, model.Check, model.Ejection, model.Timeouts,
             model.Retries, model.Limits, model.Slo, model.Fleet)  # fmt: skip

    # What only other engines have is refused by `levelhead run`, and needs no setting.
    told = {f.name for part in parts for f in fields(part) if f.name in WRITTEN.get(part, {f.name})}
    named = {renamed.get(name, name) for name in told}

    assert named - last_words - {"<pool>"} == set()


def test_the_schema_is_json_and_refers_only_to_itself() -> None:
    text = json_schema()
    schema = json.loads(text)

    assert {ref.removeprefix("#/$defs/") for ref in re.findall(r'"\$ref": "(.*?)"', text)} <= set(schema["$defs"])
    assert schema["properties"].keys() == {"listen", "listeners", "servers", "pools", "client", "notify", "facts",
                                           "false_alarms_per_month"}  # fmt: skip
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


# Nodes.


def test_scalars_stay_text() -> None:
    root, problems = compose("{a: off, b: 010, c: 12:30, d: 2024-03-10, e: ~, f: '~', g: , h: [1e3]}", "f")

    assert isinstance(root, Mapping)
    assert problems == ()
    assert plain(root) == {
        "a": "off", "b": "010", "c": "12:30", "d": "2024-03-10", "e": None, "f": "~", "g": None, "h": ["1e3"],
    }  # fmt: skip


def test_nodes_know_their_place() -> None:
    root, _ = compose("a:\n  - b: c\n", "f")

    where = model.Origin
    assert isinstance(root, Mapping)
    assert root.entries["a"].where == where("f", 1, 1)
    items = root.entries["a"].value
    assert isinstance(items, Sequence)
    inner = items.items[0]
    assert isinstance(inner, Mapping)
    assert inner.entries["b"].value == Scalar("c", where("f", 2, 8), plain=True)
