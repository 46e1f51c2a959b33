"""Words that HAProxy learnt after 2.8, from its documentation; there is no binary here to ask."""

from __future__ import annotations

from typing import Final

HEADERS: Final = ("crt-store", "traces", "log-profile", "acme", "healthcheck")

_PROXY: Final = (
    "filter-sequence force-be-switch guid hash-key hash-preserve-affinity log-steps quic-initial ssl-f-use"
    " max-session-srv-conns monitor-net external-check"
)

SECTIONS: Final = {
    "global": (
        "anonkey cpu-affinity cpu-policy cpu-set dns-accept-family expose-deprecated-directives force-cfg-parser-pause"
        " h2-workaround-bogus-websocket-clients harden.reject-privileged-ports.quic harden.reject-privileged-ports.tcp"
        " h1-do-not-close-on-insecure-transfer-encoding http-err-codes http-fail-codes jwt_payload_query "
        "key-base limited-quic"
        " log-profile max-threads-per-group no-quic ocsp-update.disable ocsp-update.httpproxy ocsp-update.maxdelay"
        " ocsp-update.mindelay ocsp-update.mode node no-strict-limits option oldest-quic prealloc-fd profiling.memory"
        " set-dumpable setcap shm-stats-file shm-stats-file-max-objects ssl-engine ssl-passphrase-cmd "
        "ssl-security-level"
        " ssl-default-bind-sigalgs ssl-default-bind-client-sigalgs ssl-default-server-sigalgs stats-file stress-level"
        " ssl-default-server-client-sigalgs ssl-default-server-curves thread-hard-limit trace "
        "tune.applet.zero-copy-forwarding"
        " tune.buffers.limit tune.bufsize.small tune.cache.zero-copy-forwarding tune.defaults.purge "
        "tune.disable-fast-forward"
        " tune.disable-zero-copy-forwarding tune.epoll.mask-events tune.events.max-events-at-once "
        "tune.glitches.kill.cpu-usage"
        " tune.h1.be.glitches-threshold tune.h1.fe.glitches-threshold tune.h1.zero-copy-fwd-recv "
        "tune.h1.zero-copy-fwd-send"
        " tune.h2.be.rxbuf tune.h2.fe.rxbuf tune.h2.zero-copy-fwd-send tune.idletimer tune.lua.bool-sample-conversion"
        " tune.max-checks-per-thread tune.max-rules-at-once tune.maxpollevents tune.notsent-lowat.client"
        " tune.notsent-lowat.server tune.pattern.cache-size tune.peers.max-updates-at-once tune.pt.zero-copy-forwarding"
        " tune.quic.backend.max-idle-timeout tune.quic.cc-hystart tune.quic.cc.cubic.min-losses "
        "tune.quic.conn-buf-limit"
        " tune.quic.disable-tx-pacing tune.quic.disable-udp-gso tune.quic.frontend.conn-tx-buffers.limit"
        " tune.quic.frontend.glitches-threshold tune.quic.frontend.max-data-size tune.quic.frontend.max-idle-timeout"
        " tune.quic.frontend.max-streams-bidi tune.quic.frontend.max-tx-mem tune.quic.frontend.stream-data-ratio"
        " tune.quic.frontend.default-max-window-size tune.quic.listen tune.quic.max-frame-loss tune.quic.mem.tx-max"
        " tune.quic.reorder-ratio tune.quic.retry-threshold tune.quic.socket-owner tune.quic.zero-copy-fwd-send"
        " tune.rcvbuf.backend tune.rcvbuf.frontend tune.renice.runtime tune.renice.startup tune.ring.queues "
        "tune.sched.low-latency"
        " tune.sndbuf.backend tune.sndbuf.frontend tune.ssl.certificate-compression tune.ssl.keyupdate-rate-limit"
        " tune.stick-counters tune.takeover-other-tg-connections tune.streams.notsent-lowat tune.vars.txn-max-size"
        " unsetenv warn-blocked-traffic-after"
    ),
    "listen": _PROXY,
    "peers": "peers shards server log enabled",
    "cache": "early-hints",
    "crt-store": "load crt-base key-base",
    "traces": "trace",
    "log-profile": "on log-tag",
    "log-forward": "option timeout assume-rfc6587-ntf dont-parse-log host",
    "acme": "account-key bits challenge contact curves directory keytype map reuse-key acme-vars provider-name",
    "healthcheck": "type http-check tcp-check",
    "program": "",
    "ring": "backing-file",
    "option in listen": "use-small-buffers forwarded http-drop-request-trailers http-drop-response-trailers"
    " accept-unsafe-violations-in-http-request accept-unsafe-violations-in-http-response "
    "h2-workaround-bogus-websocket-clients",
}  # fmt: skip

_ACTIONS: Final = "do-log set-bc-mark set-bc-tos set-fc-mark set-fc-tos set-retries set-bandwidth-limit sc-add-gpc*"
_HTTP: Final = f"{_ACTIONS} add-headers-bin set-headers-bin del-headers-bin pause set-timeout set-cookie-fmt"
REGISTERED: Final = {
    "server": (
        "init-state:1 guid:1 idle-ping:1 check-reuse-pool:0 no-check-reuse-pool:0 check-pool-conn-name:1 "
        "strict-maxconn:0"
        " tcp-md5sig:1 sni-auto:0 no-sni-auto:0 check-sni-auto:0 no-check-sni-auto:0 ktls:1 log-bufsize:1 "
        "pool-conn-name:1"
        " renegotiate:0 no-renegotiate:0 curves:1 sigalgs:1 client-sigalgs:1 shard:1 hash-key:1 no-verifyhost:0 cc:1"
        " quic-cc-algo:1 ech:1"
    ),
    "bind": (
        "quic-cc-algo:1 quic-force-retry:0 quic-socket:1 nbconn:1 guid-prefix:1 default-crt:1 idle-ping:1 tls-tickets:0"
        " no-strict-sni:0 ocsp-update:1 tcp-md5sig:1 ktls:1 tcp-ss:1 cc:1 label:1 ech:1 sigalgs:1 "
        "client-sigalgs:1 no-alpn:0"
    ),
    "http-request": _HTTP,
    "http-response": f"{_HTTP} silent-drop",
    "http-after-response": (
        f"{_HTTP} set-map* del-acl* del-map* add-acl* sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt*"
        " sc-set-gpt0*"
    ),
    "tcp-request connection": f"{_ACTIONS} set-mark set-tos set-src-port",
    "tcp-request session": f"{_ACTIONS} attach-srv",
    "tcp-request content": f"{_ACTIONS} set-retries set-src-port set-tos",
    "tcp-response content": f"{_ACTIONS}",
}  # fmt: skip
