"""The review around its rules: languages, files put together, what is ignored, known, chosen and compared."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, cast

import pytest

from levelhead.engines.nginx import reading as nginx_reading
from levelhead.errors import ConfigError, UsageError
from levelhead.model import Fleet, Listener, Origin, Pool, Route, Server
from levelhead.review import EVERY, HOUSEKEEPING, RULES, judged, review
from levelhead.review.arranging import arranged
from levelhead.review.base import Config, Facts, Finding, Language, Rule, Trouble
from levelhead.review.baseline import fingerprints, fresh, known, written
from levelhead.review.changes import changes
from levelhead.review.facts import declared, facts_of
from levelhead.review.languages import USUAL, config_of
from levelhead.review.outlook import outlook
from levelhead.review.recognise import Unrecognised, recognised
from levelhead.review.selection import chosen, named
from levelhead.review.suppress import ignores_of
from levelhead.settings import FactsModel
from tests.engines.corpus import mistakes, samples

HAPROXY = """\
defaults
    mode http
backend web
    server a 10.0.0.1:80 weight 30
    server b 10.0.0.2:80 weight 10
"""
ODD = Rule("LH999", "odd-line", "error", "a server named a", "name it otherwise",
           haproxy=lambda config: (Trouble(s.origin, f"{s.name} is odd", "web", s.name)
                                   for p in config.reading.proxies for s in p.servers if s.name == "a"))  # fmt: skip


def haproxy(text: str, name: str = "h.cfg") -> Any:
    return config_of({name: text}, name, "haproxy")


# -- languages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("x", HAPROXY, "haproxy"),
        ("conf.d/web.cfg", "  backend web\n    server a :80\n", "haproxy"),
        ("x", "upstream a {\n  server b;\n}\n", "nginx"),
        ("x", "upstream a { server b; }", "nginx"),
        ("sites-enabled/shop", "server {\n  listen 80;\n  location / { proxy_pass http://a; }\n}\n", "nginx"),
        ("x.yaml", "static_resources:\n  clusters: []\n", "envoy"),
        ("cds.yaml", "resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n", "envoy"),
        ("c.yaml", "- name: a\n  lb_policy: RANDOM\n", "envoy"),
        ("x.json", '{"static_resources": {}}', "envoy"),
        ("x.tmpl", "static_resources:\n  clusters:\n  - name: a\n    load_assignment: {}\n", "envoy"),
        ("shop.yaml", "listen: 127.0.0.1:80\nservers: [127.0.0.1:81]\n", "levelhead"),
        ("levelhead.yaml", "chek: /\n", "levelhead"),
        ("haproxy.cfg", "serverr a\n", "haproxy"),
        ("nginx.conf", "# nothing yet\n", "nginx"),
    ],
)
def test_the_language_of_a_text_is_told(name: str, text: str, language: str) -> None:
    assert recognised(name, text) == language


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.yaml", "services:\n  web: {}\nversion: 3\n", "its keys (services, version) are neither"),
        ("a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {}\n", "Kubernetes"),
        ("README", "Hello there\n", "neither a section of HAProxy nor a directive of nginx"),
        ("README", "\n", "it is empty"),
    ],
)
def test_a_text_in_none_of_them_is_told_with_the_reason(name: str, text: str, why: str) -> None:
    found = recognised(name, text)
    assert isinstance(found, Unrecognised)
    assert why in found.why


@pytest.mark.parametrize("language", ["haproxy", "nginx", "envoy"])
def test_real_configurations_are_told_apart(language: str) -> None:
    wrong = [s.name for s in samples(language) if recognised(s.name.rpartition("__")[2], s.text) != language]

    assert len(wrong) <= 3, wrong  # What is left says nothing of where it belongs.


def test_what_is_usual_is_what_the_reader_takes_for_it() -> None:
    assert USUAL["nginx"] == nginx_reading.USUAL_VERSION


# -- files together ---------------------------------------------------------------------------------------------------


def mains(files: dict[str, tuple[Language, str]], found: dict[str, str] | None = None) -> list[tuple[str, list[str]]]:
    return [(each.main, list(each.files)) for each in arranged(files, found or {})]


def test_all_files_of_one_haproxy_are_one_configuration() -> None:
    files: dict[str, tuple[Language, str]] = {
        "etc/haproxy.cfg": ("haproxy", "global\n"), "etc/conf.d/a.cfg": ("haproxy", HAPROXY),
    }  # fmt: skip
    assert mains(files) == [("etc/haproxy.cfg", ["etc/haproxy.cfg", "etc/conf.d/a.cfg"])]


def test_several_globals_are_several_configurations_and_a_fragment_joins_the_one_above_it() -> None:
    files: dict[str, tuple[Language, str]] = {
        "a/haproxy.cfg": ("haproxy", "global\n"),
        "b/haproxy.cfg": ("haproxy", "global\n"),
        "b/conf.d/x.cfg": ("haproxy", HAPROXY),
        "c/alone.cfg": ("haproxy", HAPROXY),
    }
    assert mains(files) == [
        ("a/haproxy.cfg", ["a/haproxy.cfg"]),
        ("b/haproxy.cfg", ["b/haproxy.cfg", "b/conf.d/x.cfg"]),
        ("c/alone.cfg", ["c/alone.cfg"]),
    ]


def test_an_nginx_file_that_another_includes_begins_no_reading_and_one_that_is_broken_does() -> None:
    files: dict[str, tuple[Language, str]] = {
        "nginx.conf": ("nginx", "events {}\nhttp { include a.conf; }"),
        "a.conf": ("nginx", "upstream a { server b; }"),
        "broken.conf": ("nginx", "upstream {"),
    }
    assert [main for main, _ in mains(files)] == ["nginx.conf", "broken.conf"]


def test_an_envoy_bootstrap_is_read_before_what_it_may_take_in() -> None:
    files: dict[str, tuple[Language, str]] = {
        "cds.yaml": ("envoy", "resources: []"), "envoy.yaml": ("envoy", "static_resources: {}"),
    }  # fmt: skip
    assert [main for main, _ in mains(files)] == ["envoy.yaml", "cds.yaml"]


# -- ignored in place -------------------------------------------------------------------------------------------------


def sift(text: str, *rules: Rule) -> list[tuple[str, int]]:
    return [(f.code, f.origin.line) for f in judged(haproxy(text), (*(rules or (ODD,)), *HOUSEKEEPING)).kept]


def test_a_finding_is_ignored_on_its_line_or_by_the_comment_above() -> None:
    at_the_end = HAPROXY.replace("weight 30", "weight 30  # levelhead: ignore[LH999] it is meant")
    above = HAPROXY.replace(
        "    server a", "    # levelhead: ignore[odd-line] it is meant\n    # and more\n    server a"
    )

    assert sift(HAPROXY) == [("LH999", 4)]
    assert sift(at_the_end) == []
    assert sift(above) == []
    assert len(judged(haproxy(above), (ODD,)).ignored) == 1


def test_a_comment_at_the_end_of_the_line_above_ignores_nothing() -> None:
    text = HAPROXY.replace("backend web\n", "backend web  # levelhead: ignore[LH999] it is meant\n")
    assert sift(text) == [("LH901", 3), ("LH999", 4)]


def test_without_a_reason_nothing_is_ignored_and_that_is_told() -> None:
    assert sift(HAPROXY.replace("weight 30", "weight 30 # levelhead: ignore[LH999]")) == [("LH999", 4), ("LH900", 4)]
    assert sift(HAPROXY.replace("weight 30", "weight 30 # levelhead: ignore it")) == [("LH999", 4), ("LH900", 4)]


def test_a_comment_for_what_is_not_found_is_told_unless_the_rule_was_not_asked() -> None:
    text = HAPROXY.replace("weight 10", "weight 10 # levelhead: ignore[LH999, LH001] once it was")

    assert sift(text) == [("LH999", 4), ("LH901", 5)]
    assert sift(text, *(rule for rule in RULES if rule.code == "LH001")) == [("LH901", 5)]


def test_every_comment_of_a_text_is_found_with_its_words() -> None:
    text = "#levelhead:ignore[LH001,LH002]: two  \nserver a # levelhead: ignore [odd-line] x\nno # levelhead ignore\n"
    found = [(ignore.words, ignore.reason, ignore.line) for ignore in ignores_of("f", text)]

    assert found == [(("LH001", "LH002"), "two", 2), (("odd-line",), "x", 2)]


def test_what_the_engine_would_refuse_is_found_and_can_be_ignored_too() -> None:
    text = HAPROXY + "    serverr c 10.0.0.3:80\n"

    assert sift(text, replace(ODD, haproxy=None)) == [("LH000", 6)]
    assert sift(text.replace("3:80\n", "3:80 # levelhead: ignore[LH000] a build of ours\n")) == [("LH999", 4)]


# -- chosen -----------------------------------------------------------------------------------------------------------


def test_rules_are_chosen_by_code_beginning_and_name() -> None:
    def codes(select: list[str], ignore: list[str]) -> set[str]:
        return {rule.code for rule in chosen(EVERY, select, ignore)}

    assert codes([], []) == {rule.code for rule in EVERY}
    assert codes(["LH07"], []) >= {"LH076"}
    assert all(code.startswith("LH07") for code in codes(["lh07"], []))
    assert codes(["risky-diff"], []) == {"LH076"}
    assert codes(["LH07"], ["risky-diff"]) == codes(["LH07"], []) - {"LH076"}


def test_a_word_that_means_no_rule_is_refused_with_what_is_close() -> None:
    with pytest.raises(UsageError, match="did you mean risky-diff"):
        named(EVERY, "risky-dif")


def test_every_rule_has_a_code_and_a_name_of_its_own() -> None:
    assert len({rule.code for rule in EVERY}) == len({rule.name for rule in EVERY}) == len(EVERY)


# -- known already ----------------------------------------------------------------------------------------------------


def found_in(text: str, name: str = "h.cfg") -> tuple[tuple[Finding, ...], dict[str, str]]:
    return review(haproxy(text, name), (ODD,)), {name: text}


def test_a_known_finding_stays_known_when_its_line_moves_and_is_indented() -> None:
    text = written(*found_in(HAPROXY))
    moved = "# a comment\n\n" + HAPROXY.replace("    server a 10", "  server  a  10")

    assert fresh(*found_in(moved), known(text, "b.json")) == ()


def test_a_finding_on_another_line_or_in_another_file_is_new() -> None:
    marks = known(written(*found_in(HAPROXY)), "b.json")

    assert len(fresh(*found_in(HAPROXY.replace("weight 30", "weight 40")), marks)) == 1
    assert len(fresh(*found_in(HAPROXY, "other.cfg"), marks)) == 1


def test_of_two_equal_findings_one_known_leaves_the_other() -> None:
    twice = HAPROXY + HAPROXY.partition("\n    mode http\n")[2].replace("backend web", "backend two")
    findings, texts = found_in(twice)
    one = known(written(findings[:1], texts), "b.json")

    assert len(set(fingerprints(findings, texts))) == 2
    assert len(fresh(findings, texts, one)) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "levelhead/baseline/2"}', '{"findings": []}', "{nonsense"])
def test_what_is_no_baseline_is_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(ConfigError, match="this is no baseline") as caught:
        known(text, "b.json")
    assert "--write-baseline b.json" in caught.value.next_step


# -- compared ---------------------------------------------------------------------------------------------------------


def pool(name: str = "web", **weights: float) -> Pool:
    servers = tuple(Server(n, f"10.0.0.{i}", 80, weight=w) for i, (n, w) in enumerate(weights.items()))
    return Pool(name, servers, origin=Origin("f", 1, 1))


def fleet(*pools: Pool, to: str = "web") -> Fleet:
    return Fleet((Listener("www", "*", 80, (Route(to),), origin=Origin("f", 2, 1)),), pools)


def said(before: Fleet, after: Fleet) -> list[str]:
    base = Config("levelhead", {"f": ""}, before, before, (0, 1))
    config = Config("levelhead", {"f": ""}, after, after, (0, 1), base=base)
    rule = next(rule for rule in RULES if rule.code == "LH076")
    return [finding.message for finding in review(config, (rule,))]


def test_what_moves_is_told_server_by_server() -> None:
    (change,) = changes(fleet(pool(a=50, b=50)), fleet(pool(a=90, b=10)))

    assert [(s.server, s.before, s.after) for s in change.shares] == [("a", 0.5, 0.9), ("b", 0.5, 0.1)]
    assert change.moved == pytest.approx(0.4)
    assert change.removed == ()


def test_the_same_fleet_changes_nothing() -> None:
    assert changes(fleet(pool(a=50, b=50)), fleet(pool(a=5, b=5))) == ()


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (pool(a=90, b=10), "web: a goes from 50% to 90% of requests"),
        (pool(a=50), "web: 1 of 2 servers removed (b); a goes from 50% to 100% of requests"),
    ],
)
def test_a_large_step_is_risky(after: Pool, sentence: str) -> None:
    assert said(fleet(pool(a=50, b=50)), fleet(after)) == [sentence]


def test_small_steps_are_not() -> None:
    assert said(fleet(pool(a=50, b=50)), fleet(pool(a=60, b=50))) == []
    assert said(fleet(pool(a=1, b=1, c=1, d=1)), fleet(pool(a=1, b=1, c=1))) == []
    assert said(fleet(pool(a=1, b=1)), fleet(pool(a=1, b=1, c=1))) == []


def test_a_server_with_another_name_and_the_same_address_is_the_same() -> None:
    assert said(fleet(pool(a=1, b=1)), fleet(pool(x=1, y=1))) == []


def test_a_pool_with_another_name_is_the_same_and_one_that_goes_is_told() -> None:
    two = pool("other", q=1)

    assert said(fleet(pool(a=1, b=1)), fleet(pool("site", a=1, b=1), to="site")) == []
    gone = replace(two, servers=(Server("q", "10.9.9.9", 80),))
    assert said(fleet(pool(a=1, b=1), gone), fleet(pool(a=1, b=1))) == ["pool other is removed with its 1 server"]


def test_a_default_route_that_leads_elsewhere_is_told() -> None:
    pools = (pool(a=1, b=1), replace(pool("maintenance", q=1), servers=(Server("q", "10.9.9.9", 80),)))

    assert said(fleet(*pools), fleet(*pools, to="maintenance")) == [
        "the default route of www goes to pool maintenance and no longer to web"
    ]


def test_without_a_base_nothing_is_compared() -> None:
    both = fleet(pool(a=50, b=50))
    rule = next(rule for rule in RULES if rule.code == "LH076")
    assert review(Config("levelhead", {"f": ""}, both, both, (0, 1)), (rule,)) == ()


# -- what is to be expected -------------------------------------------------------------------------------------------


def test_an_outlook_tells_shares_and_losses_of_every_pool() -> None:
    (web,) = outlook(haproxy(HAPROXY))
    first, second = web.servers

    assert (web.pool, web.policy, web.unknown) == ("web", "round-robin", "")
    assert [(s.server, s.share) for s in web.servers] == [("a", 0.75), ("b", 0.25)]
    assert first.lost is not None
    assert (first.lost.max_share, first.lost.largest, first.lost.moved) == (1.0, "b", 0.75)
    assert second.kept.most_s == float("inf")  # Nothing checks them.


def test_servers_that_would_have_too_much_are_named() -> None:
    text = "servers:\n  a: {address: 127.0.0.1:1, capacity: 100}\n  b: {address: 127.0.0.1:2, capacity: 100}\n"
    (web,) = outlook(config_of({"l.yaml": text}, "l.yaml", "levelhead", facts=Facts(peak_rps=150)))
    assert web.servers[0].lost is not None
    assert web.servers[0].lost.overloaded == ("b",)


# -- facts ------------------------------------------------------------------------------------------------------------


def test_every_fact_has_a_setting_with_the_same_name() -> None:
    from_git = ["age_days"]
    assert [f.name for f in fields(Facts) if f.name not in from_git] == list(FactsModel.model_fields)
    assert facts_of(FactsModel()) == Facts()


def test_what_servers_declare_is_a_fact_and_a_fact_goes_before_it() -> None:
    declaring = Fleet((), (Pool("web", (Server("a", "h", 1, capacity=5.0), Server("b", "h", 2))),))
    known_facts = declared(facts_of(FactsModel(capacity_rps={"b": 7.0})), declaring)

    assert (known_facts.capacity("web", "a"), known_facts.capacity("web", "b")) == (5.0, 7.0)
    assert declared(Facts(capacity_rps={"web/a": 9.0}), declaring).capacity("web", "a") == 9.0


# -- real mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["nginx", "envoy"])
def test_no_real_mistake_stops_the_review(language: str) -> None:
    for sample in mistakes(language):
        config = config_of({sample.name: sample.text}, sample.name, cast(Language, language))
        assert all(finding.message and finding.fix for finding in judged(config, EVERY).kept)
        outlook(config)
