"""Every directive is where nginx would have it, or that is a problem with a sentence."""

import pytest

from levelhead.engines.nginx.contexts import check, context_of
from levelhead.engines.nginx.directives import known
from levelhead.engines.nginx.picture import Context
from levelhead.engines.nginx.syntax import parse

PASS_PLACES = "location, an if of a location, limit_except or a server of stream"


@pytest.mark.parametrize(
    ("text", "context", "column", "sentence"),
    [
        ("proxy_pass http://a;", "main", 1, f'"proxy_pass" may stand in {PASS_PLACES}, not in the top level'),
        ("upstream u { location / {} }", "http", 14, '"location" may stand in server or location, not in upstream'),
        ("server { if ($a) { proxy_pass http://b; } }", "http", 20,
         f'"proxy_pass" may stand in {PASS_PLACES}, not in an if of a server'),
        ("proxy_read_timeout;", "http", 1, '"proxy_read_timeout" takes 1 argument, not 0'),
        ("proxy_read_timeout 1 2;", "http", 1, '"proxy_read_timeout" takes 1 argument, not 2'),
        ("least_conn x;", "upstream", 1, '"least_conn" takes no arguments, not 1'),
        ("hash;", "upstream", 1, '"hash" takes 1 to 2 arguments, not 0'),
        ("proxy_next_upstream;", "http", 1, '"proxy_next_upstream" takes at least 1 argument, not 0'),
        ("proxy_buffering yes;", "http", 17, '"proxy_buffering" is on or off, not "yes"'),
        ("upstream u;", "http", 11, '"upstream" needs a block in braces, not a ";"'),
        ("listen 80 {}", "server", 1, '"listen" takes no block: a ";" is missing'),
        ("listen 80\n server_name a;", "server", 8, 'a ";" is missing after "80"'),
        ("proxy_passs http://a;", "location", 1, '"proxy_passs" is no directive of nginx: did you mean "proxy_pass"?'),
    ],
)  # fmt: skip
def test_problems(text: str, context: Context, column: int, sentence: str) -> None:
    checked = check(parse(text, "f").directives, context)

    assert [(p.origin.column, p.sentence) for p in checked.problems] == [(column, sentence)]


@pytest.mark.parametrize(
    "text",
    [
        "more_set_headers 'a: b';", "brotli on;", "rtmp { server { listen 1935; } }", "mail { server { x; } }",
        "http { map $a $b { hostnames; default 1; x y; } types { text/html html; } geo $c { default 0; } }",
        "http { split_clients $a $b { 1% x; * y; } upstream u { check interval=3000; server a; } }",
        "http { server { listen 80\n default_server; } }",
        "stream { upstream u { hash $remote_addr consistent; } server { listen 1; proxy_pass u; tcp_nodelay on; } }",
    ],
)  # fmt: skip
def test_what_other_modules_have_or_blocks_hold_is_no_problem(text: str) -> None:
    assert check(parse(text, "f").directives, "main").problems == []


def test_unknown_directives_are_told_apart() -> None:
    checked = check(parse("http { more_set_headers x; }", "f").directives, "main")

    assert [d.name for d in checked.unknown] == ["more_set_headers"]


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("http { server { location / { proxy_pass http://a; } } }", "main"),
        ("events {} http {}", "main"),
        ("upstream a { server b; } server { listen 80; location / { proxy_pass http://a; } }", "http"),
        ("listen 80; server_name a; location / {}", "server"),
        ("proxy_pass http://a; proxy_set_header Host b;", "location"),
        ("server a:80 weight=2; keepalive 3;", "upstream"),
        ("upstream a { server b:1; } server { listen 80; proxy_pass a; }", "stream"),
        ("proxy_timeout 3s; proxy_pass a:1;", "stream-server"),
        ("", "main"),
    ],
)
def test_a_piece_is_known_by_what_is_in_it(text: str, context: Context) -> None:
    assert context_of(parse(text, "f").directives) == context


def test_the_table_is_whole() -> None:
    table = known()

    assert len(table) > 500
    assert all(shape.least <= shape.most for places in table.values() for shape in places.values())
    assert table["server"]["http"].block
    assert not table["server"]["upstream"].block
