"""The scenario files that come with Levelhead."""

from __future__ import annotations

from importlib import resources


def scenarios() -> dict[str, str]:
    """The text of each packaged scenario by its name, in alphabetical order; parse with `drills.text`."""
    folder = resources.files("levelhead.drills") / "scenarios"
    files = [f for f in folder.iterdir() if f.name.endswith(".yaml")]
    return {f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8") for f in sorted(files, key=lambda f: f.name)}
