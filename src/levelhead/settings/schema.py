"""The one table of settings: every key of levelhead.yaml with its type, its default and its help.

The models below check the file; `table` and `json_schema` are made from them, so that file, docs and editors agree.
Defaults are those of `levelhead.model`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from levelhead import model

_CHECK: Final = model.Check()
_TIMEOUTS: Final = model.Timeouts()
_SLO: Final = model.Slo()
_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"


class Address(NamedTuple):
    """A host and a port; an IPv6 host has no brackets here."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Words:
    """A type, and a default that is not a plain value, as a person would say them."""

    type: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: `pools.<pool>.check.interval_s`, `notify[].slack.url`; a required one has the default "required"."""

    path: str
    type: str
    default: str
    help: str


def parse_address(text: object) -> Address:
    """Host and port of `127.0.0.1:80`, `[::1]:80` or `web.example:80`; ValueError says in plain words what is wrong."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError("is not an address; write host:port, such as 127.0.0.1:3001")
    if "://" in text:
        raise ValueError(f"{text!r} is a URL, not an address; write only host:port")
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    host, port = bracketed.groups() if bracketed else (text.rpartition(":")[0], text.rpartition(":")[2])
    if not bracketed and text.count(":") > 1:
        raise ValueError(f"{text!r} is not an address; write an IPv6 address in brackets, such as [::1]:3001")
    if port is None or (not bracketed and ":" not in text):
        raise ValueError(f"{text!r} has no port; write host:port, such as {_with_port(text)}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not an address: the port must be a number from 1 to 65535, not {port!r}")
    return Address(_host(host, text, bracketed=bool(bracketed)), int(port))


def table() -> tuple[SettingRow, ...]:
    """Every setting, in the order of the file."""
    return tuple(_rows(File, ""))


def json_schema() -> str:
    """The JSON Schema of levelhead.yaml, for editors: `# yaml-language-server: $schema=...`."""
    schema = File.model_json_schema(schema_generator=_PlainSchema)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "levelhead.yaml"}
    return json.dumps({**head, **schema, **head}, indent=2, ensure_ascii=False) + "\n"


