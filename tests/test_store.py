"""The store: what is kept comes back, also after a kill, beside other processes, and with a reason when it cannot."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st

import levelhead
from levelhead import model
from levelhead.errors import StoreError
from levelhead.model import Fleet, Listener, Pool, Revision, Route, Server
from levelhead.notify import Delivery, Notice
from levelhead.store import HEAD, TABLES, IncidentSummary, KeptNotice, Store

FLEET = Fleet(
    listeners=(Listener("web", "127.0.0.1", 8080, (Route("web", "api.example", "/v1"),), "cert.pem", 100),),
    pools=(
        Pool(
            name="web",
            servers=(
                Server("web-1", "::1", 3001, 33.3, 200.0, model.Admin.DRAIN, 64, model.Origin("f.yaml", 3, 7)),
                Server("web-2", "10.0.0.2", 3002),
            ),
            policy=model.Hash("header", "X-User", bounded_load=1.25),
            ejection=model.Ejection(5),
            affinity_cookie="LH",
            intent=model.Intent("explicit", (("web-1", 1.0), ("web-2", 2.0))),
            mode=model.Mode.SHADOW,
        ),
        Pool("api", (Server("api-1", "db.example", 1),), model.RandomPick(3), check=None),
        Pool("old", (Server("old-1", "db.example", 1),), model.LeastRequest()),
    ),
    client="cookie:sid",
)
FIRST = Revision(1, FLEET, "ada", 1710080000.25, "first configuration", "servers: []\n# café\n")
SUMMARY = IncidentSummary("INC-1", "web", 1710080000.5, None, "investigating", "61 % go to web-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "levelhead.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs this code."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)


# What is kept comes back.


def test_revision_comes_back_whole(store: Store) -> None:
    store.add_revision(FIRST)

    kept = store.revision(1)

    assert kept == FIRST
    assert kept.fleet.pools[0].servers[0].origin == model.Origin("f.yaml", 3, 7)


def test_revisions_are_newest_first(store: Store) -> None:
    for number in (1, 2, 3):
        store.add_revision(replace(FIRST, number=number))

    assert [r.number for r in store.revisions(2)] == [3, 2]
    assert [r.number for r in store.revisions()] == [3, 2, 1]
    assert store.last_revision() == replace(FIRST, number=3)


def test_a_new_store_is_empty(store: Store) -> None:
    assert (store.revisions(), store.last_revision(), store.last_good()) == ((), None, None)
    assert (store.incidents(), store.notices("INC-1"), store.next_incident_number()) == ((), (), 1)
    with pytest.raises(KeyError):
        store.revision(1)
    with pytest.raises(KeyError):
        store.incident("INC-1")


def test_a_revision_is_never_replaced(store: Store) -> None:
    store.add_revision(FIRST)

    with pytest.raises(StoreError, match="revision 1 is kept already\n  next: "):
        store.add_revision(replace(FIRST, author="eve"))

    assert store.revision(1).author == "ada"


def test_good_revisions(store: Store) -> None:
    for number in (1, 2, 3, 4):
        store.add_revision(replace(FIRST, number=number))
    store.mark_good(1, 10.0)
    store.mark_good(3, 11.0)
    store.mark_good(99, 12.0)

    assert [store.is_good(n) for n in (1, 2, 3, 4, 99)] == [True, False, True, False, False]
    assert [r and r.number for r in (store.last_good(), store.last_good(before=3), store.last_good(before=1))] == [
        3, 1, None,
    ]  # fmt: skip


def test_incident_is_kept_in_place_of_what_was_known(store: Store) -> None:
    store.keep_incident(SUMMARY, b'{"phase":"investigating"}')
    store.keep_incident(replace(SUMMARY, phase="resolved", closed_at=1710080060.0), '{"note":"café"}'.encode())

    assert store.incident("INC-1") == '{"note":"café"}'.encode()
    assert store.incidents() == (replace(SUMMARY, phase="resolved", closed_at=1710080060.0),)


def test_incidents_are_newest_first_and_open_ones_can_be_asked_for(store: Store) -> None:
    for number in range(1, 13):
        closed_at = None if number % 4 == 0 else 100.0
        store.keep_incident(replace(SUMMARY, id=f"INC-{number}", opened_at=float(number), closed_at=closed_at), b"{}")

    assert [s.id for s in store.incidents(2)] == ["INC-12", "INC-11"]
    assert [s.id for s in store.incidents(only_open=True)] == ["INC-12", "INC-8", "INC-4"]
    assert store.next_incident_number() == 13


def test_notices_are_kept_with_what_became_of_them(store: Store) -> None:
    notice = Notice("INC-1", "web", "opened", "investigating", "title", "text", 1.0)
    store.keep_notice(notice, Delivery("slack", 3, False, "slack: answered 500", 9.0))
    store.keep_notice(notice, Delivery("terminal", 1, True, "", 8.0))
    store.keep_notice(replace(notice, incident="INC-2"), Delivery("terminal", 1, True, "", 10.0))

    assert store.notices("INC-1") == (
        KeptNotice("INC-1", 9.0, "slack", "opened", "text", 3, "failed", "slack: answered 500"),
        KeptNotice("INC-1", 8.0, "terminal", "opened", "text", 1, "sent", ""),
    )


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=200), st.floats(0, 1e10))
@settings(max_examples=30, deadline=None)
def test_any_text_can_be_kept(author: str, why: str, source: str, at: float) -> None:
    with Store("sqlite://") as store:
        store.add_revision(Revision(1, FLEET, author, at, why, source))
        kept = store.revision(1)

    assert kept == Revision(1, FLEET, author.replace("\0", "?"), at, why.replace("\0", "?"), source.replace("\0", "?"))


def test_bytes_of_a_command_line_that_are_no_text_do_not_stop_it(store: Store) -> None:
    store.add_revision(replace(FIRST, why=os.fsdecode(b"caf\xe9")))

    assert store.revision(1).why == "caf?"


def test_a_store_can_be_opened_again(path: Path) -> None:
    with Store(path) as store:
        store.add_revision(FIRST)
        store.keep_incident(SUMMARY, b"{}")
    with Store(str(path)) as store:
        assert store.last_revision() == FIRST
        assert store.next_incident_number() == 2


def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "state" / "levelhead" / "levelhead.db"
    with Store(path) as store:
        store.add_revision(FIRST)
        files = sorted(path.parent.iterdir())

        assert [f.name for f in files] == ["levelhead.db", "levelhead.db-shm", "levelhead.db-wal"]
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# What detectors learnt.


def test_what_was_learnt_last_is_kept(path: Path) -> None:
    with Store(path) as store:
        assert store.learned() == b""
        store.keep_learned(b'{"at":1}')
        store.keep_learned(b'{"at":2}')
    with Store(path) as store:
        assert store.learned() == b'{"at":2}'


# Migrations.


def test_a_database_of_the_first_form_is_brought_up_and_loses_nothing(path: Path) -> None:
    with Store(path) as store:
        store.add_revision(FIRST)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE learned")
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
    raw.close()

    with Store(path) as store:
        assert store.last_revision() == FIRST
        assert store.learned() == b""


def test_the_migrations_lead_to_the_tables(path: Path) -> None:
    with Store(path):
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            difference = compare_metadata(MigrationContext.configure(connection), TABLES)
        engine.dispose()

    assert difference == []


def test_the_newest_migration_is_the_one_the_store_wants() -> None:
    assert ScriptDirectory(f"{Path(levelhead.__file__).parent}/migrations").get_heads() == [HEAD]


def test_a_database_of_a_newer_levelhead_is_refused(path: Path) -> None:
    with Store(path) as store:
        store.add_revision(FIRST)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    with pytest.raises(StoreError, match=r"written by a newer Levelhead \(form 9999; .*\n  next: upgrade"):
        Store(path)


def test_the_database_of_something_else_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE bookmarks (url TEXT)")
    raw.close()

    with pytest.raises(StoreError, match=r"database of something else \(it holds bookmarks\)"):
        Store(path)

    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    raw.close()


def test_many_may_open_a_new_database_at_once(path: Path) -> None:
    code = "import sys; from levelhead.store import Store; Store(sys.argv[1], busy_timeout_s=20).close()"
    openers = [python(code, str(path)) for _ in range(3)]

    for opener in openers:
        opener.communicate(timeout=60)

    assert [opener.returncode for opener in openers] == [0, 0, 0]


# The world.

WRITER = """
import sys
from levelhead.store import IncidentSummary, Store
store = Store(sys.argv[1])
record = b'{"text":"' + b"x" * 20_000 + b'"}'
for number in range(1, 1_000_000):
    store.keep_incident(IncidentSummary(f"INC-{number}", "web", float(number), None, "phase", "title"), record)
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_kept(path: Path) -> None:
    writer = python(WRITER, str(path))
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 200:
            writer.send_signal(signal.SIGKILL)
            break
    kept = max((int(line) for line in writer.stdout if line.endswith("\n")), default=200)
    writer.stdout.close()
    writer.wait(timeout=10)

    with Store(path) as store:
        # One more may have been kept than the writer could say.
        assert store.next_incident_number() - 1 in (kept, kept + 1)
        assert all(len(store.incident(f"INC-{n}")) == 20_011 for n in range(1, kept + 1))
        store.keep_incident(SUMMARY, b"{}")
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_readers_do_not_wait_for_a_writer_and_see_whole_states(path: Path, store: Store) -> None:
    store.add_revision(FIRST)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE revisions SET author = 'half done'")

    assert store.revision(1).author == "ada"

    writer.execute("COMMIT")
    writer.close()
    assert store.revision(1).author == "half done"


