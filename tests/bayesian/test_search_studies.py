"""Searches as studies: killed, gone on with, made longer, refused where another one is meant; nothing is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from searched_surfaces import STEEP, steep
from settings_composer import Composer

from playbook.analysis.rules import find_all
from playbook.analysis.study import load_study
from playbook.bayesian.proposals import propose
from playbook.bayesian.start import with_start
from playbook.errors import CrashError, InputError
from playbook.run_files import Result, write_result
from playbook.study.app import App
from playbook.study.config import CommandLine, StudyConfig
from playbook.study.design import Design, Objective, Trial
from playbook.study.session import Program, StudySession, open_study
from playbook.study.study_files import TRIALS, Outcome, read_study, record_crash


class Proposer:
    """Ours, which counts what it was asked."""

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.asked = 0

    def begun(self, design: Design) -> Design:
        return with_start(design, None)

    def proposed(self, design: Design, ended: Sequence[Outcome]) -> Design:
        self.asked += 1
        return propose(design, ended, self.parallel)


class Search:
    """Calls of one search, whose trials run as `steep` says; `at_launch` is called before each batch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.launched: list[list[int]] = []
        self.console = Console(width=200, record=True, force_terminal=False)
        self.at_launch: Callable[[list[Trial]], None] = lambda trials: None

    @property
    def folder(self) -> Path:
        return self.root / "s"

    def open(self, n_trials: int, proposer: Proposer | None, **keys) -> StudySession:
        program = Program(App(), Composer(), self.root, "p.py", "python p.py", self.root)
        space = {key: each.plain() for key, each in STEEP.items()}
        block = {"name": "s", "n_trials": n_trials, "nuisance": space, "reuse": False, **keys}
        given = CommandLine({}, frozenset(), {})
        objective = Objective("loss", "min")
        return open_study(program, StudyConfig(**block), given, objective, [], self.console, proposer)

    def __call__(self, n_trials: int, parallel: int = 1, **keys) -> None:
        session = self.open(n_trials, Proposer(parallel), **keys)
        session.show_plan()
        session.run(self.launch)
        session.finish(report=False)

    def launch(self, trials):
        self.launched.append([trial.number for trial in trials])
        self.at_launch(trials)
        for trial in trials:
            self.end(trial)
        return [None] * len(trials)

    def end(self, trial: Trial) -> None:
        value = steep(trial.settings)
        diverged = math.isnan(value)
        objective = None if diverged else value
        own = self.folder / trial.folder
        own.mkdir(exist_ok=True)
        reason = "diverged" if diverged else None
        status = "infeasible" if diverged else "complete"
        result = Result(status, objective, 1, objective, 10, 3600.0, {}, 0, "loss", "min", reason=reason)
        write_result(own, result)

    @property
    def table(self) -> str:
        return (self.folder / TRIALS).read_text()

    @property
    def points(self) -> Sequence[Mapping[str, Any]]:
        """Those proposed, as the study's file has them."""
        file = read_study(self.folder)
        assert file is not None
        assert file.design.bayesian is not None
        return file.design.bayesian.proposed

    @property
    def proposed(self) -> int:
        return len(self.points)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Eleven trials: eight of the sequence, then three proposed, one after the other."""
    search = Search(tmp_path_factory.mktemp("undisturbed"))
    search(11)
    return search


def test_it_begins_with_the_sequence_and_then_waits_for_each_trial(undisturbed: Search) -> None:
    assert undisturbed.launched == [list(range(8)), [8], [9], [10]]
    points = Design("s", Objective("loss"), nuisance=STEEP).trials(8)
    file = read_study(undisturbed.folder)
    assert file is not None
    assert [each.settings for each in file.design.trials(8)] == [each.settings for each in points]
    said = undisturbed.console.export_text(clear=False)
    assert "Bayesian search (B12) after 8 quasi-random points" in said
    assert "11 of 11 trials done" in said


@pytest.mark.parametrize("killed_at", [0, 1, 2, 3])
def test_killed_at_any_trial_it_goes_on_as_if_it_had_not_been(
    search: Search, undisturbed: Search, killed_at: int
) -> None:
    """After the proposal is on the disk, before its trial is trained, and with a trial lost that was under way."""

    def kill(trials: list[Trial]) -> None:
        if len(search.launched) == killed_at + 1:
            for trial in trials[: len(trials) // 2]:
                search.end(trial)
            raise KeyboardInterrupt

    search.at_launch = kill
    with pytest.raises(KeyboardInterrupt):
        search(11)
    assert search.proposed == killed_at
    search.at_launch = lambda trials: None
    search(11)
    assert search.table == undisturbed.table
    assert search.points == undisturbed.points


def test_a_larger_number_makes_it_longer(search: Search, undisturbed: Search) -> None:
    search(9)
    assert search.proposed == 1
    search(11)
    assert search.table == undisturbed.table
    search(11)
    search(9)
    assert len(search.launched) == 4  # nothing was left


def test_trials_at_a_time_are_launched_together_and_known_before(search: Search) -> None:
    known: list[int] = []
    search.at_launch = lambda trials: known.append(search.proposed)
    search(13, parallel=2)
    assert search.launched == [list(range(8)), [8, 9], [10, 11], [12]]
    assert known == [0, 2, 4, 6]  # a point more than trials: another n_trials trains it


def test_a_trial_that_crashes_is_tried_again_and_then_left(search: Search) -> None:
    def crash(trials: list[Trial]) -> None:
        if any(trial.number == 8 for trial in trials):
            record_crash(search.folder / "trial_00008", RuntimeError("a bug"))
            raise RuntimeError("a bug")

    search.at_launch = crash
    with pytest.raises(CrashError, match="1 of 10 trials crashed"):
        search(10, retries=1)
    assert search.launched == [list(range(8)), [8], [8], [9]]
    search.at_launch = lambda trials: None
    search(10, retries=1)
    assert search.launched[4:] == [[8]]  # the same point, and no other one


def test_a_budget_ends_it_and_says_what_is_left(search: Search) -> None:
    search(12, budget_hours=9.5)
    said = search.console.export_text()
    assert [number for batch in search.launched for number in batch] == list(range(9))
    assert "3 of 12 trials left to train" in said
    search(12, budget_hours=20.0)
    assert "12 of 12 trials done" in search.console.export_text()


def test_another_sweep_that_went_on_in_the_meantime_is_gone_on_from(search: Search, undisturbed: Search) -> None:
    late = search.open(11, Proposer())
    search(10)
    late.run(search.launch)
    late.finish(report=False)
    assert search.table == undisturbed.table


def test_a_search_and_a_quasi_random_study_are_two_studies(search: Search, undisturbed: Search) -> None:
    with pytest.raises(InputError, match=r"holds a study of another design \(bayesian\.start: .* there, absent here\)"):
        undisturbed.open(11, None)
    search.open(4, None).run(search.launch)
    with pytest.raises(InputError, match=r"bayesian\.start: absent there"):
        search.open(11, Proposer())


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"scientific": {"optimizer": ["adam", "sgd"]}},
            r"here are 2 arms \(optimizer=adam, optimizer=sgd\); choose one",
        ),
        ({"nuisance": {}, "trials": [{"lr": 0.1}]}, "a list of trials has none"),
        ({"nuisance": {}, "repeat": {"seed": [0, 1]}}, "nothing is searched but seeds"),
    ],
)
def test_what_is_no_one_space_is_refused(search: Search, keys, line: str) -> None:
    with pytest.raises(InputError, match=line):
        search.open(4, Proposer(), **keys)
    assert not search.folder.exists()


def test_its_file_is_read_as_it_was_written_and_a_point_of_another_space_refused(undisturbed: Search) -> None:
    file = read_study(undisturbed.folder)
    assert file is not None
    assert Design.of(file.design.plain()) == file.design
    plain = file.design.plain()
    plain["bayesian"]["proposed"][0]["momentum"] = 0.9
    with pytest.raises(InputError, match="a point has lr, momentum, weight_decay; the space has lr, weight_decay"):
        Design.of(plain)


def test_what_takes_points_that_fill_the_space_is_not_said(undisturbed: Search) -> None:
    tables = load_study(undisturbed.folder).tables()
    said = {each.code for each in find_all(tables)}
    assert "best" in said
    silent = {"few_trials", "importance", "insensitive", "refine"}
    assert not said & silent
    assert {each.code for each in find_all(replace(tables, adaptive=False))} & silent  # which are said of others


def test_optuna_has_each_trial_under_its_number(undisturbed: Search) -> None:
    import optuna

    study = optuna.load_study(study_name="s", storage=f"sqlite:///{undisturbed.folder}/optuna.db")
    assert [trial.number for trial in study.trials] == list(range(11))
    file = read_study(undisturbed.folder)
    assert file is not None
    for trial, ours in itertools.zip_longest(study.trials, file.design.trials(11)):
        assert trial.params == ours.settings
