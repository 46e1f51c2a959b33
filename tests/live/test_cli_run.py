"""levelhead run with a real HAProxy: it serves, tells, hands over, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from levelhead.detect.learned import Learned, PoolLearned
from levelhead.engines.haproxy.process import find_binary
from levelhead.errors import EngineError
from levelhead.store import Store
from tests.live.free import free_port

pytestmark = pytest.mark.live
PATIENCE_S = 40.0


class Hello(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@pytest.fixture(autouse=True)
def _needs_haproxy() -> None:
    try:
        find_binary()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield serving.server_address[1]
        serving.shutdown()
        thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


def environ(home: Path) -> dict[str, str]:
    return os.environ | {"LEVELHEAD_HOME": str(home), "PYTHONUNBUFFERED": "1"}


@contextmanager
def started(home: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`levelhead run`, ended in any case."""
    program = [sys.executable, "-m", "levelhead", "run", "--json", *args]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ(home))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_S)


def told(home: Path, *args: str) -> tuple[int, dict[str, object]]:
    """Exit code and JSON of another command."""
    done = subprocess.run(
        [sys.executable, "-m", "levelhead", "--json", *args],
        capture_output=True,
        text=True,
        env=environ(home),
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise AssertionError("it did not come true in time")
        time.sleep(0.05)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def first_line(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate(timeout=PATIENCE_S)
    found: dict[str, object] = json.loads(line)
    return found


def test_it_serves_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path, server: int, port: int) -> None:
    args = ("--server", f"127.0.0.1:{server}", "--listen", f"127.0.0.1:{port}", "--check", "/")
    with started(tmp_path, *args) as process:
        begun = first_line(process)
        assert (begun["event"], begun["listeners"]) == ("started", [f"http://127.0.0.1:{port}"])
        until(lambda: answers(port))
        code, status = told(tmp_path, "status")
        assert (code, status["engine_alive"], status["revision"]) == (0, True, 1)
        assert told(tmp_path, "run", *args)[0] == 2, "a second one in the same place is refused"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped, and the proxy with it" in err
    assert not answers(port)
    left = {path.name for path in (tmp_path / "default").iterdir()}
    assert not {name for name in left if name.endswith((".sock", ".pid", ".pipe"))}
    code, list_of = told(tmp_path, "revision", "list")
    assert (code, len(list_of["revisions"])) == (0, 1)  # type: ignore[arg-type]


def test_a_proxy_that_is_left_serves_on_and_is_adopted(tmp_path: Path, server: int, port: int) -> None:
    args = ("--server", f"127.0.0.1:{server}", "--listen", f"127.0.0.1:{port}", "--instance", "blue")
    with started(tmp_path, *args, "--leave-proxy") as process:
        first_line(process)
        # Two samples make the first tick.
        until(lambda: answers(port) and judges(tmp_path))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert answers(port)
    watched_s = learnt(tmp_path / "blue").watched_s
    with started(tmp_path, *args) as process:
        assert str(first_line(process)["how"]).startswith("adopt")
        until(lambda: answers(port) and judges(tmp_path))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert not answers(port)
    assert learnt(tmp_path / "blue").watched_s > watched_s > 0, "the error budget burns on over the restart"


def judges(home: Path) -> bool:
    """Whether it has seen two samples, which make the first tick."""
    because = str(told(home, "status", "--instance", "blue")[1]["because"])
    return because != "starting" and not because.startswith("the first look")


def learnt(folder: Path) -> PoolLearned:
    with Store(folder / "levelhead.db") as store:
        (pool,) = TypeAdapter(Learned).validate_json(store.learned()).pools
        return pool


def test_an_address_in_use_is_said_in_words(tmp_path: Path, server: int) -> None:
    with started(tmp_path, "--server", "127.0.0.1:1", "--listen", f"127.0.0.1:{server}") as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (2, 3)
    assert json.loads(out)["schema"] == "levelhead/error/1"
    assert "in use" in err
    assert "Traceback" not in err


def test_a_file_is_applied_and_rolled_back(tmp_path: Path, server: int, port: int) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(f"listen: 127.0.0.1:{port}\npools: {{web: {{servers: [127.0.0.1:{server}], check: /}}}}\n")
    with started(tmp_path, str(file)) as process:
        first_line(process)
        until(lambda: answers(port))
        two = file.read_text().replace("check: /", "check: /, slow_start_s: 1")
        other = tmp_path / "other.yaml"
        other.write_text(two)
        until(lambda: told(tmp_path, "apply", str(other), "--why", "a slower start")[0] == 0)
        code, shown = told(tmp_path, "revision", "show", "2")
        assert (code, shown["source"]) == (0, two)
        assert told(tmp_path, "rollback", "--to", "1")[0] == 0
        code, list_of = told(tmp_path, "revision", "list")
        assert len(list_of["revisions"]) == 3  # type: ignore[arg-type]
        assert answers(port)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
