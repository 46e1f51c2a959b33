"""Asks HAProxy binaries which words they know, and writes them down as a module of the reader.

Run `python bench/haproxy_keywords.py haproxy-2.6 haproxy-2.8`, with one binary of each version. Half of the words are
in the list that `haproxy -dKcfg` prints. The older half is compiled in as plain comparisons and listed nowhere, so
every candidate (the strings in the binary, and the words of `EXTRA`, which compilers hide from them) stands alone on a
line of its section, and what HAProxy does not call unknown, it knows.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# HAProxy reads defaults, frontend, backend and listen with one function: what it knows in one it knows in all.
SECTIONS: Final = [
    "global", "listen", "userlist", "peers", "mailers", "resolvers", "cache", "program", "http-errors", "ring",
    "log-forward", "fcgi-app",
]  # fmt: skip
# "quiet" silences the answers to all that follows; "namespace_list" opens a section, as the last ones do.
KEPT_OUT: Final = frozenset(
    ["quiet", "default", "no", "debug", "namespace_list", "defaults", "frontend", "backend", *SECTIONS]
)
PER_FILE: Final = 45  # HAProxy gives up on a file after 50 fatal errors
PER_RUN: Final = 400
EXTRA: Final = [
    "51degrees-data-file", "abortonclose", "accept-invalid-http-request", "accept-invalid-http-response",
    "accepted_payload_size", "acl", "allbackups", "anonkey", "appsession", "assume-rfc6587-ntf", "backlog", "balance",
    "bind", "bind-process", "capture", "checkcache", "chroot", "clitcpka", "clitcpka-cnt", "clitcpka-idle",
    "clitcpka-intvl", "command", "compression", "contstats", "cookie", "cpu-map", "daemon", "declare", "default-bind",
    "default-path", "default-server", "default_backend", "description", "deviceatlas-json-file", "dgram-bind",
    "disable-h2-upgrade", "disabled", "dispatch", "docroot", "dont-parse-log", "dontlog-normal", "dontlognull",
    "email-alert", "enabled", "error-log-format", "errorfile", "errorfiles", "errorloc", "errorloc302", "errorloc303",
    "external-check", "filter", "force-cfg-parser-pause", "force-persist", "format", "forwardfor", "fullconn", "gid",
    "global", "group", "h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server", "hash-type", "hold", "host",
    "http-after-response", "http-buffer-request", "http-check", "http-error", "http-ignore-probes", "http-keep-alive",
    "http-no-delay", "http-pretend-keepalive", "http-request", "http-response", "http-restrict-req-hdr-names",
    "http-reuse", "http-send-name-header", "http-server-close", "http-use-proxy-header", "httpchk", "httpclose",
    "httplog", "httpslog", "id", "idle-close-on-response", "ignore-persist", "independent-streams", "index",
    "insecure-fork-wanted", "ldap-check", "load-server-state-from-file", "localpeer", "log", "log-format",
    "log-format-sd", "log-health-checks", "log-separate-errors", "log-steps", "log-tag", "logasap", "mailer",
    "master-worker", "max-age", "max-keep-alive-queue", "max-object-size", "max-secondary-entries", "maxconn",
    "maxlen", "maxqueue", "mode", "monitor", "monitor-net", "monitor-uri", "mysql-check", "nameserver", "nbproc",
    "nbthread", "node", "noepoll", "nolinger", "nopoll", "option", "originalto", "parse-resolv-conf", "pass-header",
    "path-info", "peer", "persist", "pgsql-check", "pidfile", "prealloc-fd", "prefer-last-server", "process-vary",
    "rate-limit", "redirect", "redis-check", "redispatch", "resetenv", "resolve_retries", "retries", "retry-on",
    "server", "server-state-file-name", "server-template", "set-param", "setenv", "shards", "size", "smtpchk",
    "socket-stats", "source", "splice-auto", "splice-request", "splice-response", "spop-check", "srvtcpka",
    "srvtcpka-cnt", "srvtcpka-idle", "srvtcpka-intvl", "ssl-hello-chk", "stats", "stick", "stick-table", "table",
    "tcp-check", "tcp-request", "tcp-response", "tcp-smart-accept", "tcp-smart-connect", "tcpka", "tcplog", "timeout",
    "total-max-size", "transparent", "tune.disable-zero-copy-forwarding", "tune.max-checks-per-thread",
    "tune.memory.hot-size", "uid", "ulimit-n", "unique-id-format", "unique-id-header", "use-fcgi-app", "use-server",
    "use_backend", "user", "users", "wurfl-data-file",
]  # fmt: skip
UNKNOWN: Final = re.compile(r"unknown (keyword|statement|option)")
REMOVED: Final = re.compile(r"not supported any|no longer supported|is now ignored|has been removed")
HERE: Final = Path(__file__).parents[1] / "src/levelhead/engines/haproxy/keywords_known.py"

Words = dict[str, list[str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("binary", type=Path, nargs="+", help="one of each version, the oldest first")
    parser.add_argument("--into", type=Path, default=HERE, help="default: the reader's module")
    options = parser.parse_args()
    text = module({version_of(binary): binary for binary in options.binary})
    options.into.write_text(text)
    print(f"{options.into}: {text.count(chr(10))} lines", file=sys.stderr)
    return 0


def version_of(binary: Path) -> str:
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+\.\d+)", said)
    assert found, said
    return found[1]


def candidates(binary: Path) -> list[str]:
    """Whole strings only: words that the linker let end inside others are in `EXTRA`."""
    listed = set(re.findall(r"[a-z][\w.-]+", _dump(binary)))
    strings = re.findall(rb"(?<![a-z0-9._-])[a-z5][a-z0-9.-]{2,48}(?=\0)", binary.read_bytes())
    found = listed | {string.decode() for string in strings}
    return sorted((found | set(EXTRA)) - KEPT_OUT)


def _dump(binary: Path) -> str:
    command = [str(binary), "-dKcfg", "-q", "-c", "-f", "/dev/null"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def known(binary: Path, header: str, lines: list[str]) -> set[str]:
    """Those lines that HAProxy does not call unknown under a section header (`{n}` in it is made unique).

    Each file ends with a word that nobody knows. Where HAProxy does not say so, a line made it give up, on this file
    and all after it: this file is asked again in halves, and a line that does so alone is known.
    """
    found: set[str] = set()
    files = [lines[at : at + PER_FILE] for at in range(0, len(lines), PER_FILE)]
    while files:
        part, files = files[:PER_RUN], files[PER_RUN:]
        unknown = _unknown(binary, header, part)
        for number, file in enumerate(part):
            if (number, len(file)) not in unknown and (len(file) > 1 or (number, 0) not in unknown):
                half = len(file) // 2
                found |= set(file) if len(file) == 1 else set()
                files = [f for f in (file[:half], file[half:]) if len(file) > 1] + part[number + 1 :] + files
                break
            found |= {line for at, line in enumerate(file) if (number, at) not in unknown}
    return found


def _unknown(binary: Path, header: str, files: list[list[str]]) -> set[tuple[int, int]]:
    family = files[0][0].split()[0] + " " if " " in files[0][0] else ""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        command = [str(binary), "-c"]
        for number, part in enumerate(files):
            path = Path(folder) / f"{number:05d}"
            path.write_text("\n".join([header.format(n=number), *part, f"{family}nobody-knows-this", ""]))
            command += ["-f", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", env={}, check=False).stderr
        # An alert may stop in the middle, without an end of line, where it quotes a word that is not there.
        places = re.finditer(re.escape(folder) + r"/(\d+):(\d+)\]?\s*:?\s*(.*?)(?=$|\[[A-Z]+\] )", said, re.MULTILINE)
        return {(int(m[1]), int(m[2]) - 2) for m in places if UNKNOWN.search(m[3])}


def registered(binary: Path) -> Words:
    """What `-dKcfg` prints, by kind: bind, server, options, and one list per rule set."""
    kinds: Words = {}
    for line in _dump(binary).splitlines():
        words = line.split()
        match words:
            case ["bind", "<addr>", *rest]:
                kinds.setdefault("bind", []).append(_with_count([w for w in rest if w != "ssl" or len(rest) == 1]))
            case ["server", "<name>", "<addr>", *rest]:
                kinds.setdefault("server", []).append(_with_count(rest))
            case ["option", name, *sides]:
                kinds.setdefault("option", []).append(f"{name}:{'+'.join(w for w in sides if w not in '[]')}")
            case [("tcp-request" | "tcp-response") as first, second, name]:
                kinds.setdefault(f"{first} {second}", []).append(name)
            case [("http-request" | "http-response" | "http-after-response") as first, name]:
                kinds.setdefault(first, []).append(name)
            case _:
                pass
    kinds["bind"].append("ssl:0")
    return kinds


def _with_count(words: list[str]) -> str:
    count = words[1].lstrip("+") if len(words) > 1 else "0"
    return f"{words[0]}:{count}"


def module(binaries: dict[str, Path]) -> str:
    by_section = {version: sections(binary) for version, binary in binaries.items()}
    removed = {
        version: {s: _removed(binary, s, by_section[version][s]) for s in ("global", "listen")}
        for version, binary in binaries.items()
    }
    listed = {version: registered(binary) for version, binary in binaries.items()}
    return (
        f'"""The words that HAProxy {" and ".join(binaries)} know; `@2.6` ends one that only 2.6 knows.\n\n'
        'Written by bench/haproxy_keywords.py; do not edit.\n"""\n\n'
        "from __future__ import annotations\n\nfrom typing import Final\n\n"
        "# section: words that may begin a line of it; listen stands for every section with a proxy\n"
        f"{_table('SECTIONS', by_section)}\n"
        "# section: words that HAProxy only knows to say that it no longer does\n"
        f"{_table('REMOVED', removed)}\n"
        "# where: word:how many arguments, or option:which sides, or action (a * ends a prefix)\n"
        f"{_table('REGISTERED', listed)}"
    )


