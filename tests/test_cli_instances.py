"""Which control plane is meant: by name, the only live one, or a clear word about why none."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from levelhead.cli import instances
from levelhead.cli.person import author
from levelhead.errors import UnreachableError, UsageError


def env(home: Path, **more: str) -> dict[str, str]:
    return {"LEVELHEAD_HOME": str(home)} | more


def listening(home: Path, name: str, stack: ExitStack) -> None:
    """A live socket where an instance's API would be."""
    (home / name).mkdir()
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(home / name / "api.sock"))
    sock.listen()


def test_the_state_lives_where_the_environment_says() -> None:
    assert instances.home({"LEVELHEAD_HOME": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert instances.home({"XDG_STATE_HOME": "/b"}) == Path("/b/levelhead")
    assert instances.home({}) == Path.home() / ".local" / "state" / "levelhead"
    assert instances.home({"LEVELHEAD_HOME": "here"}) == Path.cwd() / "here"


def test_the_only_live_one_is_meant(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listening(tmp_path, "blue", stack)
        (tmp_path / "dead").mkdir()
        assert instances.running(None, env(tmp_path)).name == "blue"


def test_of_two_live_ones_none_is_guessed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listening(tmp_path, "blue", stack)
        listening(tmp_path, "default", stack)
        with pytest.raises(UnreachableError, match="2 control planes are running: blue, default") as told:
            instances.running(None, env(tmp_path))
        assert "--instance blue" in told.value.next_step
        assert instances.running("default", env(tmp_path)).name == "default"
        assert instances.running(None, env(tmp_path, LEVELHEAD_INSTANCE="blue")).name == "blue"
        assert instances.running("default", env(tmp_path, LEVELHEAD_INSTANCE="blue")).name == "default"


def test_where_none_is_live_the_next_step_is_to_start_one(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UnreachableError, match="no control plane is running") as told:
            instances.running(None, env(home))
        assert "levelhead run --server" in told.value.next_step
    with pytest.raises(UnreachableError, match="instance blue") as told:
        instances.running("blue", env(tmp_path))
    assert "levelhead run --instance blue" in told.value.next_step


def test_the_record_of_a_plane_that_is_gone_is_found(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no record"):
        instances.remembered(None, env(tmp_path))
    for name in ("blue", "green"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "levelhead.db").touch()
        if name == "blue":
            assert instances.remembered(None, env(tmp_path)).name == "blue"
    with pytest.raises(UnreachableError, match="records of 2: blue, green"):
        instances.remembered(None, env(tmp_path))
    assert instances.remembered("green", env(tmp_path)).name == "green"
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "levelhead.db").touch()
    assert instances.remembered(None, env(tmp_path)).name == "default"
    with pytest.raises(UnreachableError):
        instances.remembered("red", env(tmp_path))


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", " ", "-x", "ü", "x" * 65, "a\nb"])
def test_names_that_would_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        instances.named(name, env(tmp_path))


def test_a_directory_has_one_owner_at_a_time_and_is_private(tmp_path: Path) -> None:
    instance = instances.named("blue", env(tmp_path / "new"))
    with instance.owned():
        assert instance.directory.stat().st_mode & 0o777 == 0o700
        assert instance.pid_file.read_text() == f"{os.getpid()}\n"
        with pytest.raises(UsageError, match=rf"running already \(process {os.getpid()}\)"), instance.owned():
            raise AssertionError("two owners")
        assert instance.pid_file.exists()
    assert not instance.pid_file.exists()
    with pytest.raises(RuntimeError), instance.owned():
        raise RuntimeError("the owner fails")
    with instance.owned():
        assert instance.pid_file.exists()


def test_a_pid_file_that_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    instance = instances.named("blue", env(tmp_path))
    instance.directory.mkdir()
    instance.pid_file.write_text("999999999999\n")
    with instance.owned():
        assert instance.pid_file.read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be used"), instances.named("x", env(tmp_path / "file")).owned():
        raise AssertionError("not a folder")


def test_the_author_is_the_person_and_the_machine() -> None:
    plain = author({})
    assert plain.endswith(f"@{socket.gethostname()}")
    assert author({"SUDO_USER": "alice"}) == f"alice as {plain}"
    assert author({"SUDO_USER": plain.split("@")[0]}) == plain
    assert author({"SUDO_USER": "\x1b[31m"}) == plain
