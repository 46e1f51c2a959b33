"""Which language a text is in: told by what stands in it, and by its name only where that does not tell."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Final

from levelhead.review.base import Language

_OURS: Final = frozenset({"listen", "listeners", "servers", "pools", "client", "notify", "facts"})
_ENVOYS: Final = frozenset({
    "static_resources", "staticResources", "dynamic_resources", "dynamicResources", "resources", "virtual_hosts",
    "virtualHosts", "filter_chains", "filterChains", "load_assignment", "loadAssignment", "lb_policy", "lbPolicy",
    "cluster_name", "clusterName", "clusters", "listeners", "configs", "@type", "layered_runtime", "admin", "node",
})  # fmt: skip
_ENVOY_WORDS: Final = re.compile(
    r"^[\s\-{]*[\"']?(static_resources|load_assignment|lb_policy|virtual_hosts|filter_chains|lb_endpoints)[\"']?\s*:"
    r"|type\.googleapis\.com/envoy\.",
    re.MULTILINE,
)
_KEY: Final = re.compile(r"^[\"']?(@?[A-Za-z_][\w.-]*)[\"']?\s*:(?:\s|$)", re.MULTILINE)
_JSON_KEY: Final = re.compile(r"\"(@?[A-Za-z_][\w.-]*)\"\s*:")
_SECTION: Final = re.compile(
    r"^[ \t]*(?:global|defaults|frontend|backend|listen|peers|resolvers|userlist|mailers|cache|program|http-errors|"
    r"ring|log-forward|log-profile|fcgi-app|crt-store|traces|acme)\b(?!.*[;{]\s*(?:#.*)?$)",
    re.MULTILINE,
)
_DIRECTIVE: Final = re.compile(r"^\s*[a-z][a-z0-9_]*(?:\s[^#\n]*)?[;{}]\s*(?:#.*)?$|^\s*\}\s*$", re.MULTILINE)
_CONTENT: Final = re.compile(r"^\s*(?:-\s+)?[^\s#-]", re.MULTILINE)
_NAMES: Final[tuple[tuple[str, Language], ...]] = (
    (r"levelhead[^/]*\.ya?ml", "levelhead"), (r"haproxy[^/]*", "haproxy"), (r"nginx[^/]*", "nginx"),
    (r"envoy[^/]*\.(?:ya?ml|json)", "envoy"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """A text in none of the languages; `why` is a sentence without its full stop."""

    why: str


def recognised(name: str, text: str) -> Language | Unrecognised:
    """The language of a text, or why it seems to be in none."""
    base = posixpath.basename(name).lower()
    if re.fullmatch(r"levelhead\.ya?ml", base):
        return "levelhead"
    if not _CONTENT.search(text):
        return _by_name(base) or _by_suffix(base) or Unrecognised("it is empty")
    tree = base.endswith((".yaml", ".yml", ".json")) or text.lstrip()[:1] in ("{", "[")
    found = _tree(text) if tree else _lines(text)
    return (_by_name(base) or found) if isinstance(found, Unrecognised) else found


def starts_haproxy(text: str) -> bool:
    """Whether an HAProxy text has a `global` section: it begins a configuration, others add to one."""
    return re.search(r"^\s*global\b", text, re.MULTILINE) is not None


def _tree(text: str) -> Language | Unrecognised:
    """YAML or JSON."""
    keys = dict.fromkeys(_JSON_KEY.findall(text) if text.lstrip()[:1] in ("{", "[") else _KEY.findall(text))
    if "apiVersion" in keys and "kind" in keys:
        return Unrecognised("it is a Kubernetes manifest; review the configuration inside it by itself")
    if {"pools", "servers"} & keys.keys() and len(_OURS & keys.keys()) * 2 > len(keys):
        return "levelhead"
    if _ENVOYS & keys.keys() or _ENVOY_WORDS.search(text):
        return "envoy"
    shown = ", ".join(list(keys)[:4])
    what = f"its keys ({shown}) are" if shown else "what stands in it is"
    return Unrecognised(f"{what} neither Envoy's nor Levelhead's")


def _lines(text: str) -> Language | Unrecognised:
    """Text of lines: sections of HAProxy, or directives of nginx; Envoy's YAML may come under any name."""
    directives, content = len(_DIRECTIVE.findall(text)), len(_CONTENT.findall(text))
    if _SECTION.search(text) and directives * 2 < content:
        return "haproxy"
    if _ENVOY_WORDS.search(text):
        return "envoy"
    if directives:
        return "nginx"
    return Unrecognised("there is neither a section of HAProxy nor a directive of nginx in it")


def _by_name(base: str) -> Language | None:
    return next((language for pattern, language in _NAMES if re.fullmatch(pattern, base)), None)


def _by_suffix(base: str) -> Language | None:
    return "haproxy" if base.endswith(".cfg") else "nginx" if base.endswith(".conf") else None