class _PlainSchema(GenerateJsonSchema):
    """Without a title for every key that only repeats the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _with_port(host: str) -> str:
    if re.fullmatch(r"[0-9]{1,5}", host):
        return f"127.0.0.1:{host}"
    return f"{host}:80" if re.fullmatch(r"[\w.\[\]:-]+", host) else "127.0.0.1:80"


def _host(host: str, text: str, *, bracketed: bool) -> str:
    if host in ("", "*"):
        raise ValueError(f"{text!r} names no host; write 0.0.0.0 for every address of this machine")
    if bracketed:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError(f"{text!r} is not an address: {host!r} in brackets is not IPv6") from None
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{text!r} is not an address: {host!r} is not IPv4") from None
    return _hostname(host)


def _hostname(text: str) -> str:
    if len(text) > 253 or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?", text):
        raise ValueError(f"{text!r} is not a host name; letters, digits, '-', '_' and '.' make one")
    return text


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError(f"{text!r} cannot be a name; letters, digits, '-', '_' and '.' make one, at most 64")
    return text


def _token(text: str) -> str:
    if not re.fullmatch(_TOKEN, text):
        raise ValueError(f"{text!r} cannot be the name of a header or a cookie")
    return text


def _http_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"{text!r} must begin with '/' and hold no spaces")
    return text


def _status(text: str) -> str:
    found = re.fullmatch(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?", text)
    if not found or int(found[1]) > int(found[2] or found[1]):
        raise ValueError(f"{text!r} must be a status such as 200, or a range such as 200-399")
    return text


def _check_word(text: str) -> str:
    if text not in ("tcp", "off") and not re.fullmatch(r"/[!-~]*", text):
        raise ValueError(f"{text!r} must be tcp, off, or a path that begins with '/' and holds no spaces")
    return text


def _client(text: str) -> str:
    if text != "source" and not re.fullmatch(rf"(header|cookie):{_TOKEN}", text):
        raise ValueError(f"{text!r} must be source, header:NAME or cookie:NAME")
    return text


def _printable(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be text of one line, and not empty")
    return text


def _url(text: str) -> str:
    # The value may be a secret: no message here repeats it.
    wrong = ValueError("must be an address that begins with http:// or https:// and names a host")
    try:
        parts = urlsplit(text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong from None
    if not fine or " " in text or not text.isprintable():
        raise wrong
    return text


def _form(value: object) -> str:
    """Which of its forms a setting is written in; the tags begin with @, which no name can."""
    if isinstance(value, str | Address):
        return "@word"
    return "@list" if isinstance(value, list) else "@mapping"


Seconds = Annotated[
    float, Field(gt=0, le=86400, allow_inf_nan=False), Words("a number of seconds above 0, up to 86400")
]
Count = Annotated[int, Field(ge=1, le=1_000_000), Words("a whole number from 1 to 1000000")]
Port = Annotated[int, Field(ge=1, le=65535), Words("a port from 1 to 65535")]
Weight = Annotated[float, Field(ge=0, le=10000, allow_inf_nan=False), Words("a number from 0 to 10000")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), Words("a number above 0")]
Name = Annotated[str, AfterValidator(_name), Words("a name")]
Host = Annotated[str, AfterValidator(_hostname), Words("a host name")]
Token = Annotated[str, AfterValidator(_token), Words("the name of a header or a cookie")]
HttpPath = Annotated[str, AfterValidator(_http_path), Words("a path that begins with '/'")]
Text = Annotated[str, AfterValidator(_printable), Words("text of one line")]
Url = Annotated[str, AfterValidator(_url), Words("an http:// or https:// address")]
At = Annotated[Address, PlainValidator(parse_address, json_schema_input_type=str), Words("host:port")]


class _Model(BaseModel):
    # Built on first use, so that importing this module costs little.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class RandomModel(_Model):
    draws: Annotated[int, Field(ge=1, le=100), Words("a whole number from 1 to 100")] = Field(
        default=2, description="how many servers are drawn; the least loaded of them is taken"
    )


class HashModel(_Model):
    header: Token | None = Field(default=None, description="the request header whose value is the key")
    cookie: Token | None = Field(default=None, description="the cookie whose value is the key")
    key: Annotated[Literal["source", "path"] | None, Words("source or path")] = Field(
        default=None, description="the key, where it is neither a header nor a cookie"
    )
    consistent: Annotated[bool, Words("true or false")] = Field(
        default=True, description="move few keys when a server comes or goes"
    )
    bounded_load: Annotated[
        float | None, Field(gt=1, le=100, allow_inf_nan=False), Words("a number above 1, up to 100")
    ] = Field(default=None, description="no server takes more than this multiple of the mean load; 1.25 is usual")

    @model_validator(mode="after")
    def _one_key(self) -> HashModel:
        if sum(key is not None for key in (self.header, self.cookie, self.key)) != 1:
            raise ValueError("needs one key to hash: header: NAME, cookie: NAME, key: source or key: path")
        return self


class PolicyModel(_Model):
    random: RandomModel | None = Field(default=None, description="the less loaded of some servers drawn by weight")
    hash: (
        Annotated[
            Annotated[Literal["source", "path"], Tag("@word")] | Annotated[HashModel, Tag("@mapping")],
            Discriminator(_form),
            Words("source, path, or a mapping with header, cookie or key"),
        ]
        | None
    ) = Field(default=None, description="the server that a key of the request maps to")

    @model_validator(mode="after")
    def _one_policy(self) -> PolicyModel:
        if (self.random is None) == (self.hash is None):
            raise ValueError("needs one policy with options: random or hash")
        return self


class CheckModel(_Model):
    path: HttpPath | None = Field(
        default=_CHECK.path, description="the path to GET; without one a TCP connect is the check"
    )
    status: Annotated[
        str,
        AfterValidator(_status),
        WithJsonSchema({"type": ["string", "integer"]}),
        Words("a status or a range, such as 200-399"),
    ] = Field(default=_CHECK.status, description="the answers that pass")
    interval_s: Seconds = Field(default=_CHECK.interval_s, description="time between two checks of a server")
    timeout_s: Seconds = Field(default=_CHECK.timeout_s, description="a check that takes longer has failed")
    fall: Count = Field(default=_CHECK.fall, description="failed checks in a row that take a server out")
    rise: Count = Field(default=_CHECK.rise, description="passed checks in a row that bring it back")
    host: Host | None = Field(default=_CHECK.host, description="the Host header of the check")
    port: Port | None = Field(default=_CHECK.port, description="check this port, not the one that serves")


class EjectionModel(_Model):
    consecutive_errors: Count = Field(
        default=model.Ejection().consecutive_errors,
        description="failed requests in a row that take a server out until its check passes again",
    )


class TimeoutsModel(_Model):
    connect_s: Seconds = Field(default=_TIMEOUTS.connect_s, description="until a server accepts the connection")
    server_s: Seconds = Field(default=_TIMEOUTS.server_s, description="until a server answers")
    client_s: Seconds = Field(default=_TIMEOUTS.client_s, description="until a client sends its request")
    queue_s: Seconds = Field(default=_TIMEOUTS.queue_s, description="in the queue, until a server is free")
    keep_alive_s: Seconds = Field(
        default=_TIMEOUTS.keep_alive_s, description="an idle client connection is kept this long"
    )


class LimitsModel(_Model):
    server_in_flight: Count | None = Field(default=None, description="requests in flight per server; none is no bound")
    queue: Count | None = Field(default=None, description="requests that wait per pool; none is no bound")


class AffinityModel(_Model):
    cookie: Token = Field(description="the cookie, set by the balancer, that ties a user to a server")


class SloModel(_Model):
    latency_ms: Positive = Field(default=_SLO.latency_ms, description="a slower request harms its user")
    availability: Annotated[float, Field(gt=0, lt=1), Words("a number between 0 and 1")] = Field(
        default=_SLO.availability, description="the part of requests that must be neither slow nor failed"
    )


class IntentModel(_Model):
    explicit: Annotated[
        dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False), Words("a number, 0 or more")]],
        Field(min_length=1),
        Words("a mapping of every server to its relative share"),
    ] = Field(description="how much each server is meant to get, relative to the others")


class ServerModel(_Model):
    address: At = Field(description="where the server listens")
    weight: Annotated[Weight | None, Words("a number from 0 to 10000", "from the intent")] = Field(
        default=None, description="its part of the traffic, relative to the others, as the proxy is told it"
    )
    capacity: Positive | None = Field(default=None, description="requests per second that it can bear")
    zone: Annotated[Name | None, Words("a name")] = Field(
        default=None, description="where it stands: servers of a zone share power, network or a site"
    )
    in_flight_limit: Count | None = Field(
        default=None, description="requests in flight; wins over limits.server_in_flight"
    )
    state: Annotated[Literal["ready", "drain", "maint"], Words("ready, drain or maint")] = Field(
        default="ready", description="drain takes no new users; maint takes nothing, not even checks"
    )


ServerField = Annotated[
    Annotated[At, Tag("@word")] | Annotated[ServerModel, Tag("@mapping")],
    Discriminator(_form),
    Words("host:port, or a mapping with address"),
]
ServersField = Annotated[
    Annotated[list[At], Tag("@list"), Field(min_length=1)]
    | Annotated[dict[Name, ServerField], Tag("@mapping"), Field(min_length=1)],
    Discriminator(_form),
    Words("a list of host:port, or a mapping of names to servers"),
]


class PoolModel(_Model):
    servers: ServersField = Field(description="the servers; those of a list are named server-1, server-2 and so on")
    policy: Annotated[
        Annotated[Literal["round-robin", "least-request", "random"], Tag("@word")]
        | Annotated[PolicyModel, Tag("@mapping")],
        Discriminator(_form),
        Words("round-robin, least-request, random, or a mapping with random or hash"),
    ] = Field(default="round-robin", description="how the next server is chosen")
    check: Annotated[
        Annotated[str, AfterValidator(_check_word), Tag("@word")] | Annotated[CheckModel, Tag("@mapping")],
        Discriminator(_form),
        Words("tcp, off, a path that begins with '/', or a mapping"),
    ] = Field(default="tcp", description="how a server's health is checked")
    ejection: Annotated[
        Annotated[Literal["off"], Tag("@word")] | Annotated[EjectionModel, Tag("@mapping")],
        Discriminator(_form),
        Words("off, or a mapping with consecutive_errors"),
    ] = Field(default="off", description="take a server out by the errors its users see")
    timeouts: TimeoutsModel = Field(default_factory=TimeoutsModel, description="upper bounds on each phase")
    retries: Annotated[int, Field(ge=0, le=100), Words("a whole number from 0 to 100")] = Field(
        default=model.Retries().attempts,
        description="further attempts on another server, where a request may be repeated",
    )
    limits: LimitsModel = Field(default_factory=LimitsModel, description="bounds on requests")
    affinity: Annotated[
        Annotated[Literal["off"], Tag("@word")] | Annotated[AffinityModel, Tag("@mapping")],
        Discriminator(_form),
        Words("off, or a mapping with cookie"),
    ] = Field(default="off", description="tie each user to one server")
    slow_start_s: Annotated[
        float, Field(ge=0, le=86400, allow_inf_nan=False), Words("a number of seconds from 0 to 86400")
    ] = Field(default=10.0, description="a server that comes back gets its full part only after this long")
    slo: SloModel = Field(default_factory=SloModel, description="what users were promised")
    intent: Annotated[
        Annotated[Literal["equal", "capacity"], Tag("@word")] | Annotated[IntentModel, Tag("@mapping")],
        Discriminator(_form),
        Words("equal, capacity, or a mapping with explicit"),
    ] = Field(default="equal", description="what share each server is meant to get")
    mode: Annotated[Literal["shadow", "ask", "act"], Words("shadow, ask or act")] = Field(
        default="act", description="how far Levelhead may go by itself: say, prepare, or do"
    )
    minimum_servers: Count = Field(default=1, description="Levelhead never leaves fewer servers than this")


class RouteModel(_Model):
    pool: Name = Field(description="the pool that gets the request")
    host: Host | None = Field(default=None, description="only requests for this host; none is any")
    prefix: HttpPath = Field(
        default="/", description="only paths that begin with this; the first route that fits is taken"
    )


class ListenerModel(_Model):
    address: At = Field(description="where clients connect")
    certificate: Text | None = Field(default=None, description="a PEM file with key and chain; without one, plain HTTP")
    connections: Count | None = Field(default=None, description="connections at a time; none is no bound")
    routes: Annotated[
        list[RouteModel] | None, Field(min_length=1), Words("a list of routes", "all to the only pool")
    ] = Field(default=None, description="which pool gets which request")


class HookModel(_Model):
    url: Url | None = Field(default=None, description="where to POST; kept out of the file by url_env or url_file")
    url_env: Text | None = Field(default=None, description="the environment variable that holds the url")
    url_file: Text | None = Field(default=None, description="the file that holds the url")
    name: Name | None = Field(default=None, description="how reports call this target; its kind where not given")

    @model_validator(mode="after")
    def _one_url(self) -> HookModel:
        if sum(source is not None for source in (self.url, self.url_env, self.url_file)) != 1:
            raise ValueError("needs one of url, url_env and url_file")
        return self


class WebhookModel(HookModel):
    headers: Annotated[dict[Token, Text], Words("a mapping of names to values")] = Field(
        default={}, description="headers to send along"
    )
    headers_env: Annotated[dict[Token, Text], Words("a mapping of names to environment variables")] = Field(
        default={}, description="headers whose values are in environment variables"
    )
    headers_file: Annotated[dict[Token, Text], Words("a mapping of names to files")] = Field(
        default={}, description="headers whose values are in files"
    )

    @model_validator(mode="after")
    def _headers_once(self) -> WebhookModel:
        names = [name.lower() for group in (self.headers, self.headers_env, self.headers_file) for name in group]
        if len(set(names)) != len(names):
            raise ValueError("gives a header twice")
        return self


class NotifyModel(_Model):
    webhook: WebhookModel | None = Field(default=None, description="POST the notice as JSON")
    slack: HookModel | None = Field(default=None, description="POST it as Slack and those like it want it")

    @model_validator(mode="after")
    def _one_kind(self) -> NotifyModel:
        if (self.webhook is None) == (self.slack is None):
            raise ValueError("needs one kind of target: webhook or slack")
        return self


Rate = Annotated[float | None, Field(gt=0, allow_inf_nan=False), Words("a number above 0, in requests per second")]
Rates = Annotated[
    dict[Text, Annotated[float, Field(gt=0, allow_inf_nan=False), Words("a number above 0, in requests per second")]],
    Words("a mapping of names to numbers"),
]


class FactsModel(_Model):
    """What no configuration can say, for `levelhead review`; the same names as `levelhead.review.base.Facts`."""

    peak_rps: Rate = Field(default=None, description="what a pool gets at its peak, where there is one pool")
    pool_peak_rps: Rates = Field(default={}, description="the same by pool; goes before peak_rps")
    server_rps: Rate = Field(default=None, description="what a server bears")
    capacity_rps: Rates = Field(default={}, description="the same by server, or pool/server; goes before server_rps")
    peak_in_flight: Count | None = Field(default=None, description="requests in flight in a pool at its peak")
    server_in_flight: Count | None = Field(default=None, description="requests a server can work on at a time")
    max_servers: Count | None = Field(default=None, description="how many servers a pool may grow to")
    clients: Count | None = Field(default=None, description="how many different clients there are")
    behind_proxy: Annotated[bool | None, Words("true or false")] = Field(
        default=None, description="whether clients come through another proxy or a CDN"
    )
    balancers: Count | None = Field(default=None, description="how many of this proxy run side by side")
    cores: Count | None = Field(default=None, description="processor cores of the proxy's machine")
    memory_mib: Positive | None = Field(default=None, description="its memory, in MiB")
    outer_timeout_s: Seconds | None = Field(default=None, description="how long what stands before the proxy waits")
    server_idle_s: Seconds | None = Field(default=None, description="when servers close idle connections")
    zones: Annotated[dict[Text, Text], Words("a mapping of servers to zones")] = Field(
        default={}, description="where each server stands"
    )


class File(_Model):
    listen: Annotated[At | None, Words("host:port", "127.0.0.1:8080")] = Field(
        default=None, description="where clients connect; short for one listener named web"
    )
    listeners: Annotated[
        dict[
            Name,
            Annotated[
                Annotated[At, Tag("@word")] | Annotated[ListenerModel, Tag("@mapping")],
                Discriminator(_form),
                Words("host:port, or a mapping with address"),
            ],
        ]
        | None,
        Field(min_length=1),
        Words("a mapping of names to listeners"),
    ] = Field(default=None, description="the addresses that clients reach")
    servers: ServersField | None = Field(default=None, description="short for one pool named web with these servers")
    pools: Annotated[
        dict[Name, PoolModel] | None, Field(min_length=1), Words("a mapping of names to pools")
    ] = Field(default=None, description="servers that share a job")
    client: Annotated[str, AfterValidator(_client), Words("source, header:NAME or cookie:NAME")] = Field(
        default="source", description="how users are told apart"
    )
    false_alarms_per_month: Positive = Field(
        default=1.0, le=1000.0,
        description="how many a pool may raise; thresholds follow from it when Levelhead starts",
    )
    notify: Annotated[
        list[
            Annotated[
                Annotated[Literal["terminal"], Tag("@word")] | Annotated[NotifyModel, Tag("@mapping")],
                Discriminator(_form),
                Words("terminal, or a mapping with webhook or slack"),
            ]
        ],
        Words("a list of terminal, webhook and slack"),
    ] = Field(default=["terminal"], description="who is told of an incident")
    facts: FactsModel = Field(default_factory=FactsModel, description="what `levelhead review` cannot see in a file")


def _rows(owner: type[BaseModel], prefix: str) -> Iterator[SettingRow]:
    for name, info in owner.model_fields.items():
        path = f"{prefix}{name}"
        shown = _words((info.annotation, *info.metadata))
        yield SettingRow(path, shown.type, shown.default or _default(info), info.description or "")
        yield from _below(info.annotation, path)


def _below(annotation: object, path: str) -> Iterator[SettingRow]:
    """The rows of whatever models an annotation holds, at the paths where the file writes them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _rows(annotation, f"{path}.")
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        one = _ONE_OF[path.rpartition(".")[2]]
        here = f"{path}.<{one}>"
        yield SettingRow(here, _words(arguments[1:]).type, "", f"one {one}, by its name")
        yield from _below(arguments[1], here)
        return
    if origin is list:
        here = f"{path}[]"
        yield SettingRow(here, _words(arguments).type, "", "one of the list")
        yield from _below(arguments[0], here)
        return
    for argument in arguments:
        yield from _below(argument, path)


# What a mapping's keys name.
_ONE_OF: Final = {
    "listeners": "listener", "servers": "server", "pools": "pool", "explicit": "server",
    "headers": "header", "headers_env": "header", "headers_file": "header",
    "pool_peak_rps": "pool", "capacity_rps": "server", "zones": "server",
}  # fmt: skip


def _words(parts: tuple[Any, ...]) -> Words:
    """The first `Words` among annotations and their metadata."""
    for part in parts:
        if isinstance(part, Words):
            return part
    nested = [get_args(part) for part in parts if get_args(part)]
    found = [words for inner in nested if (words := _words(inner)).type]
    return found[0] if found else Words("a mapping" if any(_is_model(part) for part in parts) else "")


def _is_model(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return ""
    match info.default:
        case None:
            return "none"
        case bool() as flag:
            return str(flag).lower()
        case float() as number:
            return f"{number:g}"
        case {}:
            return ""
        case list() as items:
            return ", ".join(items)
        case value:
            return str(value)
