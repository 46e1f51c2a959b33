"""Every real Envoy configuration is read, nothing is said against those that Envoy takes, templates are named so."""

from levelhead.engines.envoy.reading import read
from levelhead.errors import ConfigError
from tests.engines.corpus import Sample, mistakes, samples


def refusal(sample: Sample) -> str:
    try:
        read({sample.name: sample.text}, sample.name)
    except ConfigError as error:
        return error.what
    return ""


def test_what_envoy_takes_is_read_without_a_problem() -> None:
    taken = [s for s in samples("envoy") if s.verdict == "ok"]
    for sample in taken:
        reading = read({sample.name: sample.text}, sample.name)
        assert reading.problems == (), sample.name
        assert max((len(c.endpoints) for c in reading.clusters), default=0) == sample.servers, sample.name

    assert len(taken) == 57


def test_templates_are_refused_as_such_and_nothing_else_is() -> None:
    refused = {s.name: refusal(s) for s in samples("envoy") if refusal(s)}

    assert all("tmpl" in name for name in refused)
    assert set(refused.values()) == {"this is a template, not an Envoy configuration yet"}
    assert len(refused) == 7


def test_mistakes_that_envoy_refuses_are_problems() -> None:
    said = {
        s.name.split("/")[1]: [p.sentence for p in read({s.name: s.text}, s.name).problems] for s in mistakes("envoy")
    }

    assert len(said) == 12
    assert {name: sentences for name, sentences in said.items() if sentences} == {
        "env-logical-dns-many-endpoints": ["a LOGICAL_DNS cluster has one endpoint, this one has 2"],
        "env-retry-policy-wrong-level": [
            '"retry_policy" is no field of a Route in Envoy 1.40: it belongs inside "route"'
        ],
    }
