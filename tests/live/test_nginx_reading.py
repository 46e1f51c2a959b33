"""What the reader makes of a configuration is what a real nginx makes of it."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from levelhead.engines.nginx.directives import Shape, known
from levelhead.engines.nginx.picture import Reading, Upstream
from levelhead.engines.nginx.reading import read
from levelhead.errors import ConfigError
from levelhead.model import Origin
from tests.engines.corpus import Sample, samples
from tests.live.free import free_port
from tests.nginx_configs import generate

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine"),
]

STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# How nginx says that it could not even split a text into directives.
UNREADABLE = re.compile(r'unexpected |too long parameter|is not terminated by ";"|has no opening')
# What nginx needs the world for: names, files, users, ports. A text alone does not tell.
WORLDLY = re.compile(
    r'host not found|unknown "\w*" variable|invalid variable name|bind\(\)|zone .* is too small|zero size shared|'
    r"directive is duplicate|open\(\)|is not a directory|invalid log level|unknown log format|_temp_path|"
    r'invalid parameter "(?!.*=)|duplicate listen|location ".*" is outside|worker_connections are not enough'
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def nginx(folder: Path, files: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What nginx says to these files, of which nginx.conf is the first."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    command = ["nginx", *arguments, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)


def printed(output: str, folder: Path) -> dict[str, str]:
    """The files that `nginx -T` printed, in its order."""
    parts = re.split(rf"^# configuration file {re.escape(str(folder))}/(.*):\n", output, flags=re.MULTILINE)
    return {name: text[:-1] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def complaint(said: str, folder: Path) -> tuple[str, str, int]:
    """The first thing nginx objects to, with file and line; all empty where it has no objection."""
    for line in said.splitlines():
        found = re.search(r"\[emerg\] (?:\d+#\d+: )?(.*)", line)
        if found:
            place = re.search(r" in (\S+):(\d+)$", found[1])
            name = place[1].replace(f"{folder}/", "") if place else ""
            return found[1].replace(f"{folder}/", ""), name, int(place[2]) if place else 0
    return "", "", 0


def servers(upstream: Upstream | None) -> tuple[tuple[object, ...], ...]:
    assert upstream is not None
    return tuple(
        (s.at.host if s.at else "", s.at.port if s.at else 0, s.weight.value, s.max_fails.value, s.fail_timeout_s.value,
         s.max_conns.value, s.backup, s.down)
        for s in upstream.servers
    )  # fmt: skip


def test_generated_configurations_are_read_as_nginx_prints_them(folder: Path) -> None:
    random = Random(41)
    for _ in range(110):
        made = generate(random)
        answer = nginx(folder, made.files, "-T", "-q")
        assert answer.returncode == 0, answer.stderr
        dump = printed(answer.stdout, folder)
        reading, again = read(made.files, "nginx.conf"), read(dump, "nginx.conf")

        assert reading.problems == ()
        assert set(reading.files) == set(dump)
        assert {name: made.files[name] for name in dump} == dump
        for name, expected in made.groups.items():
            wanted = tuple(
                (e.host, e.port, e.weight, e.max_fails, e.fail_timeout_s, e.max_conns, e.backup, e.down)
                for e in expected
            )
            assert servers(reading.upstream("http", name)) == wanted
            assert servers(again.upstream("http", name)) == wanted


def changed(text: str, edits: list[tuple[Origin, str, str]]) -> str:
    """The text with words replaced where the reader found them; what stands there must be what was read."""
    lines = text.split("\n")
    for origin, old, new in sorted(edits, key=lambda e: (e[0].line, e[0].column), reverse=True):
        line, start = lines[origin.line - 1], origin.column - 1
        start += line[start : start + 1] in ('"', "'")
        assert line[start : start + len(old)] == old, (origin, line)
        lines[origin.line - 1] = line[:start] + new + line[start + len(old) :]
    return "\n".join(lines)


def on_loopback(sample: Sample, reading: Reading) -> str:
    """The text without its user, and with addresses in place of the names that this machine cannot look up."""
    edits = []
    for upstream in reading.upstreams:
        for server in upstream.servers:
            if server.at is not None and server.at.kind == "name" and "$" not in server.at.host:
                edits.append(
                    (
                        server.address.origin,
                        server.address.text,
                        server.address.text.replace(server.at.host, "127.0.0.7"),
                    )
                )
    for passed in reading.passes:
        host = passed.upstream.partition(":")[0]
        implicit = reading.upstream(passed.module, passed.upstream)
        if implicit is not None and implicit.implicit and not host.startswith("unix"):
            edits.append((passed.target.origin, passed.target.text, passed.target.text.replace(host, "127.0.0.7", 1)))
    edits += [(d.args[0].origin, d.text(0), "root") for d in reading.directives if d.name == "user"]
    return changed(sample.text, list(dict.fromkeys(edits)))


def by_pattern(text: str) -> list[tuple[str, list[tuple[str, int]]]]:
    """Groups with their servers and weights, found without the reader: comments away, then two patterns."""
    bare = re.sub(r"(^|[\s;{}])#[^\n]*", r"\1", text)
    found = []
    for name, inside in re.findall(r"\bupstream\s+\"?([^\s{\"]+)\"?\s*\{([^}]*)\}", bare):
        lines = [line.split() for line in re.findall(r"\bserver\s+([^;]+);", inside)]
        weights = [next((int(w[7:]) for w in line if w.startswith("weight=")), 1) for line in lines]
        found.append((name, list(zip([line[0].strip("\"'") for line in lines], weights, strict=True))))
    return found


def test_real_configurations_are_read_as_nginx_prints_them(folder: Path) -> None:
    real = [s for s in samples("nginx") if s.verdict == "ok" and s.servers and s.context == "main"]
    compared = 0
    for sample in real[:: max(1, len(real) // 110)]:
        text = on_loopback(sample, read({"nginx.conf": sample.text}, "nginx.conf"))
        modules = ["-g", f"load_module {STREAM};"] if STREAM.exists() and "load_module" not in text else []
        answer = nginx(folder, {"nginx.conf": text}, "-T", "-q", *modules)
        if answer.returncode:
            assert WORLDLY.search(answer.stderr) or "getpwnam" in answer.stderr, (sample.name, answer.stderr)
            continue
        reading = read(printed(answer.stdout, folder), "nginx.conf")
        groups = [
            (u.name, [(s.address.text, s.weight.value) for s in u.servers]) for u in reading.upstreams if not u.implicit
        ]
        assert sorted(groups) == sorted(by_pattern(text)), sample.name
        compared += 1

    assert compared >= 60


def spoiled(random: Random, files: dict[str, str]) -> dict[str, str]:
    name = random.choice([n for n in files if ".hidden" not in n and files[n]])
    text = files[name]
    at = random.randrange(len(text))
    how = random.randrange(4)
    if how == 0:
        text = text[:at] + text[at + 1 :]
    elif how == 1:
        text = text[:at] + random.choice("{};\"'#$\\ \n\t)ax}0") + text[at:]
    elif how == 2:
        text = text[:at]
    else:
        lines = text.split("\n")
        lines.insert(random.randrange(len(lines)), random.choice(lines))
        text = "\n".join(lines)
    return {**files, name: text}


def test_nginx_and_the_reader_object_to_the_same_texts(folder: Path) -> None:
    random, tally = Random(42), Counter[str]()
    for _ in range(60):
        made = generate(random).files
        for files in [spoiled(random, made) for _ in range(5)]:
            tally[agreement(folder, files)] += 1

    assert tally["disagree"] == 0
    assert min(tally["both refuse"], tally["both object"], tally["both take"]) > 20, tally


def agreement(folder: Path, files: dict[str, str]) -> str:
    answer = nginx(folder, files, "-t", "-q")
    said, file, line = complaint(answer.stderr, folder)
    try:
        reading = read(files, "nginx.conf", context="main")
    except ConfigError:
        assert answer.returncode, "the reader refuses what nginx takes"
        return "both refuse"
    objections = [(p.origin.file, p.origin.line) for p in reading.problems]
    if not answer.returncode:
        assert objections == [], "the reader objects to what nginx takes"
        return "both take"
    if UNREADABLE.search(said):
        # nginx stops at the place; the reader may know that the fault began some lines before.
        assert any(f == file and line - 8 <= at <= line for f, at in objections), (said, objections)
        return "both refuse"
    if reading.unknown or reading.absent or WORLDLY.search(said):
        return "not comparable"
    assert objections, said
    assert not line or any(f == file and line - 8 <= at <= line for f, at in objections), (said, objections)
    return "both object"


AROUND = {
    "main": "%s events {}", "events": "events { %s }", "http": "events {} http { %s }",
    "server": "events {} http { server { %s } }", "upstream": "events {} http { upstream u { %s } }",
    "location": "events {} http { server { location /x { %s } } }",
    "server-if": "events {} http { server { if ($uri) { %s } } }",
    "location-if": "events {} http { server { location /x { if ($uri) { %s } } } }",
    "limit_except": "events {} http { server { location /x { limit_except GET { %s } } } }",
    "stream": "events {} stream { %s }", "stream-server": "events {} stream { server { %s } }",
    "stream-upstream": "events {} stream { upstream u { %s } }",
}  # fmt: skip


def asked(folder: Path, context: str, directive: str) -> str:
    load = f"load_module {STREAM};\n" if STREAM.exists() else ""
    text = load + "error_log stderr; pid nginx.pid;\n" + AROUND[context] % directive
    return complaint(nginx(folder, {"nginx.conf": text}, "-t", "-q").stderr, folder)[0]


def objection(folder: Path, context: str, name: str, shape: Shape, count: int) -> str:
    block = " {}" if shape.block else ";"
    return asked(folder, context, f"{name}{' zzz' * count}{block}")


def test_the_table_of_directives_is_that_of_nginx(folder: Path) -> None:
    random, table, tried = Random(43), known(later=False), 0
    contexts = [c for c in AROUND if STREAM.exists() or not c.startswith("stream")]
    names = [n for n in sorted(table) if n not in ("include", "load_module")]
    for name in random.sample(names, 110):
        shapes = {c: s for c, s in table[name].items() if c in contexts}
        if not shapes or "unknown directive" in asked(folder, "main", f"{name} zzz;"):
            continue  # of a module that this nginx does not have
        context, shape = random.choice(sorted(shapes.items()))
        wrong_count = f'invalid number of arguments in "{name}"'
        for count in {shape.least, min(shape.most, shape.least + 3)}:
            said = objection(folder, context, name, shape, count)
            assert wrong_count not in said, (name, context, count)
            assert f'"{name}" directive is not allowed here' not in said, (name, context)
            assert "has no opening" not in said, (name, context)
        if shape.least:
            assert wrong_count in objection(folder, context, name, shape, shape.least - 1), (name, context)
        if shape.most < 5:
            assert wrong_count in objection(folder, context, name, shape, shape.most + 1), (name, context)
        elsewhere = [c for c in contexts if c not in table[name] and ("stream" in c) == ("stream" in context)]
        if elsewhere:
            said = objection(folder, random.choice(elsewhere), name, shape, shape.least)
            assert f'"{name}" directive is not allowed here' in said or "unknown directive" in said, name
        tried += 1

    assert tried > 60


@contextmanager
def running(folder: Path, text: str, port: int) -> Iterator[None]:
    """nginx in one process, serving; stopped at the end."""
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def group(random: Random, name: str, ports: list[int]) -> str:
    lines = []
    for index in range(random.randint(2, 4)):
        options = random.sample(
            [f"weight={random.randint(1, 6)}", "max_fails=3", "fail_timeout=5s"], random.randint(0, 3)
        )
        options += ["down"] if index and random.random() < 0.15 else []
        options += ["backup"] if index and random.random() < 0.15 else []
        lines.append(f"server 127.0.0.1:{random.choice(ports)} {' '.join(options)};")
    return f"upstream {name} {{ {' '.join(lines)} }}\n"


def test_requests_go_where_the_weights_that_were_read_send_them(folder: Path) -> None:
    random, (front, *ports) = Random(44), [free_port() for _ in range(5)]
    names = [f"g{i}" for i in range(25)]
    groups = "".join(group(random, name, ports) for name in names)
    locations = "".join(f"location /{name} {{ proxy_pass http://{name}; }} " for name in names)
    backends = "".join(f"server {{ listen 127.0.0.1:{p}; return 200 $server_port; }}\n" for p in ports)
    temporary = " ".join(f"{n}_temp_path t_{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = (
        f"daemon off; master_process off; pid nginx.pid; events {{}}\nhttp {{ access_log off; {temporary}\n{groups}"
        f"{backends}server {{ listen 127.0.0.1:{front}; {locations} }} }}\n"
    )
    reading = read({"nginx.conf": text}, "nginx.conf")
    assert reading.problems == ()
    with running(folder, text, front):
        for name in names:
            upstream = reading.upstream("http", name)
            assert upstream is not None
            chosen = [s for s in upstream.servers if not s.down and not s.backup]
            rounds = 2 * sum(s.weight.value for s in chosen)
            expected = Counter[int]()
            for server in chosen:
                assert server.at is not None
                expected[server.at.port or 0] += 2 * server.weight.value
            assert counted(front, f"/{name}", rounds) == expected, name


def counted(port: int, path: str, requests: int) -> Counter[int]:
    """How many requests each server answered, by the port it said."""
    found = Counter[int]()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for _ in range(requests):
            connection.request("GET", path)
            found[int(connection.getresponse().read())] += 1
    return found
