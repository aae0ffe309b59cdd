"""A report holds what the study holds, is written when that has changed, and lets nothing out of its names."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ended_study import ARMS, PLAIN, begin, end

from playbook.errors import InputError
from playbook.report import freshness
from playbook.report.files import write_report
from playbook.report.study_report import contents_of, report
from playbook.run_files import STEPS, Table
from playbook.study.design import Design, Objective
from playbook.study.load import load_record
from playbook.study.space import Choice, Float

FIELDS = {"code", "severity", "rule", "arm", "parameter", "trials", "message", "evidence", "next"}
HOSTILE = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The elements of a page: their tags, attributes, and the text of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._in_script = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag in ("script", "style")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if not self._in_script:
            self.text.append(data)
        elif self.tags[-1][0] == "script":
            self.scripts[-1] += data

    @property
    def data(self) -> dict:
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The folder of a study of 16 trials; one of them has steps; and its report."""
    folder = tmp_path_factory.mktemp("studies") / "plain"
    end(folder, PLAIN, begin(folder, PLAIN, 16))
    best = load_record(folder).trials.sort("objective", nulls_last=True)["trial"][0]
    norms = [1 + 0.1 * (step % 10) for step in range(100)]
    Table(folder / f"trial_{best:05d}", STEPS).append(
        (step, 1.0, norm, 0.1, False, 0.0, 0.01) for step, norm in enumerate(norms)
    )
    report(folder)
    return folder


@pytest.fixture
def plain(reported, tmp_path):
    """A copy of it."""
    return shutil.copytree(reported, tmp_path / "plain")


def test_the_files(plain):
    page = report(plain)
    assert page == plain / "report" / "index.html"
    names = {path.name for path in page.parent.iterdir()}
    expected = (
        "axis_lr",
        "axis_model.dropout",
        "isolation_lr",
        "best_of_n",
        "best_step",
        "gradient_norms",
        "importance",
    )
    assert {"index.html", "findings.json", *(f"{name}.svg" for name in expected)} <= names
    assert not any(name.endswith(".tmp") for name in names)
    findings = json.loads((page.parent / "findings.json").read_text())
    assert findings
    assert all(set(finding) == FIELDS for finding in findings)
    order = ["problem", "advice", "info"]
    severities = [order.index(finding["severity"]) for finding in findings]
    assert severities == sorted(severities)
    for svg in page.parent.glob("*.svg"):
        assert svg.read_text().startswith("<svg")


def test_the_page_holds_every_trial_its_command_and_its_curves(plain):
    data = Page(report(plain)).data
    trials = load_record(plain).trials
    assert data["trials"]["fields"]["trial"] == trials["trial"].to_list()
    assert data["trials"]["fields"]["status"] == trials["status"].to_list()
    drawn = [None if value is None else pytest.approx(value) for value in trials["objective"]]
    assert data["trials"]["fields"]["objective"] == drawn
    head, tails = data["trials"]["commands"]["head"], data["trials"]["commands"]["tails"]
    for row, tail in zip(trials.iter_rows(named=True), tails, strict=True):
        expected = f"python train.py data=digits lr={row['lr']} model.dropout={row['model.dropout']}"
        assert head + tail == expected
    for trial, metric, places, values in data["curves"]["lines"]:
        curve = load_record(plain).curves().filter(trial=trial, metric=data["curves"]["metrics"][metric])
        assert [data["curves"]["grid"][place] for place in places] == curve["step"].to_list()
        finite = [value for value in curve["value"] if abs(value) < float("inf")]
        assert [value for value in values if value is not None] == pytest.approx(finite, rel=1e-3)
    statuses = dict(zip(data["trials"]["fields"]["kind"], data["trials"]["fields"]["status"], strict=True))
    assert statuses["infeasible"] == "infeasible"
    assert statuses["best"] == "complete"


def test_the_page_says_the_goal_the_answer_and_the_findings(tmp_path):
    folder = tmp_path / "arms"
    end(folder, ARMS, begin(folder, ARMS, 24))
    contents = contents_of(load_record(folder), folder / "report")
    text = " ".join(" ".join(Page(report(folder)).text).split())
    assert ARMS.goal in text
    assert contents.answer in text
    assert all(finding.message in text for finding in contents.findings)
    cards: dict[str, list[str]] = {}  # the findings are in order of severity, so their codes are too
    for finding in contents.findings:
        cards.setdefault(finding.code, []).append(finding.message)
    places = [min(map(text.index, messages)) for messages in cards.values()]
    assert places == sorted(places)
    assert "model.width nuisance 8 to 512 log" in text  # the design


def test_a_current_report_is_not_written_again(plain):
    page = report(plain)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in page.parent.iterdir()}
    assert report(plain) == page
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in page.parent.iterdir()} == before


def test_a_current_report_is_not_made_anew(plain, monkeypatch, capsys):
    page = report(plain)
    capsys.readouterr()
    monkeypatch.setattr("playbook.report.study_report.contents_of", lambda *given: 1 / 0)
    assert report(plain) == page
    assert capsys.readouterr().out.split() == (page.parent / "summary.txt").read_text().split()


def test_a_chart_that_was_removed_is_drawn_again(plain):
    chart = report(plain).parent / "axis_lr.svg"
    chart.unlink()
    report(plain)
    assert chart.exists()


