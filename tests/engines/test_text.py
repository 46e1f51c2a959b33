"""A problem can be shown with the line it is about."""

from levelhead.engines.text import Problem, Value, line_at
from levelhead.model import NOWHERE, Origin


def test_the_line_of_a_place() -> None:
    files = {"f": "a\r\n  b c\n"}

    assert [line_at(files, Origin("f", n)) for n in (0, 1, 2, 3, 4)] == ["", "a", "  b c", "", ""]
    assert line_at(files, NOWHERE) == line_at({}, Origin("f", 1)) == ""


def test_problems_and_values_say_where_they_are() -> None:
    assert str(Problem(Origin("f", 2, 3), "this is wrong")) == "f:2:3: this is wrong"
    assert Value(1).is_default
    assert not Value(1, Origin("f", 1, 1)).is_default
