"""levelhead schema: every setting of levelhead.yaml, for people and for editors."""

from __future__ import annotations

import json
from typing import Literal

import click

from levelhead import settings
from levelhead.cli import screen
from levelhead.cli.base import Call, options
from levelhead.drills.base import Scenario


@click.command()
@click.argument("what", type=click.Choice(["settings", "scenario"]), default="settings")
@options
@click.pass_obj
def command(call: Call, what: Literal["settings", "scenario"]) -> None:
    """List every setting of levelhead.yaml.

    With --json, as a JSON Schema for editors: `# yaml-language-server: $schema=levelhead.schema.json`. The schema of
    a drill's file (WHAT: scenario) is always JSON.
    """
    if what == "scenario":
        screen.show_plain_json({"schema": "levelhead/scenario-schema/1", **Scenario.model_json_schema()})
        return
    if call.json:
        screen.show_plain_json({"schema": "levelhead/settings-schema/1", **json.loads(settings.json_schema())})
        return
    table = screen.table("setting", "type", "default", "help")
    for row in settings.table():
        table.add_row(*(screen.line(cell) for cell in (row.path, row.type, row.default, row.help)))
    screen.console().print(table)
