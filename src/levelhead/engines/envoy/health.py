"""Reads what keeps a cluster's endpoints honest: active checks, outlier detection, circuit breakers."""

from __future__ import annotations

from typing import Final

from levelhead.engines.envoy.fields import View
from levelhead.engines.envoy.picture import Breakers, Check, Outliers, RetryBudget, Thresholds
from levelhead.engines.text import Value
from levelhead.nodes import Mapping

_MOST: Final = 1024
_RETRIES: Final = 3
_DEFAULT_THRESHOLDS: Final = Thresholds(Value(_MOST), Value(_MOST), Value(_MOST), Value(_RETRIES), None)


def check(view: View) -> Check:
    """One active health check."""
    kind, config = _kind(view)
    interval = view.seconds("interval", 0.0)
    send = config.view("send")
    return Check(
        kind=kind,
        path=config.text("path"),
        host=config.text("host"),
        statuses=_ranges(config, "expected_statuses") or ((200, 201),),
        retriable=_ranges(config, "retriable_statuses"),
        interval_s=interval,
        timeout_s=view.seconds("timeout", 0.0),
        unhealthy_threshold=view.whole("unhealthy_threshold", 0),
        healthy_threshold=view.whole("healthy_threshold", 0),
        no_traffic_interval_s=view.seconds("no_traffic_interval", 60.0),
        unhealthy_interval_s=view.seconds("unhealthy_interval", interval.value),
        alt_port=view.count("alt_port"),
        reuse_connection=view.flag("reuse_connection", True),
        logged=bool(view.views("event_logger")) or bool(view.text("event_log_path").value),
        log_failures=view.flag("always_log_health_check_failures"),
        sends=send is not None or kind in ("http", "grpc"),
        origin=view.where,
    )


def outliers(view: View) -> Outliers:
    """Outlier detection, with what it does where nothing is said."""
    base = view.seconds("base_ejection_time", 30.0)
    return Outliers(
        consecutive_5xx=view.whole("consecutive_5xx", 5),
        enforcing_5xx=view.whole("enforcing_consecutive_5xx", 100),
        consecutive_gateway=view.whole("consecutive_gateway_failure", 5),
        enforcing_gateway=view.whole("enforcing_consecutive_gateway_failure", 0),
        split_local=view.flag("split_external_local_origin_errors"),
        consecutive_local=view.whole("consecutive_local_origin_failure", 5),
        enforcing_local=view.whole("enforcing_consecutive_local_origin_failure", 100),
        interval_s=view.seconds("interval", 10.0),
        ejection_s=base,
        longest_ejection_s=view.seconds("max_ejection_time", max(300.0, base.value)),
        most_ejected_percent=view.whole("max_ejection_percent", 10),
        always_one=view.flag("always_eject_one_host"),
        success_rate_hosts=view.whole("success_rate_minimum_hosts", 5),
        success_rate_volume=view.whole("success_rate_request_volume", 100),
        enforcing_success_rate=view.whole("enforcing_success_rate", 100),
        failure_percent=view.whole("failure_percentage_threshold", 85),
        failure_hosts=view.whole("failure_percentage_minimum_hosts", 5),
        failure_volume=view.whole("failure_percentage_request_volume", 50),
        enforcing_failure_percent=view.whole("enforcing_failure_percentage", 0),
        check_readmits=view.flag("successful_active_health_check_uneject_host", True),
        origin=view.where,
    )


def breakers(view: View | None) -> Breakers:
    """Circuit breakers by routing priority; what is not set has Envoy's own limits."""
    if view is None:
        return Breakers(_DEFAULT_THRESHOLDS, _DEFAULT_THRESHOLDS, Value(None))
    by_priority = {"DEFAULT": _DEFAULT_THRESHOLDS, "HIGH": _DEFAULT_THRESHOLDS}
    for block in view.views("thresholds"):
        priority = block.word("priority", "DEFAULT", ("DEFAULT", "HIGH")).value
        # The first of several for a priority counts.
        if by_priority[priority] is _DEFAULT_THRESHOLDS:
            by_priority[priority] = _thresholds(block)
    hosts = view.views("per_host_thresholds")
    per_host: Value[int | None] = hosts[0].count("max_connections") if hosts else Value(None)
    return Breakers(by_priority["DEFAULT"], by_priority["HIGH"], per_host)


def _thresholds(view: View) -> Thresholds:
    budget = view.view("retry_budget")
    return Thresholds(
        connections=view.whole("max_connections", _MOST),
        pending=view.whole("max_pending_requests", _MOST),
        requests=view.whole("max_requests", _MOST),
        retries=view.whole("max_retries", _RETRIES),
        budget=None if budget is None else _budget(budget),
        origin=view.where,
    )


def _budget(view: View) -> RetryBudget:
    return RetryBudget(view.percent("budget_percent", 20.0), view.whole("min_retry_concurrency", 3), view.where)


def _kind(view: View) -> tuple[str, View]:
    for kind in ("http", "tcp", "grpc"):
        config = view.view(f"{kind}_health_check")
        if config is not None:
            return kind, config
    custom = view.view("custom_health_check")
    if custom is not None:
        typed = custom.view("typed_config")
        return (typed.type if typed is not None else custom.text("name").value), custom
    # An empty block may be written as nothing at all.
    kind = next((k for k in ("http", "tcp", "grpc") if view.has(f"{k}_health_check")), "")
    return kind, View(Mapping({}, view.where))


def _ranges(view: View, name: str) -> tuple[tuple[int, int], ...]:
    return tuple((r.whole("start", 0).value, r.whole("end", 0).value) for r in view.views(name))
