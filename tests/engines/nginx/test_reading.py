"""What an nginx configuration amounts to: groups, policies, and what is in force where requests are passed on."""

import pytest

from levelhead.engines.nginx.picture import (
    Hash,
    IpHash,
    LeastConn,
    LeastTime,
    Listen,
    Other,
    Part,
    Pass,
    Policy,
    Random,
    Reading,
    RoundRobin,
    Upstream,
    Zone,
)
from levelhead.engines.nginx.reading import read
from levelhead.engines.nginx.values import Address, percent, size, time_s
from levelhead.engines.text import Value
from levelhead.model import NOWHERE, Origin

NEW = (1, 29, 7)


def http(text: str, **more: str) -> Reading:
    return read({"f": text, **more}, "f")


def sentences(reading: Reading) -> list[str]:
    return [p.sentence for p in reading.problems]


def group(inside: str, version: tuple[int, int, int] = (1, 28, 0)) -> Upstream:
    return read({"f": f"upstream u {{ {inside} }}"}, "f", version=version).upstreams[0]


def passed(inside: str, outside: str = "") -> Pass:
    return http(f"upstream app {{ server a:1; server b:2; }} {outside} server {{ {inside} }}").passes[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("0", 0), ("1h 30m", 5400), ("1h30m", 5400), ("1s500ms", 1.5), ("250ms", 0.25), ("1d", 86400),
        ("1y", 31536000), ("1M", 2592000), ("1m 5", 65), ("", None), ("s", None), ("5x", None), ("1m1h", None),
        ("-1", None), ("1.5s", None), ("٣s", None), ("9" * 12, None),
    ],
)  # fmt: skip
def test_times(text: str, seconds: float | None) -> None:
    assert time_s(text) == seconds


def test_sizes_and_shares() -> None:
    assert [size(t) for t in ("64", "64k", "1M", "1g", "k", "")] == [64, 65536, 1048576, None, None, None]
    assert [percent(t) for t in ("0.5%", "20%", "12.34%", "1.234%", "5", "%")] == [0.005, 0.2, 0.1234, None, None, None]
    assert time_s("1ms", fine=False) is None


def test_a_server_line_says_all_it_has() -> None:
    line = "server [::1]:81 weight=5 max_fails=3 fail_timeout=1m max_conns=9 slow_start=30s backup resolve route=a;"
    server = group(f"zone z 64k; {line}").servers[0]
    at = line.index

    assert server.at == Address("ip", "::1", 81)
    assert server.weight == Value(5, Origin("f", 1, 26 + at("weight")))
    assert (server.max_fails.value, server.fail_timeout_s.value, server.max_conns.value) == (3, 60.0, 9)
    assert (server.slow_start_s.value, server.route, server.service) == (30.0, "a", "")
    assert (server.backup, server.down, server.drain, server.resolve) == (True, False, False, True)
    assert server.origin == Origin("f", 1, 26)


def test_a_bare_server_has_the_defaults_of_nginx() -> None:
    server = group("server app.local;").servers[0]

    assert server.at == Address("name", "app.local", 80)
    assert (server.weight, server.max_fails, server.fail_timeout_s) == (Value(1), Value(1), Value(10.0))
    assert server.weight.is_default


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("10.0.0.1:8080", Address("ip", "10.0.0.1", 8080)),
        ("app_1:80", Address("name", "app_1", 80)),
        ("unix:/run/a.sock", Address("unix", "/run/a.sock", None)),
        ("[::1]", Address("ip", "::1", 80)),
        ("10.0.0.256", Address("name", "10.0.0.256", 80)),
        ("a:0", None), ("a:99999", None), ("a:b", None), ("[::x]:1", None), ("a b", None), (":80", None),
        ("unix:", None),
    ],
)  # fmt: skip
def test_addresses(address: str, meant: Address | None) -> None:
    assert group(f'server "{address}";').servers[0].at == meant


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("", RoundRobin()),
        ("least_conn;", LeastConn(Origin("f", 1, 14))),
        ("ip_hash;", IpHash(Origin("f", 1, 14))),
        ("random;", Random(False, "", Origin("f", 1, 14))),
        ("random two;", Random(True, "least_conn", Origin("f", 1, 14))),
        ("random two least_time=header;", Random(True, "least_time=header", Origin("f", 1, 14))),
        ("least_time last_byte inflight;", LeastTime("last_byte", True, Origin("f", 1, 14))),
        ("fair;", Other("fair", Origin("f", 1, 14))),
        ("random; least_conn;", LeastConn(Origin("f", 1, 22))),
    ],
)
def test_policies(inside: str, expected: Policy) -> None:
    assert group(f"{inside} server a;").policy == expected


