"""The command line as a whole: one table, loaded lazily; every error in words with its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from levelhead import cli
from levelhead.cli import COMMANDS, group, main
from levelhead.errors import EngineError, LevelheadError, StoreError
from tests.paper_plane import PaperPlane, served

HEAVY = ("numpy", "fastapi", "sqlalchemy", "pydantic", "rich", "httpx", "uvicorn", "alembic", "yaml")
EVERYWHERE = {"--json", "--instance", "--debug", "--help"}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    ctx = click.Context(command)
    for name in command.list_commands(ctx):
        found = command.get_command(ctx, name)
        assert found is not None, name
        yield from walk(found, (*path, name))


LEAVES = tuple(walk(group))


@pytest.mark.parametrize("flag", ["--help", "--version", ""])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    program = f"""
import sys
from levelhead.cli import main
assert main({[flag] if flag else []!r}) == 0
loaded = {{name.split('.')[0] for name in sys.modules}} & {set(HEAVY)!r}
print(sorted(loaded), file=sys.stderr)
print(sorted(name for name in sys.modules if name.startswith('levelhead.')), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy, ours = done.stderr.splitlines()
    assert heavy == "[]"
    assert ours == "['levelhead.cli', 'levelhead.cli.base', 'levelhead.errors']"


def test_help_lists_every_command_under_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for entry in COMMANDS:
        assert f"\n{entry.heading}:\n" in told
        assert f"  {entry.name} " in told
        assert entry.help[:40] in told


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_table_says_of_a_command_what_its_own_help_says(entry: cli.Entry) -> None:
    command = group.get_command(click.Context(group), entry.name)
    assert command is not None
    assert (command.help or "").splitlines()[0] == entry.help


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_has_what_all_have_and_explains_itself(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path, "--help"]) == 0
    told = capsys.readouterr().out
    assert {flag for flag in EVERYWHERE if flag in told} == EVERYWHERE
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize(
    "wrong",
    [["nope"], ["server"], ["status", "--nope"], ["server", "weight", "web-1"], ["server", "weight", "web-1", "heavy"],
     ["server", "weight", "web-1", "-3"], ["rollback", "--to", "0"], ["revision", "show", "one"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_is_2_and_leads_to_the_help(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(wrong) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: levelhead" in err


def test_wrong_usage_under_json_is_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "status", "--nope"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "levelhead/error/1"
    assert "--nope" in told["error"]


class Raising(click.Command):
    """A command that fails in a given way."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("fail", callback=self._fail)
        self._error = error

    def _fail(self) -> None:
        raise self._error


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    def arrange(error: BaseException) -> None:
        monkeypatch.setattr(group, "get_command", lambda ctx, name: Raising(error))

    return arrange


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LevelheadError("it cannot be", next_step="try another"), 2),
        (EngineError("the proxy is gone", next_step="levelhead status"), 3),
        (StoreError("the disk is full", next_step="df"), 3),
        (KeyboardInterrupt(), 130),
    ],
    ids=["usage", "engine", "store", "interrupted"],
)
def test_errors_have_their_exit_code_and_no_traceback(
    error: BaseException, code: int, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(error)
    assert main(["fail"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    if isinstance(error, LevelheadError):
        assert err == f"error: {error.what}\n  next: {error.next_step}\n"


def test_a_bug_is_called_one_and_shows_its_traceback_only_when_asked(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ZeroDivisionError("division by zero"))
    assert main(["fail"]) == 1
    err = capsys.readouterr().err
    assert "this is a bug in Levelhead: ZeroDivisionError: division by zero" in err
    assert "--debug" in err
    assert "Traceback" not in err
    assert main(["--debug", "fail"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["Error calling __set_name__", "Error building validator:\n  KeyboardInterrupt: "])
def test_ctrl_c_is_no_bug_wherever_it_comes(
    text: str, failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = RuntimeError(text)
    hidden.__cause__ = None if "KeyboardInterrupt" in text else KeyboardInterrupt()
    failing(hidden)
    assert main(["fail"]) == 130
    assert capsys.readouterr() == ("", "")


def test_an_error_under_json_is_json_on_stdout_and_words_on_stderr(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(EngineError("the proxy is gone", next_step="levelhead status"))
    assert main(["--json", "fail"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "schema": "levelhead/error/1", "error": "the proxy is gone", "next": "levelhead status", "file": "", "line": 0,
        "column": 0,
    }  # fmt: skip
    assert "the proxy is gone" in err


def started(home: Path, *args: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    environ = os.environ | {"LEVELHEAD_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    program = [sys.executable, "-m", "levelhead", *args]
    return subprocess.Popen(program, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ)


def test_ctrl_c_is_130_and_quiet(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    with served(PaperPlane(), tmp_path / "default" / "api.sock"):
        process = started(tmp_path, "status", "--watch", "--json")
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert json.loads(first)["schema"] == json.loads(second)["schema"] == "levelhead/status/1"
    assert process.returncode == 130
    assert err.strip() == ""


def test_a_terminal_that_cannot_show_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    with served(PaperPlane(), tmp_path / "default" / "api.sock"):
        environ = os.environ | {"LEVELHEAD_HOME": str(tmp_path), "PYTHONIOENCODING": "ascii"}
        run = [sys.executable, "-m", "levelhead"]
        noted = subprocess.run([*run, "incident", "note", "INC-1", "schön – ☃"], env=environ, capture_output=True)
        shown = subprocess.run([*run, "incident", "show", "INC-1"], env=environ, capture_output=True)
        status = subprocess.run([*run, "status"], env=environ, capture_output=True)
    assert [done.returncode for done in (noted, shown, status)] == [0, 0, 0], shown.stderr
    assert b"sch?n ? ?" in shown.stdout
    assert b"########" in status.stdout


def test_a_reader_that_goes_away_is_no_drama(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    with served(PaperPlane(), tmp_path / "default" / "api.sock"):
        read, write = os.pipe()
        os.close(read)
        process = started(tmp_path, "schema", stdout=write)
        os.close(write)
        _, err = process.communicate(timeout=30)
    assert err == ""
    assert process.returncode == 1
