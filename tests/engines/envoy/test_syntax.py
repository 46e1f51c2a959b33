"""YAML and JSON are read to nodes that know their place, with scalars told apart as Envoy tells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.engines.envoy import scalars
from levelhead.engines.envoy.syntax import parse
from levelhead.errors import ConfigError
from levelhead.model import Origin
from levelhead.nodes import Mapping, Node, Scalar, Sequence


def root(text: str) -> Node | None:
    return parse(text, "f").root


def scalar(text: str) -> Scalar:
    node = root(f"a: {text}")
    assert isinstance(node, Mapping)
    value = node.entries["a"].value
    assert isinstance(value, Scalar)
    return value


@pytest.mark.parametrize(
    ("written", "whole", "number", "flag", "is_text"),
    [
        ("12", 12, 12.0, None, False), ('"12"', 12, 12.0, None, True), ("-3", -3, -3.0, None, False),
        ("0x1F", 31, None, None, False), ("010", 8, 10.0, None, False), ("089", 89, 89.0, None, False),
        ("1e3", 1000, 1000.0, None, False), ("1.5", None, 1.5, None, False), ("32.0", 32, 32.0, None, False),
        ("1_000", None, None, None, True), ("abc", None, None, None, True), ("1s", None, None, None, True),
        ("on", None, None, True, False), ("No", None, None, False, False), ("y", None, None, True, False),
        ("true", None, None, True, False), ('"true"', None, None, True, True), ('"on"', None, None, None, True),
        ("'1'", 1, 1.0, None, True), ("127.0.0.1", None, None, None, True), ("1:30", None, None, None, True),
        ("9" * 60, None, None, None, False),
    ],
)  # fmt: skip
def test_scalars(written: str, whole: int | None, number: float | None, flag: bool | None, is_text: bool) -> None:
    read = scalar(written)

    assert (scalars.whole(read), scalars.number(read)) == (whole, number)
    assert (scalars.flag(read), scalars.is_text(read)) == (flag, is_text)


@pytest.mark.parametrize("written", ["", "~", "null", "NULL"])
def test_nothing(written: str) -> None:
    assert scalar(written).null
    assert not scalar(f'"{written}"').null


def test_everything_knows_its_place() -> None:
    node = root("a:\n  - b: 'c'\n    d: [1, {e: f}]\n")

    assert isinstance(node, Mapping)
    items = node.entries["a"].value
    assert isinstance(items, Sequence)
    inner = items.items[0]
    assert isinstance(inner, Mapping)
    assert (node.where, items.where, inner.where) == (Origin("f", 1, 1), Origin("f", 2, 3), Origin("f", 2, 5))
    assert (inner.entries["d"].where, inner.entries["d"].value.where) == (Origin("f", 3, 5), Origin("f", 3, 8))


def test_json_is_read_also_with_tabs() -> None:
    assert isinstance(root('{\n\t"a": [1,\n\t\t{"b": "c\\n\\/"}]\n}'), Mapping)
    assert isinstance(root('[\n\t{"a": null}\n]'), Sequence)


def test_comments_are_kept_and_told_from_text() -> None:
    text = parse("# one\na: b # two\nc: 'x # no'\nd: |\n  # no\ne: f#no\ng: \"h\" # three\n", "f")

    assert [(c.text, c.origin.line, c.origin.column, c.alone) for c in text.comments] == [
        (" one", 1, 1, True), (" two", 2, 6, False), (" three", 7, 8, False),
    ]  # fmt: skip


def test_aliases_are_followed_and_ignored_keys_left_out() -> None:
    node = root("!ignore x: &x {a: 1}\nb: *x\nc: *x\n")

    assert isinstance(node, Mapping)
    assert list(node.entries) == ["b", "c"]
    assert node.entries["b"].value is node.entries["c"].value


def test_a_key_written_twice_and_a_second_document_are_problems() -> None:
    text = parse("a: 1\na: 2\n---\nb: 3\n", "f")

    assert [(p.origin.line, p.sentence) for p in text.problems] == [
        (2, '"a" is written twice; the first is in line 1'),
        (3, "a second document begins here: Envoy reads the first only"),
    ]
    assert isinstance(text.root, Mapping)
    assert text.root.entries["a"].value == Scalar("2", Origin("f", 2, 4), plain=True)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: b: c", 1, 5, "mapping values are not allowed"),
        ("a: [1, 2", 2, 1, "expected ',' or ']'"),
        ("a: 'b", 1, 6, "unexpected end of stream"),
        ("a:\n- b\nc:\n - d\n e: f", 5, 2, "expected"),
        ("a: *b", 1, 4, "*b is used here"),
        ("[" * 200, 1, 102, "nested more than 100 levels deep"),
        ("a: \x01", 1, 4, "a character ('\\x01') that YAML does not allow"),
        ("? [a]\n: b", 1, 3, "a key must be one word"),
        ("&a [*a]", 1, 5, "no complete value before it is marked &a"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")

    assert said in caught.value.what
    assert abs(caught.value.line - line) <= 1
    assert (caught.value.line != line) or abs(caught.value.column - column) <= 1


@pytest.mark.parametrize(
    ("name", "text", "line", "column"),
    [
        ("f.yaml", "a: 1\nb: {{ .Ports.Admin }}\n", 2, 4),
        ("f.yaml", "a: 1\n{% if x %}\n", 2, 1),
        ("f.yaml", 'a: "{{ .Values.x }}"\n', 1, 5),
        ("f.yaml", "{{ .All }}\na: 1\n", 1, 1),
        ("f.yaml", "# {{ no }}\na: {{ b }}: c", 2, 4),
        ("f.yaml.tmpl", "a: 1\n", 1, 1),
        ("f.tmpl.yml", "a: 1\nb: {{ c }}\n", 2, 4),
    ],
)
def test_a_template_says_so(name: str, text: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError, match="this is a template, not an Envoy configuration yet") as caught:
        parse(text, name)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert "render it first" in caught.value.next_step


def test_braces_in_code_make_no_template() -> None:
    assert isinstance(root("code: |\n  local t = {{1}, {2}}\nb: 1 # {{ x }}\n"), Mapping)


def test_a_bomb_of_aliases_is_refused() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))

    with pytest.raises(ConfigError, match="more than 500000 values"):
        parse(bomb, "f")


def refusal(text: str) -> ConfigError | None:
    try:
        parse(text, "f")
    except ConfigError as error:
        return error
    return None


@given(st.lists(st.text("ab: -[]{}\"'#&*!|>%@\n\t1", max_size=10), max_size=10).map("".join))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    error = refusal(text)

    assert error is None or 1 <= error.line <= text.count("\n") + 2
