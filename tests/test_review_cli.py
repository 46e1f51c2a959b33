"""levelhead review and explain as people call them: files on disk, folders, includes, git, facts, baselines, forms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from levelhead.cli import main, pages
from levelhead.cli import targets as versions
from levelhead.review import EVERY, RULES

ROOT = Path(__file__).parents[1]
FINE = """\
global
    stats socket /run/haproxy.sock
defaults
    mode http
    log 127.0.0.1 local0
    option httplog
    option log-health-checks
    timeout connect 2s
    timeout client 30s
    timeout server 30s
"""
SKEWED = FINE + """\
backend web
    option httpchk GET /healthz
    http-check expect status 200
    server a 10.0.0.1:80 weight 90 check
    server b 10.0.0.2:80 weight 10 check
"""
BROKEN = 'upstream app {\n    server 10.0.0.1:80;\n    server "10.0.0.2:80;\n}\n'
DUPLICATE = FINE + "backend web\n    server a 10.0.0.1:80 check\n    server b 10.0.0.1:80 check\n"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def codes(self) -> list[str]:
        return [finding["code"] for finding in self.json["findings"]]


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # No proxy is there, so versions are the usual ones.
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def said(*args: str) -> Said:
        code = main(args)
        return Said(code, *capsys.readouterr())

    return said


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def only(*codes: str) -> tuple[str, ...]:
    return ("--select", ",".join(codes))


# -- what is said, and the exit code ----------------------------------------------------------------------------------


def test_findings_with_their_lines_and_what_will_happen(run: Run) -> None:
    said = run("review", write("haproxy.cfg", SKEWED), *only("LH002"))

    assert said.code == 0
    assert "haproxy.cfg:14:26: warning LH002 weight-ratio-extreme\n" in said.out
    assert "    14 │     server a 10.0.0.1:80 weight 90 check\n       │                          ^^^^^^\n" in said.out
    assert re.search(r"^ {2}a +90% +█+ +b gets 100% +up to 6.0 s$", said.out, re.MULTILINE)
    assert said.out.endswith("1 warning in 1 file\nfor HAProxy 2.8 (assumed; --target says otherwise)\n")
    assert "\x1b" not in said.out


def test_exit_codes_by_what_was_found(run: Run) -> None:
    fine, skewed, twice = write("f.cfg", FINE), write("s.cfg", SKEWED), write("d.cfg", DUPLICATE)
    two = only("LH001", "LH002")

    assert [run("review", name, *two).code for name in (fine, skewed, twice)] == [0, 0, 1]
    assert [run("review", "--strict", name, *two).code for name in (fine, skewed, twice)] == [0, 1, 1]


def test_a_file_that_cannot_be_parsed_is_told_with_its_place_and_the_others_are_reviewed(run: Run) -> None:
    said = run("review", write("a.conf", BROKEN), write("s.cfg", SKEWED), *only("LH002"))

    assert said.code == 2
    assert re.search(r"^a\.conf\n  cannot be read: 3:\d+: ", said.out, re.MULTILINE)
    assert "LH002" in said.out


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("absent.cfg", None, "there is no such file"),
        ("compose.yaml", "services: {}\n", "its keys (services) are neither Envoy's nor Levelhead's; name a"),
        ("notes.txt", "hello\n", "--as LANGUAGE says what it is"),
    ],
)
def test_a_file_that_is_none_of_them_is_an_error_with_its_reason(
    run: Run, name: str, text: str | None, why: str
) -> None:
    if text is not None:
        write(name, text)
    said = run("review", "--json", name)

    assert said.code == 2
    (file,) = said.json["files"]
    assert (file["path"], file["engine"], file["ok"]) == (name, None, False)
    assert why in file["error"]


def test_what_the_engine_would_refuse_is_told_and_the_rest_reviewed(run: Run) -> None:
    said = run("review", "--json", write("h.cfg", SKEWED + "    serverr c 10.0.0.3:80\n"), *only("LH000", "LH002"))

    assert said.code == 1
    assert said.codes == ["LH002", "LH000"]
    assert said.json["files"][0]["ok"] is False
    assert said.json["files"][0]["error"].startswith("16:5: ")


def test_the_language_can_be_said(run: Run) -> None:
    assert run("review", "--as", "haproxy", write("x.txt", "backendd web\n"), *only("LH000")).code == 1
    assert run("review", "--as", "turtle", "x.txt").code == 2


def test_nothing_to_review_is_a_mistake(run: Run) -> None:
    Path("empty").mkdir()
    said = run("review", "empty")

    assert (said.code, "there is nothing to review in empty" in said.err) == (2, True)
    assert run("review").code == 2


@pytest.mark.parametrize("word", ["nginx", "nginx=new", "apache=2.4", "=1.2"])
def test_a_target_that_is_none_is_refused(run: Run, word: str) -> None:
    said = run("review", "--target", word, write("s.cfg", SKEWED))
    assert (said.code, f"--target {word}" in said.err) == (2, True)


def test_the_target_decides_what_holds(run: Run) -> None:
    text = "upstream app {\n    keepalive 8;\n    least_conn;\n    server 10.0.0.1:80;\n    server 10.0.0.2:80;\n}\n"
    name = write("a.conf", text)

    old, new = (run("review", "--json", "--target", f"nginx={v}", name, *only("LH065")) for v in ("1.28.0", "1.29.7"))
    assert (old.codes, new.codes) == (["LH065"], [])


def test_the_version_of_a_binary_on_path_is_taken(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    said = {
        "haproxy": "HAProxy version 3.0.5-1ppa1 2024/09/19", "nginx": "nginx version: nginx/1.26.2",
        "envoy": "envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.33.1/Clean/RELEASE/BoringSSL",
    }  # fmt: skip
    for name, words in said.items():
        path = Path(write(f"bin/{name}", f"#!/bin/sh\necho '{words}' >&2\n"))
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:/usr/bin:/bin")

    assert [str(versions.target(language, {})) for language in ("haproxy", "nginx", "envoy")] == [
        "HAProxy 3.0.5 (haproxy on PATH)", "nginx 1.26.2 (nginx on PATH)", "Envoy 1.33.1 (envoy on PATH)",
    ]  # fmt: skip
    assert run("review", write("s.cfg", SKEWED)).out.endswith("for HAProxy 3.0.5 (haproxy on PATH)\n")


# -- files together ---------------------------------------------------------------------------------------------------


def test_a_folder_and_a_file_of_one_haproxy_are_one_configuration(run: Run) -> None:
    write("haproxy.cfg", FINE + "frontend www\n    bind :80\n    default_backend web\n")
    write("conf.d/web.cfg", SKEWED.removeprefix(FINE))
    write("conf.d/.hidden.cfg", "nonsense\n")
    write("conf.d/notes.txt", "nonsense\n")
    said = run("review", "--json", "haproxy.cfg", "conf.d", *only("LH000", "LH002"))

    assert [file["path"] for file in said.json["files"]] == ["haproxy.cfg", "conf.d/web.cfg"]
    assert said.codes == ["LH002"]  # and no word of an unknown backend


def test_nginx_includes_are_read_and_absent_ones_are_told(run: Run) -> None:
    write("etc/nginx.conf", "events {}\nhttp {\n    include conf.d/*.conf;\n    include /etc/nginx/more.conf;\n"
          "    include gone.conf;\n}\n")  # fmt: skip
    write("etc/conf.d/app.conf", "upstream app { server 10.0.0.1:80; server 10.0.0.1:80; }\n")
    write("etc/more.conf", "include conf.d/deep/*.conf;\n")
    write("etc/conf.d/deep/x.conf", "upstream deep { server 10.0.0.3:80; }\n")
    said = run("review", "--json", "etc/nginx.conf", *only("LH001"))

    assert [file["path"] for file in said.json["files"]] == [
        "etc/nginx.conf", "etc/conf.d/app.conf", "etc/more.conf", "etc/conf.d/deep/x.conf",
    ]  # fmt: skip
    assert [finding["file"] for finding in said.json["findings"]] == ["etc/conf.d/app.conf"]
    assert {p["pool"] for p in said.json["predicted"]} == {"app", "deep"}
    assert "etc/nginx.conf:5:13: gone.conf is included but not there" in said.err


def test_an_included_file_that_is_named_too_is_reviewed_once(run: Run) -> None:
    write("nginx.conf", "events {}\nhttp { include app.conf; }\n")
    write("app.conf", "upstream app { server 10.0.0.1:80; server 10.0.0.1:80; }\n")

    assert run("review", "--json", ".", *only("LH001")).codes == ["LH001"]


def test_a_broken_file_that_is_included_is_told_with_its_place(run: Run) -> None:
    write("nginx.conf", "events {}\nhttp { include app.conf; }\n")
    write("app.conf", BROKEN)
    said = run("review", "--json", "nginx.conf")

    assert said.code == 2
    assert [(file["path"], file["ok"]) for file in said.json["files"]] == [("app.conf", False)]


def test_an_envoy_bootstrap_takes_the_clusters_beside_it(run: Run) -> None:
    write("envoy.yaml", "node: {id: a, cluster: a}\ndynamic_resources:\n  cds_config:\n"
          "    path_config_source: {path: /etc/envoy/cds.yaml}\n")  # fmt: skip
    write("cds.yaml", "resources:\n- '@type': type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: app\n"
          "  load_assignment:\n    cluster_name: app\n    endpoints:\n    - lb_endpoints:\n"
          "      - endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}\n")  # fmt: skip
    alone, both = run("review", "--json", "envoy.yaml"), run("review", "--json", "cds.yaml", "envoy.yaml")

    assert [p["pool"] for p in alone.json["predicted"]] == [p["pool"] for p in both.json["predicted"]] == ["app"]


def test_a_file_that_is_not_utf8_is_reviewed_all_the_same(run: Run) -> None:
    Path("h.cfg").write_bytes(b"# caf\xe9\n" + DUPLICATE.encode())
    assert run("review", "h.cfg", *only("LH001")).code == 1


# -- facts ------------------------------------------------------------------------------------------------------------


def test_facts_wake_the_rules_that_need_them(run: Run) -> None:
    name = write("h.cfg", SKEWED)
    write("facts.yaml", "peak_rps: 100\ncapacity_rps: {a: 50}\n")

    assert run("review", "--json", name, *only("LH003")).codes == []
    assert run("review", "--json", name, "--facts", "facts.yaml", *only("LH003")).codes == ["LH003"]


def test_facts_come_from_the_levelhead_yaml_under_review_or_here(run: Run) -> None:
    name = write("h.cfg", SKEWED)
    ours = write("etc/levelhead.yaml", "servers: [10.0.0.1:80]\nfacts: {peak_rps: 100, capacity_rps: {a: 50}}\n")

    assert "LH003" in run("review", "--json", name, ours, *only("LH003")).codes
    Path("levelhead.yaml").write_text(Path(ours).read_text())
    assert run("review", "--json", name, *only("LH003")).codes == ["LH003"]


def test_a_wrong_fact_is_told_with_its_place(run: Run) -> None:
    write("facts.yaml", "peak_rps: 100\ncapcity_rps: {a: 50}\n")
    said = run("review", write("h.cfg", SKEWED), "--facts", "facts.yaml")

    assert said.code == 2
    assert "facts.yaml:2:1: unknown key 'capcity_rps' in facts; did you mean 'capacity_rps'?" in said.err


# -- ignored, known ---------------------------------------------------------------------------------------------------


def test_a_finding_is_ignored_in_place_with_a_reason(run: Run) -> None:
    ignored = SKEWED.replace("weight 90 check", "weight 90 check  # levelhead: ignore[LH002] new hardware")
    said = run("review", write("h.cfg", ignored), *only("LH002", "LH9"))

    assert (said.code, "nothing found in 1 file; 1 ignored in place" in said.out) == (0, True)


def test_rules_are_left_out_by_code_or_name(run: Run) -> None:
    name = write("d.cfg", DUPLICATE)

    assert run("review", name, "--select", "LH00", "--ignore", "duplicate-server-address,LH00").code == 0
    said = run("review", name, "--ignore", "LH777")
    assert (said.code, "there is no rule 'LH777'" in said.err) == (2, True)


def test_a_baseline_hides_what_is_known_also_when_lines_move(run: Run) -> None:
    name = write("d.cfg", DUPLICATE)
    assert run("review", name, "--write-baseline", "known.json").code == 0
    write("d.cfg", "# a new comment\n" + DUPLICATE.replace("server b", "server c"))
    said = run("review", name, "--baseline", "known.json", *only("LH001"))
    write("d.cfg", "# a new comment\n" + DUPLICATE)

    assert said.code == 1  # another server is another finding
    again = run("review", name, "--baseline", "known.json")
    assert (again.code, "known from the baseline" in again.out) == (0, True)
    assert run("review", name, "--baseline", "absent.json").code == 2


# -- compared ---------------------------------------------------------------------------------------------------------


def git(*words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def test_a_change_is_compared_with_a_revision_of_git(run: Run) -> None:
    name = write("etc/h.cfg", SKEWED.replace("weight 90", "weight 10"))
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "even")
    write(name, SKEWED)
    said = run("review", name, "--diff", "HEAD", *only("LH076"))

    assert "warning LH076 risky-diff" in said.out
    assert "a goes from 50% to 90% of requests" in said.out
    assert "pool web since HEAD: 40% of requests move\n" in said.out
    assert run("review", "--json", "etc", "--diff", "HEAD", *only("LH076")).codes == ["LH076"]
    same = run("review", name, "--diff", "HEAD", "--select", "LH076", "--strict")
    assert same.code == 1


def test_a_change_is_compared_with_a_file_or_a_folder(run: Run) -> None:
    write("old/h.cfg", SKEWED.replace("weight 90", "weight 10"))
    write("new/h.cfg", SKEWED)

    assert run("review", "--json", "new/h.cfg", "--diff", "old/h.cfg", *only("LH076")).codes == ["LH076"]
    assert run("review", "--json", "new", "--diff", "old", *only("LH076")).codes == ["LH076"]
    assert run("review", "--json", "new/h.cfg", "--diff", "old", *only("LH076")).codes == ["LH076"]
    assert run("review", "--json", "old", "--diff", "old", *only("LH076")).codes == []


def test_includes_are_compared_as_they_were(run: Run) -> None:
    write("nginx.conf", "events {}\nhttp { include conf.d/*.conf; }\n")
    write("conf.d/a.conf", "upstream a { server 10.0.0.1:80; server 10.0.0.2:80; }\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "two")
    write("conf.d/a.conf", "upstream a { server 10.0.0.1:80; }\n")

    said = run("review", "--json", "nginx.conf", "--diff", "HEAD", *only("LH076"))
    assert [(f["code"], f["file"]) for f in said.json["findings"]] == [("LH076", "conf.d/a.conf")]


def test_a_folder_is_compared_with_all_its_includes(run: Run) -> None:
    for folder, servers in (("old", "server 10.0.0.1:80; server 10.0.0.2:80;"), ("new", "server 10.0.0.1:80;")):
        write(f"{folder}/nginx.conf", "events {}\nhttp { include conf.d/*.conf; }\n")
        write(f"{folder}/conf.d/a.conf", f"upstream a {{ {servers} }}\n")

    assert run("review", "--json", "new", "--diff", "old", *only("LH076")).codes == ["LH076"]
    assert run("review", "--json", "new/nginx.conf", "--diff", "old", *only("LH076")).codes == ["LH076"]


def test_a_base_that_is_nowhere_is_refused(run: Run) -> None:
    said = run("review", write("h.cfg", SKEWED), "--diff", "nowhere")
    assert (said.code, "neither a file nor a revision 'nowhere'" in said.err) == (2, True)


def test_how_long_a_server_is_out_is_asked_of_git(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write("h.cfg", SKEWED + "    server c 10.0.0.3:80 check disabled\n")
    git("init", "-q")
    git("add", ".")
    for variable in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(variable, "2024-03-10T10:00:00Z")
    git("commit", "-qm", "maintenance")

    assert run("review", "--json", name, *only("LH074")).codes == ["LH074"]
    write("h.cfg", SKEWED + "    server d 10.0.0.3:80 check disabled\n")
    assert run("review", "--json", name, *only("LH074")).codes == []


# -- forms ------------------------------------------------------------------------------------------------------------


def test_every_form_is_printed(run: Run) -> None:
    name = write("d.cfg", DUPLICATE)

    assert run("review", name, "--json").json["schema"] == "levelhead/review/1"
    assert json.loads(run("review", name, "--sarif").out)["version"] == "2.1.0"
    assert "::error file=d.cfg,line=13," in run("review", name, "--github").out
    assert ElementTree.fromstring(run("review", name, "--junit").out.partition("\n")[2]).tag == "testsuites"
    assert run("review", name, "--markdown").out.startswith("### Levelhead: ")
    forms = ("--json", "--sarif", "--github", "--junit", "--markdown")
    assert {run("review", name, form).code for form in forms} == {1}


def test_sarif_carries_the_pages_of_rules(run: Run) -> None:
    (tool,) = json.loads(run("review", write("d.cfg", DUPLICATE), "--sarif").out)["runs"]
    rules = {rule["id"]: rule["help"]["markdown"] for rule in tool["tool"]["driver"]["rules"]}

    assert rules["LH076"].startswith("# LH076 risky-diff\n")
    assert rules.keys() == {rule.code for rule in EVERY}


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(
    variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main(["review", write("d.cfg", DUPLICATE)])

    assert ("\x1b[" in capsys.readouterr().out) is coloured


# -- explain ----------------------------------------------------------------------------------------------------------


def test_a_rule_is_explained_by_its_page(run: Run) -> None:
    by_code, by_name = run("explain", "lh076"), run("explain", "risky-diff")

    assert by_code.out == by_name.out == (ROOT / "docs/rules/LH076.md").read_text()
    told = run("explain", "LH076", "--json").json
    assert (told["schema"], told["code"], told["page"]) == ("levelhead/rule/1", "LH076", by_code.out)


def test_all_rules_are_listed_or_those_that_begin_alike(run: Run) -> None:
    assert [rule["code"] for rule in run("explain", "--json").json["rules"]] == [rule.code for rule in EVERY]
    assert all(f"\n{rule.code}  {rule.name}" in run("explain").out for rule in RULES[:3])
    assert {rule["code"][:4] for rule in run("explain", "LH00", "--json").json["rules"]} == {"LH00"}


def test_an_unknown_word_is_answered_with_what_is_close(run: Run) -> None:
    said = run("explain", "risky-dif")
    assert (said.code, "did you mean risky-diff?" in said.err) == (2, True)


def test_every_rule_has_its_page_and_its_row_in_the_index() -> None:
    index = (ROOT / "docs/rules/README.md").read_text()
    rows = dict(re.findall(r"^\| \[(LH\d{3})\]\(LH\d{3}\.md\) ([a-z0-9-]+) \| \w+ \|", index, re.MULTILINE))
    found = pages.rules()

    assert rows == {rule.code: rule.name for rule in EVERY}, "make bench-review ARGS=--write"
    assert [rule.code for rule in EVERY if not found[rule.code].startswith(f"# {rule.code} {rule.name}\n")] == []
    assert found.keys() == rows.keys()


def test_every_module_with_rules_is_asked() -> None:
    folder = ROOT / "src/levelhead/review"
    modules = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem != "__init__"}
    own = {name for name, source in modules.items() if re.search(r"^RULES: Final", source, re.MULTILINE)}
    asked = set(re.findall(r"^    \*(\w+)\.RULES,$", (folder / "__init__.py").read_text(), re.MULTILINE))

    assert asked == own


# -- where others call it ---------------------------------------------------------------------------------------------


def test_the_action_runs_the_review_with_its_inputs(run: Run) -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    write("d.cfg", DUPLICATE)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "FILES": "d.cfg", "ARGUMENTS": "--select LH001",
    }  # fmt: skip
    shell = ["bash", "-c", steps[-1]["run"]]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, run("review", "--github", "--select", "LH001", "d.cfg").out)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("haproxy.cfg", True), ("etc/haproxy/web.cfg", True), ("nginx.conf", True), ("deploy/nginx/app.conf", True),
        ("envoy.yaml", True), ("levelhead.yaml", True), ("setup.cfg", False), ("docker-compose.yml", False),
        ("README.md", False),
    ],
)  # fmt: skip
def test_the_hook_sees_configurations_and_nothing_else(name: str, meant: bool) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())

    assert bool(re.search(hook["files"], name)) is meant
    assert hook["entry"] == "levelhead review"
