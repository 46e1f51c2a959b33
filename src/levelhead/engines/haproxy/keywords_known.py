"""The words that HAProxy 2.6 and 2.8 know; `@2.6` ends one that only 2.6 knows.

Written by bench/haproxy_keywords.py; do not edit.
"""

from __future__ import annotations

from typing import Final

# section: words that may begin a line of it; listen stands for every section with a proxy
SECTIONS: Final = {
    "global": (
        "anonkey@2.8 busy-polling ca-base chroot close-spread-time cluster-secret cpu-map crt-base daemon debug "
        "default-path description expose-experimental-directives external-check fd-hard-limit gid grace group "
        "h1-accept-payload-with-any-method h1-case-adjust h1-case-adjust-file "
        "h2-workaround-bogus-websocket-clients hard-stop-after harden.reject-privileged-ports.quic@2.8 "
        "harden.reject-privileged-ports.tcp@2.8 httpclient.resolvers.disabled@2.8 httpclient.resolvers.id "
        "httpclient.resolvers.prefer httpclient.retries@2.8 httpclient.ssl.ca-file httpclient.ssl.verify "
        "httpclient.timeout.connect@2.8 insecure-fork-wanted insecure-setuid-wanted issuers-chain-path "
        "limited-quic@2.8 localpeer log log-send-hostname log-tag lua-load lua-load-per-thread lua-prepend-path "
        "master-worker max-spread-checks maxcompcpuusage maxcomprate maxconn maxconnrate maxpipes maxsessrate "
        "maxsslconn maxsslrate maxzlibmem mworker-max-reloads nbproc nbthread no-memory-trimming no-quic@2.8 node "
        "noepoll noevports nogetaddrinfo nokqueue nopoll noreuseport nosplice numa-cpu-mapping pidfile "
        "pp2-never-send-local prealloc-fd@2.8 presetenv profiling.tasks quick-exit@2.8 quiet resetenv "
        "server-state-base server-state-file set-dumpable set-var set-var-fmt setcap@2.8 setenv "
        "ssl-default-bind-ciphers ssl-default-bind-ciphersuites ssl-default-bind-client-sigalgs@2.8 "
        "ssl-default-bind-curves ssl-default-bind-options ssl-default-bind-sigalgs@2.8 ssl-default-server-ciphers "
        "ssl-default-server-ciphersuites ssl-default-server-options ssl-dh-param-file ssl-load-extra-del-ext "
        "ssl-load-extra-files ssl-mode-async ssl-propquery ssl-provider ssl-provider-path ssl-server-verify "
        "ssl-skip-self-issued-ca stats strict-limits thread-group thread-groups trace@2.8 tune.buffers.limit "
        "tune.buffers.reserve tune.bufsize tune.chksize tune.comp.maxlevel tune.disable-fast-forward@2.8 "
        "tune.fail-alloc tune.fd.edge-triggered tune.h2.be.glitches-threshold@2.8 "
        "tune.h2.be.initial-window-size@2.8 tune.h2.be.max-concurrent-streams@2.8 "
        "tune.h2.fe.glitches-threshold@2.8 tune.h2.fe.initial-window-size@2.8 "
        "tune.h2.fe.max-concurrent-streams@2.8 tune.h2.fe.max-total-streams@2.8 tune.h2.header-table-size "
        "tune.h2.initial-window-size tune.h2.max-concurrent-streams tune.h2.max-frame-size tune.http.cookielen "
        "tune.http.logurilen tune.http.maxhdr tune.idle-pool.shared tune.idletimer "
        "tune.listener.default-shards@2.8 tune.listener.multi-queue tune.lua.burst-timeout@2.8 "
        "tune.lua.forced-yield tune.lua.log.loggers@2.8 tune.lua.log.stderr@2.8 tune.lua.maxmem "
        "tune.lua.service-timeout tune.lua.session-timeout tune.lua.task-timeout tune.maxaccept "
        "tune.maxpollevents tune.maxrewrite tune.memory.hot-size@2.8 tune.pattern.cache-size "
        "tune.peers.max-updates-at-once tune.pipesize tune.pool-high-fd-ratio tune.pool-low-fd-ratio "
        "tune.rcvbuf.client tune.rcvbuf.server tune.runqueue-depth tune.sched.low-latency tune.sndbuf.client "
        "tune.sndbuf.server tune.ssl.cachesize tune.ssl.capture-buffer-size tune.ssl.capture-cipherlist-size "
        "tune.ssl.certificate-compression@2.8 tune.ssl.default-dh-param tune.ssl.force-private-cache "
        "tune.ssl.hard-maxrecord tune.ssl.keylog tune.ssl.lifetime tune.ssl.maxrecord "
        "tune.ssl.ocsp-update.maxdelay@2.8 tune.ssl.ocsp-update.mindelay@2.8 tune.ssl.ssl-ctx-cache-size "
        "tune.stick-counters@2.8 tune.vars.check-max-size tune.vars.global-max-size tune.vars.proc-max-size "
        "tune.vars.reqres-max-size tune.vars.sess-max-size tune.vars.txn-max-size tune.zlib.memlevel@2.8 "
        "tune.zlib.windowsize@2.8 uid ulimit-n unix-bind unsetenv user zero-warning "
    ),
    "listen": (
        "acl appsession backlog balance bind bind-process block capture cliexp clitcpka-cnt clitcpka-idle "
        "clitcpka-intvl clitimeout compression contimeout cookie declare default-server default_backend "
        "description disabled dispatch dynamic-cookie-key email-alert enabled error-log-format errorfile "
        "errorfiles errorloc errorloc302 errorloc303 external-check filter force-persist fullconn grace "
        "hash-balance-factor hash-type http-after-response http-check http-error http-request http-response "
        "http-reuse http-send-name-header id ignore-persist load-server-state-from-file log log-format "
        "log-format-sd log-tag max-keep-alive-queue max-session-srv-conns maxconn mode monitor monitor-net "
        "monitor-uri option persist rate-limit redirect redisp redispatch reqadd reqallow reqdel reqdeny "
        "reqiallow reqidel reqideny reqipass reqirep reqitarpit reqpass reqrep reqtarpit retries retry-on rspadd "
        "rspdel rspdeny rspidel rspideny rspirep rsprep server server-state-file-name server-template source "
        "srvexp srvtcpka-cnt srvtcpka-idle srvtcpka-intvl srvtimeout stats stick stick-table tcp-check "
        "tcp-request tcp-response timeout transparent unique-id-format unique-id-header use-fcgi-app use-server "
        "use_backend usesrc "
    ),
    "userlist": "group user ",
    "peers": "bind default-bind default-server disabled enabled log peer server shards@2.8 table ",
    "mailers": "mailer timeout ",
    "resolvers": "accepted_payload_size hold nameserver parse-resolv-conf resolve_retries timeout ",
    "cache": "max-age max-object-size max-secondary-entries process-vary total-max-size ",
    "program": "command group option user ",
    "http-errors": "errorfile ",
    "ring": "backing-file description format maxlen server size timeout ",
    "log-forward": "backlog bind dgram-bind log maxconn timeout ",
    "fcgi-app": "acl docroot index log-stderr option pass-header path-info set-param ",
    "option in listen": (
        "abortonclose accept-invalid-http-request accept-invalid-http-response allbackups checkcache clitcpka "
        "contstats disable-h2-upgrade dontlog-normal dontlognull external-check forceclose forwarded@2.8 "
        "forwardfor h1-case-adjust-bogus-client h1-case-adjust-bogus-server http-buffer-request "
        "http-ignore-probes http-keep-alive http-no-delay http-pretend-keepalive http-restrict-req-hdr-names "
        "http-server-close http-tunnel http-use-proxy-header httpchk httpclose httplog httpslog "
        "idle-close-on-response independent-streams ldap-check log-health-checks log-separate-errors logasap "
        "mysql-check nolinger originalto persist pgsql-check prefer-last-server redis-check redispatch smtpchk "
        "socket-stats splice-auto splice-request splice-response spop-check srvtcpka ssl-hello-chk tcp-check "
        "tcp-smart-accept tcp-smart-connect tcpka tcplog transparent "
    ),
}

