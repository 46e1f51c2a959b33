"""Writes docs/settings.md from the one table of settings; tests/test_docs.py asks whether it is fresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from levelhead import settings
from levelhead.settings import SettingRow

PAGE = Path(__file__).with_name("settings.md")

# Which settings stand together: heading, the path that they begin with, and what is to be said of them first.
SECTIONS = (
    ("Listeners", "listen", "`listen` is short for one listener.\n`listeners` takes its place where there are several, "
     "or one needs a certificate or routes."),
    ("Servers, the short form", "servers", "For one pool that needs no settings of its own. Each server is an address, "
     "or a mapping as below."),
    ("Pools", "pools", "Everything about a group of servers. `pools` and the short `servers` exclude each other."),
    ("Users", "client", ""),
    ("Alarms", "false_alarms_per_month", "`levelhead explain alert` says what follows from it."),
    ("Notices", "notify", "Where an incident is told when it opens, changes and closes. Keep secrets out of the file: "
     "`url_env` and `url_file`, `headers_env` and `headers_file` name where they are."),
    ("Facts", "facts", "What no configuration can say and `levelhead review` would like to know: of this file, or of "
     "the HAProxy,\nnginx and Envoy files that are reviewed beside it. A rule that needs a fact which is not given "
     "says nothing.\nThe same keys make a file of their own for `levelhead review --facts FILE`."),
)  # fmt: skip

HEAD = """\
# Settings

Every setting of `levelhead.yaml`. This page is written by `docs/generate.py` from the same table as `levelhead schema`
and the checks of the file itself; edit `src/levelhead/settings/schema.py`, not the page.

The shortest file is `servers: [127.0.0.1:3001, 127.0.0.1:3002]`. One with most of what people need:

```yaml
# levelhead.yaml
listen: 127.0.0.1:8080
pools:
  web:
    servers:
      web-1: {address: 127.0.0.1:3001, capacity: 200}
      web-2: {address: 127.0.0.1:3002, capacity: 200}
      web-3: {address: 127.0.0.1:3003, capacity: 400}
    intent: capacity
    policy: round-robin
    check: {path: /healthz, interval_s: 1, fall: 3, rise: 2}
    limits: {server_in_flight: 50, queue: 100}
    timeouts: {queue_s: 1}
    slo: {latency_ms: 1000, availability: 0.999}
    mode: act
    minimum_servers: 2
client: header:X-Forwarded-For
notify:
  - terminal
  - slack: {url_env: SLACK_URL}
```

`<name>` stands for a name that you choose, `[]` for each entry of a list. Durations end in `_s` (seconds) or `_ms`.
An unknown key, a wrong type or a contradiction is refused with its line and column, and a running Levelhead keeps the
old configuration. Editors complete and check the file with the JSON Schema:

```console
$ levelhead schema --json
{
  "schema": "levelhead/settings-schema/1",
...
```

`levelhead run --mode` overrides the mode of every pool, and then the file is not watched.
"""

TAIL = """\
## Environment

| variable | default | what it does |
|---|---|---|
| `LEVELHEAD_HOME` | `$XDG_STATE_HOME/levelhead`, else `~/.local/state/levelhead` | where instances keep their files |
| `LEVELHEAD_INSTANCE` | `default` | which instance a command means, as `--instance` does |
| `LEVELHEAD_HAPROXY` | the first of `PATH`, the usual places and the installed wheel | the HAProxy to run |
| `NO_COLOR`, `COLUMNS` | the terminal's | no colours; how wide tables may be |
"""


def settings_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(*section) for section in SECTIONS), TAIL])


def _section(title: str, root: str, words: str) -> str:
    intro = f"{words}\n\n" if words else ""
    table = "| setting | type | default | what it does |\n|---|---|---|---|\n"
    return f"## {title}\n\n{intro}{table}" + "".join(f"{_line(row)}\n" for row in _rows(root))


def _rows(root: str) -> Iterator[SettingRow]:
    for row in settings.table():
        first = row.path.split(".")[0].removesuffix("[]")
        if first == root or (root, first) == ("listen", "listeners"):
            yield row


def _line(row: SettingRow) -> str:
    in_words = not row.default or " " in row.default or row.default in ("none", "required")
    default = row.default if in_words else f"`{row.default}`"
    return f"| `{row.path}` | {row.type} | {default} | {row.help} |"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