@pytest.mark.parametrize(("words", "consistent"), [("$request_uri consistent", True), ("$request_uri", False)])
def test_hashing(words: str, consistent: bool) -> None:
    policy = group(f"hash {words}; server a;").policy

    assert isinstance(policy, Hash)
    assert (policy.key.text, policy.consistent) == ("$request_uri", consistent)


@pytest.mark.parametrize(
    ("inside", "before"),
    [("keepalive 8; least_conn;", True), ("least_conn; keepalive 8;", False), ("keepalive 8;", False)],
)
def test_the_order_of_keepalive_and_policy(inside: str, before: bool) -> None:
    keepalive = group(f"server a; {inside}").keepalive

    assert keepalive is not None
    assert (keepalive.connections, keepalive.before_policy, keepalive.local) == (8, before, False)


def test_newer_versions_keep_connections_by_themselves() -> None:
    keepalive = group("server a;", NEW).keepalive

    assert keepalive is not None
    assert (keepalive.connections, keepalive.local, keepalive.origin) == (32, True, NOWHERE)
    assert group("server a;").keepalive is None
    off = group("server a; keepalive 0;", NEW).keepalive
    assert off is not None
    assert off.connections == 0


def test_what_a_group_keeps() -> None:
    read_group = group(
        "server a; zone z 64k; sticky cookie sid expires=1h; queue 10 timeout=5s; keepalive 4;"
        "keepalive_timeout 5s; keepalive_requests 10; keepalive_time 1m; resolver 127.0.0.1 valid=5s; check a=b;"
    )

    assert read_group.zone == Zone("z", 65536, Origin("f", 1, 24))
    assert read_group.sticky is not None
    assert (read_group.sticky.kind, [w.text for w in read_group.sticky.words]) == ("cookie", ["sid", "expires=1h"])
    assert (read_group.queue, read_group.keepalive_timeout_s.value, read_group.keepalive_requests.value) == (
        10,
        5.0,
        10,
    )
    assert read_group.keepalive_time_s.value == 60.0
    assert read_group.resolver is not None
    assert (read_group.resolver.valid_s, [d.name for d in read_group.others]) == (5.0, ["check"])


def test_a_group_does_not_inherit_what_clients_get() -> None:
    reading = http("keepalive_timeout 9s; upstream u { server a; } server { listen 80; }")

    assert reading.upstreams[0].keepalive_timeout_s == Value(60.0)
    assert reading.sites[0].keepalive_timeout_s.value == 9.0


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        ("", 'no server is in upstream "u"'),
        ("server a weight=0;", '"weight=0" is no option of a server, or has no such value'),
        ("server a weight=;", '"weight=" is no option of a server, or has no such value'),
        ("server a fail_timeout=5ms;", '"fail_timeout=5ms" is no option of a server, or has no such value'),
        ("server a\n server b;", 'a ";" is missing after "a"'),
        ("server a:x;", '"a:x" is no address of a server'),
        ("ip_hash; server a; server b backup;", '"ip_hash" has no place for a backup server'),
        ("server a resolve;", '"resolve" needs a "zone" in the upstream'),
        ("server a; keepalive 0;", '"keepalive" takes a number of connections, not "0"'),
        ("server a; zone z many;", '"many" is no size'),
        ("server a; hash $a b;", 'the second word of "hash" is "consistent" or none, not "b"'),
        ("server a; random three;", '"random" takes "two" or nothing, not "three"'),
        ("server a; keepalive 1; keepalive 2;", '"keepalive" is written twice in this upstream'),
    ],
)
def test_what_nginx_would_refuse_in_a_group(inside: str, sentence: str) -> None:
    assert sentence in sentences(http(f"upstream u {{ {inside} }}"))


def test_backups_above_the_policy_are_taken_and_ignored() -> None:
    assert sentences(http("upstream u { server a; server b backup; ip_hash; }")) == []


