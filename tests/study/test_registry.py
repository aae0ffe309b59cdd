"""The registry lists what the studies' files say, whoever wrote them; a broken folder does not hide the others."""

import csv
import json
import os
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from ended_study import PLAIN, begin, end
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from playbook.report.registry import registry_listing, registry_page
from playbook.study.design import Design, Objective
from playbook.study.registry import read_registry
from playbook.study.space import Choice, Float
from playbook.study.study_files import StudyFile, write_study, write_trials

ROOT = Path(__file__).parents[2]
LR = Float(1e-4, 1.0, "log")


def write(folder: Path, design: Design, rows: str = "", **file) -> None:
    """A study as its files are: `rows` is what follows the header of trials.csv."""
    folder.mkdir(parents=True)
    given = {"n_trials": 4, "created": "2026-11-20T09:00:00+00:00", "command": "python train.py -m study=x"} | file
    write_study(folder, StudyFile(design, budget=4, environment=given.pop("environment", {}), **given))
    if rows:
        header = ",".join(["trial", "arm", "status", "objective", "best_step", "seed", *design.parameters])
        (folder / "trials.csv").write_text(f"{header}\n{rows}")


@pytest.fixture
def studies(tmp_path):
    """Three studies: one well on its way, one of another mode, one that has just begun."""
    root = tmp_path / "outputs" / "studies"
    first = Design("first", goal="Which lr?", nuisance={"lr": LR}, overrides=("optimizer=adam", "model.norm=null"))
    rows = "0,all,complete,0.2,10,0,1\n1,all,complete,0.1,20,0,1\n2,all,infeasible,,,0,1\n3,all,crashed,,,,1\n"
    environment = {"commit": "0123456789abcdef", "uncommitted_changes": True}
    write(root / "first", first, rows, environment=environment)
    (root / "first" / "notes.md").write_text("diverges above 0.3\n<b>look</b> again")
    (root / "first" / "trial_00001").mkdir()
    (root / "first" / "trial_00001" / "config.yaml").write_text("lr: 1\n")
    (root / "first" / "report").mkdir()
    (root / "first" / "report" / "index.html").write_text("<p>")
    second = Design("second", Objective("val/accuracy", "max"), scientific={"model.act": Choice(("a b", "relu"))})
    rows = "0,x,complete,0.5,10,0,a b\n1,y,complete,0.5,10,0,relu\n"
    write(root / "second", second, rows, n_trials=2, created="2026-11-21T09:00:00+00:00", command="python fit.py -m")
    write(root / "third", Design("third", nuisance={"lr": LR}), created="2026-11-19T09:00:00+00:00")
    return root


@pytest.mark.parametrize("kept_lines", [0, 1, 3])
def test_trials_that_the_table_has_lost_are_read_from_their_folders(tmp_path, kept_lines):
    folder = tmp_path / "plain"
    trials = begin(folder, PLAIN, 6)
    write_trials(folder, PLAIN, end(folder, PLAIN, trials))
    (whole,) = read_registry(tmp_path).entries
    assert whole.complete + whole.infeasible == 6
    table = folder / "trials.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:kept_lines])) if kept_lines else table.unlink()
    assert read_registry(tmp_path).entries == (whole,)


def test_a_row_a_study_newest_first(studies):
    registry = read_registry(studies)
    assert registry.troubles == ()
    table = registry.table
    assert table["name"].to_list() == ["second", "first", "third"]
    assert table["trials"].to_list() == [2, 4, 4]
    assert table["complete"].to_list() == [2, 2, 0]
    assert table["infeasible"].to_list() == [0, 1, 0]
    assert table["crashed"].to_list() == [0, 1, 0]
    assert table["objective"].to_list() == [0.5, 0.1, None]
    assert table["best_trial"].to_list() == [0, 1, None]  # the earlier of two equal ones
    assert table["metric"].to_list() == ["val/accuracy", "val/error", "val/error"]
    assert table["code"].to_list() == ["", "0123456789+", ""]
    assert table["config"].to_list() == [None, str(studies / "first" / "trial_00001" / "config.yaml"), None]
    assert table["report"].to_list() == [None, str(studies / "first" / "report" / "index.html"), None]
    assert table["notes"].to_list() == ["", "diverges above 0.3\n<b>look</b> again", ""]


