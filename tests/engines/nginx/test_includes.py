"""Included files stand where nginx would read them, and what was not given is told."""

import pytest

from levelhead.engines.nginx.includes import merge, roots
from levelhead.errors import ConfigError


def names(files: dict[str, str], main: str = "nginx.conf") -> list[str]:
    return [d.name for d in merge(files, main).directives]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("b.conf", ["b"]),
        ("conf.d/*.conf", ["c1", "c2"]),
        ("conf.d/c[12].conf", ["c1", "c2"]),
        ("conf.d/c[!1].conf", ["c2"]),
        ("conf.d/c[^1].conf", ["c2"]),
        ("conf.d/c?.conf", ["c1", "c2"]),
        ("*/*.conf", ["c1", "c2"]),
        ("*.conf", ["b"]),
        ("/etc/nginx/conf.d/*.conf", ["c1", "c2"]),
        ("./conf.d/../b.conf", ["b"]),
        ("conf.d/.*.conf", ["hidden"]),
        ("nothing/*.conf", []),
        ("conf.d?c1.conf", []),
        ("c*d/*c*1*f", ["c1"]),
        ("conf.d/[c-d][2-3].c*", ["c2"]),
        ("conf.d/c[.conf", []),
        ("conf.d/c[9-1].conf", []),
    ],
)
def test_patterns_are_those_of_nginx(pattern: str, expected: list[str]) -> None:
    files = {
        "web/nginx.conf": f"include {pattern};", "web/b.conf": "b;", "web/conf.d/c2.conf": "c2;",
        "web/conf.d/c1.conf": "c1;", "web/conf.d/.hidden.conf": "hidden;", "web/conf.d/c10.txt": "no;",
    }  # fmt: skip
    if pattern == "*.conf":
        files["web/nginx.conf"] = "include [a-m]*.conf;"

    assert names(files, "web/nginx.conf") == expected


def test_includes_stand_in_their_place_and_keep_their_file() -> None:
    files = {"nginx.conf": "a { include b; c; }", "b": "d;\ne { include f; }", "f": "g;"}
    merged = merge(files, "nginx.conf")
    inner = merged.directives[0].block or ()

    assert [(d.name, d.origin.file, d.origin.line) for d in inner] == [
        ("d", "b", 1),
        ("e", "b", 2),
        ("c", "nginx.conf", 1),
    ]
    assert [d.name for d in inner[1].block or ()] == ["g"]
    assert merged.files == ("nginx.conf", "b", "f")


def test_a_file_given_alone_finds_what_lies_above_it() -> None:
    assert names(
        {"web/conf.d/a.conf": "include snippets/x.conf;", "web/snippets/x.conf": "x;"}, "web/conf.d/a.conf"
    ) == ["x"]


def test_what_was_not_given_is_told_unless_nginx_ships_it() -> None:
    files = {"nginx.conf": "include mime.types;\n include /etc/nginx/upstreams.conf; include none/*.conf;"}
    merged = merge(files, "nginx.conf")

    assert [(a.pattern, a.origin.line, a.origin.column) for a in merged.absent] == [
        ("/etc/nginx/upstreams.conf", 2, 10)
    ]


def test_a_circle_is_a_problem() -> None:
    merged = merge({"a": "x; include b;", "b": "y; include a;"}, "a")

    assert [d.name for d in merged.directives] == ["x", "y"]
    assert [p.sentence for p in merged.problems] == ["a includes itself: nginx would never stop"]


def test_a_bomb_is_refused() -> None:
    files = {f"f{i}": f"include f{i + 1}; include f{i + 1};" for i in range(40)} | {"f40": "x;"}

    with pytest.raises(ConfigError, match="more than 250000 directives"):
        merge(files, "f0")


def test_a_long_chain_is_refused() -> None:
    files = {f"f{i}": f"a {{ include f{i + 1}; }}" for i in range(400)} | {"f400": "x;"}

    with pytest.raises(ConfigError, match="nested more than 100 deep"):
        merge(files, "f0")


def test_an_unreadable_include_names_its_own_file() -> None:
    with pytest.raises(ConfigError) as caught:
        merge({"nginx.conf": "include b;", "b": "\nx"}, "nginx.conf")

    assert (caught.value.file, caught.value.line) == ("b", 2)


def test_the_main_file_must_be_there() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        merge({}, "nginx.conf")


def test_a_byte_order_mark_is_a_problem() -> None:
    merged = merge({"a": "\ufeffx;"}, "a")

    assert [(d.name, d.origin.column) for d in merged.directives] == [("x", 2)]
    assert [p.sentence for p in merged.problems] == [
        "a byte order mark stands before the first word, and nginx takes it for a part of it"
    ]


def test_roots_are_what_nobody_includes() -> None:
    files = {"nginx.conf": "http { include conf.d/*.conf; }", "conf.d/a.conf": "a;", "other.conf": "b;"}

    assert roots(files) == ("nginx.conf", "other.conf")
    assert roots({"a": "include b;", "b": "include a;"}) == ("a", "b")
