"""levelhead apply: ship a levelhead.yaml to a running plane."""

from __future__ import annotations

from pathlib import Path

import click

from levelhead import settings
from levelhead.cli.base import Call, options
from levelhead.cli.ordering import force_option, plane, sent, why_option, written
from levelhead.web.orders import ConfigOrder


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@why_option
@force_option
@options
@click.pass_obj
def command(call: Call, file: Path, why: str, force: str) -> None:
    """Ship a levelhead.yaml.

    The file is checked here and again by the plane, which makes the smallest change that reaches it and keeps the old
    configuration if the proxy does not take the new one.
    """
    settings.load(file)
    text = file.read_text(encoding="utf-8-sig")
    folder = str(file.absolute().parent)
    order = written(ConfigOrder, source=text, file=str(file), folder=folder, why=why, force=force)
    sent(call, plane(call), "/v1/config", order)
