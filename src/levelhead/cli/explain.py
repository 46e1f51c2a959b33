"""levelhead explain: the page of a rule, the list of all of them, or what raises an alert."""

from __future__ import annotations

import click

from levelhead.cli import alerts, pages, screen
from levelhead.cli.base import Call, options, safe
from levelhead.review import EVERY
from levelhead.review.base import Rule
from levelhead.review.report import page
from levelhead.review.selection import named


@click.command()
@click.argument("word", metavar="[RULE|alert]", required=False)
@options
@click.pass_obj
def command(call: Call, word: str | None) -> None:
    """Explain a rule of `levelhead review`, or an alert.

    A rule goes by its code or name. Without one, list them all; with the beginning of a code (LH03), those that it
    means. `levelhead explain alert` says what raises one, from which setting its thresholds follow, and what the
    running Levelhead has learnt.
    """
    if word in ("alert", "alerts"):
        alerts.explained(call)
        return
    found = EVERY if word is None else named(EVERY, word)
    if len(found) > 1 or word is None:
        _listed(call, found)
        return
    rule = found[0]
    written = pages.rules().get(rule.code, _short(rule))
    if call.json:
        screen.show_plain_json({"schema": "levelhead/rule/1", **_fields(rule), "page": written})
        return
    click.echo(safe(written), nl=False)


def _listed(call: Call, rules: tuple[Rule, ...]) -> None:
    if call.json:
        screen.show_plain_json({"schema": "levelhead/rules/1", "rules": [_fields(rule) for rule in rules]})
        return
    table = screen.table("code", "rule", "severity", "finds")
    for rule in rules:
        table.add_row(rule.code, rule.name, rule.severity, screen.line(rule.summary))
    screen.console().print(table)


def _fields(rule: Rule) -> dict[str, object]:
    return {"code": rule.code, "rule": rule.name, "severity": rule.severity, "summary": rule.summary, "fix": rule.fix,
            "docs": page(rule.code)}  # fmt: skip


def _short(rule: Rule) -> str:
    return f"# {rule.code} {rule.name}\n\nFinds {rule.summary}. **Severity** {rule.severity}.\n\n{rule.fix}.\n"
