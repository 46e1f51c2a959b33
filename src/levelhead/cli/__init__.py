"""The commands: one table of them, each loaded only when it runs, and what becomes of every error.

Exit codes: 0 fine; 1 findings, not passed, or a bug; 2 usage or configuration error; 3 the target cannot be reached;
4 refused for safety; 130 interrupted. Data goes to stdout, talk to stderr.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from levelhead import __version__
from levelhead.cli.base import Call, options, talk
from levelhead.errors import ConfigError, LevelheadError, RefusedForSafety

EXIT_BUG: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
# So many new objects before the next look for garbage among them: a configuration read is many, and none is garbage.
YOUNG_OBJECTS: Final = 50_000


class Entry(NamedTuple):
    """One command: its name, the module that holds it as `command`, its line of help, and where the help lists it."""

    name: str
    module: str
    help: str
    heading: str


COMMANDS: Final = (
    Entry("demo", "levelhead.cli.demo", "Watch Levelhead meet the outage it was made for, in a minute.", "Learn"),
    Entry("drill", "levelhead.cli.drill", "List, run and play outages on real proxies.", "Learn"),
    Entry("review", "levelhead.cli.review", "Say what configurations will do to traffic.", "Check"),
    Entry("explain", "levelhead.cli.explain", "Explain a rule of `levelhead review`, or an alert.", "Check"),
    Entry("run", "levelhead.cli.run", "Serve: balance traffic over servers, watch it, and put it right.", "Serve"),
    Entry("status", "levelhead.cli.status", "Show pools and servers: who gets how much, and why.", "Look"),
    Entry("incident", "levelhead.cli.incident", "List, read, acknowledge and close incidents.", "Look"),
    Entry("revision", "levelhead.cli.revision", "List and read the configurations that were in force.", "Look"),
    Entry("server", "levelhead.cli.server", "Drain a server, take it out, put it back, weigh it.", "Change"),
    Entry("apply", "levelhead.cli.apply", "Ship a levelhead.yaml.", "Change"),
    Entry("rollback", "levelhead.cli.rollback", "Return to an earlier configuration.", "Change"),
    Entry("replay", "levelhead.cli.replay", "Put recorded ticks through this version again.", "Look"),
    Entry("schema", "levelhead.cli.schema", "List every setting of levelhead.yaml.", "Learn"),
)


class LazyGroup(click.Group):
    """The table as a click group: a command's module is imported when the command is asked for, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = next((entry for entry in COMMANDS if entry.name == cmd_name), None)
        if entry is None:
            return None
        # What is loaded stays: to look for garbage meanwhile, and in it later, would be a tenth of a short command.
        gc.disable()
        command = importlib.import_module(entry.module).command
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        gc.enable()
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.command is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading in dict.fromkeys(entry.heading for entry in COMMANDS):
            with formatter.section(heading):
                formatter.write_dl([(e.name, e.help) for e in COMMANDS if e.heading == heading])


@click.group(cls=LazyGroup, invoke_without_command=True)
@click.version_option(__version__, prog_name="levelhead", message="%(prog)s %(version)s")
@options
@click.pass_context
def group(ctx: click.Context) -> None:
    """Levelhead keeps traffic level: an even load balancer that notices, explains and undoes skew.

    Start one:  levelhead run --server 127.0.0.1:3001 --server 127.0.0.1:3002
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; a traceback is only shown under --debug."""
    call = Call()
    given = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal that cannot show a character is no reason to fail.
    try:
        code = group.main(given, prog_name="levelhead", standalone_mode=False, obj=call)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return _told(call, EXIT_USAGE, {"error": error.format_message()})
    except LevelheadError as error:
        return _failed(call, error)
    except Exception as error:
        return EXIT_INTERRUPTED if _interrupted(error) else _bug(call, error)
    return code if isinstance(code, int) else 0


def _failed(call: Call, error: LevelheadError) -> int:
    if call.debug:
        traceback.print_exception(error)
    refused = isinstance(error, RefusedForSafety)
    what, *rest = str(error).split("\n")
    talk(what if refused else f"error: {what}")
    if isinstance(error, RefusedForSafety):
        for objection in error.objections:
            talk(f"  - {objection}")
        _show(call, {"schema": "levelhead/answer/1", "accepted": False, "text": error.what,
                     "objections": list(error.objections), "revision": None})  # fmt: skip
    for line in rest:
        talk(line)
    if refused:
        return error.exit_code
    fields: dict[str, object] = {"error": error.what, "next": error.next_step}
    if isinstance(error, ConfigError):
        fields |= {"file": error.file, "line": error.line, "column": error.column}
    return _told(call, error.exit_code, fields)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind it: while a class is being made, Python 3.11 hides it as a cause, pydantic in a text."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt: " in str(error):
            return True
        error = error.__cause__
    return False


def _bug(call: Call, error: Exception) -> int:
    if call.debug:
        traceback.print_exception(error)
    what = f"this is a bug in Levelhead: {type(error).__name__}: {error}"
    talk(what)
    talk("  next: report it, with the traceback that --debug shows")
    return _told(call, EXIT_BUG, {"error": what})


def _told(call: Call, code: int, fields: dict[str, object]) -> int:
    whole = {"error": "", "next": "", "file": "", "line": 0, "column": 0} | fields
    _show(call, {"schema": "levelhead/error/1", **whole})
    return code


def _show(call: Call, answer: dict[str, object]) -> None:
    if call.json:
        click.echo(json.dumps(answer, ensure_ascii=False))