def sections(binary: Path) -> Words:
    """The words that may begin a line, by section, and the second words of `option`."""
    words = candidates(binary)
    found = {section: _words_of(binary, section, "", words) for section in SECTIONS}
    found["global"] = sorted({*found["global"], "quiet", "debug"})
    return {**found, "option in listen": _words_of(binary, "listen", "option ", words)}


def _words_of(binary: Path, section: str, family: str, words: list[str]) -> list[str]:
    """Each word that HAProxy seems to know is asked for once more alone, and each likely one with arguments too: some
    are only known with them, and then what HAProxy says of one line can be taken for the next."""
    header = section if section == "global" else f"{section} x{{n}}"
    # HAProxy gives up at the first word of a log-forward that it does not know: only the likely ones are tried there.
    tried = [family + word for word in (words if section != "log-forward" else [])]
    found = {line for line in known(binary, header, tried) if _alone(binary, header, line)}
    for word in set(EXTRA) - KEPT_OUT:
        line = family + word
        forms = (line, f"{line} x 127.0.0.1:1", f"{line} client 3s")
        if line not in found and any(_alone(binary, header, form) for form in forms):
            found.add(line)
    return sorted(line.removeprefix(family) for line in found)


def _alone(binary: Path, header: str, line: str) -> bool:
    return (0, 0) not in _unknown(binary, header, [[line]])


