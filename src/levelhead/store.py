"""The record of revisions, incidents and notices, in SQLite by default or in another database by URL.

Calls are synchronous and short: one small transaction each. The file is in write-ahead mode, so that readers and the
writer do not wait for each other, and a killed process loses nothing that a call had kept.
"""

from __future__ import annotations

import importlib.resources
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Protocol

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.engine.interfaces import DBAPIConnection

from levelhead.errors import StoreError
from levelhead.model import Fleet, Revision

# The newest migration; an older database is brought up to it when it is opened.
HEAD: Final = "0002"
# A lock is waited for this long at most: the caller may be a control loop.
BUSY_TIMEOUT_S: Final = 1.0
# Incidents are called INC-1, INC-2 and so on.
_INCIDENT: Final = "INC-"

TABLES: Final = sa.MetaData()
REVISIONS: Final = sa.Table(
    "revisions",
    TABLES,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("fleet", sa.Text, nullable=False),
    sa.Column("good_at", sa.Double),
)
INCIDENTS: Final = sa.Table(
    "incidents",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("pool", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("closed_at", sa.Double),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("incidents_by_opening", "opened_at"),
)
NOTICES: Final = sa.Table(
    "notices",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("incident", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("notices_by_incident", "incident"),
)
LEARNED: Final = sa.Table(
    "learned",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("record", sa.Text, nullable=False),
)
_KEPT_REVISION: Final = tuple(REVISIONS.c[name] for name in ("number", "fleet", "author", "at", "why", "source"))
_SUMMARY: Final = tuple(INCIDENTS.c[name] for name in ("id", "pool", "opened_at", "closed_at", "phase", "title"))
_KEPT_NOTICE: Final = tuple(
    NOTICES.c[name] for name in ("incident", "at", "target", "kind", "text", "attempts", "outcome", "error")
)


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """What a list of incidents shows; times in Unix seconds, `closed_at` None while it is open."""

    id: str
    pool: str
    opened_at: float
    closed_at: float | None
    phase: str
    title: str


@dataclass(frozen=True, slots=True)
class KeptNotice:
    """One notice to one target, and what became of it; `at` in Unix seconds."""

    incident: str
    at: float
    target: str
    kind: str
    text: str
    attempts: int
    outcome: Literal["sent", "failed"]
    error: str


class Told(Protocol):
    """What the store keeps of a notice (`notify.Notice`)."""

    @property
    def incident(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...


class Delivered(Protocol):
    """What the store keeps of a delivery (`notify.Delivery`)."""

    @property
    def target(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def ok(self) -> bool: ...
    @property
    def error(self) -> str: ...
    @property
    def at(self) -> float: ...


class Store:
    """One database, opened and brought to the newest form; every method may raise StoreError.

    `where` is the path of a SQLite file, made with mode 600 if it is not there, or a SQLAlchemy URL; `sqlite://` is a
    database in memory, gone when it is closed. May be used from several threads and processes.
    """

    def __init__(self, where: str | Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        url = _url(where)
        # Without the password, and as people know it: a file by its path.
        self.where = url.database or "memory" if url.get_backend_name() == "sqlite" else url.render_as_string()
        if url.get_backend_name() == "sqlite" and url.database:
            _make_file(Path(url.database), self.where)
        self._engine = _engine(url, busy_timeout_s)
        try:
            self._bring_up()
        except BaseException:
            self._engine.dispose()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the database; the store cannot be used afterwards."""
        self._engine.dispose()

    # Revisions.

    def add_revision(self, revision: Revision) -> None:
        """Keeps a new revision; StoreError where its number is taken."""
        row = {
            "number": revision.number,
            "fleet": _fleet_json().dump_json(revision.fleet).decode(),
            "author": _storable(revision.author),
            "at": revision.at,
            "why": _storable(revision.why),
            "source": _storable(revision.source),
        }
        with self._writing() as connection:
            taken = connection.scalar(sa.select(REVISIONS.c.number).where(REVISIONS.c.number == revision.number))
            if taken is not None:
                raise StoreError(
                    f"{self.where}: revision {revision.number} is kept already",
                    next_step="check that no second Levelhead uses this database: levelhead status",
                )
            connection.execute(sa.insert(REVISIONS).values(row))

    def revision(self, number: int) -> Revision:
        """One revision; KeyError for a number that was never kept."""
        found = self._revisions_by(REVISIONS.c.number == number, limit=1)
        if not found:
            raise KeyError(number)
        return found[0]

    def revisions(self, limit: int = 100) -> tuple[Revision, ...]:
        """The latest revisions, newest first."""
        return self._revisions_by(sa.true(), limit=limit)

    def last_revision(self) -> Revision | None:
        """The newest revision; None in a new database."""
        return next(iter(self.revisions(1)), None)

    def mark_good(self, number: int, at: float) -> None:
        """Remembers that a revision has served well, since `at` (Unix seconds); the first time counts."""
        with self._writing() as connection:
            unmarked = (REVISIONS.c.number == number) & REVISIONS.c.good_at.is_(None)
            connection.execute(sa.update(REVISIONS).where(unmarked).values(good_at=at))

    def is_good(self, number: int) -> bool:
        """Whether this revision is known to have served well."""
        with self._reading() as connection:
            return connection.scalar(sa.select(REVISIONS.c.good_at).where(REVISIONS.c.number == number)) is not None

    def last_good(self, before: int | None = None) -> Revision | None:
        """The newest revision that served well, older than `before` if given; None where there is none."""
        good = REVISIONS.c.good_at.is_not(None)
        wanted = good if before is None else good & (REVISIONS.c.number < before)
        return next(iter(self._revisions_by(wanted, limit=1)), None)

    # Incidents.

    def next_incident_number(self) -> int:
        """One more than the highest number of the incidents kept, `INC-<number>`; 1 in a new database."""
        number = sa.cast(sa.func.substr(INCIDENTS.c.id, len(_INCIDENT) + 1), sa.Integer)
        with self._reading() as connection:
            highest = connection.scalar(sa.select(sa.func.max(number)).where(INCIDENTS.c.id.startswith(_INCIDENT)))
        return int(highest or 0) + 1

    def keep_incident(self, summary: IncidentSummary, record: bytes) -> None:
        """Keeps an incident in place of what was known of it; `record` is the whole of it as JSON in UTF-8."""
        row = {
            "pool": _storable(summary.pool),
            "opened_at": summary.opened_at,
            "closed_at": summary.closed_at,
            "phase": summary.phase,
            "title": _storable(summary.title),
            "record": record.decode(),
        }
        with self._writing() as connection:
            kept = connection.execute(sa.update(INCIDENTS).where(INCIDENTS.c.id == summary.id).values(row))
            if kept.rowcount == 0:
                connection.execute(sa.insert(INCIDENTS).values(id=summary.id, **row))

    def incident(self, incident_id: str) -> bytes:
        """The record of an incident as it was kept; KeyError for an id that never was."""
        with self._reading() as connection:
            record = connection.scalar(sa.select(INCIDENTS.c.record).where(INCIDENTS.c.id == incident_id))
        if record is None:
            raise KeyError(incident_id)
        return str(record).encode()

    def incidents(self, limit: int = 100, *, only_open: bool = False) -> tuple[IncidentSummary, ...]:
        """The latest incidents, newest first."""
        query = sa.select(*_SUMMARY).order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.id.desc()).limit(limit)
        if only_open:
            query = query.where(INCIDENTS.c.closed_at.is_(None))
        with self._reading() as connection:
            return tuple(IncidentSummary(*row) for row in connection.execute(query))

    # What detectors learnt.

    def keep_learned(self, record: bytes) -> None:
        """Keeps what was learnt in place of what was before; `record` is JSON in UTF-8."""
        with self._writing() as connection:
            connection.execute(sa.delete(LEARNED))
            connection.execute(sa.insert(LEARNED).values(id=1, record=record.decode()))

    def learned(self) -> bytes:
        """The record of what was learnt; empty where nothing was yet."""
        with self._reading() as connection:
            return str(connection.scalar(sa.select(LEARNED.c.record)) or "").encode()

    # Notices.

    def keep_notice(self, notice: Told, delivery: Delivered) -> None:
        """Keeps what was told, to whom, and whether it arrived."""
        row = {
            "incident": notice.incident,
            "at": delivery.at,
            "target": delivery.target,
            "kind": notice.kind,
            "text": _storable(notice.text),
            "attempts": delivery.attempts,
            "outcome": "sent" if delivery.ok else "failed",
            "error": _storable(delivery.error),
        }
        with self._writing() as connection:
            connection.execute(sa.insert(NOTICES).values(row))

    def notices(self, incident_id: str) -> tuple[KeptNotice, ...]:
        """What was told of an incident, oldest first."""
        query = sa.select(*_KEPT_NOTICE).where(NOTICES.c.incident == incident_id).order_by(NOTICES.c.id)
        with self._reading() as connection:
            return tuple(KeptNotice(*row) for row in connection.execute(query))

    # Below: how.

    def _revisions_by(self, wanted: sa.ColumnElement[bool], *, limit: int) -> tuple[Revision, ...]:
        query = sa.select(*_KEPT_REVISION).where(wanted).order_by(REVISIONS.c.number.desc()).limit(limit)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return tuple(self._revision(*row) for row in rows)

    def _revision(self, number: int, fleet: str, author: str, at: float, why: str, source: str) -> Revision:
        try:
            return Revision(number, _fleet_json().validate_json(fleet), author, at, why, source)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(step) for step in first["loc"])
            raise StoreError(
                f"{self.where}: revision {number} cannot be read: {place}: {first['msg']}",
                next_step="use the Levelhead that wrote it, or apply the configuration anew: levelhead apply",
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _in_plain_words(self.where), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with _in_plain_words(self.where), self._engine.execution_options(writes=True).begin() as connection:
            yield connection

    def _bring_up(self) -> None:
        with self._reading() as connection:
            version = _version(connection)
        if version == HEAD:
            return
        with self._writing() as connection:
            # Another process may have done it meanwhile.
            version = _version(connection)
            if version == HEAD:
                return
            self._may_upgrade(connection, version)
            _upgrade(connection)

    def _may_upgrade(self, connection: sa.Connection, version: str | None) -> None:
        if version is not None and version > HEAD:
            raise StoreError(
                f"{self.where}: it was written by a newer Levelhead (form {version}; this one knows {HEAD})",
                next_step="upgrade Levelhead (pip install --upgrade levelhead), or name another file",
            )
        if version is None and (tables := sa.inspect(connection).get_table_names()):
            raise StoreError(
                f"{self.where}: it is the database of something else (it holds {', '.join(tables[:3])})",
                next_step="name another file; Levelhead makes it",
            )


@cache
def _fleet_json() -> TypeAdapter[Fleet]:
    return TypeAdapter(Fleet)


def _storable(text: str) -> str:
    """Text as any database takes it: bytes that were no text on a command line, and zero bytes, become '?'."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def _url(where: str | Path) -> sa.URL:
    if isinstance(where, Path) or "://" not in where:
        return sa.URL.create("sqlite", database=str(Path(where).absolute()))
    try:
        return sa.make_url(where)
    except (sa.exc.ArgumentError, ValueError):
        # The text may hold a password: it is not repeated.
        raise StoreError(
            "the database's URL cannot be read", next_step="write postgresql://USER@HOST/NAME, or the path of a file"
        ) from None


def _make_file(path: Path, where: str) -> None:
    """An empty file that only its owner may read; SQLite's side files take over its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{where}: it cannot be opened: {error.strerror}", next_step=_look_at(where)) from error


def _engine(url: sa.URL, busy_timeout_s: float) -> sa.Engine:
    try:
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url)
        options: dict[str, Any] = {"connect_args": {"timeout": busy_timeout_s, "check_same_thread": False}}
        if not url.database:
            # One connection for all: another one would see another memory.
            options["poolclass"] = sa.StaticPool
        engine = sa.create_engine(url, **options)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        what = f"{url.render_as_string()}: no driver for {url.drivername} is installed"
        raise StoreError(what, next_step="install one, such as: pip install psycopg[binary]") from error
    sa.event.listen(engine, "connect", _connected)
    sa.event.listen(engine, "begin", _begun)
    return engine


def _connected(raw: DBAPIConnection, _record: object) -> None:
    # sqlite3 must not begin transactions by itself: it would begin them too late to take the lock.
    raw.isolation_level = None
    cursor = raw.cursor()
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        # The pool forgets a connection whose first steps fail; nobody else would close it.
        raw.close()
        raise
    cursor.close()


def _begun(connection: sa.Connection) -> None:
    """A writer takes its lock at once, and waits for it; a lock taken in mid-transaction would fail without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _upgrade(connection: sa.Connection) -> None:
    with importlib.resources.as_file(importlib.resources.files("levelhead") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _in_plain_words(where: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _explained(where, error.orig) from error
    except sqlite3.Error as error:
        raise _explained(where, error) from error


# What SQLite says, by the beginning of its error's name; what it means; what to do.
_MEANINGS: Final = (
    ("SQLITE_FULL", "the disk is full", "free some space: df -h {folder}"),
    ("SQLITE_IOERR_WRITE", "it cannot be written to: the disk, or a quota, is full", "free some space: df -h {folder}"),
    ("SQLITE_IOERR", "the disk failed to read or write it", "look at the disk: dmesg | tail"),
    ("SQLITE_BUSY", "another process has it locked", "find it and let it finish: fuser -v {where}"),
    ("SQLITE_LOCKED", "another process has it locked", "find it and let it finish: fuser -v {where}"),
    ("SQLITE_READONLY", "it may only be read", "{look}"),
    ("SQLITE_PERM", "it may not be opened", "{look}"),
    ("SQLITE_CANTOPEN", "it cannot be opened", "{look}"),
    ("SQLITE_CORRUPT", "it is damaged", "{aside}"),
    ("SQLITE_NOTADB", "it is no database, or damaged", "{aside}"),
)


def _explained(where: str, error: BaseException | None) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    for begins, what, step in _MEANINGS:
        if name.startswith(begins):
            aside = f"move it aside and start again, the proxy serves on: mv {where} {where}.damaged"
            folder = str(Path(where).parent)
            step = step.format(where=where, folder=folder, look=_look_at(where), aside=aside)
            return StoreError(f"{where}: {what}", next_step=step)
    said = str(error).strip().partition("\n")[0]
    return StoreError(f"{where}: the database refused: {said}", next_step="check that it can be reached and written")


def _look_at(where: str) -> str:
    return f"check who owns it and its folder: ls -ld {Path(where).parent} {where}"
