"""levelhead run before it starts anything: what it refuses, and the configuration it would start with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from levelhead.cli import main
from levelhead.engines.haproxy.process import find_binary
from levelhead.errors import EngineError

SERVERS = ["--server", "127.0.0.1:3001", "--server", "127.0.0.1:3002"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVELHEAD_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LEVELHEAD_INSTANCE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "there is nothing to serve"),
        (["absent.yaml"], "absent.yaml: there is no such file"),
        (["fleet.yaml", *SERVERS], "a file or --server, not both"),
        (["fleet.yaml", "--policy", "random"], "--policy goes with --server"),
        (["fleet.yaml", "--listen", "127.0.0.1:1", "--check", "/"], "--listen, --check goes with --server"),
        (["--server", "nonsense"], "--server"),
        ([*SERVERS, "--policy", "rand"], "--policy"),
        ([*SERVERS, "--check", "healthz"], "--check"),
        ([*SERVERS, "--listen", "127.0.0.1:99999"], "--listen"),
        ([*SERVERS, "--instance", "../x"], "cannot be the name"),
        ([*SERVERS, "--mode", "wild"], "--mode"),
    ],
)
def test_what_cannot_be_served_is_2_in_words(
    args: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.yaml").write_text("servers: [127.0.0.1:3001]\n")
    assert main(["run", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "state").exists()


@pytest.fixture
def haproxy() -> str:
    try:
        return find_binary().release
    except EngineError as error:
        pytest.skip(str(error))


def test_show_config_prints_the_proxys_file_and_starts_nothing(
    haproxy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *SERVERS, "--listen", "127.0.0.1:8099", "--show-config"]) == 0
    out, err = capsys.readouterr()
    assert "bind 127.0.0.1:8099" in out
    assert "127.0.0.1:3002" in out
    assert err == ""
    assert not (tmp_path / "state").exists()
    assert main(["run", *SERVERS, "--listen", "127.0.0.1:8099", "--show-config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["version"], told["text"]) == ("levelhead/config/1", haproxy, out)


def test_a_levelhead_yaml_here_is_found(haproxy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "levelhead.yaml").write_text("servers: [127.0.0.1:3007]\n")
    assert main(["run", "--show-config"]) == 0
    assert "127.0.0.1:3007" in capsys.readouterr().out


def test_a_mode_from_the_command_line_holds_over_the_file_which_is_then_not_watched(
    haproxy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleet.yaml").write_text("servers: [127.0.0.1:3007]\n")
    assert main(["run", "fleet.yaml", "--mode", "shadow", "--show-config"]) == 0
    assert "is not watched, because --mode overrides it" in capsys.readouterr().err