# section: words that HAProxy only knows to say that it no longer does
REMOVED: Final = {
    "global": "nbproc tune.chksize ",
    "listen": (
        "appsession bind-process@2.8 block cliexp clitimeout contimeout grace redisp redispatch reqadd reqallow "
        "reqdel reqdeny reqiallow reqidel reqideny reqipass reqirep reqitarpit reqpass reqrep reqtarpit rspadd "
        "rspdel rspdeny rspidel rspideny rspirep rsprep srvexp srvtimeout "
    ),
}

# where: word:how many arguments, or option:which sides, or action (a * ends a prefix)
REGISTERED: Final = {
    "bind": (
        "accept-netscaler-cip:1 accept-proxy:0 allow-0rtt:0 alpn:1 backlog:1 ca-file:1 ca-ignore-err:1 "
        "ca-sign-file:1 ca-sign-pass:1 ca-verify-file:1 ciphers:1 ciphersuites:1 client-sigalgs:1@2.8 crl-file:1 "
        "crt-ignore-err:1 crt-list:1 crt:1 curves:1 defer-accept:0 ecdhe:1 expose-fd:1 force-sslv3:0 "
        "force-tlsv10:0 force-tlsv11:0 force-tlsv12:0 force-tlsv13:0 generate-certificates:0 gid:1 group:1 id:1 "
        "interface:1 level:1 maxconn:1 mode:1 mss:1 name:1 namespace:1 nice:1 no-alpn:0@2.8 no-ca-names:0 "
        "no-sslv3:0 no-tls-tickets:0 no-tlsv10:0 no-tlsv11:0 no-tlsv12:0 no-tlsv13:0 npn:1 "
        "prefer-client-ciphers:0 process:1 proto:1 severity-output:1 shards:1 sigalgs:1@2.8 ssl-max-ver:1 "
        "ssl-min-ver:1 ssl:0 strict-sni:0 tcp-ut:1 tfo:0 thread:1 tls-ticket-keys:1 transparent:0 uid:1 user:1 "
        "v4v6:0 v6only:0 verify:1 "
    ),
    "server": (
        "addr:1 agent-addr:1 agent-check:0 agent-inter:1 agent-port:1 agent-send:1 allow-0rtt:0 alpn:1 backup:0 "
        "ca-file:1 check-alpn:1 check-proto:1 check-send-proxy:0 check-sni:1 check-ssl:0 check-via-socks4:0 "
        "check:0 ciphers:1 ciphersuites:1 cookie:1 crl-file:1 crt:1 disabled:0 downinter:1 enabled:0 "
        "error-limit:1 fall:1 fastinter:1 force-sslv3:0 force-tlsv10:0 force-tlsv11:0 force-tlsv12:0 "
        "force-tlsv13:0 id:1 init-addr:1 inter:1 log-proto:1 max-reuse:1 maxconn:1 maxqueue:1 minconn:1 "
        "namespace:1 no-agent-check:0 no-backup:0 no-check-send-proxy:0 no-check-ssl:0 no-check:0 "
        "no-send-proxy-v2-ssl-cn:0 no-send-proxy-v2-ssl:0 no-send-proxy-v2:0 no-send-proxy:0 no-ssl-reuse:0 "
        "no-ssl:0 no-sslv3:0 no-tfo:0 no-tls-tickets:0 no-tlsv10:0 no-tlsv11:0 no-tlsv12:0 no-tlsv13:0 "
        "non-stick:0 npn:1 observe:1 on-error:1 on-marked-down:1 on-marked-up:1 pool-low-conn:1 pool-max-conn:1 "
        "pool-purge-delay:1 port:1 proto:1 proxy-v2-options:1 redir:1 resolve-net:1 resolve-opts:1 "
        "resolve-prefer:1 resolvers:1 rise:1 send-proxy-v2-ssl-cn:0 send-proxy-v2-ssl:0 send-proxy-v2:0 "
        "send-proxy:0 shard:1@2.8 slowstart:1 sni:1 socks4:1 source:-1 ssl-max-ver:1 ssl-min-ver:1 ssl-reuse:0 "
        "ssl:0 stick:0 tcp-ut:1 tfo:0 tls-tickets:0 track:1 usesrc:0 verify:1 verifyhost:1 weight:1 ws:1 "
    ),
    "option": (
        "abortonclose:BE accept-invalid-http-request:FE+HTTP accept-invalid-http-response:BE+HTTP allbackups:BE "
        "checkcache:BE+HTTP clitcpka:FE contstats:FE disable-h2-upgrade:FE+HTTP dontlog-normal:FE dontlognull:FE "
        "h1-case-adjust-bogus-client:FE h1-case-adjust-bogus-server:BE http-buffer-request:FE+BE+HTTP "
        "http-ignore-probes:FE+HTTP http-no-delay:FE+BE+HTTP http-pretend-keepalive:BE+HTTP "
        "http-use-proxy-header:FE+HTTP idle-close-on-response:FE+HTTP independent-streams:FE+BE "
        "log-health-checks:BE log-separate-errors:FE logasap:FE nolinger:FE+BE persist:BE "
        "prefer-last-server:BE+HTTP socket-stats:FE splice-auto:FE+BE splice-request:FE+BE splice-response:FE+BE "
        "srvtcpka:BE tcp-smart-accept:FE tcp-smart-connect:BE transparent:BE "
    ),
    "tcp-request connection": (
        "sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt* sc-set-gpt0* set-dst set-dst-port "
        "set-mark set-src set-src-port set-tos set-var* set-var-fmt* silent-drop unset-var* "
    ),
    "tcp-request session": (
        "sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt* sc-set-gpt0* set-dst set-dst-port "
        "set-mark set-src set-src-port set-tos set-var* set-var-fmt* silent-drop unset-var* "
    ),
    "tcp-request content": (
        "do-resolve* ot-group@2.6 sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt* sc-set-gpt0* "
        "send-spoe-group set-bandwidth-limit@2.8 set-dst set-dst-port set-log-level set-mark set-nice "
        "set-priority-class set-priority-offset set-src set-src-port set-tos set-var* set-var-fmt* silent-drop "
        "switch-mode unset-var* use-service "
    ),
    "tcp-response content": (
        "ot-group@2.6 sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt* sc-set-gpt0* "
        "send-spoe-group set-bandwidth-limit@2.8 set-log-level set-mark set-nice set-tos set-var* set-var-fmt* "
        "silent-drop unset-var* "
    ),
    "http-request": (
        "add-acl* add-header allow auth cache-use capture del-acl* del-header del-map* deny disable-l7-retry "
        "do-resolve* early-hint normalize-uri ot-group@2.6 redirect reject replace-header replace-path "
        "replace-pathq replace-uri replace-value return sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* "
        "sc-set-gpt* sc-set-gpt0* send-spoe-group set-bandwidth-limit@2.8 set-dst set-dst-port set-header "
        "set-log-level set-map* set-mark set-method set-nice set-path set-pathq set-priority-class "
        "set-priority-offset set-query set-src set-src-port set-timeout set-tos set-uri set-var* set-var-fmt* "
        "silent-drop strict-mode tarpit track-sc* unset-var* use-service wait-for-body wait-for-handshake "
    ),
    "http-response": (
        "add-acl* add-header allow cache-store capture del-acl* del-header del-map* deny ot-group@2.6 redirect "
        "replace-header replace-value return sc-add-gpc*@2.8 sc-inc-gpc* sc-inc-gpc0* sc-inc-gpc1* sc-set-gpt* "
        "sc-set-gpt0* send-spoe-group set-bandwidth-limit@2.8 set-header set-log-level set-map* set-mark set-nice "
        "set-status set-tos set-var* set-var-fmt* silent-drop strict-mode track-sc* unset-var* wait-for-body "
    ),
    "http-after-response": (
        "add-header allow capture del-acl*@2.8 del-header del-map*@2.8 ot-group@2.6 replace-header replace-value "
        "sc-add-gpc*@2.8 sc-inc-gpc*@2.8 sc-inc-gpc0*@2.8 sc-inc-gpc1*@2.8 sc-set-gpt*@2.8 sc-set-gpt0*@2.8 "
        "set-header set-log-level@2.8 set-map*@2.8 set-status set-var* set-var-fmt* strict-mode unset-var* "
    ),
}