def test_a_lock_is_waited_for_and_then_named(path: Path) -> None:
    with Store(path, busy_timeout_s=0.05) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=f"{path}: another process has it locked\n  next: .*fuser -v {path}"):
            store.add_revision(FIRST)
        holder.execute("ROLLBACK")
        holder.close()

        store.add_revision(FIRST)
        assert store.last_revision() == FIRST


def test_several_threads_may_use_one_store(store: Store) -> None:
    failed: list[BaseException] = []

    def keep(first: int) -> None:
        try:
            for number in range(first, first + 25):
                store.keep_incident(replace(SUMMARY, id=f"INC-{number}"), b"{}")
                store.incidents(3)
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=keep, args=(n,)) for n in (1, 101, 201, 301)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert len(store.incidents(1000)) == 100


FULL = """
import resource, sys
from levelhead.errors import StoreError
from levelhead.store import IncidentSummary, Store
summary = IncidentSummary("INC-1", "web", 1.0, None, "phase", "title")
with Store(sys.argv[1]) as store:
    store.keep_incident(summary, b'{"small":1}')
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        store.keep_incident(summary, b'{"big":"' + b"x" * 1_000_000 + b'"}')
    except StoreError as error:
        print(error)
    print(store.incident("INC-1").decode())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.keep_incident(summary, b'{"again":1}')
    print(store.incident("INC-1").decode())
"""


