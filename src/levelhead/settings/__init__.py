"""levelhead.yaml to Settings: what the file may say is one table, and every fault names its line and column.

parse(text, file)    the settings of a text
load(path)           those of a file
from_flags(...)      those of a command line
dump(settings)       back to text, every effective value written out
load_facts(path)     the facts of a file that holds nothing else, or of a levelhead.yaml
table()              every setting with its type, default and help; json_schema() for editors
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from levelhead.errors import ConfigError
from levelhead.model import Origin
from levelhead.nodes import Entry, Mapping, Node, Scalar, Sequence
from levelhead.settings.build import DEFAULT_LISTEN, Settings, build
from levelhead.settings.explain import problems
from levelhead.settings.nodes import Problem, compose, plain
from levelhead.settings.schema import FactsModel, File, SettingRow, json_schema, table
from levelhead.settings.targets import Secret, Target
from levelhead.settings.write import dump

__all__ = [
    "DEFAULT_LISTEN", "FactsModel", "Secret", "SettingRow", "Settings", "Target", "dump", "from_flags", "json_schema",
    "load", "load_facts", "parse", "table",
]  # fmt: skip

MAX_BYTES: Final = 4 * 1024 * 1024
_SHOWN: Final = 5
_SHORTEST: Final = "the shortest file is `servers: [127.0.0.1:3001, 127.0.0.1:3002]`"
_NEXT: Final = "correct the file; `levelhead schema` lists every setting"


def parse(text: str, file: str) -> Settings:
    """The settings of a text; `file` is only for places. ConfigError lists up to five faults, each with its place."""
    root, found = compose(text, file)
    if root is None:
        raise _error(found or (Problem(Origin(file), f"the file holds no settings; {_SHORTEST}"),), _NEXT)
    if not isinstance(root, Mapping):
        raise _error((*found, Problem(root.where, f"a file of settings is a mapping; {_SHORTEST}")), _NEXT)
    return replace(_checked(root, found, _NEXT), text=text)


def load(path: str | Path) -> Settings:
    """The settings of a file; paths in it are relative to its folder. ConfigError also where it cannot be read."""
    raw = _bytes(Path(path))
    text = _text(raw, str(path))
    return _anchored(parse(text, str(path)), Path(path).absolute().parent)


def load_facts(path: str | Path) -> FactsModel:
    """The facts of a file: its section `facts` if it is a levelhead.yaml, else the whole. ConfigError as above."""
    file = str(path)
    root, found = compose(_text(_bytes(Path(path)), file), file)
    step = "correct the file; `levelhead schema` lists every fact under `facts`"
    if found or not isinstance(root, Mapping):
        raise _error(found or (Problem(Origin(file), "a file of facts is a mapping, such as `peak_rps: 300`"),), step)
    if "facts" in root.entries:
        return load(path).facts
    root = _mapping({"facts": root}, root.where)
    try:
        return File.model_validate(plain(root)).facts
    except ValidationError as error:
        explained = problems(error, root)
        raise _error(explained, step, error.error_count() - len(explained)) from None


def from_flags(servers: list[str], listen: str, policy: str, check_path: str | None) -> Settings:
    """The settings of `levelhead run --server A --server B --listen L`: one pool named web, checked by TCP or a path.

    `policy` is round-robin, least-request, random, hash:source, hash:path, hash:header:NAME or hash:cookie:NAME.
    Places in errors are the flags. ConfigError as for a file.
    """
    if not servers:
        raise ConfigError("no servers", file="--server", next_step="name at least one: --server 127.0.0.1:3001")
    pool = {
        "servers": Sequence(tuple(_flag("--server", server) for server in servers), Origin("--server")),
        "policy": _policy_flag(policy),
        "check": _flag("--check", "tcp" if check_path is None else check_path),
    }
    web = _mapping({"web": _mapping(pool, Origin("--server"))}, Origin("--server"))
    root = _mapping({"listen": _flag("--listen", listen), "pools": web}, Origin())
    return _checked(root, (), "correct the flag; `levelhead run --help` explains each")


def _checked(root: Mapping, found: tuple[Problem, ...], next_step: str) -> Settings:
    try:
        file = File.model_validate(plain(root))
    except ValidationError as error:
        explained = problems(error, root)
        raise _error((*found, *explained), next_step, error.error_count() - len(explained)) from None
    settings, between = build(file, root)
    if found or between:
        raise _error((*found, *between), next_step)
    return settings


def _error(found: tuple[Problem, ...], next_step: str, more: int = 0) -> ConfigError:
    """One error of many faults, in the order of the file."""
    ordered = sorted(found, key=lambda problem: (problem.where.line, problem.where.column))
    first = ordered[0]
    lines = [str(first), *(f"{problem.where}: {problem}" for problem in ordered[1:_SHOWN])]
    if rest := max(0, len(ordered) - _SHOWN) + more:
        lines.append(f"... and {rest} more")
    where = first.where
    return ConfigError(
        "\n".join(lines), file=where.file or "(command line)", line=where.line, column=where.column, next_step=next_step
    )


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        step = "write one, or name servers on the command line: levelhead run --server 127.0.0.1:3001"
        raise ConfigError("there is no such file", file=str(path), next_step=step) from None
    except IsADirectoryError:
        step = f"name the file, {path}/levelhead.yaml"
        raise ConfigError("this is a folder", file=str(path), next_step=step) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        step = "check the path and who may read it: ls -l"
        raise ConfigError(f"it cannot be read: {why}", file=str(path), next_step=step) from None
    if len(raw) > MAX_BYTES:
        step = "check that it is the right file; split the fleet if it is"
        raise ConfigError(f"it is larger than {MAX_BYTES // 1024 // 1024} MiB", file=str(path), next_step=step)
    return raw


def _text(raw: bytes, file: str) -> str:
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise ConfigError("this is not text: it holds a zero byte", file=file, line=line, next_step=_NEXT)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        what = f"this is not UTF-8 text: byte 0x{raw[error.start]:02x}"
        step = "save the file as UTF-8"
        raise ConfigError(what, file=file, line=line, column=column, next_step=step) from None


def _anchored(settings: Settings, folder: Path) -> Settings:
    """Paths in the file, made independent of where the command runs."""
    listeners = tuple(
        replace(listener, certificate=str(folder / listener.certificate)) if listener.certificate else listener
        for listener in settings.fleet.listeners
    )
    targets = tuple(
        replace(
            target,
            url=_anchored_secret(target.url, folder),
            headers=tuple((name, _anchored_secret(secret, folder)) for name, secret in target.headers),
        )
        for target in settings.notify
    )
    return replace(settings, fleet=replace(settings.fleet, listeners=listeners), notify=targets)


def _anchored_secret(secret: Secret, folder: Path) -> Secret:
    return replace(secret, file=str(folder / secret.file)) if secret.file else secret


def _policy_flag(policy: str) -> Node:
    where = Origin("--policy")
    kind, _, key = policy.partition(":")
    if kind != "hash":
        return Scalar(policy, where)
    on, colon, name = key.partition(":")
    value: Node = _mapping({on: Scalar(name, where)}, where) if colon else Scalar(key, where)
    return _mapping({"hash": value}, where)


def _flag(flag: str, value: str) -> Scalar:
    return Scalar(value, Origin(flag))


def _mapping(values: dict[str, Node], where: Origin) -> Mapping:
    return Mapping({key: Entry(key, where, value) for key, value in values.items()}, where)
