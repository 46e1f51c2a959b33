"""Reads what holds for whole blocks and is inherited by all in them: logs, log formats, whose address is believed."""

from __future__ import annotations

from typing import Final

from levelhead.engines.nginx import variables
from levelhead.engines.nginx.picture import AccessLog, LogFormat, Module, RealIp
from levelhead.engines.nginx.scope import Scope
from levelhead.engines.nginx.syntax import Directive, Word
from levelhead.model import NOWHERE

_COMBINED: Final = LogFormat(
    "http", "combined",
    ("remote_addr", "remote_user", "time_local", "request", "status", "body_bytes_sent", "http_referer",
     "http_user_agent"),
)  # fmt: skip
# Where nginx logs if nothing is said was fixed when it was built; this is its own default.
_UNSAID: Final = Word("logs/access.log", NOWHERE)


def formats(directives: list[Directive], module: Module) -> tuple[LogFormat, ...]:
    """The formats of a module, nginx's own `combined` first."""
    found = [_COMBINED] if module == "http" else []
    for directive in directives:
        text = "".join(word.text for word in directive.args[1:] if not word.text.startswith("escape="))
        found.append(LogFormat(module, directive.text(0), variables.names(text), directive.origin))
    return tuple(found)


def logs(scope: Scope, known: tuple[LogFormat, ...]) -> tuple[AccessLog, ...]:
    """The access logs in force; none where they are off."""
    by_name = {f.name: f for f in known if f.module == scope.module}
    written = [d for d in scope.all("access_log") if d.args]
    if any(directive.text(0) == "off" for directive in written):
        return ()
    if not written:
        return (AccessLog(_UNSAID, _COMBINED, _COMBINED.name, ""),) if scope.module == "http" else ()
    return tuple(_log(directive, by_name) for directive in written)


def real_ip(scope: Scope) -> RealIp:
    """Whom nginx believes in this block about the client's address."""
    trusted = tuple(d.args[0] for d in scope.all("set_real_ip_from") if d.args)
    if scope.module == "stream":
        # It comes in the PROXY protocol and nowhere else.
        return RealIp(trusted, scope.text("real_ip_header", "proxy_protocol"), scope.flag("real_ip_recursive", False))
    return RealIp(trusted, scope.text("real_ip_header", "X-Real-IP"), scope.flag("real_ip_recursive", False))


def _log(directive: Directive, by_name: dict[str, LogFormat]) -> AccessLog:
    name, condition = "combined", ""
    for position, text in enumerate(directive.texts[1:]):
        if text.startswith("if="):
            condition = text.removeprefix("if=")
        elif position == 0 and "=" not in text:
            name = text
    return AccessLog(directive.args[0], by_name.get(name), name, condition, directive.origin)