def test_the_command_runs_the_best_trial_again(studies):
    second, first, third = read_registry(studies).entries
    program, script, *words = shlex.split(first.command)
    assert (program, script) == ("python", "train.py")
    best = Design("first", nuisance={"lr": LR}).trials(2)[1].settings["lr"]
    given = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(words)}
    assert given == {"optimizer": "adam", "model.norm": None, "lr": best}
    assert shlex.split(second.command)[:2] == ["python", "fit.py"]  # the program that ran the study
    (override,) = OverridesParser.create().parse_overrides(shlex.split(second.command)[2:])
    assert str(override.value()) == "a b"
    assert third.command is None


def test_the_best_of_repeated_settings_is_the_best_on_average(tmp_path):
    design = Design("again", nuisance={"lr": Choice((0.1, 0.2))}, repeat={"seed": Choice((0, 1))})
    rows = "0,all,complete,0.1,10,0,0.1\n1,all,complete,0.9,10,1,0.1\n2,all,complete,0.2,10,0,0.2\n"
    write(tmp_path / "again", design, f"{rows}3,all,complete,0.3,10,1,0.2\n")
    (entry,) = read_registry(tmp_path).entries
    assert (entry.best_trial, entry.objective) == (2, 0.2)


def reported(folder: Path, **best) -> None:
    """The finding `best`, as the report writes it."""
    (folder / "report").mkdir(exist_ok=True)
    found = [{"code": "few_trials", "evidence": {}}, {"code": "best", "evidence": best}]
    (folder / "report" / "findings.json").write_text(json.dumps(found))


BEST = {"trial": 1, "expected": 0.12, "interval": [0.09, 0.15], "set": [1, 0]}


def test_the_best_comes_with_what_it_would_be_again_and_what_is_as_good(studies, tmp_path):
    reported(studies / "first", **BEST)
    (entry,) = [each for each in read_registry(studies).entries if each.name == "first"]
    assert (entry.expected, entry.low, entry.high, entry.alike) == (0.12, 0.09, 0.15, 1)
    said = "rained again about 0.12 (0.09 to 0.15, 95 %); 1 other cannot be told from it"
    assert said in rendered(studies, 100)
    assert said in registry_page(read_registry(studies), tmp_path)


@pytest.mark.parametrize("change", ["another best", "noise unknown", "older", "broken"])
def test_nothing_is_said_of_the_best_by_a_report_that_does_not_know(studies, change):
    folder = studies / "first"
    reported(folder, **BEST | {"another best": {"trial": 0}, "noise unknown": {"expected": None}}.get(change, {}))
    if change == "older":
        os.utime(folder / "report" / "findings.json", ns=(0, (folder / "trials.csv").stat().st_mtime_ns - 1))
    if change == "broken":
        (folder / "report" / "findings.json").write_text('[{"code": 1')
    registry = read_registry(studies)
    assert registry.troubles == ()
    assert [each.expected for each in registry.entries] == [None] * 3


def break_yaml(folder: Path) -> None:
    (folder / "study.yaml").write_text("name: [")


def break_tag(folder: Path) -> None:
    (folder / "study.yaml").write_text("!!python/object/apply:os.system ['true']")


def break_keys(folder: Path) -> None:
    (folder / "study.yaml").write_text("name: only")


def break_seed(folder: Path) -> None:
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text.replace("seed: 0", "seed: {a: 1}"))


def break_columns(folder: Path) -> None:
    (folder / "trials.csv").write_text("trial,objective,best_step,seed\n0,1,1,1\n")


def break_cells(folder: Path) -> None:
    (folder / "trials.csv").write_text("trial,arm,status,objective,best_step,seed,lr\nx,all,complete,1,1,0,1\n")


def break_bytes(folder: Path) -> None:
    (folder / "trials.csv").write_bytes(b"\x00\xff\xfe")


def break_number(folder: Path) -> None:
    text = (folder / "trials.csv").read_text()
    (folder / "trials.csv").write_text(text.replace("\n1,all", "\n99,all"))


def take_away(folder: Path) -> None:
    (folder / "study.yaml").unlink()


BREAKS = (
    break_yaml,
    break_tag,
    break_keys,
    break_seed,
    break_columns,
    break_cells,
    break_bytes,
    break_number,
    take_away,
)


