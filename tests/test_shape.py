"""The tree keeps its shape: small modules and functions, complete lists, a map that tells the truth, pure thinking."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import levelhead
from levelhead import diagnose, mitigate, review
from levelhead.cli import COMMANDS
from levelhead.detect.base import Kind
from levelhead.diagnose.base import NONE_OF_THESE
from levelhead.diagnose.cause import Cause
from levelhead.mitigate import questions

ROOT = Path(levelhead.__file__).parent
MODULES = sorted(p for p in ROOT.rglob("*.py") if "migrations" not in p.parts)
MOST_LINES, MOST_FUNCTION_LINES = 600, 60


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_module_is_small_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)

    assert text.count("\n") <= MOST_LINES
    long = [f.name for f in functions(tree) if (f.end_lineno or 0) - f.lineno > MOST_FUNCTION_LINES]
    assert long == []
    assert ast.get_docstring(tree), "the module says in a sentence what it is for"
    inside = [f.name for f in functions(tree) for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert inside == [], "imports stand at the top"


def test_the_map_names_every_room() -> None:
    named = set(re.findall(r"^ {4}(\w+)(?:\.py|/) ", levelhead.__doc__ or "", re.MULTILINE))
    rooms = {p.stem for p in ROOT.glob("*.py")} | {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}

    assert named == rooms - {"__init__", "__main__"}


def test_every_mitigation_is_listed() -> None:
    files = {f"levelhead.mitigate.{p.stem}" for p in (ROOT / "mitigate").glob("*.py")} - {
        "levelhead.mitigate.__init__", "levelhead.mitigate.base", "levelhead.mitigate.guard",
        "levelhead.mitigate.questions",
    }  # fmt: skip

    assert files == {m.draft.__module__ for m in mitigate.MITIGATIONS}


def test_every_cause_is_listed_once() -> None:
    found = [v for m in modules("diagnose") for v in vars(m).values() if isinstance(v, Cause)]

    assert {c.name for c in found} == {c.name for c in diagnose.CAUSES}
    assert len({c.name for c in diagnose.CAUSES}) == len(diagnose.CAUSES)


def test_every_rule_is_listed_once() -> None:
    found = [rule.code for m in modules("review") for rule in getattr(m, "RULES", ()) if m is not review]

    assert sorted(found) == sorted(rule.code for rule in review.RULES)
    assert len({rule.code for rule in review.RULES}) == len(review.RULES)


def modules(folder: str) -> list[ModuleType]:
    return [importlib.import_module(f"levelhead.{folder}.{p.stem}") for p in (ROOT / folder).glob("[!_]*.py")]


def test_names_are_kebab_case() -> None:
    names = [c.name for c in diagnose.CAUSES] + [m.name for m in mitigate.MITIGATIONS]
    names += [kind.value for kind in Kind] + [c.name for c in COMMANDS]

    assert [n for n in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", n)] == []


def test_every_mitigation_treats_known_causes() -> None:
    causes = {c.name for c in diagnose.CAUSES}

    assert [m.name for m in mitigate.MITIGATIONS if not m.treats <= causes] == []
    assert set(questions.QUESTIONS) == causes | {NONE_OF_THESE}
