"""A configuration of any engine becomes the same kind of Fleet, and what Levelhead cannot run it refuses to render."""

from __future__ import annotations

from dataclasses import replace

import pytest

from levelhead.engines.haproxy.config import Paths, render
from levelhead.errors import ConfigError
from levelhead.model import (
    Admin,
    Check,
    Ejection,
    Fleet,
    Hash,
    LeastRequest,
    Listener,
    Origin,
    OtherPolicy,
    Outliers,
    Policy,
    Pool,
    RandomPick,
    Reserves,
    Retries,
    RoundRobin,
    Route,
    Server,
    Table,
    Timeouts,
)
from levelhead.review.base import Language
from levelhead.review.languages import config_of


def fleet_of(text: str, language: Language) -> Fleet:
    return config_of({"it": text}, "it", language).fleet


def pool_of(text: str, language: Language, name: str) -> Pool:
    pool = fleet_of(text, language).pool(name)
    assert pool is not None
    return pool


HAPROXY = """
defaults
  mode http
  timeout connect 3s
  timeout client 20s
  timeout server 40s
  retries 2
  option redispatch
frontend www
  bind :80
  bind 127.0.0.1:8443
  acl api path_beg /api
  use_backend api if api
  default_backend web
backend api
  balance leastconn
  option httpchk GET /up
  http-check expect status 204
  timeout check 1s
  default-server inter 5s fall 2 check
  server one 10.0.0.1:8080 weight 10 maxconn 50 observe layer7 error-limit 4 on-error mark-down
  server two 10.0.0.2:8080 weight 20 inter 1s fastinter 200ms
  server spare 10.0.0.3:8080 backup no-check
  server off 10.0.0.4:8080 disabled
backend web
  balance hdr(host)
  hash-type consistent
  hash-balance-factor 150
  option allbackups
  server-template app 1-3 app.internal:80 check resolvers dns
resolvers dns
  nameserver a 10.9.9.9:53
"""


def test_haproxy_becomes_a_fleet() -> None:
    fleet = fleet_of(HAPROXY, "haproxy")
    check = Check("/up", "204", 5.0, 1.0, fall=2, rise=2)
    assert fleet.listeners == (
        Listener("www", "*", 80, (Route("api", condition="if api"), Route("web"))),
        Listener("www-2", "127.0.0.1", 8443, (Route("api", condition="if api"), Route("web"))),
    )
    assert fleet.pool("api") == Pool(
        "api",
        (
            Server("one", "10.0.0.1", 8080, 10.0, in_flight_limit=50, ejection=Ejection(4)),
            Server("two", "10.0.0.2", 8080, 20.0, check=replace(check, interval_s=1.0, fast_interval_s=0.2)),
            Server("spare", "10.0.0.3", 8080, 1.0, priority=1, checked=False),
            Server("off", "10.0.0.4", 8080, 1.0, admin=Admin.MAINT),
        ),
        policy=LeastRequest(),
        check=check,
        timeouts=Timeouts(3.0, 40.0, 20.0, 3.0, 20.0),
        retries=Retries(2, ("refused",)),
        slow_start_s=0.0,
    )
    web = fleet.pool("web")
    assert web is not None
    assert web.policy == Hash("header", "host", bounded_load=1.5)
    assert (web.reserves.kind, [s.name for s in web.servers]) == ("all", ["app1", "app2", "app3"])
    assert web.unknown == "DNS says how many of the servers app1 to app3 there are at app.internal:80"


def test_every_thing_knows_its_line() -> None:
    fleet = fleet_of(HAPROXY, "haproxy")
    assert fleet.listeners[0].origin == Origin("it", 10, 3)
    assert [(p.name, p.origin.line) for p in fleet.pools] == [("api", 15), ("web", 25)]
    assert [s.origin.line for s in fleet.pools[0].servers] == [21, 22, 23, 24]


@pytest.mark.parametrize(
    ("how", "policy"),
    [
        ("", RoundRobin()),
        ("balance static-rr", RoundRobin(fixed=True)),
        ("balance first", OtherPolicy("first")),
        ("balance random", RandomPick(2)),
        ("balance random(5)", RandomPick(5)),
        ("balance source", Hash("source", consistent=False)),
        ("balance uri\n hash-type consistent", Hash("path")),
        ("balance url_param user", Hash("query", "user", consistent=False)),
    ],
)
def test_haproxy_policies(how: str, policy: Policy) -> None:
    assert pool_of(f"backend b\n {how}\n server s 10.0.0.1:80\n", "haproxy", "b").policy == policy


def test_a_tracked_check_is_that_of_the_other_server() -> None:
    text = "backend a\n server s 10.0.0.1:80 check inter 7s\nbackend b\n server s 10.0.0.1:80 track a/s\n"
    assert pool_of(text, "haproxy", "b").check == pool_of(text, "haproxy", "a").check


