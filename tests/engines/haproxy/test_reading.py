"""What the reader makes of a configuration: words, conditions, inheritance, servers, and what it says is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead.engines.haproxy import syntax
from levelhead.engines.haproxy.picture import Balance, HashType, Proxy, Reading, ServerLine
from levelhead.engines.haproxy.preprocess import Setup
from levelhead.engines.haproxy.reading import read
from levelhead.engines.haproxy.values import Address, Bad, address, duration_s, size
from levelhead.errors import ConfigError
from levelhead.model import Origin


def words(line: str) -> list[str]:
    return [w.text for w in syntax.parse(line).lines[0].words]


def reading(text: str, setup: Setup | None = None) -> Reading:
    return read({"h.cfg": text}, setup or Setup())


def pool(text: str, name: str = "b") -> Proxy:
    found = reading(text).proxy(name)
    assert found is not None
    return found


def server(options: str, before: str = "") -> ServerLine:
    return pool(f"backend b\n{before} server s 127.0.0.1:80 {options}\n").servers[0]


def said(text: str, setup: Setup | None = None) -> list[str]:
    """Problems as `kind line:column sentence`."""
    return [f"{p.kind} {p.origin.line}:{p.origin.column} {p.sentence}" for p in reading(text, setup).problems]


@pytest.mark.parametrize(("line", "expected"), [
    ("server a b", ["server", "a", "b"]),
    ("  a\tb  # c d", ["a", "b"]),
    ("global#comment", ["global"]),
    (r"a\ b \# \\ \x41 \t", ["a b", "#", "\\", "A", "\t"]),
    (r"'a b' \1 $x", ["a b", r"\1", "$x"]),
    ("""x"y z"' w'""", ["xy z w"]),
    (r""""\"\$HOME" '\n'""", ['"$HOME', r"\n"]),
    ("a\rb c", ["a"]),
    ("a \rb", ["a", "b"]),
    ('a "" b', ["a", "", "b"]),
    ("\r", []),
])  # fmt: skip
def test_words_are_cut_as_haproxy_cuts_them(line: str, expected: list[str]) -> None:
    assert words(line) == expected


@pytest.mark.parametrize(("line", "column", "what"), [
    ('mode "http', 6, "unmatched quote"),
    (r"a \xg1", 3, "hexadecimal"),
    ('a "${x"', 5, "unmatched brace"),
    ('a "${9}"', 6, "forbidden first character"),
    ('a "${x[1]}"', 7, "word expansion"),
    ("a " * 65, 129, "too many words"),
])  # fmt: skip
def test_a_line_that_cannot_be_cut_says_where_and_is_kept(line: str, column: int, what: str) -> None:
    tree = syntax.parse(line + "\n")
    fault = tree.lines[0].fault

    assert fault is not None
    assert (fault.column, what in fault.sentence) == (column, True)
    assert syntax.render(tree) == line + "\n"


def test_every_word_knows_its_place_and_every_comment_is_kept() -> None:
    tree = syntax.parse("# top\nbackend b # tail\n\n    server 'a' x\n", "f.cfg")

    assert [line.comment for line in tree.lines] == ["# top", "# tail", "", ""]
    assert tree.lines[3].words[1] == syntax.Word("a", "'a'", Origin("f.cfg", 4, 12))
    assert tree.lines[3].words[1].quoted
    assert [b.header.keyword if b.header else "" for b in syntax.blocks(tree, frozenset({"backend"}))] == ["",
    "backend"]


@given(st.text())
def test_any_text_without_nul_is_rendered_as_it_was(text: str) -> None:
    text = text.replace("\0", "")
    assert syntax.render(syntax.parse(text)) == text


def test_a_nul_character_is_no_text() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"x": "global\n ab\0c\n"})

    assert (caught.value.file, caught.value.line, caught.value.column) == ("x", 2, 4)


def test_variables_are_expanded_between_double_quotes_and_set_on_the_way() -> None:
    text = (
        "global\n setenv PORT 81\nbackend b\n"
        ' server a "127.0.0.1:$PORT" "${MORE[*]}"\n server "c${.LINE}" "${HOST-127.0.0.2}:1"\n'
        ' server d "$NOBODY:80" weight "$W"\n'
    )
    found = reading(text, Setup(variables={"MORE": "weight 7"}))
    servers = found.proxies[0].servers

    assert [(s.name, s.address.host, s.port, s.weight) for s in servers] == [
        ("a", "127.0.0.1", 81, 7), ("c5", "127.0.0.2", 1, 1), ("d", "$NOBODY:80", 0, 0),
    ]  # fmt: skip
    assert servers[2].address.family == "unknown"
    assert [p.sentence.split(" is")[0] for p in found.problems] == [
        "the environment variable NOBODY", "the environment variable W",
    ]  # fmt: skip
    assert found.errors == ()


CONDITION = ".if {0}\nbackend yes\n.else\nbackend no\n.endif\n"


@pytest.mark.parametrize(("condition", "expected"), [
    ("1", "yes"), ("0", "no"), ("", "no"), ("!1", "no"), ("1 && 0", "no"), ("0 || 1 && 1", "yes"), ("(0 || 1) && !0",
    "yes"),
    ('streq("$A",x)', "yes"), ("strneq(a,a)", "no"), ("defined(A)", "yes"), ("version_atleast(2.4)", "yes"),
    ("version_before(2.6)", "no"), ("feature(LUA)", "yes"), ("feature(QUIC)", "no"), ("0 && defined(B)", "no"),
])  # fmt: skip
def test_conditions_choose_a_branch_and_keep_both(condition: str, expected: str) -> None:
    setup = Setup(variables={"A": "x"}, version=(2, 6), features=frozenset({"LUA"}))
    found = reading(CONDITION.format(condition), setup)

    assert [p.name for p in found.proxies] == [expected]
    assert found.problems == ()
    assert "backend no" in syntax.render(found.trees[0])


def test_what_depends_on_an_unknown_condition_is_not_certain() -> None:
    found = reading("backend b\n.if defined(B)\n server a 127.0.0.1\n.else\n server c 127.0.0.1\n.endif\n")
    states = {s.words[-2].text: (s.active, s.certain) for s in found.proxies[0].statements}

    assert states == {"a": (True, False), "c": (False, False)}
    assert [p.kind for p in found.problems] == ["unknown"]


@pytest.mark.parametrize(("text", "expected"), [
    (".if 1\n", ["error 1:1 this .if has no .endif"]),
    (".endif\n", ["error 1:1 .endif without .if"]),
    (".if foo(1)\n.endif\n", ["error 1:5 unparsable condition 'foo(1)'",
                               "unknown 1:1 it cannot be told from here whether this condition holds; this "
                               "branch is read"]),
    (".alert 'no no'\n", ["error 1:1 the file says: no no"]),
    (".if 0\n.alert x\n nonsense\n.endif\n", []),
    (".warning x\n.notice y\n", ["warning 1:1 the file says: x"]),
    ("global\n.foo\n", ["error 2:1 unknown directive .foo"]),
])  # fmt: skip
def test_wrong_conditions_are_reported(text: str, expected: list[str]) -> None:
    assert sorted(said(text)) == sorted(expected)


@pytest.mark.parametrize(("text", "expected"), [
    ("5", 0.005), ("5s", 5.0), ("900us", 0.001), ("2m", 120.0), ("1d", 86400.0), ("0", 0.0),
])  # fmt: skip
def test_times_are_in_seconds(text: str, expected: float) -> None:
    assert duration_s(text) == expected


@pytest.mark.parametrize("text", ["", "s", "5x", "-1", "5 s", "25d", "99999999999999999999"])
def test_what_is_no_time_says_why(text: str) -> None:
    assert isinstance(duration_s(text), Bad)


def test_sizes_have_units() -> None:
    assert [size(t) for t in ("10", "2k", "3M")] == [10, 2048, 3 << 20]
    assert isinstance(size("k"), Bad)


@pytest.mark.parametrize(("text", "expected"), [
    ("127.0.0.1:80", Address("127.0.0.1:80", "ip4", "127.0.0.1", 80)),
    ("[::1]:80", Address("[::1]:80", "ip6", "::1", 80)),
    ("::1:80", Address("::1:80", "ip6", "::1", 80)),
    ("ipv4@x:1", Address("ipv4@x:1", "name", "x", 1)),
    ("*:80-90", Address("*:80-90", "any", "", 80, last_port=90)),
    (":+5", Address(":+5", "any", "", 5, offset=True)),
    ("/run/s", Address("/run/s", "unix", "/run/s")),
    ("abns@s", Address("abns@s", "abns", "s")),
    ("fd@3", Address("fd@3", "descriptor", "3")),
    ("udp4@1.2.3.4:5", Address("udp4@1.2.3.4:5", "ip4", "1.2.3.4", 5, datagram=True)),
    ("quic4@:443", Address("quic4@:443", "any", "", 443, datagram=False, quic=True)),
    ("${H}:80", Address("${H}:80", "unknown", "${H}:80")),
])  # fmt: skip
def test_addresses(text: str, expected: Address) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["1.2.3.4:x", "1.2.3.4:70000", "1:2:3", "ipv4@[::1]:80", "1.2.3.4:9-1", "fd@x"])
def test_what_is_no_address_says_why(text: str) -> None:
    assert isinstance(address(text), Bad)


INHERITED = """
defaults one
    mode http
    timeout connect 3s
    timeout server 10s
    option redispatch
    option httpclose
    balance leastconn
    retries 2
    default-server inter 3s fall 4 maxconn 9
