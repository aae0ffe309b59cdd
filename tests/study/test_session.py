"""Studies from Python, trials that were trained before, and folders that are not what they seem."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from command import Door

import playbook
import playbook.training
from playbook.errors import CrashError, InputError
from playbook.study.config import StudyConfig
from playbook.study.design import Design, Objective
from playbook.study.refusals import with_name
from playbook.study.space import Choice, Float

SHORT = ("logger=none", "max_steps=10", "eval_every=5", "trainer.num_threads=1", "trainer.device=cpu", "model.width=8")
LR = "lr=tag(log,interval(1e-4,1e-1))"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders into which trials were trained, in their order."""
    folders: list[Path] = []
    real = playbook.training.train

    def train(config, **named):
        folders.append(Path(config.output_dir))
        return real(config, **named)

    monkeypatch.setattr(playbook.training, "train", train)
    return folders


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies end without their report."""
    from playbook.training_app import TrainingApp

    monkeypatch.setattr(TrainingApp, "on_end", lambda *_: None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(name: str, root: str = "outputs") -> str:
    return Path(root, "studies", name, "trials.csv").read_text()


def test_python_and_the_command_line_run_the_same_study(
    door: Door, here: Path, quick: None, trained: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("optimizer=adam", LR, "study.name=a", "study.roles.lr=nuisance", "study.n_trials=2", *SHORT)
    assert door("-m", *words).code == 0
    assert "study.roles.lr=nuisance" in playbook.load_study("outputs/studies/a").file.command  # as it was typed
    assert "++" not in playbook.load_study("outputs/studies/a").file.command
    capsys.readouterr()
    study = playbook.run_study(*words, "output_root=python", quiet=True, report=False)
    assert capsys.readouterr() == ("", "")
    assert study.path == Path("python/studies/a")
    assert table("a", "python") == table("a")
    assert len(trained) == 4
    # The same call finds its own study, a larger number makes it longer, and the shell goes on with it.
    playbook.run_study(*words, "output_root=python", quiet=True)
    assert len(trained) == 4
    longer = playbook.run_study(*words, "output_root=python", "study.n_trials=3", quiet=True)
    assert len(trained) == 5
    assert longer.trials["trial"].to_list() == [0, 1, 2]
    assert "3 of 3 trials done" in door("-m", *words, "output_root=python").out
    assert len(trained) == 5


def test_a_study_from_python_is_described_by_a_design_or_as_in_a_file(here: Path, quick: None) -> None:
    space = {"lr": Float(1e-4, 1e-1, "log"), "model.activation": Choice(("relu", "gelu"))}
    design = Design("d", Objective("val/loss", "min"), goal="why?", seed=3, nuisance=space)
    by_design = playbook.run_study(*SHORT, "study.n_trials=2", study=design, quiet=True)
    nuisance = {"lr": {"min": 1e-4, "max": 1e-1, "scale": "log"}, "model.activation": ["relu", "gelu"]}
    as_file = playbook.run_study(
        *(*SHORT, "objective.metric=val/loss", "output_root=other"),
        study={"name": "d", "goal": "why?", "seed": 3, "nuisance": nuisance, "n_trials": 2},
        quiet=True,
    )
    assert by_design.design.nuisance == as_file.design.nuisance == space
    assert (by_design.design.goal, by_design.design.seed) == ("why?", 3)
    assert by_design.design.objective == Objective("val/loss", "min")
    assert table("d") == table("d", "other")


def test_what_a_study_from_python_cannot_be_is_an_input_error(here: Path) -> None:
    with pytest.raises(InputError, match="lr=-1"):
        playbook.run_study("lr=0.1,-1", *SHORT)
    with pytest.raises(InputError, match=r"study=nope: there is no such option.*study=learning_rate"):
        playbook.run_study("study=nope", *SHORT)
    with pytest.raises(InputError, match=r"max_stepz=1: there is no such key. did you mean max_steps"):
        playbook.run_study("max_stepz=1", *SHORT)
    assert not list(here.iterdir())


def test_an_added_arm_is_all_that_is_trained(here: Path, quick: None, trained: list[Path]) -> None:
    words = ("study.roles.optimizer=scientific", LR, *SHORT)
    playbook.run_study("optimizer=sgd,adam", "study.name=two", "study.n_trials=4", *words, quiet=True)
    trained.clear()
    three = ("optimizer=sgd,adam,nadam", "study.name=three", "study.n_trials=6", *words)
    study = playbook.run_study(*three, quiet=True)
    assert [path.name for path in trained] == ["trial_00002", "trial_00005"]
    assert [study.trials["optimizer"][number] for number in (2, 5)] == ["nadam", "nadam"]
    playbook.run_study(*three, "output_root=anew", quiet=True)
    assert table("three") == table("three", "anew")


@pytest.mark.parametrize(
    ("command", "study_key", "renamed"),
    [
        ("python train.py -m study.name=a lr=1,2", "study", "python train.py -m study.name=a-2 lr=1,2"),
        ("python train.py -m study=mine lr=1,2", "study", "python train.py -m study=mine lr=1,2 study.name=a-2"),
        ("python app.py -m ++b.study.name=a x=1,2", "b.study", "python app.py -m ++b.study.name=a-2 x=1,2"),
        ("python app.py -m x=1,2", "b.study", "python app.py -m x=1,2 ++b.study.name=a-2"),
    ],
)
def test_a_command_for_a_study_of_another_name(command: str, study_key: str, renamed: str) -> None:
    assert with_name(command, study_key, "a-2") == renamed


def test_an_arm_for_a_study_of_the_same_name_comes_with_its_command(
    door: Door, here: Path, quick: None, trained: list[Path]
) -> None:
    words = ("-m", "study.roles.optimizer=scientific", "study.name=a", LR, *SHORT)
    assert door(*words, "optimizer=sgd,adam", "study.n_trials=2").code == 0
    trained.clear()
    line = door(*words, "optimizer=sgd,adam,nadam", "study.n_trials=3").line
    command = line.rpartition("shares with this one: ")[2]
    assert "study.name=a-2" in command
    assert door(*shlex.split(command)[2:]).code == 0
    assert [path.parts[-2:] for path in trained] == [("a-2", "trial_00002")]


def test_a_study_file_of_another_metric_than_its_trials_is_found_out(here: Path, quick: None) -> None:
    study = playbook.run_study("lr=0.1,0.2", "study.name=a", *SHORT, quiet=True)
    path = study.path / "study.yaml"
    text = path.read_text()
    path.write_text(text.replace("  metric: val/error\n", "  metric: val/loss\n"))
    with pytest.raises(InputError, match=r"trial_00000 was judged by val/error \(min\).*says val/loss \(min\)"):
        playbook.load_study(study.path).trials  # noqa: B018


def test_a_trial_without_its_config_is_found_out(here: Path, quick: None) -> None:
    words = ("lr=0.1,0.2", "study.name=a", *SHORT)
    study = playbook.run_study(*words, quiet=True)
    path = study.path / "trial_00001" / "config.yaml"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        InputError, match=r"config\.yaml .*; put it back, or remove .*trial_00001 to have the trial run"
    ):
        playbook.load_study(study.path).trials  # noqa: B018
    path.unlink()
    with pytest.raises(InputError, match=r"trial_00001/config\.yaml is missing"):
        playbook.load_study(study.path).trials  # noqa: B018
    with pytest.raises(InputError, match=r"trial_00001/config\.yaml is missing"):
        playbook.run_study(*words, quiet=True)


def test_rows_that_are_missing_are_found_out(here: Path, quick: None) -> None:
    study = playbook.run_study("lr=0.1,0.2", "study.name=a", *SHORT, quiet=True)
    path = study.path / "trial_00001" / "evals.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    with pytest.raises(InputError, match=r"trial_00001/evals\.csv: rows are missing"):
        playbook.load_study(study.path).findings()


def test_added_seeds_are_all_that_is_trained(
    here: Path, quick: None, trained: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    playbook.run_study("lr=0.01,0.1", "seed=0,1", "study.name=two", *SHORT, quiet=True)
    trained.clear()
    playbook.run_study("lr=0.01,0.1", "seed=0,1,2", "study.name=three", *SHORT)
    assert len(trained) == 2
    assert "4 of 6 trials were trained before (in study two): reused" in capsys.readouterr().out
    playbook.run_study("lr=0.01,0.1", "seed=0,1,2", "study.name=three", "output_root=anew", *SHORT, quiet=True)
    assert table("three") == table("three", "anew")


def test_a_reused_trial_has_the_files_of_any_other(here: Path, quick: None, trained: list[Path]) -> None:
    playbook.run_study("lr=0.01,0.1", "study.name=a", *SHORT, quiet=True)
    playbook.run_study("lr=0.1,0.2", "study.name=b", *SHORT, quiet=True)
    assert len(trained) == 3
    (number,) = (trial for trial, lr in enumerate(playbook.load_study("outputs/studies/b").trials["lr"]) if lr == 0.1)
    own = Path(f"outputs/studies/b/trial_{number:05d}")
    source = Path(json.loads((own / "result.json").read_text())["reused_from"])
    assert source.parent == Path("outputs/studies/a")
    names = {path.relative_to(source) for path in source.rglob("*")}
    assert {path.relative_to(own) for path in own.rglob("*")} == names
    for name in names - {Path("config.yaml"), Path("result.json")}:
        assert (source / name).is_dir() or (own / name).read_bytes() == (source / name).read_bytes()
    shutil.rmtree("outputs/studies/a")
    run = playbook.load_run(own)
    assert run.config.output_dir == str(own)
    assert run.model() is not None


def test_a_run_is_reused_by_a_study(door: Door, here: Path, quick: None, trained: list[Path]) -> None:
    assert door("lr=0.1", *SHORT).code == 0
    study = playbook.run_study("lr=0.1,0.2", "study.name=a", *SHORT, quiet=True)
    assert len(trained) == 2
    assert study.trials["status"].to_list() == ["complete"] * 2


def of_other_code(result: dict) -> None:
    result["environment"]["code of model"] = "0123456789"


def of_another_torch(result: dict) -> None:
    result["environment"]["torch"] = "1.0"


def of_other_data(result: dict) -> None:
    result["environment"]["data"] = "0123456789"


def of_nobody_knows_what(result: dict) -> None:
    result["environment"] = None


def as_it_was(result: dict) -> None:
    """This one alone is found again."""


def test_what_was_trained_otherwise_is_trained_again(here: Path, quick: None, trained: list[Path]) -> None:
    changes = (of_other_code, of_another_torch, of_other_data, of_nobody_knows_what, as_it_was)
    words = ("lr=0.1,0.2,0.3,0.4,0.5", *SHORT)
    playbook.run_study(*words, "study.name=a", quiet=True)
    for number, change in enumerate(changes):
        path = Path(f"outputs/studies/a/trial_{number:05d}/result.json")
        result = json.loads(path.read_text())
        change(result)
        path.write_text(json.dumps(result))
    trained.clear()
    playbook.run_study(*words, "study.name=b", quiet=True)
    assert [path.name for path in trained] == [f"trial_{number:05d}" for number in range(4)]


def test_a_trial_of_other_data_under_the_same_path_is_not_reused(here: Path, quick: None, trained: list[Path]) -> None:
    words = ("lr=0.01,0.1", "data=arrays", "data.path=mine.npz", *SHORT)
    inputs, targets = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    np.savez("mine.npz", inputs=inputs, targets=targets)
    playbook.run_study(*words, "study.name=a", quiet=True)
    playbook.run_study(*words, "study.name=same", quiet=True)
    assert len(trained) == 2
    np.savez("mine.npz", inputs=inputs + 1, targets=targets)
    playbook.run_study(*words, "study.name=other", quiet=True)
    assert len(trained) == 4


def test_nothing_is_reused_where_that_is_asked_for(here: Path, quick: None, trained: list[Path]) -> None:
    playbook.run_study("lr=0.1,0.2", "study.name=a", *SHORT, quiet=True)
    playbook.run_study("lr=0.1,0.2", "study.name=b", "study.reuse=false", *SHORT, quiet=True)
    assert len(trained) == 4


def test_a_folder_that_holds_another_trial_is_found_out(door: Door, here: Path, quick: None) -> None:
    words = ("-m", "optimizer=sgd,adam", "study.roles.optimizer=scientific", "lr=0.1,0.2", "study.name=a", *SHORT)
    assert door(*words).code == 0
    study = Path("outputs/studies/a")
    for one, other, what in (("trial_00000", "trial_00002", "lr: "), ("trial_00000", "trial_00001", "optimizer._")):
        swap(study / one, study / other)
        line = door(*words).line
        assert f"{study / one} does not hold trial 0 of this study" in line
        assert what in line
        with pytest.raises(InputError, match="does not hold trial 0"):
            playbook.load_study(study).trials  # noqa: B018
        swap(study / one, study / other)
    assert door(*words, "max_steps=20", "study.name=longer").code == 0
    shutil.rmtree(study / "trial_00003")
    shutil.copytree("outputs/studies/longer/trial_00003", study / "trial_00003")
    assert "max_steps: 20 there, 10 here" in door(*words).line


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_a_study_whose_folder_is_removed_while_it_runs_is_whole_at_its_end(
    here: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, removed = playbook.training.train, []

    def train(config, **named):
        result = real(config, **named)
        if not removed:
            removed.append(config.output_dir)
            shutil.rmtree("outputs/studies/a")
        return result

    monkeypatch.setattr(playbook.training, "train", train)
    study = playbook.run_study("lr=0.1,0.2", "study.name=a", *SHORT, quiet=True)
    assert removed
    assert study.trials["status"].to_list() == ["complete"] * 2
    assert "was removed while the study ran" in capsys.readouterr().err


def test_a_report_that_fails_is_told_by_the_exit_code(door: Door, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import playbook.report.study_report as study_report

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    words = ("-m", "lr=0.1,0.2", "study.name=a", *SHORT)
    monkeypatch.setattr(study_report, "report", fail)
    failed = door(*words)
    assert failed.code == 1
    assert "no ink" in failed.err
    assert "python scripts/report.py study_dir=outputs/studies/a" in failed.err
    assert len(pl.read_csv("outputs/studies/a/trials.csv")) == 2
    monkeypatch.undo()
    monkeypatch.chdir(here)


def test_a_study_ends_with_its_report(door: Door, here: Path) -> None:
    done = door("-m", "lr=0.1,0.2", "study.name=a", *SHORT)
    assert done.code == 0
    assert "report: outputs/studies/a/report/index.html" in done.out
    assert "<html" in Path("outputs/studies/a/report/index.html").read_text()
    codes = [finding["code"] for finding in json.loads(Path("outputs/studies/a/report/findings.json").read_text())]
    study = playbook.load_study("outputs/studies/a")
    assert [finding.code for finding in study.findings()] == codes


def test_crashed_trials_raise_in_python_too(here: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = playbook.training.train

    def train(config, **named):
        if config.lr == 0.2:
            raise RuntimeError("a bug")
        return real(config, **named)

    monkeypatch.setattr(playbook.training, "train", train)
    with pytest.raises(CrashError, match="1 of 2 trials crashed"):
        playbook.run_study("lr=0.1,0.2", "study.name=a", "study.retries=0", *SHORT, quiet=True)
    assert sorted(playbook.load_study("outputs/studies/a").trials["status"]) == ["complete", "crashed"]


def test_the_sweeper_has_the_keys_of_a_study() -> None:
    from hydra_plugins.quasi_random_sweeper.quasi_random_sweeper import StudyKeys

    assert {each.name for each in fields(StudyKeys)} == set(StudyConfig.model_fields)


def test_optunas_database_is_made_again(door: Door, here: Path, quick: None) -> None:
    words = ("-m", "lr=0.1,0.2", "study.name=a", *SHORT)
    assert door(*words).code == 0
    Path("outputs/studies/a/optuna.db").unlink()
    assert door(*words).code == 0
    assert Path("outputs/studies/a/optuna.db").exists()


def test_what_a_study_does_not_compare_is_as_the_call_has_it(door: Door, here: Path, quick: None) -> None:
    words = ("-m", "lr=0.1,0.2,0.3", "study.name=a", *SHORT)
    assert door(*words, "study.n_trials=1", "keep_best=1").code == 0
    assert door(*words, "study.n_trials=2", "keep_best=1", "resume=force").code == 0
    modes = [playbook.load_run(f"outputs/studies/a/trial_0000{number}").config.resume for number in (0, 1)]
    assert modes == ["auto", "force"]