def test_a_pass_has_what_nobody_set() -> None:
    found = passed("location / { proxy_pass http://app; }")

    assert (found.upstream, found.scheme, found.uri, found.variables) == ("app", "http", "", ())
    assert (found.connect_timeout_s, found.read_timeout_s, found.send_timeout_s) == (Value(60.0),) * 3
    assert found.next_upstream == Value(("error", "timeout"))
    assert (found.next_upstream_tries, found.next_upstream_timeout_s) == (Value(0), Value(0.0))
    assert (found.http_version, found.connection) == (Value("1.0"), Value("close"))
    assert (found.buffering, found.request_buffering, found.tls, found.resolver) == (
        Value(True),
        Value(True),
        None,
        None,
    )
    assert [log.format_name for log in found.logs] == ["combined"]


def test_a_pass_inherits_from_the_nearest_block() -> None:
    found = passed(
        "proxy_read_timeout 20s; location /a { proxy_connect_timeout 1s; location /a/b { if ($x) {"
        " proxy_pass http://app; } proxy_send_timeout 3s; } }",
        "proxy_read_timeout 10s; proxy_connect_timeout 2s; proxy_next_upstream off; proxy_buffering off;",
    )

    assert [f"{p.modifier} {p.pattern}" for p in found.path] == [" /a", " /a/b", "if ($x)"]
    assert (found.read_timeout_s.value, found.connect_timeout_s.value, found.send_timeout_s.value) == (20.0, 1.0, 3.0)
    assert (found.next_upstream.value, found.buffering.value) == ((), False)
    assert found.buffering.origin.line == 1


def test_headers_of_an_inner_block_replace_all_outer_ones() -> None:
    outer = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-A b;'
    inherited = passed("location / { proxy_pass http://app; }", outer)
    replaced = passed("location / { proxy_set_header Host $host; proxy_pass http://app; }", outer)

    assert (inherited.connection.value, inherited.http_version.value) == ("", "1.1")
    assert [h.name for h in inherited.headers] == ["Connection", "X-A"]
    assert (replaced.connection, [h.name for h in replaced.headers]) == (Value("close"), ["Host"])


def test_newer_versions_speak_http_1_1() -> None:
    found = read({"f": "server { location / { proxy_pass http://a; } }"}, "f", version=NEW).passes[0]

    assert (found.http_version, found.connection) == (Value("1.1"), Value(""))


def test_a_pass_to_an_address_is_a_group_of_its_own() -> None:
    reading = http(
        "server { location / { proxy_pass https://localhost/x; } location /b { proxy_pass https://localhost; } }"
    )

    assert [(u.name, u.implicit, u.servers[0].at) for u in reading.upstreams] == [
        ("localhost", True, Address("name", "localhost", 443))
    ]
    assert [p.uri for p in reading.passes] == ["/x", ""]
    tls = reading.passes[0].tls
    assert tls is not None
    assert (tls.verify, tls.server_name, tls.name) == (Value(False), Value(False), Value("$proxy_host"))


@pytest.mark.parametrize(
    ("directive", "upstream", "scheme"),
    [
        ("grpc_pass grpcs://app", "app", "grpcs"), ("grpc_pass app", "app", ""), ("fastcgi_pass app", "app", ""),
        ("fastcgi_pass unix:/run/php.sock", "unix:/run/php.sock", ""), ("uwsgi_pass uwsgi://app", "app", "uwsgi"),
        ("proxy_pass http://unix:/run/a.sock:/uri", "unix:/run/a.sock", "http"), ("memcached_pass app", "app", ""),
    ],
)  # fmt: skip
def test_sisters_of_proxy_pass(directive: str, upstream: str, scheme: str) -> None:
    found = passed(f"location / {{ {directive}; }}")

    assert (found.upstream, found.scheme) == (upstream, scheme)