defaults two from one
    timeout server 20s
    no option redispatch
backend b
    timeout queue 1m
    option http-keep-alive
    default-server rise 7
    server s 127.0.0.1:80 check fall 5 id 40
    server t 127.0.0.1:81
backend c from one
    hash-type consistent djb2 avalanche
    balance hdr(x-key) use_domain_only
frontend f from one
    timeout client 1s
"""


def test_settings_come_from_defaults_and_say_which() -> None:
    b = pool(INHERITED)

    assert b.timeouts.server is not None
    assert b.timeouts.connect is not None
    assert b.timeouts.queue is not None
    assert (b.timeouts.server.value, b.timeouts.server.defaults, b.timeouts.server.origin.line) == (20,
    "defaults two", 12)
    assert (b.timeouts.connect.value, b.timeouts.connect.defaults) == (3, "defaults one")
    assert (b.timeouts.queue.value, b.timeouts.queue.defaults) == (60, None)
    assert b.timeouts.client is None
    assert b.mode is not None
    assert (b.mode.value, b.algorithm, b.has("redispatch"), b.has("httpclose"), b.has("http-keep-alive")) == (
        "http", "leastconn", False, False, True,
    )  # fmt: skip
    c = pool(INHERITED, "c")
    assert c.balance is not None
    assert c.hash_type is not None
    assert c.has("redispatch")
    assert c.balance.value == Balance("hdr", "x-key", ("use_domain_only",))
    assert c.hash_type.value == HashType("consistent", "djb2", "avalanche")
    f = pool(INHERITED, "f")
    assert f.timeouts.server is None
    assert f.balance is None


def test_servers_inherit_default_server_and_know_where_each_word_stands() -> None:
    s, t = pool(INHERITED).servers

    assert (s.check.enabled, s.check.inter_s, s.check.fall, s.check.rise, s.maxconn, s.number) == (True, 3, 5, 7, 9, 40)
    assert (t.check.enabled, t.check.fall, t.number) == (False, 4, 2)
    fall = s.option("fall")
    assert fall is not None
    assert (fall.values, fall.inherited, fall.origin) == (("5",), False, Origin("h.cfg", 18, 33))
    inter = s.option("inter")
    assert inter is not None
    assert (inter.inherited, inter.origin.line) == (True, 10)


def test_words_with_no_take_away_what_defaults_gave() -> None:
    before = " default-server check ssl verify none backup send-proxy agent-check disabled\n"
    s = server("no-check no-ssl no-backup no-send-proxy no-agent-check enabled", before)

    assert (s.check.enabled, s.ssl, s.backup, s.send_proxy, s.agent.enabled, s.disabled) == (
        False, False, False, "", False, False,
    )  # fmt: skip


def test_templates_become_servers() -> None:
    found = pool("backend b\n server-template web 2-4 app:80 check weight 7\n").servers

    assert [(s.name, s.number, s.weight, s.address.host) for s in found] == [
        ("web2", 1, 7, "app"), ("web3", 2, 7, "app"), ("web4", 3, 7, "app"),
    ]  # fmt: skip
    assert found[0].template is not None
    assert (found[0].template.number, found[0].template.last) == (2, 4)


def test_checks_routes_and_the_global_section() -> None:
    text = """global
    maxconn 500
    nbthread 2
    hard-stop-after 30s
    stats socket /run/a.sock level admin mode 660
    tune.bufsize 32768
