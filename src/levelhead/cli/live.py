"""The live view of a drill: four shares per server, users, what happened, and what the loop says; calm on a terminal,
lines of text elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from levelhead.cli import screen
from levelhead.cli.base import safe, talk
from levelhead.plane.status import PoolStatus, ServerStatus
from levelhead.stage import Frame

_BAR: Final = 16
_NEWS: Final = 7


class View:
    """Shows frames as they come; a context manager, so that the terminal is left as it was found."""

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title, self._quiet = title, quiet
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        terminal = self._console.is_terminal and not quiet
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if terminal else None
        self._said = ""
        self._news = 0
        self._entries: dict[str, int] = {}

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, frame: Frame) -> None:
        if self._live is not None:
            self._live.update(drawn(frame, self._title, self._console.width), refresh=True)
        elif not self._quiet:
            self._told(frame)

    def _told(self, frame: Frame) -> None:
        """The same for who reads lines: only what is new."""
        for at, text in frame.news[self._news :]:
            talk(f"{at:6.1f} s  {text}")
        self._news = len(frame.news)
        for incident in frame.incidents:
            known = self._entries.get(incident.id, 0)
            for entry in incident.entries[known:]:
                talk(f"{frame.at_s:6.1f} s  {incident.id} {entry.kind}: {safe(entry.text)}")
            self._entries[incident.id] = len(incident.entries)
        whole = f"{int(frame.at_s) // 5}"
        if whole != self._said and not any(i.open for i in frame.incidents):
            self._said = whole
            talk(f"{frame.at_s:6.1f} s  {frame.status.because}")


def drawn(frame: Frame, title: str, width: int) -> RenderableType:
    """The whole view of one moment."""
    pool = frame.status.pools[0]
    head = Text.assemble(
        (f" {title}", "bold"), f"   {frame.status.engine}   {pool.policy}   mode {pool.mode}   ",
        (f"{_time(frame.at_s)} of {_time(frame.duration_s)}", "bold"),
    )  # fmt: skip
    parts: list[RenderableType] = [Text(), head, Text(), _servers(pool, width), Text(), _users(frame, pool)]
    parts += [Text(), _says(frame)]
    parts += [Text(), *_news(frame, width)]
    return Group(*parts)


def _servers(pool: PoolStatus, width: int) -> Table:
    wide = width >= 110
    headings = [" server", "state", "weight", "intended", "predicted", "observed", "", "bearable"]
    headings += ["in flight", "errors", "p50 ms", "p99 ms"] if wide else ["in flight", "errors", "p99 ms"]
    table = screen.table(*headings, right=tuple(h for h in headings if h not in (" server", "state", "")))
    for server in pool.servers:
        off = server.observed is not None and server.intended is not None and server.observed > 1.4 * server.intended
        style = "bold red" if off else ""
        cells = [
            f" {server.name}", _state(server), screen.number(server.weight), screen.share(server.intended),
            screen.share(server.predicted), screen.share(server.observed),
            screen.bar(server.observed, 1.0, _BAR, ascii_only=False), screen.bearable(server.bearable, server.borne),
            screen.number(server.in_flight), screen.share(server.failure_ratio),
            *([screen.number(server.p50_ms)] if wide else []), screen.number(server.p99_ms),
        ]  # fmt: skip
        table.add_row(*(Text(cell, style=style if i in (0, 5, 6) else "") for i, cell in enumerate(cells)))
    return table


def _state(server: ServerStatus) -> str:
    if server.state != "ready":
        return server.state
    return {"passing": "ready", "failing": "check fails"}.get(server.health, server.health)


def _users(frame: Frame, pool: PoolStatus) -> Text:
    glance, harm = frame.glance, frame.harm
    harmed = f"{harm.users_harmed} of {harm.users_total} users harmed so far"
    return Text.assemble(
        (" users   ", "bold"),
        f"{glance.rps:.0f} requests/s   p50 {screen.number(glance.p50_ms)} ms   ",
        f"p99 {screen.number(glance.p99_ms)} ms   failed {glance.failed_share:.1%}   ",
        (harmed, "bold red" if harm.users_harmed else ""),
    )  # fmt: skip


def _says(frame: Frame) -> Text:
    trouble = any(i.open for i in frame.incidents)
    return Text.assemble((" loop    ", "bold"), (safe(frame.status.because), "yellow" if trouble else "green"))


def _news(frame: Frame, width: int) -> list[Text]:
    lines = [(at, "change", text) for at, text in frame.news]
    began = frame.status.at - frame.at_s
    for incident in frame.incidents:
        lines += [(e.at - began, e.kind, e.text) for e in incident.entries if e.kind not in ("change", "notice")]
    lines.sort(key=lambda row: row[0])
    shown = lines[-_NEWS:]
    room = max(width - 26, 30)
    texts = [Text.assemble(f" {at:6.1f} s  ", (f"{kind:<12}", "bold"), _cut(safe(text), room))
             for at, kind, text in shown]  # fmt: skip
    return texts + [Text() for _ in range(_NEWS - len(texts))]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _time(seconds: float) -> str:
    whole = max(int(seconds), 0)
    return f"{whole // 60:02d}:{whole % 60:02d}"
