"""Whatever is done to a configuration, reading it ends soon: in a picture, or in an error with a place."""

from collections.abc import Callable
from random import Random

import pytest

from levelhead.engines.envoy import reading as envoy
from levelhead.engines.nginx import reading as nginx
from levelhead.errors import ConfigError
from tests import envoy_configs, nginx_configs
from tests.engines.corpus import samples

MUCH = 8000
Read = Callable[[str], object]


def read_nginx(text: str) -> object:
    return nginx.read({"a/nginx.conf": text, "a/conf.d/b.conf": text[:300]}, "a/nginx.conf")


def read_envoy(text: str) -> object:
    return envoy.read({"envoy.yaml": text}, "envoy.yaml")


def spoil(data: bytes, other: bytes, random: Random) -> str:
    """The text cut off, with bits flipped, or with a piece of another one behind it."""
    at = random.randrange(len(data) + 1)
    how = random.randrange(3)
    if how == 0:
        data = data[:at]
    elif how == 1:
        flipped = bytearray(data or b" ")
        for _ in range(random.randint(1, 8)):
            flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        data = bytes(flipped)
    else:
        data = data[:at] + other[random.randrange(len(other) + 1) :]
    return data.decode("utf-8", random.choice(("surrogateescape", "replace")))


def survives(read: Read, text: str) -> ConfigError | None:
    """What the reader said. Any other exception fails the test by itself; `bench.readers` looks at the time."""
    try:
        read(text)
    except ConfigError as error:
        return error if error.file and error.line and error.column else pytest.fail(f"without a place: {error}")
    return None


def originals(engine: str) -> list[bytes]:
    random = Random(1)
    if engine == "nginx":
        made = [text for _ in range(20) for text in nginx_configs.generate(random).files.values()]
    else:
        made = [envoy_configs.generate(random).text for _ in range(20)]
    return [text.encode() for text in made]


@pytest.mark.parametrize(("engine", "read"), [("nginx", read_nginx), ("envoy", read_envoy)])
def test_spoiled_configurations(engine: str, read: Read) -> None:
    random, texts = Random(7), originals(engine)
    said = [survives(read, spoil(random.choice(texts), random.choice(texts), random)) for _ in range(200)]

    assert 20 < sum(error is not None for error in said) < 200


@pytest.mark.parametrize(("engine", "read"), [("nginx", read_nginx), ("envoy", read_envoy)])
def test_spoiled_real_configurations(engine: str, read: Read) -> None:
    random, texts = Random(8), [s.text.encode("utf-8", "surrogateescape") for s in samples(engine)]
    said = [survives(read, spoil(random.choice(texts), random.choice(texts), random)) for _ in range(100)]

    assert 5 < sum(error is not None for error in said) < 100


@pytest.mark.parametrize(
    "piece",
    ["a {", "a;", "}", '"', "'", "$", "\\", "#\n", "x ", "include *;", "{{", "server {", "upstream u { server a; }",
     "location / {}", "set $a $a$a$a;", "proxy_pass http://$a;", "map $a $a { a $a; }", "lua_by_lua_block {", "\x00"],
)  # fmt: skip
def test_much_of_one_thing_for_nginx(piece: str) -> None:
    inside = piece * (MUCH // len(piece))

    for text in (inside, f"http {{ server {{ {inside} }} }}", f"events {{}} http {{ {inside} }}"):
        survives(read_nginx, text)


@pytest.mark.parametrize(
    "piece",
    ["[", "{", "a: ", "- ", "- a\n", "{a: ", "&a ", "*a ", "# \n", '"', "'", "|\n", "? ", "{{", "- {name: a}\n", "!x ",
     "\t", "\x00", "---\n", "<<: *a\n", "%YAML 1.1\n", "- {typed_config: {'@type': a/b.C}}\n"],
)  # fmt: skip
def test_much_of_one_thing_for_envoy(piece: str) -> None:
    inside = piece * (MUCH // len(piece))

    for text in (inside, f"static_resources:\n  clusters:\n{inside}", f"static_resources: {{clusters: [{inside}]}}"):
        survives(read_envoy, text)


def test_many_unknown_names() -> None:
    survives(read_nginx, "".join(f"proxy_red_timeouts{i} x;\n" for i in range(2000)))
    survives(read_envoy, "static_resources:\n" + "".join(f"  clutsers{i}: 1\n" for i in range(2000)))
    types = "".join(f"  - {{name: a, typed_config: {{'@type': x/envoy.load_balancing{i}}}}}\n" for i in range(500))
    survives(read_envoy, f"bootstrap_extensions:\n{types}")