@pytest.mark.parametrize("breaking", BREAKS, ids=lambda each: each.__name__)
def test_a_broken_or_foreign_folder_is_one_line(studies, breaking):
    breaking(studies / "first")
    registry = read_registry(studies)
    assert [entry.name for entry in registry.entries] == ["second", "third"]
    (line,) = registry.troubles
    assert line.startswith(str(studies / "first"))
    assert "\n" not in line


def test_an_unfinished_and_an_all_infeasible_study_have_no_best(tmp_path):
    write(tmp_path / "a", Design("a", nuisance={"lr": LR}), "0,all,infeasible,,,0,1\n")
    write(tmp_path / "b", Design("b", nuisance={"lr": LR}), "0,all,complete,inf,1,0,1\n")
    for entry in read_registry(tmp_path).entries:
        assert (entry.objective, entry.best_trial, entry.command) == (None, None, None)
    assert "no complete trial; judged by val/error" in registry_page(read_registry(tmp_path), tmp_path)


class Page(HTMLParser):
    """The tags of a page, its links and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text += data


def test_the_page_links_to_the_files_from_where_it_stands(studies, tmp_path):
    out_dir = tmp_path / "elsewhere" / "page"
    page = Page(registry_page(read_registry(studies), out_dir))
    assert len(page.links) == 2 + 4 + 2
    for link in page.links:
        assert not re.match(r"[a-z]+:|/", link)
        assert unquote(link).startswith("../../outputs/studies/")
    existing = [link for link in page.links if Path(os.path.normpath(out_dir / unquote(link))).exists()]
    assert len(existing) == len(page.links) - 1  # the study that has just begun has no trials yet


def test_hostile_text_stays_text(tmp_path):
    attack = "</style></article><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    design = Design(attack, Objective(attack), goal=attack, nuisance={"lr": Choice((attack, "b"))}, overrides=(attack,))
    folder = tmp_path / 'a"><script>'
    write(folder, design, "0,all,complete,0.1,1,0,x\n", n_trials=2, created=attack, environment={"commit": attack})
    (folder / "notes.md").write_text(attack)
    (folder / "report").mkdir()
    (folder / "report" / "index.html").touch()
    (tmp_path / "<script>bad").mkdir()
    registry = read_registry(tmp_path)
    page = Page(registry_page(registry, tmp_path))
    assert page.text.count(attack) == 4  # name, goal, metric and notes; the command is quoted for a shell
    assert not {"script", "img"} & set(page.tags)
    assert "<script>bad" in page.text
    assert "default-src 'none'" in registry_page(registry, tmp_path)


def rendered(studies: Path, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(registry_listing(read_registry(studies)))
    return captured.get()


def test_the_table_fits_a_terminal(studies):
    text = rendered(studies, 80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert [name for name in ("second", "first", "third") if name in text] == ["second", "first", "third"]
    for word in (
        "Which lr?",
        "3 of 4",
        "1 infeasible",
        "1 crashed",
        "0.1",
        "val/error",
        "2026-11-20",
        "optimizer=adam",
    ):
        assert word in text


@pytest.fixture
def door(script_door):
    """`door("key=value", …)`: the exit code and the output of `python scripts/registry.py …`."""
    return script_door("registry")


def test_the_script_prints_and_writes_the_registry(studies, door, tmp_path):
    (studies / "junk").mkdir()
    code, said = door()
    assert code == 0
    assert "junk: not a study (study.yaml is missing)" in said.out
    assert "Which lr?" in said.out
    assert said.out.splitlines()[-1] == "outputs/registry.html"
    assert "second" in (tmp_path / "outputs" / "registry.html").read_text()
    with (tmp_path / "outputs" / "registry.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["second", "first", "third"]
    assert rows[1]["notes"] == "diverges above 0.3\n<b>look</b> again"
    assert json.loads(rows[1]["objective"]) == 0.1


def test_no_study_is_a_line_and_no_error(door, tmp_path):
    code, said = door("studies_dir=nowhere/studies")
    assert code == 0
    assert said.out == "nowhere/studies: no study yet; python train.py -m study=learning_rate makes one\n"
    assert not (tmp_path / "nowhere").exists()


def test_a_place_that_cannot_be_written_is_a_line(studies, door, tmp_path):
    (tmp_path / "file").write_text("")
    code, said = door("out_dir=file")
    assert code == 2
    assert said.err == "error: out_dir=file: the registry cannot be written there (File exists)\n"