def test_a_time_nobody_set_is_without_bound() -> None:
    times = pool_of("backend b\n mode http\n server s 10.0.0.1:80\n", "haproxy", "b").timeouts
    assert (times.connect_s, times.server_s, times.client_s) == (float("inf"),) * 3


NGINX = """
worker_processes 4;
events {}
http {
  split_clients $request_id $half { 20% green; * blue; }
  upstream blue {
    least_conn;
    server 10.0.0.1:80 weight=3 max_fails=2 fail_timeout=30s;
    server app.internal:81 max_fails=0;
    server 10.0.0.3:82 backup;
    server 10.0.0.4:83 down;
  }
  upstream green { zone g 64k; random two; server 10.0.1.1:80; server 10.0.1.2:80 slow_start=20s; }
  server {
    listen 8080;
    server_name shop.example;
    location / { proxy_pass http://blue; proxy_read_timeout 9s; proxy_next_upstream error timeout http_503; }
    location /half { proxy_pass http://$half; proxy_next_upstream off; }
    location ~ one { proxy_pass http://10.0.2.1:90; }
  }
}
"""


def test_nginx_becomes_a_fleet() -> None:
    fleet = fleet_of(NGINX, "nginx")
    assert [p.name for p in fleet.pools] == ["blue", "green", "10.0.2.1:90"]
    blue = fleet.pools[0]
    assert blue.servers == (
        Server("10.0.0.1:80", "10.0.0.1", 80, 3.0, ring_key="10.0.0.1:80",
               ejection=Ejection(2, ("refused", "hung", "reset"), 30.0, 30.0, one_always=False)),
        Server("app.internal:81", "app.internal", 81, 1.0, many=True, ring_key="app.internal:81"),
        Server("10.0.0.3:82", "10.0.0.3", 82, 1.0, priority=1, ring_key="10.0.0.3:82",
               ejection=Ejection(1, ("refused", "hung", "reset"), 10.0, 10.0, one_always=False)),
        Server("10.0.0.4:83", "10.0.0.4", 83, 1.0, admin=Admin.MAINT, ring_key="10.0.0.4:83",
               ejection=Ejection(1, ("refused", "hung", "reset"), 10.0, 10.0, one_always=False)),
    )  # fmt: skip
    assert (blue.policy, blue.check, blue.workers, blue.engine) == (LeastRequest(), None, 4, "nginx")
    # Three servers are not down, and nginx asks each of them once.
    assert blue.retries == Retries(2, ("refused", "hung", "reset", "status"))
    assert fleet.pools[1].workers == 1
    assert fleet.pools[1].policy == RandomPick(2)
    assert fleet.pools[1].servers[1].slow_start_s == 20.0
    # nginx never gives up its only server.
    assert fleet.pools[2].servers[0].ejection is None


def test_nginx_routes_go_by_precedence_and_split_by_share() -> None:
    (listener,) = fleet_of(NGINX, "nginx").listeners
    assert (listener.host, listener.port) == ("*", 8080)
    shop = "shop.example"
    assert listener.routes == (
        Route("10.0.2.1:90", shop, "/", "~ one"),
        Route("blue", shop, "/half", share=0.8),
        Route("green", shop, "/half", share=0.2),
        Route("blue", shop, "/"),
    )


@pytest.mark.parametrize(
    ("how", "policy"),
    [
        ("", RoundRobin()),
        ("ip_hash;", Hash("source", consistent=False)),
        ("hash $request_uri;", Hash("path", consistent=False)),
        ("hash $http_x_user consistent;", Hash("header", "x-user")),
        ("hash $cookie_sid consistent;", Hash("cookie", "sid")),
        ("hash $arg_id;", Hash("query", "id", consistent=False)),
        ("hash $host$uri;", Hash("other", "$host$uri", consistent=False)),
        ("random;", RandomPick(1)),
        ("least_time header;", OtherPolicy("least_time header")),
    ],
)
def test_nginx_policies(how: str, policy: Policy) -> None:
    text = f"upstream u {{ {how} server 10.0.0.1; server 10.0.0.2; }}"
    assert pool_of(text, "nginx", "u").policy == policy
    # A piece of a configuration does not say how many workers there are.
    assert pool_of(text, "nginx", "u").workers is None


ENVOY = """
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /a}
                route:
                  cluster: ring
                  timeout: 4s
                  hash_policy: [{header: {header_name: x-user}}]
                  retry_policy: {retry_on: "connect-failure,reset", num_retries: 4}
              - match: {prefix: /}
                route: {weighted_clusters: {clusters: [{name: ring, weight: 1}, {name: far, weight: 3}]}}
  clusters:
  - name: ring
    lb_policy: RING_HASH
    outlier_detection: {}
    health_checks:
    - {timeout: 1s, interval: 2s, unhealthy_threshold: 3, healthy_threshold: 2, http_health_check: {path: /up}}
    load_assignment:
      cluster_name: ring
      endpoints:
      - locality: {region: r, zone: z}
        lb_endpoints:
        - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}
          load_balancing_weight: 2
        - endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 80}}}
          health_status: DRAINING
      - priority: 1
        lb_endpoints:
        - endpoint: {address: {socket_address: {address: 10.0.0.3, port_value: 80}}}
  - name: far
    type: EDS
    lb_policy: LEAST_REQUEST
    eds_cluster_config: {eds_config: {ads: {}}}
"""