def test_what_an_earlier_report_wrote_is_removed_and_nothing_else(plain):
    folder = report(plain).parent
    mine = (folder / "curves_mine.svg", folder / "study" / "mine.yaml", folder / "notes.txt")
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert (folder / "gradient_norms.svg").exists()
    best = load_record(plain).trials.sort("objective", nulls_last=True)["trial"][0]
    (plain / f"trial_{best:05d}" / STEPS).unlink()
    report(plain)
    assert not (folder / "gradient_norms.svg").exists()
    assert all(path.read_text() == "mine" for path in mine)
    names = {path.name for path in folder.glob("*.svg")} - {mine[0].name}
    assert names == {name for name in (folder / "files.txt").read_text().split() if name.endswith(".svg")}


def test_a_file_list_of_someone_else_removes_nothing_beyond_charts_and_study_files(plain):
    folder = report(plain).parent
    (folder / "files.txt").write_text("../study.yaml\nwandb.json\n../../victim.svg\nsummary.txt\n")
    for name in ("wandb.json", "../../victim.svg"):
        (folder / name).write_text("{}")
    end(plain, PLAIN, begin(plain, PLAIN, 17)[16:])
    report(plain)
    assert all((folder / name).exists() for name in ("../study.yaml", "wandb.json", "../../victim.svg"))


def test_the_file_of_a_study_that_was_begun_stays(tmp_path):
    folder = tmp_path / "arms"
    end(folder, ARMS, begin(folder, ARMS, 24))
    (file, *_) = sorted((report(folder).parent / "study").glob("arms-*.yaml"))
    text = file.read_text()
    (tmp_path / file.stem).mkdir()  # the study runs
    end(folder, ARMS, begin(folder, ARMS, 25)[24:])
    report(folder)
    assert file.read_text() == text


def test_a_report_is_made_from_every_file_of_the_program_that_makes_it():
    root = Path(freshness.__file__).parents[1]
    names = {path.relative_to(root).as_posix() for path in freshness.code_files()}
    assert {"analysis/rules/boundary.py", "report/page/page.js", "report/charts/axes.py", "study/design.py"} <= names


def test_crashes_are_a_problem_that_all_of_the_report_names(tmp_path):
    crashed = dict.fromkeys(range(4), "boom")
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 4), crashed=crashed)
    page = report(tmp_path)
    (finding, *_) = json.loads((page.parent / "findings.json").read_text())
    assert (finding["code"], finding["severity"], finding["trials"]) == ("crashed", "problem", [0, 1, 2, 3])
    for text in (" ".join(Page(page).text), (page.parent / "summary.txt").read_text()):
        assert "4 of 4 trials crashed" in " ".join(text.split())
        assert "No problem was found" not in text


def test_a_further_trial_makes_a_new_report(plain):
    page = report(plain)
    assert len(Page(page).data["trials"]["fields"]["trial"]) == 16
    end(plain, PLAIN, begin(plain, PLAIN, 18)[16:])
    report(plain)
    assert len(Page(page).data["trials"]["fields"]["trial"]) == 18


def test_another_objective_after_the_fact(plain):
    study = load_record(plain)
    contents = contents_of(study, plain / "report", Objective("train/loss", "max"), "final")
    values = {
        trial: study.curves().filter(trial=trial, metric="train/loss")["value"][-1]
        for trial in study.trials.filter(status="complete")["trial"]
    }
    best = max(values, key=values.__getitem__)
    assert f"Trial {best} has the best value" in contents.answer
    assert any("final value of train/loss" in note for note in contents.notes)
    page = Page(write_report(contents, plain / "other"))
    assert page.data["objective"] == "train/loss"
    assert not page.data["ascending"]


def hostile(folder: Path) -> Path:
    design = Design(
        name="hostile",
        goal=f"{HOSTILE} & </title></style></script><!-- {{{{ 7 * 7 }}}}",
        nuisance={"lr": Float(1e-4, 1.0, "log"), HOSTILE: Choice((HOSTILE, "</script><img src=x onerror=alert(1)>"))},
        overrides=(f"data={HOSTILE}",),
        fixed={HOSTILE: HOSTILE},
    )
    trials = begin(folder, design, 12)
    end(folder, design, trials, crashed={3: f"{HOSTILE} {'x' * 500}"})
    return report(folder)


def test_no_name_becomes_markup_or_code(plain, tmp_path):
    usual, page = Page(report(plain)), Page(hostile(tmp_path / "hostile"))
    assert len(page.scripts) == len(usual.scripts) == 3
    assert page.scripts[1:] == usual.scripts[1:]  # what runs is the same to the last character
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in usual.tags} | {"p"}
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert page.data["trials"]["settings"][1]["key"] == HOSTILE
    assert f"{HOSTILE} & </title></style></script><!-- {{{{ 7 * 7 }}}}" in " ".join(page.text)
    for svg in (tmp_path / "hostile" / "report").glob("*.svg"):
        assert "<script" not in svg.read_text()


def test_only_our_scripts_may_run_and_nothing_may_be_fetched(plain):
    page = Page(report(plain))
    (policy,) = (each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts[1:]}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert "unsafe-eval" not in policy
    scripts = [each for tag, each in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}, {}]
    addresses = [each.get("src") or each.get("href") for _, each in page.tags]
    assert all(address is None or address.startswith("#") for address in addresses)


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_a_study_that_has_hardly_begun(tmp_path, ended):
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 16)[:ended])
    page = Page(report(tmp_path))
    text = " ".join(page.text)
    assert f"{16 - ended} trials have not ended yet" in text
    assert len(page.data["trials"]["fields"]["trial"]) == ended


def test_a_study_in_which_nothing_trained(tmp_path):
    design = Design(name="wild", nuisance={"lr": Float(0.1, 1.0, "log")})
    end(tmp_path, design, begin(tmp_path, design, 6))
    text = " ".join(Page(report(tmp_path)).text)
    assert "None of the 6 trials has an objective (6 infeasible)." in text


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(InputError, match="there is no study here"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []
