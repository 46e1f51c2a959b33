"""The pages tell the truth: their commands run, their lists are complete, their figures are those of the code."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import click
import pytest

from levelhead import detect, diagnose, errors, mitigate, settings
from levelhead.cli import COMMANDS, EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE, group, main
from levelhead.cli.base import Call
from levelhead.cli.drill import NOT_PASSED
from levelhead.control import GOOD_AFTER_S, GOOD_IDLE_S, GOOD_REQUESTS, cases, harm, pools
from levelhead.detect import latency, shares, volume
from levelhead.detect.base import Kind
from levelhead.detect.meanings import MEANINGS
from levelhead.diagnose import base as diagnosis
from levelhead.drills import base as scenario
from levelhead.drills import score
from levelhead.drills.text import parse_scenario
from levelhead.engines.haproxy import config
from levelhead.engines.haproxy.process import find_binary
from levelhead.errors import EngineError, LevelheadError
from levelhead.lab.library import scenarios
from levelhead.mitigate import guard
from levelhead.plane import loop
from levelhead.web import orders
from levelhead.web.app import ROUTES

ROOT = Path(__file__).parent.parent
PAGES = {p.name: p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("docs/*.md"))} | {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
}
DRILLS = {name: parse_scenario(text, name) for name, text in scenarios().items()}
ACROSS = re.MULTILINE | re.DOTALL


@dataclass(frozen=True)
class Block:
    """One fenced block: the word after its fence, its page and line, its text."""

    kind: str
    page: str
    line: int
    text: str

    @property
    def file(self) -> str:
        """The file that a block of YAML is, by its first line; "" where it names none."""
        named = re.match(r"# ([\w-]+\.yaml)\n", self.text)
        return named[1] if named and self.kind == "yaml" else ""


def blocks(page: str) -> Iterator[Block]:
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", PAGES[page], ACROSS):
        yield Block(found[1], page, PAGES[page][: found.start()].count("\n") + 1, found[2])


EVERY = [block for page in PAGES for block in blocks(page)]
SESSIONS = [page for page in PAGES if any(b.page == page and b.kind == "console" for b in EVERY)]


def typed() -> Iterator[tuple[str, str]]:
    """Every command of ours that a page tells people to type, with its place."""
    for block in EVERY:
        if block.kind not in ("console", "sh", "text"):
            continue
        for i, line in enumerate(block.text.splitlines(), block.line + 1):
            prompt = "" if block.kind == "sh" else "$ "
            if line.startswith(f"{prompt}levelhead "):
                yield f"{block.page}:{i}", line.removeprefix(prompt)


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above; a comment in a block is no heading."""
    level = len(heading) - len(heading.lstrip("#"))
    text = re.sub(r"^```.*?^```$", lambda block: block[0].replace("\n#", "\n #"), PAGES[page], flags=ACROSS)
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, ACROSS)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[1]


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", SESSIONS)
def test_what_a_page_shows_is_what_its_commands_print(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEVELHEAD_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "140")
    for name in ("LEVELHEAD_INSTANCE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
        if block.kind == "console":
            played(block, capsys)


def played(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs each command of the block in turn; what it prints must be what stands below it."""
    code = 0
    for told in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = told.partition("\n")
        if command == "echo $?":
            printed = f"{code}\n"
        else:
            needs_haproxy(command)
            words = shlex.split(command)
            assert words[0] == "levelhead", f"{block.page}:{block.line}: only levelhead is run"
            code = main(words[1:])
            out, err = capsys.readouterr()
            printed = out + err
        assert re.fullmatch(pattern(expected), plain(printed)), f"$ {command}\n{printed}"


def needs_haproxy(command: str) -> None:
    if "--show-config" in command:
        try:
            find_binary()
        except EngineError as error:
            pytest.skip(str(error))


def plain(text: str) -> str:
    """Without what only lines columns up."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def pattern(expected: str) -> str:
    """`...` stands for anything within a line, and for any number of lines where it stands alone."""
    lines = [re.escape(line).replace(re.escape("..."), ".*") for line in plain(expected).splitlines()]
    whole = "".join(r"(?:.*\n)*?" if line == ".*" else f"{line}\n" for line in lines)
    return whole + r"(?:.*\n)*.*" if lines and lines[-1] == ".*" else whole.removesuffix("\n")


def test_the_pattern_is_strict_where_no_dots_stand() -> None:
    shown = "a  1\n...\nz ... 3\n"

    assert re.fullmatch(pattern(shown), plain("a 1\nm\nn\nz 2 3\n"))
    assert re.fullmatch(pattern(shown), plain("a 1\nz 2 3\n"))
    assert not re.fullmatch(pattern(shown), plain("a 2\nm\nz 2 3\n"))
    assert not re.fullmatch(pattern(shown), plain("a 1\nm\nz 2 3\nmore\n"))
    assert re.fullmatch(pattern("a\n...\n"), plain("a\nb\nc\n"))


@pytest.mark.parametrize(("place", "line"), list(typed()), ids=lambda value: str(value))
def test_a_command_that_a_page_tells_to_type_exists(place: str, line: str) -> None:
    command, name, rest = meant(line)
    try:
        command.make_context(name, rest, obj=Call())
    except click.exceptions.Exit:
        return  # --help and --version end here
    except click.UsageError as error:
        pytest.fail(f"{place}: {line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_a_command_that_a_page_speaks_of_exists(page: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=ACROSS)
    for span in re.findall(r"`(levelhead [^`]+)`", prose):
        command, _, rest = meant(span)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, span


def meant(line: str) -> tuple[click.Command, str, list[str]]:
    """The command that a line calls, its name, and what follows; it fails the test where there is none."""
    words = shlex.split(line, comments=True)
    found: click.Command = group
    while isinstance(found, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        words = words[1:]
        below = found.get_command(click.Context(found, obj=Call()), words[0])
        assert below is not None, line
        found = below
    return found, words[0], words[1:]


def leaves(command: click.Command, path: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command, obj=Call())
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


def test_every_command_is_in_the_table_of_commands() -> None:
    table = section("tutorial.md", "## Every command")
    told = set(re.findall(r"^\| `(levelhead(?: [a-z]+)+)", table, re.MULTILINE))

    assert told == set(leaves(group, "levelhead"))
    assert {path.split()[1] for path in told} == {entry.name for entry in COMMANDS}


def test_every_exit_code_is_explained() -> None:
    def tree(kind: type[LevelheadError]) -> Iterator[int]:
        yield kind.exit_code
        for below in kind.__subclasses__():
            yield from tree(below)

    codes = {0, NOT_PASSED, EXIT_BUG, EXIT_USAGE, EXIT_INTERRUPTED, *tree(errors.LevelheadError)}

    told = re.findall(r"^\| (\d+) \|", section("tutorial.md", "## Exit codes"), re.MULTILINE)
    assert [int(code) for code in told] == sorted(codes)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in EVERY if b.file], ids=lambda b: f"{b.page}:{b.line}")
def test_a_file_in_a_page_is_valid(block: Block) -> None:
    if "\nevents:" in block.text:
        parse_scenario(block.text, block.file)
    elif block.file in ("levelhead.yaml", "closed.yaml"):
        settings.parse(block.text, block.file)
    else:
        with pytest.raises(errors.ConfigError):  # shown for what is wrong with it
            settings.parse(block.text, block.file)


def test_the_page_of_settings_is_fresh() -> None:
    wanted = runpy.run_path(str(ROOT / "docs" / "generate.py"))["settings_page"]()

    assert PAGES["settings.md"] == wanted, "run: .venv/bin/python docs/generate.py"
    assert [row.path for row in settings.table() if f"| `{row.path}` |" not in wanted] == []


def test_every_variable_of_the_environment_is_explained() -> None:
    source = "\n".join(p.read_text() for p in (ROOT / "src").rglob("*.py"))

    told = set(re.findall(r"`(LEVELHEAD_[A-Z]+)`", PAGES["settings.md"]))
    assert told == set(re.findall(r"\bLEVELHEAD_[A-Z]+", source))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if page in ("README.md", "CONTRIBUTING.md") else ROOT / "docs"
    targets = re.findall(r"\]\(([^)#\s]+)\)", re.sub(r"\n", " ", PAGES[page]))

    assert [t for t in targets if not t.startswith("https://") and not (folder / t).exists()] == []


# -- what there is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*(c.name for c in diagnose.CAUSES), diagnosis.NONE_OF_THESE])
def test_every_cause_has_its_section(name: str) -> None:
    text = section("causes.md", f"## {name}")

    if name != diagnosis.NONE_OF_THESE:
        assert f"*{diagnose.title(name)}.*" in text
        for part in ("What happens", "Signals", "Looks like", "Levelhead now", "For good", "Source"):
            assert f"**{part}.**" in text
        treated = [m.name for m in mitigate.MITIGATIONS if name in m.treats]
        now = text.split("**Levelhead now.**")[1].split("**For good.**")[0]
        assert [m for m in treated if f"`{m}`" not in now] == []


def test_no_section_is_about_a_cause_that_is_gone() -> None:
    known = {c.name for c in diagnose.CAUSES} | {diagnosis.NONE_OF_THESE}

    assert set(re.findall(r"^## ([a-z]+(?:-[a-z]+)+)$", PAGES["causes.md"], re.MULTILINE)) == known


def test_every_signal_and_mitigation_is_explained() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGES["causes.md"], re.MULTILINE))

    assert set(rows) == {kind.value for kind in Kind} | {m.name for m in mitigate.MITIGATIONS}
    assert {kind.value: f"{m.text} | {m.by}" for kind, m in MEANINGS.items()} == {k.value: rows[k.value] for k in Kind}
    for mitigation in mitigate.MITIGATIONS:
        assert set(re.findall(r"`([a-z-]+)`", rows[mitigation.name])) == mitigation.treats
    assert "`none-of-these`" in section("causes.md", "### Mitigations")


