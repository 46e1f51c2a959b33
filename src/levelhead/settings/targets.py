"""Who is told of an incident, and where the secrets for that are kept; `levelhead.notify` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from levelhead.model import NOWHERE, Origin


@dataclass(frozen=True, slots=True)
class Secret:
    """A value, or the name of the environment variable or of the file that holds it; exactly one is not empty."""

    value: str = field(default="", repr=False)
    env: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver of notices. A terminal has no url; `name` is unique among the targets."""

    name: str
    kind: Literal["terminal", "webhook", "slack"]
    url: Secret = Secret()
    headers: tuple[tuple[str, Secret], ...] = ()
    origin: Origin = field(default=NOWHERE, compare=False)
