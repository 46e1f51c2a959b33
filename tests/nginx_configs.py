"""Random nginx configurations that nginx accepts, with what they mean: files by name, and their groups of servers."""

from dataclasses import dataclass, field
from random import Random

POLICIES = (
    "",
    "least_conn;",
    "ip_hash;",
    "hash $remote_addr consistent;",
    "hash $request_uri;",
    "random;",
    "random two;",
)
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "[::1]", "localhost")
SPACES = (" ", "  ", "\t", "\n        ", " # why not; { }\n        ")


@dataclass(frozen=True)
class Expected:
    """A server as nginx must see it: address, port, weight, max_fails, fail_timeout, max_conns, backup, down."""

    host: str
    port: int
    weight: int = 1
    max_fails: int = 1
    fail_timeout_s: float = 10.0
    max_conns: int = 0
    backup: bool = False
    down: bool = False


@dataclass
class Generated:
    """A configuration: its files, the first of them the main one; its groups; what passes to which."""

    files: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[Expected, ...]] = field(default_factory=dict)
    passes: list[str] = field(default_factory=list)


def generate(random: Random) -> Generated:
    """One configuration with one to four groups, spread over up to five files."""
    made = Generated({"nginx.conf": ""})
    names = [f"pool{i}" for i in range(random.randint(1, 4))]
    blocks = [_upstream(random, name, made) for name in names]
    inline, conf_d = [], []
    for number, block in enumerate(blocks):
        if random.random() < 0.4:
            made.files[f"conf.d/{number:02}.conf"] = block
            conf_d.append(number)
        else:
            inline.append(block)
    locations = "".join(_location(random, i, name, made) for i, name in enumerate(names))
    include = random.choice(("conf.d/*.conf", "conf.d/[0-9]?.conf", "'conf.d/*.conf'"))
    made.files["conf.d/.hidden.conf"] = "this is not read, a * does not stand for a dot"
    made.files["nginx.conf"] = (
        "# made by chance\n"
        f"worker_processes {random.choice(('1', '2', 'auto'))};\nerror_log stderr;\npid nginx.pid;\n"
        f"events {{ worker_connections {random.randint(64, 4096)}; }}\n"
        "http {\n    access_log off;\n    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n"
        f"    uwsgi_temp_path t4; scgi_temp_path t5;\n    include {include};\n{''.join(inline)}"
        f"    server {{\n        listen 127.0.0.1:8080;\n{locations}    }}\n}}\n"
    )
    return made


def _upstream(random: Random, name: str, made: Generated) -> str:
    policy = random.choice(POLICIES)
    reserve = policy in ("", "least_conn;")
    servers = [_server(random, reserve and i > 0) for i in range(random.randint(1, 5))]
    made.groups[name] = tuple(expected for expected, _ in servers)
    lines = [line for _, line in servers]
    if random.random() < 0.3:
        file = f"servers/{name}.list"
        made.files[file] = "".join(lines)
        lines = [f"    include servers/{name}.list;\n"]
    extras = [f"    {policy}\n"] if policy else []
    extras += [f"    zone z_{name} 64k;\n"] if random.random() < 0.5 else []
    extras += [f"    keepalive {random.randint(1, 64)};\n"] if random.random() < 0.5 else []
    return f"upstream{random.choice(SPACES)}{_quoted(random, name)} {{\n{''.join(extras)}{''.join(lines)}}}\n"


def _server(random: Random, may_be_backup: bool) -> tuple[Expected, str]:
    host, port = random.choice(HOSTS), random.randint(1024, 65_000)
    options: dict[str, str] = {}
    values: dict[str, float | bool] = {}
    for name, least, most in (("weight", 1, 500), ("max_fails", 0, 9), ("max_conns", 0, 99)):
        if random.random() < 0.4:
            values[name] = random.randint(least, most)
            options[name] = f"{name}={values[name]:.0f}"
    if random.random() < 0.3:
        text, seconds = random.choice((("7", 7), ("3s", 3), ("1m", 60), ("1h30m", 5400), ("0", 0), ("1m 5s", 65)))
        values["fail_timeout_s"], options["fail_timeout"] = seconds, f"fail_timeout={text}"
        if " " in text:
            options["fail_timeout"] = f'"fail_timeout={text}"'
    if may_be_backup and random.random() < 0.2:
        values["backup"], options["backup"] = True, "backup"
    if random.random() < 0.1:
        values["down"], options["down"] = True, "down"
    words = [_quoted(random, f"{host}:{port}"), *random.sample(list(options.values()), len(options))]
    line = "    server " + "".join(w + random.choice(SPACES) for w in words) + ";\n"
    return Expected(host.strip("[]"), port, **values), line  # type: ignore[arg-type]


def _location(random: Random, number: int, name: str, made: Generated) -> str:
    made.passes.append(name)
    uri = random.choice(("", "/", "/inner/"))
    extra = random.choice(("", "proxy_read_timeout 5s;", 'proxy_set_header Connection "";', "proxy_http_version 1.1;"))
    return f"        location /{number}/ {{ {extra} proxy_pass http://{name}{uri}; }}\n"


def _quoted(random: Random, text: str) -> str:
    style = random.random()
    if style < 0.1:
        return f'"{text}"'
    if style < 0.2:
        return f"'{text}'"
    return text