@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_has_its_section_with_what_it_expects(name: str) -> None:
    text, drill = " ".join(section("drills.md", f"### {name}").split()), DRILLS[name]

    for key, value in drill.expect:
        if key in drill.expect.model_fields_set:
            assert f"`{key}: {written(value)}`" in text
    assert all(f"`{cause}`" in text for cause in drill.teaches)
    assert f"difficulty {drill.difficulty}." in text


def written(value: object) -> str:
    """A value as people write it in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(str(v) for v in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_no_section_is_about_a_drill_that_is_gone() -> None:
    told = re.findall(r"^### ([\w-]+)$", section("drills.md", "## The drills"), re.MULTILINE)

    assert sorted(told) == sorted(DRILLS)


@pytest.mark.parametrize(
    "model",
    [scenario.Scenario, scenario.PoolSpec, scenario.ServerSpec, scenario.UsersSpec, scenario.SloSpec, scenario.Event,
     scenario.ConfigChange, scenario.Expect],
    ids=lambda model: model.__name__,
)  # fmt: skip
def test_every_key_of_a_scenario_is_explained(model: type[scenario.Part]) -> None:
    text = section("drills.md", "## Write one")

    assert [key for key in model.model_fields if not re.search(rf"`[^`]*\b{key}\b[^`]*`", text)] == []


def test_every_fault_of_a_server_is_explained() -> None:
    text = section("drills.md", "## Write one")
    told = [*scenario.ServerFault.choices, *scenario.DependencyFault.choices, *scenario.CheckFault.choices]

    assert [word for word in told if f"`{word}`" not in text] == []


def test_every_route_is_in_the_page_of_the_api_and_no_other() -> None:
    told = re.findall(r"^\| `((?:GET|POST) [^`]+)` \|", PAGES["api.md"], re.MULTILINE)

    assert sorted(told) == sorted(f"{route.method} {route.path}" for route in ROUTES)


def test_every_schema_is_in_the_page_of_the_api_and_no_other() -> None:
    source = "\n".join(p.read_text() for p in (ROOT / "src").rglob("*.py"))
    answers = set(re.findall(r'"(levelhead/[a-z-]+/\d+)"', source))

    assert set(re.findall(r"levelhead/[a-z-]+/\d+", PAGES["api.md"])) == answers


def test_the_orders_of_the_api_are_told_with_their_keys() -> None:
    table = section("api.md", "### Order")

    for route in ROUTES:
        if route.method == "POST":
            row = next(line for line in table.splitlines() if line.startswith(f"| `POST {route.path}`"))
            taken: type[orders.Ordered] = get_type_hints(route.handler)["order"]
            own = [key for key in taken.model_fields if key not in orders.Ordered.model_fields]
            assert [key for key in own if f"`{key}`" not in row] == []


# -- figures ----------------------------------------------------------------------------------------------------------

IN_WORDS = {0.5: "half", 2: "twice", 5: "five"}


def words_for(number: float) -> str:
    return IN_WORDS.get(number, f"{number:g}")


FIGURES = [
    ("causes.md", f"from {diagnose.CERTAIN_ENOUGH:.0%} upwards"),
    ("causes.md", f"more than {1 + shares.TOLERANCE:g} times the share it is meant to get"),
    ("causes.md", f"more than {1 + shares.TOLERANCE:g} times what the weights in force explain"),
    ("causes.md", f"more than {volume.SLACK:g} times the forecast"),
    ("causes.md", f"more than {detect.HARM_RATIO:.0%} of the last seconds' requests"),
    ("causes.md", f"and at least {detect.FEWEST_HARMED:g} of them"),
    ("causes.md", f"more than {guard.MOST_GROWTH:g} times an equal share"),
    ("causes.md", f"more than {guard.MOST_OVER_INTENDED:g} times its intended share"),
    ("causes.md", f"within {pools.VERIFY_S:g} seconds"),
    ("causes.md", f"within the last {cases.SUSPECT_S / 60:g} minutes that moved at least {cases.MOVED:.0%}"),
    ("causes.md", f"more than {detect.SUSPECT_CHANGE:g} times the intended share is suspect"),
    ("causes.md", f"more than {words_for(latency.SLACK)} the requests in flight"),
    ("causes.md", f"at least {words_for(guard.FEWEST_SERVING)} of the pool"),
    ("drills.md", f"left below {score.REFUTED_BELOW:.0%}"),
    ("limits.md", f"whole numbers from 0 to {config.MAX_WEIGHT}"),
    ("limits.md", f"below {shares.FEWEST_CLIENTS:g} effectively different clients"),
    ("limits.md", f"beyond {1 + shares.TOLERANCE:g} times its intended share"),
    ("limits.md", f"Harm needs {detect.FEWEST_HARMED:g} harmed requests"),
    ("limits.md", f"Beyond {harm.MOST_USERS:,} users"),
    ("limits.md", f"one of the latest {loop.HISTORY}"),
    ("limits.md", f"after {GOOD_AFTER_S:g} s and {GOOD_REQUESTS:g} requests without trouble ({GOOD_IDLE_S:g} s where"),
    ("limits.md", f"no server may be given more than {guard.MOST_GROWTH:g} times an equal share"),
    ("limits.md", f"Verification looks at {pools.VERIFY_S:g} seconds"),
    ("limits.md", f"{words_for(len(diagnose.CAUSES)).capitalize()} causes have names"),
    ("tutorial.md", f"There are {words_for(len(DRILLS))} of them"),
]


@pytest.mark.parametrize(("page", "words"), FIGURES, ids=lambda value: str(value))
def test_a_figure_in_a_page_is_that_of_the_code(page: str, words: str) -> None:
    assert words in " ".join(PAGES[page].split())
