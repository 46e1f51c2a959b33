"""The pages of rules: packed into the package when it is built, in docs/rules where it runs from its sources."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import levelhead

_PACKAGE: Final = Path(levelhead.__file__).parent
_PLACES: Final = (_PACKAGE / "review" / "pages", _PACKAGE.parents[1] / "docs" / "rules")


def rules() -> dict[str, str]:
    """The Markdown page of every rule, by its code."""
    folder = next((place for place in _PLACES if place.is_dir()), None)
    if folder is None:
        return {}
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("LH*.md"))}
