"""Trials from anywhere are read as a study is; a bad file is a clear line."""

import json
import math
import random
from pathlib import Path

import pytest
import warm
from command import ROOT, python

from playbook.errors import InputError
from playbook.report.external import external_contents, external_tables, name_of
from playbook.report.files import write_report
from playbook.study.design import Objective
from playbook.study.space import Choice, Float

LOSS = Objective("val/loss", "min")


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_curves_alone_are_enough(tmp_path):
    trials = write(tmp_path, "trials.csv", "trial,lr\n0,0.1\n1,0.2\n2,0.4\n")
    rows = [(trial, step, (trial - 1) ** 2 + 1 / (1 + step)) for trial in range(3) for step in range(0, 50, 10)]
    text = "".join(f"{trial},{step},val/loss,{value}\n" for trial, step, value in rows)
    curves = write(tmp_path, "curves.csv", f"trial,step,metric,value\n{text}")
    space = write(tmp_path, "space.yaml", "lr: {min: 1e-3, max: 10, scale: log}\n")
    tables = external_tables(trials, curves, space, LOSS)
    assert tables.space == {"all": {"lr": Float(1e-3, 10.0, "log")}}
    assert tables.ranked()["trial"].to_list()[0] == 1
    page = write_report(external_contents(tables, "mine", tmp_path), tmp_path / "report")
    assert page.exists()
    assert (tmp_path / "report" / "curves_loss.svg").exists()
    assert "Trial 1 has the best value with lr=0.2" in page.read_text()


def edge(folder: Path) -> Path:
    """Trials whose best lr is the lowest."""
    rng = random.Random(0)
    rows = "".join(f"{n},{lr:.6g},{math.log10(lr) + 5 + 0.01 * rng.random():.6g}\n" for n, lr in enumerate(lrs()))
    return write(folder, "edge.csv", f"trial,lr,objective\n{rows}")


def lrs() -> list[float]:
    return [10 ** (-4 + 4 * place / 23) for place in range(24)]


def test_commands_only_where_the_keys_are_ours(tmp_path):
    tables = external_tables(edge(tmp_path), None, None, Objective("objective", "min"))
    ours = external_contents(tables, "edge", tmp_path, lambda words: [each[:3] for each in words] == ["lr="])
    (at,) = [place for place, finding in enumerate(ours.findings) if finding.code == "space_boundary"]
    assert "lr=tag(log,interval(" in ours.next[at][0]
    assert ours.notes
    theirs = external_contents(tables, "edge", tmp_path, lambda words: False)
    assert all(commands == () for commands in theirs.next)


def test_the_command_line(tmp_path):
    edge(tmp_path)
    done = warm.run(ROOT / "scripts" / "report.py", "trials=edge.csv", "objective.mode=min", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "report/index.html"
    codes = {finding["code"] for finding in json.loads((tmp_path / "report" / "findings.json").read_text())}
    assert "space_boundary" in codes
    report = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert any("python train.py -m" in command for finding in report for command in finding["next"])  # lr is ours
    refused = python("-m", "playbook.report", "trials=edge.csv", "objective=min", folder=tmp_path)
    assert (refused.returncode, refused.stderr) == (2, "error: objective=min: allowed is a block of keys\n")


@pytest.mark.parametrize(
    ("trials", "curves", "space", "line"),
    [
        ("", None, None, "such as trial,lr,objective"),
        ("trial,lr\n0,0.1\n", "", None, "such as trial,step,metric,value"),
        ("lr,objective\n0.1,1\n", None, None, "the column trial is missing"),
        ("trial,lr\n0,0.1\n", None, None, "neither a column objective nor a curve"),
        ("trial,lr,objective\n0,0.1,1\n0,0.2,2\n", None, None, "is there twice"),
        ("trial,lr,objective\n0,0.1,bad\n", None, None, "is not a number"),
        ("trial,lr\n0,0.1\n", "trial,step,value\n0,0,1\n", None, "the column metric is missing"),
        ("trial,lr,objective\n0,0.1,1\n", None, "- lr\n", "a mapping is needed"),
        ("trial,lr,objective\n0,0.1,1\n", None, "lr: {min: 1, max: 0}\n", "space.lr: "),
        ("trial,lr,objective\n0,0.1,1\n", None, "lr: {min: low, max: 1}\n", "lr.min=low"),
        ("trial,lr,objective\n0,0.1,1\n", None, "momentum: {min: 0, max: 1}\n", "no such column"),
        ("trial,lr,objective\n0,0.1,1\n", None, "lr: {min: 0, max: 1\n", "cannot be read"),
        ('trial,lr,objective\n0,"0.1,1\n', None, None, "cannot be read"),
    ],
)
def test_a_bad_file_is_a_clear_line(tmp_path, trials, curves, space, line):
    files = [
        None if text is None else write(tmp_path, name, text)
        for name, text in (("trials.csv", trials), ("curves.csv", curves), ("space.yaml", space))
    ]
    assert files[0] is not None
    with pytest.raises(InputError) as error:
        external_tables(files[0], files[1], files[2], LOSS)
    assert line in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_space_in_each_of_its_forms(tmp_path):
    trials = write(tmp_path, "trials.csv", "trial,a,b,c,objective\n0,0.5,relu,0.9,1\n1,0.6,gelu,0.99,2\n")
    space = write(
        tmp_path, "space.yaml", "a: 'interval(0, 1)'\nb: [relu, gelu]\nc: {min: 0, max: 0.999, scale: log_one_minus}\n"
    )
    found = external_tables(trials, None, space, LOSS).space["all"]
    assert found == {
        "a": Float(0.0, 1.0),
        "b": Choice(("relu", "gelu")),
        "c": Float(0.0, 0.999, "log_one_minus"),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trial,lr,objective\n", "No trial has ended yet."),
        ("trial,lr,objective\n0,0.1,0.5\n", "is the only one with an objective"),
        ("trial,lr,objective\n0,0.1,nan\n1,0.2,nan\n", "None of the 2 trials has an objective"),
        ("trial,lr,objective\n0,0.1,1\n1,0.1,1\n2,0.1,1\n", "There is no winner."),
        ("trial,lr,objective\na</script>,0.1,1\nb,0.2,2\n", "Trial 0 has the best value"),
        ("trial,lr,objective\n0,0.1,1e308\n1,0.2,-1e308\n2,0.3,1e308\n", "Trial 1 has the best value"),
        (f"trial,{'x' * 300},objective\n0,1,1\n1,2,2\n", "Trial 0 has the best value"),
        (
            'trial,"a ""b"" \'c\'\nd\\e",objective\n' + "".join(f"{n},{n},{n}\n" for n in range(16)),
            "Trial 0 has the best value",
        ),
        (f"trial,act,objective\n0,{'y' * 300},1\n1,relu,2\n", f"act={'y' * 60}…: val/loss 1"),
    ],
)
def test_there_is_a_page_whatever_the_trials(tmp_path, text, said):
    trials = write(tmp_path, "trials.csv", text)
    contents = external_contents(external_tables(trials, None, None, LOSS), name_of(trials), tmp_path)
    page = write_report(contents, tmp_path / "report").read_text()
    assert said in page
    assert "a</script>" not in page


