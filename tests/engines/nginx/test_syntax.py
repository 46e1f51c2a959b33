"""nginx text is split as nginx splits it, and every word knows where it stood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.engines.nginx.syntax import MAX_DEPTH, Directive, parse
from levelhead.errors import ConfigError
from levelhead.model import Origin


def words(text: str) -> list[tuple[str, ...]]:
    return [(d.name, *d.texts) for d in parse(text, "f").directives]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c;", ("a", "b", "c")),
        ("a\tb\r\n  c ;", ("a", "b", "c")),
        ('a "b c" \'d "e"\';', ("a", "b c", 'd "e"')),
        (r"a b\ c \; \{;", ("a", r"b\ c", r"\;", r"\{")),
        (r"""a "\"\\\t\n\r\x" '\'';""", ("a", '"\\\t\n\r\\x', "'")),
        ("a ${b}c $d{};".replace("{};", " x;"), ("a", "${b}c", "$d", "x")),
        ("a b#c; # d;", ("a", "b#c")),
        ("a it's;", ("a", "it's")),
        ("a b}c;", ("a", "b}c")),
        ("a ''  \"\";", ("a", "", "")),
        ("a 'b'# no; comment\n;".replace("# no; comment\n", " "), ("a", "b")),
        ("# first\na # second\n b;", ("a", "b")),
        ("grüße 'ö';", ("grüße", "ö")),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert words(text) == [expected]


def test_a_parenthesis_may_follow_a_quote() -> None:
    tree = parse('if ($a = "x") { b; }', "f")

    assert tree.directives[0].texts == ("($a", "=", "x", ")")


def test_a_brace_ends_a_bare_word_but_not_behind_a_dollar() -> None:
    tree = parse("location /a{b ${c}{d;}}".replace("{d", " {d"), "f")

    assert tree.directives[0].texts == ("/a",)
    inner = tree.directives[0].block
    assert inner is not None
    assert (inner[0].name, inner[0].texts) == ("b", ("${c}",))


def test_everything_knows_its_place() -> None:
    tree = parse('a {\n  b  "c\nd" e; # f\n}\n', "nginx.conf")
    inner = (tree.directives[0].block or ())[0]

    assert (tree.directives[0].origin, tree.directives[0].end) == (
        Origin("nginx.conf", 1, 1),
        Origin("nginx.conf", 4, 1),
    )
    assert [w.origin for w in (inner.head, *inner.args)] == [
        Origin("nginx.conf", 2, 3), Origin("nginx.conf", 2, 6), Origin("nginx.conf", 3, 4),
    ]  # fmt: skip
    assert [w.quote for w in inner.args] == ['"', ""]
    assert inner.end == Origin("nginx.conf", 3, 5)
    assert [(c.text, c.origin.line, c.alone) for c in tree.comments] == [(" f", 3, False)]


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a {", 1, 1, 'the block of "a" is never closed'),
        ("a", 1, 1, "the file ends within a directive"),
        ("a b", 1, 1, "the file ends within a directive"),
        ("\n }", 2, 2, "no block is open"),
        ("a { b c }", 1, 9, 'a ";" is missing after "c"'),
        (" ;", 1, 2, 'unexpected ";"'),
        ("{}", 1, 1, 'unexpected "{"'),
        ('a\n  "b;', 2, 3, 'this " is never closed'),
        ('a "b"c;', 1, 6, 'unexpected "c" right after a closing quote'),
        ("a \\", 1, 3, "a backslash ends the file"),
        ("a " + "b" * 4096 + ";", 1, 3, "longer than nginx's 4096 bytes"),
        ("a" + " {a" * 200, 1, MAX_DEPTH * 3 + 3, "nested more than 100 deep"),
        ("content_by_lua_block { if x then '}'", 1, 1, 'block of "content_by_lua_block" is never closed'),
    ],
)
def test_what_nginx_cannot_read_is_told_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")

    assert (caught.value.file, caught.value.line, caught.value.column) == ("f", line, column)
    assert said in caught.value.what


@pytest.mark.parametrize("text", ["upstream {{ name }} {}", "a;\n{% for x in y %}", "server x{{ port }};", "a {{b}};"])
def test_a_template_says_so(text: str) -> None:
    with pytest.raises(ConfigError, match="this is a template") as caught:
        parse(text, "f")

    assert "render it first" in caught.value.next_step


@pytest.mark.parametrize(
    "code",
    [
        ' ngx.say("}") ', " local a = {{1}, {2}} ", " --[[ } ]] x = 1 ", " -- }\n ", " x = [==[ }]] ]==] ",
        " s = '\\'}' ",
    ],
)  # fmt: skip
def test_lua_is_kept_as_it_is(code: str) -> None:
    tree = parse("set_by_lua_block $x {" + code + "} after;", "f")

    assert [d.name for d in tree.directives] == ["set_by_lua_block", "after"]
    assert tree.directives[0].texts == ("$x", code)


PIECES = st.lists(st.text("ab {};#'\"\\$\n\t)", max_size=12), max_size=12).map("".join)


def refusal(text: str) -> ConfigError | None:
    try:
        parse(text, "f")
    except ConfigError as error:
        return error
    return None


@given(PIECES)
def test_any_text_is_split_or_refused_with_a_place_in_it(text: str) -> None:
    error, lines = refusal(text), text.split("\n")

    assert error is None or 1 <= error.line <= len(lines)
    assert error is None or 1 <= error.column <= len(lines[error.line - 1]) + 1


def told(directive: Directive) -> object:
    return directive.name, directive.texts, None if directive.block is None else [told(d) for d in directive.block]


def written(directive: Directive) -> str:
    """The directive again, every word between quotes, as nginx would read it back."""
    escaped = [w.replace("\\", "\\\\").replace('"', '\\"') for w in (directive.name, *directive.texts)]
    head = " ".join(f'"{w}"' for w in escaped)
    return head + (";" if directive.block is None else " {" + "".join(written(d) for d in directive.block) + "}")


@given(PIECES)
def test_what_was_read_can_be_written_and_read_again(text: str) -> None:
    try:
        tree = parse(text, "f")
    except ConfigError:
        return

    again = parse("".join(written(d) for d in tree.directives), "f")
    assert [told(d) for d in again.directives] == [told(d) for d in tree.directives]
