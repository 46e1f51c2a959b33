"""Draws docs/demo.svg: the live view of a real run of the demo, a moment after the roll-back.

    .venv/bin/python bench/picture.py
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from rich.console import Console

from levelhead.cli.live import drawn
from levelhead.drills.text import parse_scenario
from levelhead.lab.library import scenarios
from levelhead.stage import Frame, Stage

WIDTH = 124
PAGE = Path(__file__).parent.parent / "docs" / "demo.svg"
# Late enough to show the effect, early enough to show the skew.
MOMENT_S = 15.6


def main() -> None:
    kept: list[Frame] = []

    def look(frame: Frame) -> None:
        if frame.at_s >= MOMENT_S and frame.incidents and not kept:
            kept.append(frame)

    scenario = parse_scenario(scenarios()["march-10"], "march-10")
    asyncio.run(Stage(scenario, mode="act", look=look, over=lambda _: bool(kept)).perform())
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(drawn(kept[0], "Levelhead demo", WIDTH))
    console.save_svg(str(PAGE), title="levelhead demo")
    print(f"drawn: {PAGE}")


if __name__ == "__main__":
    main()
