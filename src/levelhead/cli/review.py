"""levelhead review: what configurations will do to traffic, before they do it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

import click

from levelhead import __version__
from levelhead.cli import pages
from levelhead.cli.base import Call, options, talk
from levelhead.cli.gathering import Disk, shown
from levelhead.cli.reviewing import Asked, commas, reviewed
from levelhead.cli.targets import wanted
from levelhead.errors import UsageError
from levelhead.review import EVERY
from levelhead.review.base import Language
from levelhead.review.baseline import fresh, known, written
from levelhead.review.output import text
from levelhead.review.output.answer import answer
from levelhead.review.output.github import github
from levelhead.review.output.junit import junit
from levelhead.review.output.markdown import markdown
from levelhead.review.output.sarif import sarif
from levelhead.review.report import Report
from levelhead.review.selection import chosen

_PIPED_COLUMNS: Final = 100


@click.command()
@click.argument("paths", metavar="FILE|FOLDER...", nargs=-1, required=True)
@click.option("--as", "language", type=click.Choice(get_args(Language)), help="What the files are, if not told apart.")
@click.option("--target", "targets", multiple=True, metavar="ENGINE=VERSION", help="The version they are for.")
@click.option("--facts", metavar="FILE", type=click.Path(path_type=Path), help="Peak, capacity, topology (YAML).")
@click.option("--select", multiple=True, metavar="RULE", help="Only these rules: codes, beginnings of codes, or names.")
@click.option("--ignore", multiple=True, metavar="RULE", help="Not these rules.")
@click.option("--diff", "base", metavar="BASE", help="Compare with a file, a folder or a git revision.")
@click.option("--baseline", metavar="FILE", type=click.Path(path_type=Path), help="Findings known here are not shown.")
@click.option("--write-baseline", metavar="FILE", type=click.Path(path_type=Path), help="Make what is found known.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--sarif", "form", flag_value="sarif", help="Print SARIF 2.1.0.")
@click.option("--github", "form", flag_value="github", help="Print annotations for GitHub Actions.")
@click.option("--junit", "form", flag_value="junit", help="Print JUnit XML.")
@click.option("--markdown", "form", flag_value="markdown", help="Print a comment for a pull request.")
@options
@click.pass_context
def command(
    ctx: click.Context, paths: tuple[str, ...], language: Language | None, targets: tuple[str, ...],
    facts: Path | None, select: tuple[str, ...], ignore: tuple[str, ...], base: str | None, baseline: Path | None,
    write_baseline: Path | None, strict: bool, form: str | None,
) -> None:  # fmt: skip
    """Say what configurations will do to traffic.

    Those of HAProxy, nginx, Envoy and Levelhead.

    Findings with their line, why, and what to do; then who gets what share, what becomes of it when a server is lost,
    and how long a dead server keeps its requests. Exit code 1 for findings of severity error, 2 for a file that cannot
    be read. `levelhead explain LH033` tells more of a rule.
    """
    rules = chosen(EVERY, tuple(commas(select)), tuple(commas(ignore)))
    names = tuple(shown(path) for path in paths)
    report, notes = reviewed(Asked(names, rules, language, wanted(targets), facts, base or ""))
    for note in notes:
        talk(note)
    if write_baseline is not None:
        _write(write_baseline, written(report.findings, report.texts))
        talk(f"{len(report.findings)} findings are known from now on: --baseline {write_baseline}")
        return
    if baseline is not None:
        new = fresh(report.findings, report.texts, known(Disk().text(str(baseline)), str(baseline)))
        report = replace(report, findings=new, known=len(report.findings) - len(new))
    _print(report, "json" if form is None and ctx.ensure_object(Call).json else form or "text")
    ctx.exit(report.exit_code(strict))


def _write(path: Path, whole: str) -> None:
    try:
        path.write_text(whole, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", next_step="name another file") from None


def _print(report: Report, form: str) -> None:
    match form:
        case "json":
            click.echo(answer(report))
        case "sarif":
            click.echo(sarif(report, __version__, pages.rules()))
        case "github":
            click.echo(github(report))
        case "junit":
            click.echo(junit(report))
        case "markdown":
            click.echo(markdown(report), nl=False)
        case _:
            _show(report)


def _show(report: Report) -> None:
    """For people: as wide as the terminal, in colour where it has some and NO_COLOR does not forbid it."""
    width = shutil.get_terminal_size((_PIPED_COLUMNS, 24)).columns
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in text.text(report, text.Paper(width, not _can_show("█│"))):
        painted = "".join(_painted(span) if coloured else span.text for span in line)
        click.echo(painted.rstrip(), color=coloured or None)


def _painted(span: text.Span) -> str:
    match span.style:
        case "":
            return span.text
        case "bold" | "dim":
            return click.style(span.text, bold=span.style == "bold" or None, dim=span.style == "dim" or None)
        case colour:
            return click.style(span.text, fg=colour)


def _can_show(signs: str) -> bool:
    try:
        signs.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