@pytest.mark.parametrize(
    ("outside", "target", "candidates", "open_ended"),
    [
        ("set $up app;", "http://$up", ("app",), False),
        ("set $up http://app;", "$up", ("app",), False),
        ("", "http://app$request_uri", ("app",), False),
        ("", "http://app/$1", (), True),
        ("", "http://$host", (), True),
        ("", "http://$up", ("a", "b", "c"), False),
        ("", "http://$m:81", ("x:81", "y:81"), False),
        ("", "http://$undecided", ("x",), True),
        ("set $a $b; set $b $a;", "http://$a", (), True),
    ],
)
def test_what_variables_can_come_to(outside: str, target: str, candidates: tuple[str, ...], open_ended: bool) -> None:
    definitions = (
        "split_clients $remote_addr $up { 10% a; 20.5% b; * c; } map $host $m { default x; one y; }"
        "map $host $undecided { one x; }"
    )
    if "$up" in outside:
        definitions = ""
    found = passed(f"{outside} location / {{ proxy_pass {target}; }}", definitions)

    assert (sorted(found.candidates), found.open_ended) == (sorted(candidates), open_ended)
    assert found.upstream == (candidates[0] if len(candidates) == 1 and not open_ended else "")


def test_a_variable_that_doubles_is_cut_off() -> None:
    found = passed('set $a "$a$a"; location / { proxy_pass http://$a; }')

    assert (found.candidates, found.open_ended) == ((), True)


def test_splits() -> None:
    reading = http("split_clients ${remote_addr}x $v { 0.5% a; 20% b; } split_clients $x $w { 60% a; 60% b; }")

    assert [(s.key.text, s.variable, [p.share for p in s.parts]) for s in reading.splits] == [
        ("${remote_addr}x", "v", [0.005, 0.2]), ("$x", "w", [0.6, 0.6]),
    ]  # fmt: skip
    assert sentences(reading) == ["the shares add up to 120.00%"]
    rest = http("split_clients $x $w { 60% a; * b; }").splits[0].parts
    assert [(p.share, p.value.text) for p in rest] == [(0.6, "a"), (None, "b")]
    assert isinstance(rest[0], Part)


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        ("location / { proxy_pass app; }", '"app" must begin with http:// or https://'),
        ("location / { proxy_pass http://app:80; }",
         '"app" is an upstream: it has the ports of its servers, and may have none here'),
        ("location ~ x { proxy_pass http://app/y; }",
         '"/y" may not follow the server in a location given by a regular expression'),
        ("location / { if ($a) { proxy_pass http://app/; } }", '"/" may not follow the server in "if"'),
        ("location / { fastcgi_pass nowhere; }", '"nowhere" is no upstream, and has no port'),
        ("location / { proxy_pass http://a:b; }", '"a:b" is neither an upstream nor an address'),
        ("location / { proxy_next_upstream http_5xx; proxy_pass http://app; }",
         '"http_5xx" is nothing that proxy_next_upstream knows'),
        ("location / { proxy_read_timeout soon; proxy_pass http://app; }",
         '"proxy_read_timeout" takes a time, not "soon"'),
        ("location / { proxy_pass http://app; } location / {}", 'location "/" is written twice'),
        ("listen 80; listen 80; location / { proxy_pass http://app; }", 'this server listens at "80" twice'),
        ("listen 80 fast; location / { proxy_pass http://app; }", '"fast" is no option of "listen"'),
        ("location ! x { proxy_pass http://app; }",
         'a location begins with one of = ^~ ~* ~ or with its path, not with "!"'),
        ("proxy_read_timeout 1; proxy_read_timeout 2; location / { proxy_pass http://app; }",
         '"proxy_read_timeout" is written twice in this block'),
    ],
)  # fmt: skip
def test_what_nginx_would_refuse_in_a_server(inside: str, sentence: str) -> None:
    assert sentences(http(f"upstream app {{ server a; }} server {{ {inside} }}")) == [sentence]


def test_logs_and_their_formats() -> None:
    reading = http(
        "log_format up '$remote_addr' \"$upstream_addr ${upstream_status}\"; access_log a.log up buffer=1k if=$x;"
        "server { access_log b.log other; location /a { access_log off; proxy_pass http://a; }"
        " location /b { access_log c.log up; proxy_pass http://a; } location /c { proxy_pass http://a; } }"
    )
    first, second, third = reading.passes

    assert reading.formats[1].variables == ("remote_addr", "upstream_addr", "upstream_status")
    assert first.logs == ()
    assert [(log.path.text, log.format) for log in second.logs] == [("c.log", reading.formats[1])]
    assert [(log.path.text, log.format, log.format_name) for log in third.logs] == [("b.log", None, "other")]
    outer = http("log_format up $status; access_log a.log up if=$x; server { }").sites[0].logs[0]
    assert (outer.condition, outer.format_name) == ("$x", "up")


