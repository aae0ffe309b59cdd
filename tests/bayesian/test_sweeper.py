"""`hydra/sweeper=bayesian` on the command line: from a finished study to what to type next, and in any Hydra app."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import polars as pl
import pytest
import warm
from command import ROOT, Door

import playbook
from playbook.study.study_files import read_study

SHORT = ("logger=none", "max_steps=10", "eval_every=5", "trainer.num_threads=1", "trainer.device=cpu", "model.width=8")
LR = "lr=tag(log,interval(1e-3,1.0))"
SWEEP = ("-m", "hydra/sweeper=bayesian")
FROM = (*SWEEP, "study.start=outputs/studies/first")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of eight trials."""
    folder = tmp_path_factory.mktemp("first")
    words = ("optimizer=adam", LR, "study.name=first", "study.n_trials=8", f"output_root={folder}/outputs")
    playbook.run_study(*words, *SHORT, quiet=True, report=False)
    return folder / "outputs"


@pytest.fixture
def here(first: Path, tmp_path: Path) -> Path:
    """The folder of the command line, with the study in it."""
    shutil.copytree(first, tmp_path / "outputs")
    return tmp_path


def test_it_goes_on_from_a_finished_study(here: Path, door: Door, unreported: None) -> None:
    done = door(*FROM, "study.n_trials=2")
    assert done.code == 0, done.err
    study = playbook.load_study(here / "outputs/studies/first-bayesian")
    before = playbook.load_study(here / "outputs/studies/first")
    search = study.design.bayesian
    assert search is not None
    assert [each.objective for each in search.told] == before.trials["objective"].to_list()
    assert study.design.nuisance == before.design.nuisance
    assert study.design.fixed == before.design.fixed  # adam, ten steps, width 8: nothing was typed again
    assert len(study.trials) == len(search.proposed) == 2
    assert "python scripts/evaluate.py run_dir=outputs/studies/first" in done.out
    # The same command finds it again, also without the study that it began with, and a longer one goes on.
    same = door(*FROM, "study.n_trials=2")
    assert (same.code, same.left_behind) == (0, [])
    shutil.rmtree(here / "outputs/studies/first")
    longer = door(*FROM, "study.n_trials=3")
    assert longer.code == 0, longer.err
    assert "3 of 3 trials done" in longer.out
    again = read_study(here / "outputs/studies/first-bayesian")
    assert again is not None
    assert again.design.bayesian is not None
    assert again.design.bayesian.proposed[:2] == search.proposed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-m", LR, "study.start=outputs/studies/first"), "study.start: quasi-random points wait for no others; add"),
        (("-m", LR, "study.parallel=2"), "study.parallel: quasi-random points wait for no others; add"),
        ((*SWEEP, "study.start=outputs/studies/none"), "study.start=outputs/studies/none: there is no study here"),
        ((*FROM, "study=learning_rate"), "study.conditional: study.start=outputs/studies/first has the space; leave"),
        ((*FROM, "max_steps=20"), "study.start=outputs/studies/first: its trials have other settings (max_steps: 10"),
        ((*FROM, "objective.metric=val/loss"), "study.start=outputs/studies/first: its trials are judged by val/error"),
        ((*SWEEP, "study=optimizers"), "hydra/sweeper=bayesian searches one space, and here are"),
    ],
)
def test_what_makes_no_sense_is_one_line(here: Path, door: Door, words: tuple[str, ...], line: str) -> None:
    refused = door(*words, *(SHORT if "study.start=outputs/studies/first" not in words else ()))
    assert refused.code == 2
    (said,) = refused.err.splitlines()
    assert said.startswith(f"error: {line}")
    assert refused.left_behind == []


def test_a_range_that_is_typed_is_the_space(here: Path, door: Door, unreported: None) -> None:
    narrow = "lr=tag(log,interval(0.01,0.2))"
    assert door(*FROM, narrow, "study.name=narrow", "study.dry_run=true").left_behind == []
    done = door(*FROM, narrow, "study.name=narrow", "study.n_trials=1")
    assert done.code == 0, done.err
    file = read_study(here / "outputs/studies/narrow")
    assert file is not None
    search = file.design.bayesian
    assert search is not None
    assert {each.settings["lr"] for each in search.told} == {
        lr for lr in playbook.load_study(here / "outputs/studies/first").trials["lr"] if 0.01 <= lr <= 0.2
    }
    assert len(search.told) + search.num_quasi_random == 8
    other = door(*FROM, "lr=tag(log,interval(0.01,0.3))", "study.name=narrow", "study.n_trials=1")
    assert other.code == 2
    assert "nuisance.lr.max: 0.2 there, 0.3 here" in other.err


def test_what_the_page_types_is_a_search(here: Path, door: Door) -> None:
    shutil.copytree(here / "outputs/studies/first", here / "outputs/studies/demo")
    page = (ROOT / "docs/bayesian.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[:2] == ["python", "train.py"]
        done = door(*words[2:], "study.dry_run=true")
        assert (done.code, done.left_behind) == (0, []), command
        assert "Bayesian search (B12) after" in done.out


APP = """
import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=None, config_name="app")
def main(cfg: DictConfig) -> float:
    return float("nan") if cfg.x > 0.7 else (cfg.x - 0.6) ** 2


if __name__ == "__main__":
    ConfigStore.instance().store(name="app", node={"x": 0.0})
    main()
"""


def test_any_app_can_be_searched(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    words = (*SWEEP, "x=interval(0,1)", "hydra.sweeper.study={name: s, n_trials: 12, parallel: 2}")
    done = warm.run("app.py", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pl.read_csv(tmp_path / "studies" / "s" / "trials.csv")
    assert len(table) == 12
    assert (table["status"] == "infeasible").to_list() == (table["x"] > 0.7).to_list()
    assert table[8:]["objective"].min() < table[:8]["objective"].min()  # type: ignore[operator]
    assert "evaluate.py" not in done.stdout  # of ours, which knows no trial of theirs
