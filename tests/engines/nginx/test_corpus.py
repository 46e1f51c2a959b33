"""Every real nginx configuration that nginx takes is read, and nothing is said against it without a reason."""

from levelhead.engines.nginx.reading import read
from tests.engines.corpus import mistakes, samples

# Each of these is in a file that nginx loads, and each is right: two forgot a semicolon behind the last type of
# gzip_types, which swallows the line below; three are pieces that nginx loads only below an "events" of their own.
KNOWN = {'a ";" is missing after "application/json"': 2, 'there is no "events" block, which nginx insists on': 3}


def test_what_nginx_takes_is_read() -> None:
    taken = [s for s in samples("nginx") if s.verdict == "ok"]
    said: dict[str, int] = {}
    for sample in taken:
        reading = read({sample.name: sample.text}, sample.name)
        groups = [u for u in reading.upstreams if not u.implicit]
        assert max((len(u.servers) for u in groups), default=0) == sample.servers, sample.name
        assert reading.context == sample.context, sample.name
        for problem in reading.problems:
            said[problem.sentence] = said.get(problem.sentence, 0) + 1

    assert len(taken) > 800
    assert said == KNOWN


def test_mistakes_are_read() -> None:
    readings = {s.name: read({s.name: s.text}, s.name) for s in mistakes("nginx")}

    assert len(readings) == 10
    assert {r.context for r in readings.values()} == {"main", "http"}
    assert {name: r.problems for name, r in readings.items() if r.problems} == {}