def test_whose_address_is_believed() -> None:
    reading = http("set_real_ip_from 10.0.0.0/8; set_real_ip_from ::/0; real_ip_header X-Forwarded-For; server { }")

    assert [w.text for w in reading.sites[0].real_ip.trusted] == ["10.0.0.0/8", "::/0"]
    assert (reading.sites[0].real_ip.header.value, reading.sites[0].real_ip.recursive) == (
        "X-Forwarded-For",
        Value(False),
    )


def test_status_pages_and_who_may_see_them() -> None:
    reading = http(
        "server { listen 8080; allow 10.0.0.0/8; deny all; location /s { stub_status; }"
        " location /t { allow all; auth_basic x; stub_status; } location /u { internal; api; } }"
    )

    assert [([d.texts for d in p.allowed], p.password.value, p.internal) for p in reading.sites[0].status_pages] == [
        ([("10.0.0.0/8",), ("all",)], False, False), ([("all",)], True, False),
        ([("10.0.0.0/8",), ("all",)], False, True),
    ]  # fmt: skip


def test_sites() -> None:
    reading = http(
        "server { listen 443 ssl http2; listen [::]:80; listen unix:/s; server_name a b; keepalive_requests 5;"
        " location = /x {} location ^~ /y { location ~* z {} } location @n {} location ~w {} } server { }"
    )
    first, second = reading.sites

    assert [(x.at, x.options) for x in first.listens] == [
        (Address("ip", "*", 443), ("ssl", "http2")), (Address("ip", "::", 80), ()), (Address("unix", "/s", None), ()),
    ]  # fmt: skip
    assert ([w.text for w in first.names], first.http2.value, first.keepalive_requests.value) == (["a", "b"], True, 5)
    assert [[f"{p.modifier} {p.pattern}" for p in path] for path in first.locations] == [
        ["= /x"], ["^~ /y"], ["^~ /y", "~* z"], ["@ @n"], ["~ w"],
    ]  # fmt: skip
    assert [x.at for x in second.listens] == [Address("ip", "*", 80)]
    assert isinstance(second.listens[0], Listen)


def test_a_whole_configuration() -> None:
    reading = read(
        {
            "nginx.conf": "worker_processes auto; worker_rlimit_nofile 9; worker_shutdown_timeout 10s;\n"
            "load_module m.so; events { worker_connections 7; }\nhttp { include conf.d/*; }\n"
            "stream { upstream s { server a:1; } server { listen 1; proxy_pass s; proxy_timeout 3s;\n"
            "proxy_ssl on; proxy_next_upstream off; } }",
            "conf.d/a": "upstream U { server a; }\nserver { location / { proxy_pass http://u; } }",
        },
        "nginx.conf",
    )

    assert (reading.context, reading.files, reading.problems) == ("main", ("nginx.conf", "conf.d/a"), ())
    assert (reading.process.workers.value, reading.process.connections.value) == ("auto", 7)
    assert (reading.process.open_files.value, reading.process.shutdown_timeout_s.value) == (9, 10.0)
    assert [w.text for w in reading.process.modules] == ["m.so"]
    assert [(u.module, u.name, u.origin.file) for u in reading.upstreams] == [
        ("http", "U", "conf.d/a"), ("stream", "s", "nginx.conf"),
    ]  # fmt: skip
    web, tcp = reading.passes
    assert (reading.upstream("http", web.upstream), web.module) == (reading.upstreams[0], "http")
    assert (tcp.upstream, tcp.read_timeout_s.value, tcp.next_upstream.value, tcp.logs) == ("s", 3.0, (), ())
    assert tcp.tls is not None


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"f": "http {}"}, 'there is no "events" block, which nginx insists on'),
        ({"f": "events {} events {}"}, '"events" is written twice'),
        ({"f": "events {} worker_processes many;"}, '"worker_processes" takes a number or auto, not "many"'),
        ({"f": "upstream a { server x; } upstream A { server y; }"}, 'upstream "A" is written twice'),
    ],
)
def test_what_nginx_would_refuse_of_a_whole(files: dict[str, str], sentence: str) -> None:
    assert sentences(read(files, "f")) == [sentence]


def test_an_absent_include_may_hold_what_seems_to_miss() -> None:
    reading = http("upstream u { include servers.conf; }")

    assert (sentences(reading), [a.pattern for a in reading.absent]) == ([], ["servers.conf"])