def _removed(binary: Path, section: str, words: list[str]) -> list[str]:
    found = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "x"
        for word in words:
            path.write_text(f"{section} {'' if section == 'global' else 'x'}\n{word} 1 2 3\n")
            command = [str(binary), "-c", "-f", str(path)]
            said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr
            if REMOVED.search(said):
                found.append(word)
    return found


def _table(name: str, versions: dict[str, Words]) -> str:
    lines = [f"{name}: Final = {{\n"]
    for where in dict.fromkeys(where for rows in versions.values() for where in rows):
        words = _marked({version: rows.get(where, []) for version, rows in versions.items()})
        match [f'"{part} "' for part in _wrapped(words)]:
            case [one]:
                lines.append(f'    "{where}": {one},\n')
            case several:
                lines += [f'    "{where}": (\n', *(f"        {part}\n" for part in several), "    ),\n"]
    return "".join([*lines, "}\n"])


def _marked(versions: Words) -> list[str]:
    """The words of all versions in one list; one that not all know ends with the version that does."""
    shared = set.intersection(*(set(words) for words in versions.values()))
    alone = {f"{word}@{version}" for version, words in versions.items() for word in words if word not in shared}
    return sorted(shared | alone)


def _wrapped(words: Iterable[str]) -> list[str]:
    return textwrap.wrap(" ".join(words), 104, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