def test_a_report_that_cannot_be_made_leaves_nothing_behind(tmp_path, monkeypatch):
    trials = write(tmp_path, "trials.csv", "trial,lr,objective\n0,0.1,1\n1,0.2,2\n")
    contents = external_contents(external_tables(trials, None, None, LOSS), "mine", tmp_path)
    monkeypatch.setattr("playbook.report.files.render", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(contents, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_line(tmp_path):
    trials = write(tmp_path, "trials.csv", "trial,lr,objective\n0,0.1,1\n1,0.2,2\n")
    contents = external_contents(external_tables(trials, None, None, LOSS), "mine", tmp_path)
    with pytest.raises(InputError, match=r"out_dir=.*trials\.csv: the report cannot be written there"):
        write_report(contents, trials)


def test_hyperparameters_of_like_names_have_files_of_their_own(tmp_path):
    rows = "".join(f"{n},{n},{n * n},{-n},{n}\n" for n in range(12))
    trials = write(tmp_path, "trials.csv", f"trial,a b,a_b,A b,objective\n{rows}")
    contents = external_contents(external_tables(trials, None, None, LOSS), "mine", tmp_path)
    write_report(contents, tmp_path / "report")
    for kind in ("axis", "isolation"):
        assert len({path.name.lower() for path in (tmp_path / "report").glob(f"{kind}_*.svg")}) == 3


def test_a_thousand_trials_with_curves_are_a_light_page(tmp_path):
    rng = random.Random(1)
    trials = write(
        tmp_path, "trials.csv", "trial,lr\n" + "".join(f"{n},{10 ** rng.uniform(-4, 0)}\n" for n in range(1000))
    )
    metrics = ("val/error", "val/loss", "train/error", "train/eval_loss")
    rows = (f"{n},{s},{m},{rng.random():.8f}\n" for n in range(1000) for m in metrics for s in range(0, 4000, 20))
    curves = write(tmp_path, "curves.csv", "trial,step,metric,value\n" + "".join(rows))
    tables = external_tables(trials, curves, None, Objective("val/error", "min"))
    page = write_report(external_contents(tables, "large", tmp_path), tmp_path / "report")
    assert page.stat().st_size < 5_000_000


def test_a_study_is_called_by_its_file():
    assert name_of(Path("/a/b/sweep.csv")) == "sweep"
    assert name_of(Path("/a/b/trials.csv")) == "b"


def test_a_list_of_numbers_in_a_space_is_one_of_numbers(tmp_path):
    trials = write(tmp_path, "t.csv", "trial,lr,norm,objective\n0,1e-5,1,0.3\n1,1e-4,batch,0.2\n2,1e-3,layer,0.1\n")
    space = write(tmp_path, "space.yaml", "lr: [1e-5, 1e-4, 1e-3]\nnorm: ['1', batch, layer]\n")
    found = external_tables(trials, None, space, LOSS).space["all"]
    assert found == {"lr": Choice((1e-5, 1e-4, 1e-3)), "norm": Choice(("1", "batch", "layer"))}