frontend f
    bind :80,:81
    bind :443 ssl crt /a.pem
    use_backend b if { path /b }
    use_backend %[req.hdr(host)]
    default_backend b
backend b
    option httpchk
    http-check send meth GET uri /up ver HTTP/1.1 hdr Host x
    http-check expect status 200
    http-check disable-on-404
    cookie SRV insert indirect
    server a [::1]:80 check
    use-server a if { src 127.0.0.1 }
    stick-table type ip size 1k expire 5m store gpc0,http_req_rate(10s)
"""
    found = reading(text)
    g, f, b = found.globals, found.proxy("f"), found.proxy("b")

    assert found.problems == ()
    assert g.maxconn is not None
    assert g.hard_stop_after_s is not None
    assert (g.maxconn.value, g.hard_stop_after_s.value, g.stats_sockets[0].level) == (500, 30.0, "admin")
    assert [w.text for w in g.setting("tune.bufsize")] == ["32768"]
    assert f is not None
    assert b is not None
    assert [(len(x.addresses), x.ssl) for x in f.binds] == [(2, False), (1, True)]
    assert [(r.target, r.dynamic, r.exists) for r in f.use_backends] == [("b", False, True), ("%[req.hdr(host)]",
    True, None)]
    assert f.default_backend is not None
    assert f.default_backend.exists
    assert (b.checks.type, b.checks.method, b.checks.uri, b.checks.headers, b.checks.disable_on_404) == (
        "http", "GET", "/up", (("Host", "x"),), True,
    )  # fmt: skip
    assert [r.arguments for r in b.checks.expects] == [("status", "200")]
    assert b.cookie is not None
    assert (b.cookie.value.mode, b.use_servers[0].exists) == ("insert", True)
    assert b.stick_table is not None
    assert (b.stick_table.size, b.stick_table.expire_s, b.stick_table.store) == (1024, 300, ("gpc0",
    "http_req_rate(10s)"))


def test_files_are_read_in_order_and_end_their_sections() -> None:
    found = read({"1.cfg": "defaults\n mode http\nbackend a\n", "2.cfg": " server x 127.0.0.1\nbackend b\n"})

    assert [(p.sentence, p.origin) for p in found.problems] == [("'server' stands in no section", Origin("2.cfg", 1,
    2))]
    b = found.proxy("b")
    assert b is not None
    assert b.mode is not None
    assert (b.mode.value, b.mode.origin.file) == ("http", "1.cfg")


B = "backend b\n "
WRONG = [
    (B + "timout server 3s\n", (
        "error 2:2 any HAProxy does not know 'timout' in a backend section; did you mean 'timeout'?"
    )),
    (B + "timeout server 3x\n", (
        "error 2:17 'timeout server': unexpected character 'x' in '3x'; write a number and us, ms, s, m, h or d"
    )),
    (B + "timeout server\n", "error 2:10 'timeout server' expects a time"),
    (B + "timeout sever 3s\n", "error 2:10 'timeout' does not know 'sever'; did you mean 'server'?"),
    (B + "server a 127.0.0.1:80 cheek\n", "error 2:24 server a: unknown word 'cheek'; did you mean 'check'?"),
    (B + "server a 127.0.0.1:80 weight 300\n", "error 2:31 server a: 'weight': 300 is not within 0 and 256"),
    (B + "server a 127.0.0.1:80 weight\n", "warning 2:24 server a: 'weight' has no value; HAProxy reads 0"),
    (B + "server a 127.0.0.1:80 maxconn 5x\n", "warning 2:32 server a: HAProxy reads '5x' as 5"),
    (B + "server a\n", "error 2:2 'server' expects <name> and <address>[:<port>]"),
    (B + "server a 1.1.1.1\n server a 1.1.1.2\n", "error 3:2 another server a is at h.cfg:2:2; names must differ"),
    (B + "server a 1.1.1.1 track z\n", "error 2:2 server a tracks 'z', which is not there"),
    (B + "server a 1.1.1.1 check\n", "error 2:2 server a is checked, but neither it nor its check has a port"),
    (B + "server a 1.1.1.1:1 ssl\n", (
        "error 2:2 server a: certificates are verified, but there is no ca-file; HAProxy refuses that"
    )),
    (B + "balance lastconn\n", "error 2:10 'balance' does not know 'lastconn'; did you mean 'leastconn'?"),
    (B + "option httpchek\n", "error 2:9 unknown option 'httpchek'; did you mean 'httpchk'?"),
    (B + "retries x\n", "warning 2:10 'retries': HAProxy reads 'x' as 0"),
    (B + "retries 1 2\n", "error 2:12 'retries' cannot handle the argument '2'"),
    (B + "bind :80\n", "warning 2:2 'bind' is ignored: the backend b has no clients"),
    (B + "use-server a if TRUE\n", "error 2:13 backend b: there is no server 'a' for use-server"),
    (B + "http-request deny if nope\n", "error 2:23 no such ACL: 'nope'"),
    (B + "http-request dney\n", "error 2:15 'http-request' does not know the action 'dney'; did you mean 'deny'?"),
    (B + "stick on src table t\n", "error 2:2 backend b: there is no stick table 't'"),
    (B + "no server a 1.1.1.1\n", "error 2:5 only options and log can be negated, not 'server'"),
    ("frontend f\n bind :80\n default_backend weeb\nbackend web\n", (
        "error 3:18 frontend f: there is no backend 'weeb' for default_backend; did you mean 'web'?"
    )),
    ("frontend f\n bind 127.0.0.1\n", "error 2:7 bind 127.0.0.1: a port is needed"),
    ("backend b\nbackend b\n", "error 2:1 backend b has the same name as backend b at h.cfg:1:1"),
    ("backend b from d\n", "error 1:16 there is no defaults section 'd' before this"),
    ("backend b/c\n", "error 1:10 character '/' cannot be in the name 'b/c' of a backend section"),
    ("defaults\n server a 1.1.1.1\n", "error 2:2 'server' cannot stand in a defaults section"),
    ("defaults\n acl a src 1.1.1.1\n", "error 2:2 'acl' cannot stand in a defaults section without a name"),
    ("gobal\n", "error 1:1 'gobal' stands in no section; did you mean 'global'?"),
    ("global\n maxcon 5\n", (
        "error 2:2 any HAProxy does not know 'maxcon' in a global section; did you mean 'maxconn'?"
    )),
    ("global\n maxconn x\n", "error 2:10 'maxconn': 'x' is not a whole number"),
    ("backend b", "error 1:10 no line feed at the end of the last line: is the file cut off?"),
    ("listen l :80\n", "error 1:10 unexpected ':80': 'bind' opens listening addresses"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[e for _, e in WRONG])
def test_what_is_wrong_is_said_once_and_at_its_place(text: str, expected: str) -> None:
    assert said(text) == [expected]


def test_a_word_of_another_version_says_which() -> None:
    text = "global\n tune.h2.be.initial-window-size 65536\n"

    assert said(text, Setup(version=(2, 8))) == []
    assert said(text, Setup(version=(2, 6))) == [
        "error 2:2 HAProxy 2.6 does not know 'tune.h2.be.initial-window-size' in a global section; HAProxy 2.8 does"
    ]
