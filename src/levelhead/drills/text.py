"""From the text of a scenario file to a Scenario, or to an error that knows the line and the likely misspelling."""

from __future__ import annotations

import difflib
import re
import typing

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from levelhead.drills.base import Scenario
from levelhead.errors import ConfigError

Loc = tuple[str | int, ...]

_NEXT = "levelhead schema scenario"
_BOOL = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes the words on, off, yes and no for true and false, and `on` is a key of ours."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (so declared by its base)
        first: [(tag, pattern if tag != _BOOL else re.compile("^(?:true|True|TRUE|false|False|FALSE)$"))
                for tag, pattern in resolvers]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }  # fmt: skip


def parse_scenario(text: str, origin: str) -> Scenario:
    """The scenario in this YAML text; `origin` is the file's name. Raises ConfigError at the first fault."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _broken(error, origin) from error
    if root is None or not isinstance(root, yaml.MappingNode):
        raise ConfigError("a scenario is a mapping that starts with name and title", file=origin, line=1, column=1)
    _refuse_duplicates(root, origin)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise _faulty(error, root, origin) from error


def _broken(error: yaml.YAMLError, origin: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    if mark is None:
        return ConfigError(f"not YAML: {problem}", file=origin)
    return ConfigError(f"not YAML: {problem}", file=origin, line=mark.line + 1, column=mark.column + 1)


def _refuse_duplicates(root: yaml.Node, origin: str) -> None:
    """YAML keeps the last of two equal keys without a word; here the second is an error."""
    visited: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in visited:  # an alias, perhaps of something it stands in
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for i, key in enumerate(keys):
                if key.value in {k.value for k in keys[:i]}:
                    raise _at(key, f"{key.value} is given twice", origin, "keep one of the two")
            waiting += [value for _, value in node.value]


def _faulty(error: ValidationError, root: yaml.MappingNode, origin: str) -> ConfigError:
    found = [(_node(root, _loc(detail), detail["type"]), detail) for detail in error.errors(include_url=False)]
    found.sort(key=lambda pair: (pair[0].start_mark.line, pair[0].start_mark.column))
    node, detail = found[0]
    what = _sentence(detail)
    # Like servers share their faults: the same key at the same place counts once.
    more = len({(n.start_mark.index, d["type"], _loc(d)[-1:]) for n, d in found}) - 1
    if more:
        what += f" (and {more} more)"
    return _at(node, what, origin, f"mend it; `{_NEXT}` prints every key and its default")


def _at(node: yaml.Node, what: str, origin: str, next_step: str) -> ConfigError:
    mark = node.start_mark
    return ConfigError(what, file=origin, line=mark.line + 1, column=mark.column + 1, next_step=next_step)


def _loc(detail: ErrorDetails) -> Loc:
    """Where the fault is; our own validators name the place below their own in the context."""
    below = detail.get("ctx", {}).get("at", [])
    return (*detail["loc"], *below)


def _node(root: yaml.Node, loc: Loc, kind: str) -> yaml.Node:
    """The node that a location leads to: the key of an unknown entry, else its value, else the nearest above it."""
    node = root
    for depth, part in enumerate(loc):
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:  # a name that we made up, such as server-3 of {count: 4}
                continue
            last = depth == len(loc) - 1
            node = pair[0] if last and kind == "extra_forbidden" else pair[1]
    return node


def _sentence(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in _loc(detail)) or "the scenario"
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key {path}{_did_you_mean(detail)}"
        case "missing":
            return f"{path} is missing"
        case "value_error" | "consistent" | "order" | "count":
            return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
            return f"{path}: {message}, not {_short(detail['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(detail: ErrorDetails) -> str:
    known = sorted({name for model in _models_at(detail["loc"][:-1]) for name in model.model_fields})
    wrong = str(detail["loc"][-1])
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6) or [k for k in known if k.startswith(wrong)]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; it may hold {', '.join(known)}" if known else ""


def _models_at(loc: Loc) -> set[type[BaseModel]]:
    """The models that may stand at a location; names of servers and numbers of list items change nothing."""
    here: set[type[BaseModel]] = {Scenario}
    for part in loc:
        fields = [m.model_fields[part] for m in here if isinstance(part, str) and part in m.model_fields]
        if fields:
            here = {m for f in fields for m in _models_in(f.annotation)}
    return here


def _models_in(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {m for argument in typing.get_args(annotation) for m in _models_in(argument)}