def test_envoy_becomes_a_fleet() -> None:
    fleet = fleet_of(ENVOY, "envoy")
    ring = fleet.pools[0]
    assert ring.servers == (
        Server("10.0.0.1:80", "10.0.0.1", 80, 2.0, zone="r/z"),
        Server("10.0.0.2:80", "10.0.0.2", 80, 1.0, admin=Admin.DRAIN, zone="r/z"),
        Server("10.0.0.3:80", "10.0.0.3", 80, 1.0, priority=1),
    )
    assert ring.policy == Hash("header", "x-user", table=Table("ring", 1024, 8 * 1024 * 1024))
    assert ring.check == Check(
        "/up", "200", 2.0, 1.0, fall=3, rise=2, down_interval_s=2.0, idle_interval_s=60.0
    )  # fmt: skip
    assert ring.ejection == Ejection(
        5, away_s=30.0, longest_away_s=300.0, most=0.1, one_always=False, outliers=Outliers(10.0, 1.9, 5, 100)
    )
    assert ring.reserves == Reserves("spill", 1.4, 0.5)
    assert ring.retries == Retries(4, ("refused", "hung", "reset"))
    assert (ring.timeouts.connect_s, ring.timeouts.server_s) == (5.0, 15.0)
    assert ring.workers is None
    far = fleet.pools[1]
    assert (far.unknown, far.servers, far.policy) == ("its endpoints come by EDS", (), LeastRequest(2))
    assert fleet.listeners[0].routes == (
        Route("ring", prefix="/a"), Route("ring", share=0.25), Route("far", share=0.75),
    )  # fmt: skip


def test_levelhead_s_own_file_is_its_fleet() -> None:
    fleet = fleet_of("servers: [127.0.0.1:3001, 127.0.0.1:3002]\n", "levelhead")
    assert [s.address for s in fleet.pools[0].servers] == ["127.0.0.1:3001", "127.0.0.1:3002"]


SERVERS = (Server("a", "10.0.0.1", 80), Server("b", "10.0.0.2", 80))
PATHS = Paths("/tmp/s", "/tmp/f", "/tmp/a", "/tmp/m")


@pytest.mark.parametrize(
    ("pool", "what"),
    [
        (Pool("p", SERVERS, engine="nginx"), "pool p has engine nginx"),
        (Pool("p", SERVERS, reserves=Reserves("all")), "pool p has reserves"),
        (Pool("p", SERVERS, zone_weights=((0, "z", 1.0),)), "zone weights"),
        (Pool("p", SERVERS, affinity="stick on src"), "affinity stick on src"),
        (Pool("p", (), unknown="its endpoints come by EDS"), "unknown its endpoints come by EDS"),
        (Pool("p", SERVERS, policy=OtherPolicy("first")), "'first'"),
        (Pool("p", SERVERS, policy=RoundRobin(fixed=True)), "fixed True"),
        (Pool("p", SERVERS, policy=LeastRequest(2)), "only 2 of the servers"),
        (Pool("p", SERVERS, policy=RandomPick(1, by_weight=False)), "by weight False"),
        (Pool("p", SERVERS, policy=Hash("query", "id")), "'id'"),
        (Pool("p", SERVERS, policy=Hash("path", table=Table("maglev", 65537, 65537))), "table"),
        (Pool("p", SERVERS, check=Check(fast_interval_s=0.5)), "fast interval s 0.5"),
        (Pool("p", SERVERS, ejection=Ejection(away_s=30.0)), "away s 30.0"),
        (Pool("p", SERVERS, retries=Retries(2, elsewhere=False)), "elsewhere False"),
        (Pool("p", SERVERS, timeouts=Timeouts(server_s=float("inf"))), "no bound on server_s"),
        (Pool("p", (Server("a", "10.0.0.1", 80, priority=1),)), "server a of pool p has priority 1"),
        (Pool("p", (Server("a", "10.0.0.1", 80, check=Check()),)), "check"),
        (Pool("p", (Server("a", "10.0.0.1", 80, checked=False),)), "checked False"),
    ],
)
def test_what_is_not_rendered_is_refused(pool: Pool, what: str) -> None:
    fleet = Fleet((Listener("l", "127.0.0.1", 80, (Route("p"),)),), (pool,))
    with pytest.raises(ConfigError) as refused:
        render(fleet, PATHS, (2, 8, 0))
    assert what in refused.value.what


def test_a_route_with_a_condition_is_refused() -> None:
    fleet = Fleet((Listener("l", "127.0.0.1", 80, (Route("p", condition="if api"),)),), (Pool("p", SERVERS),))
    with pytest.raises(ConfigError, match="condition if api"):
        render(fleet, PATHS, (2, 8, 0))