def test_a_full_disk_is_named_and_survived(path: Path) -> None:
    said, _ = python(FULL, str(path)).communicate(timeout=60)

    what, step, before, after = said.splitlines()
    assert "the disk" in what
    assert "full" in what
    assert step == f"  next: free some space: df -h {path.parent}"
    assert (before, after) == ('{"small":1}', '{"again":1}')


def test_a_database_that_is_full_is_named(store: Store) -> None:
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="the disk is full"):
        store.keep_incident(SUMMARY, b'{"big":"' + b"x" * 1_000_000 + b'"}')


@pytest.mark.parametrize("content", [b"this is not a database, but it is quite long" * 100, b"SQLite format 3\0" * 512])
def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(StoreError, match=f"{path}: .*\n  next: move it aside .*: mv {path} {path}.damaged"):
        Store(path)

    assert path.read_bytes() == content


def test_a_damaged_page_is_named(path: Path) -> None:
    with Store(path) as store:
        for number in range(1, 50):
            store.add_revision(replace(FIRST, number=number))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)

    with pytest.raises(StoreError, match="it is damaged"), Store(path) as store:
        store.revisions()


def test_a_fleet_that_cannot_be_read_is_named(path: Path, store: Store) -> None:
    store.add_revision(FIRST)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("""UPDATE revisions SET fleet = '{"listeners": [], "pools": 3}'""")
    raw.close()

    with pytest.raises(StoreError, match="revision 1 cannot be read: pools: "):
        store.last_revision()


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"it cannot be opened: .*\n  next: check who owns it"):
        Store(tmp_path / "file" / "levelhead.db")
    with pytest.raises(StoreError, match="it cannot be opened: Is a directory"):
        Store(tmp_path)


READ_ONLY = """
import os, sys
from levelhead.errors import StoreError
from levelhead.store import IncidentSummary, Store
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        Store(path).keep_incident(IncidentSummary("INC-1", "web", 1.0, None, "phase", "title"), b"{}")
    except StoreError as error:
        print(str(error).replace("\\n", ""))
"""


def test_a_folder_or_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    path = tmp_path / "levelhead.db"
    with Store(path) as store:
        store.add_revision(FIRST)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    # For another user every folder above must be open, too.
    opened = [folder for folder in tmp_path.parents if folder.is_relative_to("/tmp") and folder != Path("/tmp")]
    modes = [(folder, folder.stat().st_mode) for folder in opened]
    for folder in opened:
        folder.chmod(0o755)
    try:
        said, _ = python(READ_ONLY, str(path), str(tmp_path / "new.db")).communicate(timeout=60)
    finally:
        tmp_path.chmod(0o700)
        for folder, mode in modes:
            folder.chmod(mode)

    old, new = said.splitlines()
    assert old.startswith(f"{path}: it cannot be opened: Permission denied  next: check who owns it")
    assert new.startswith(f"{tmp_path / 'new.db'}: it cannot be opened: Permission denied  next: check who owns it")


# Other databases.


def test_a_database_without_a_driver_says_so_and_not_the_password() -> None:
    with pytest.raises(StoreError, match="no driver for") as caught:
        Store("nosuchdb://ada:secret@db.example/levelhead")

    assert "secret" not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://", "://secret", "postgresql://ada:secret@db.example:port/x"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url)

    assert "secret" not in str(caught.value)
    assert "next: " in str(caught.value)


def test_times_keep_their_digits(store: Store) -> None:
    at = math.nextafter(1710080000.123456, math.inf)
    store.add_revision(replace(FIRST, at=at))

    assert store.revision(1).at == at
