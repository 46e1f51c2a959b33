"""How answers look to people: plain tables that fit the terminal, and words beside every colour."""

from __future__ import annotations

import json
import math
import os
from datetime import datetime
from typing import Any

import click
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from levelhead.cli.base import safe

# What is written where nobody is looking at a terminal.
_PIPED_COLUMNS = 140


def console() -> Console:
    """stdout as rich sees it; its width is that of the terminal or of COLUMNS, and NO_COLOR is respected."""
    out = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _PIPED_COLUMNS
    return out


def show_json(answer: object, *, compact: bool = False) -> None:
    """The answer as JSON; on one line where many follow each other."""
    adapter: TypeAdapter[Any] = TypeAdapter(type(answer))
    click.echo(adapter.dump_json(answer, indent=None if compact else 2))


def show_plain_json(answer: dict[str, object], *, compact: bool = False) -> None:
    """An answer that has no type of its own, as JSON."""
    click.echo(json.dumps(answer, indent=None if compact else 2, ensure_ascii=False))


def table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; the columns in `right` are numbers."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        drawn.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return drawn


def line(text: str, style: str = "") -> Text:
    return Text(safe(text), style=style)


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def bearable(declared: float | None, borne: float | None) -> str:
    """What a server can bear as a share of the traffic now: as declared, else at least what it was seen to bear."""
    if declared is not None:
        return f"{min(declared, 9.99):.0%}"
    return "-" if borne is None else f"≥{min(borne, 9.99):.0%}"


def number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def clock(at: float | None) -> str:
    """A time as people here read it, with its zone; "-" for none."""
    if at is None:
        return "-"
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (ValueError, OverflowError, OSError):
        return "-"


def bar(value: float | None, full: float, cells: int, *, ascii_only: bool) -> str:
    """A bar of at most `cells`, filled where value is `full`."""
    if value is None or full <= 0:
        return ""
    eighths = round(min(max(value / full, 0.0), 1.0) * cells * 8)
    if ascii_only:
        return "#" * round(eighths / 8)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
