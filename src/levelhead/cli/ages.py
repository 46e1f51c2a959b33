"""For how long the lines that take a server out have been as they are, by git: a fact that no file holds."""

from __future__ import annotations

import os
import re
import subprocess
import time
from typing import Final

_OUT: Final = re.compile(r"\b(?:disabled|down|drain|draining|maint|weight[ =:]+0)\b", re.IGNORECASE)
_MOST_LINES: Final = 50
_GIT_S: Final = 10.0
_DAY_S: Final = 86400.0


def ages(name: str, text: str) -> dict[str, float]:
    """Days by `file:line`, for such lines of a file that git knows; a line that is not committed yet is new."""
    lines = [n for n, line in enumerate(text.split("\n"), 1) if _OUT.search(line)][:_MOST_LINES]
    return _blamed(name, lines) if lines else {}


def _blamed(name: str, lines: list[int]) -> dict[str, float]:
    folder, base = os.path.split(name)
    command = ["git", "-C", folder or ".", "blame", "--porcelain", *(f"-L{n},{n}" for n in lines), "--", base]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    now, times, meant = time.time(), dict[str, float](), dict[str, str]()
    commit = ""
    for line in done.stdout.decode("utf-8", "replace").split("\n"):
        if header := re.match(r"([0-9a-f]{40,64}) \d+ (\d+)", line):
            commit = header[1]
            meant[f"{name}:{header[2]}"] = commit
        elif line.startswith("committer-time "):
            times[commit] = max(now - float(line.split()[1]), 0.0) / _DAY_S
    return {place: times[commit] for place, commit in meant.items() if commit in times}
