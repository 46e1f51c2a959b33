"""What a notice is, who takes it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from levelhead.model import Origin

Kind = Literal["opened", "changed", "closed"]
TargetKind = Literal["terminal", "webhook", "slack"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told of an incident.

    `title` is one line, `text` the news, `at` Unix seconds, `url` a page with more. `figures` are (label, value) pairs
    such as ("web-1", "61 % of requests, 25 % intended").
    """

    incident: str
    pool: str
    kind: Kind
    phase: str
    title: str
    text: str
    at: float
    url: str = ""
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a notice at one target: after how many attempts, when (Unix seconds), and why not if it is not."""

    target: str
    attempts: int
    ok: bool
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a target is tried: waits of `first_s`, twice that, four times that, and so on.

    Each wait is drawn from `jitter` below to `jitter` above (0.25 is a quarter), and an attempt takes `timeout_s` at
    most. A target that names a time to come back is obeyed up to `obey_s`.
    """

    attempts: int = 3
    first_s: float = 0.5
    jitter: float = 0.25
    timeout_s: float = 5.0
    obey_s: float = 30.0


class Held(Protocol):
    """A value, or the environment variable or the file that holds it (`settings.Secret`)."""

    @property
    def value(self) -> str: ...
    @property
    def env(self) -> str: ...
    @property
    def file(self) -> str: ...


class Target(Protocol):
    """Who is to be told, as the settings say it (`settings.Target`)."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> TargetKind: ...
    @property
    def url(self) -> Held: ...
    @property
    def headers(self) -> tuple[tuple[str, Held], ...]: ...
    @property
    def origin(self) -> Origin: ...


class Notifier(Protocol):
    """One receiver, ready to use. `send` raises NotifyError, whose text holds no secret."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None: ...


@dataclass(frozen=True, slots=True)
class Revealed:
    """A target's url and headers with their secrets; not to be printed or logged."""

    url: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
