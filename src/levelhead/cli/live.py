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
from levelhead.incident import folded, remote
from levelhead.plane.status import PoolStatus, ServerStatus
from levelhead.stage import Frame

_BAR: Final = 16
_SHORT_BAR: Final = 7
_ROOMY: Final = 124
_NEWS: Final = 7

# The columns of servers, each with the width of terminal from which on there is room for it.
_COLUMNS: Final = (
    (" server", 0), ("state", 0), ("weight", 107), ("intended", 0), ("predicted", 0), ("observed", 0), ("", 0),
    ("bearable", 0), ("in flight", 99), ("errors", 0), ("p50 ms", 115), ("p99 ms", 88),
)  # fmt: skip


class View:
    """Shows frames as they come; a context manager, so that the terminal is left as it was found."""

    def __init__(self, title: str, notable: tuple[str, ...] = (), *, reasons: str) -> None:
        """Of the causes that are ruled out the `notable` are shown with their reasons; `reasons` says where those of
        the others are."""
        self._title, self._notable, self._reasons = title, notable, reasons
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        terminal = self._console.is_terminal
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
            moment = drawn(frame, self._title, self._console.width, self._notable, self._reasons)
            self._live.update(moment, refresh=True)
        else:
            self._told(frame)

    def _told(self, frame: Frame) -> None:
        """The same for who reads lines: only what is new."""
        for at, text in frame.news[self._news :]:
            talk(f"{at:6.1f} s  {text}")
        self._news = len(frame.news)
        for incident in frame.incidents:
            new = incident.entries[self._entries.get(incident.id, 0) :]
            for entry in folded(new, remote(incident, self._notable), self._reasons):
                talk(f"{frame.at_s:6.1f} s  {incident.id} {entry.kind}: {safe(entry.text)}")
            self._entries[incident.id] = len(incident.entries)
        whole = f"{int(frame.at_s) // 5}"
        if whole != self._said and not any(i.open for i in frame.incidents):
            self._said = whole
            talk(f"{frame.at_s:6.1f} s  {frame.status.because}")


def drawn(
    frame: Frame, title: str, width: int, notable: tuple[str, ...] = (), reasons: str = "the postmortem says why"
) -> RenderableType:
    """The whole view of one moment; `notable` and `reasons` as in `View`."""
    pool = frame.status.pools[0]
    head = Text.assemble(
        (f" {title}", "bold"), f"   {frame.status.engine}   {pool.policy}   mode {pool.mode}   ",
        (f"{_time(frame.at_s)} of {_time(frame.duration_s)}", "bold"),
    )  # fmt: skip
    parts: list[RenderableType] = [Text(), head, Text(), _servers(pool, width), Text(), _users(frame, pool, width)]
    parts += [Text(), _says(frame)]
    parts += [Text(), *_news(frame, width, notable, reasons)]
    return Group(*parts)


def _servers(pool: PoolStatus, width: int) -> Table:
    headings = [heading for heading, least in _COLUMNS if width >= least]
    table = screen.table(*headings, right=tuple(h for h in headings if h not in (" server", "state", "")))
    for server in pool.servers:
        off = server.observed is not None and server.intended is not None and server.observed > 1.4 * server.intended
        style = "bold red" if off else ""
        cells = {
            " server": f" {server.name}", "state": _state(server), "weight": screen.number(server.weight),
            "intended": screen.share(server.intended), "predicted": screen.share(server.predicted),
            "observed": screen.share(server.observed),
            "": screen.bar(server.observed, 1.0, _BAR if width >= _ROOMY else _SHORT_BAR, ascii_only=False),
            "bearable": screen.bearable(server.bearable, server.borne), "in flight": screen.number(server.in_flight),
            "errors": screen.share(server.failure_ratio), "p50 ms": screen.number(server.p50_ms),
            "p99 ms": screen.number(server.p99_ms),
        }  # fmt: skip
        marked = (" server", "observed", "")
        table.add_row(*(Text(cells[heading], style=style if heading in marked else "") for heading in headings))
    return table


def _state(server: ServerStatus) -> str:
    if server.state != "ready":
        return server.state
    return {"passing": "ready", "failing": "check fails"}.get(server.health, server.health)


def _users(frame: Frame, pool: PoolStatus, width: int) -> Text:
    glance, harm = frame.glance, frame.harm
    median = f"p50 {screen.number(glance.p50_ms)} ms   " if width >= 92 else ""
    harmed = f"{harm.users_harmed} of {harm.users_total} users harmed so far"
    return Text.assemble(
        (" users   ", "bold"),
        f"{glance.rps:.0f} requests/s   {median}",
        f"p99 {screen.number(glance.p99_ms)} ms   failed {glance.failed_share:.1%}   ",
        (harmed, "bold red" if harm.users_harmed else ""),
    )  # fmt: skip


def _says(frame: Frame) -> Text:
    trouble = any(i.open for i in frame.incidents)
    return Text.assemble((" loop    ", "bold"), (safe(frame.status.because), "yellow" if trouble else "green"))


def _news(frame: Frame, width: int, notable: tuple[str, ...], reasons: str) -> list[Text]:
    lines = [(at, "change", text) for at, text in frame.news]
    began = frame.status.at - frame.at_s
    for incident in frame.incidents:
        entries = [e for e in incident.entries if e.kind not in ("change", "notice")]
        told = folded(entries, remote(incident, notable), reasons)
        lines += [(e.at - began, e.kind, e.text) for e in told]
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
