"""A budget of compute hours: what is started, where it ends, what is said, and that the study goes on from there."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
import warm
from command import Door
from rich.console import Console
from settings_composer import Composer

from hydra_plugins.quasi_random_sweeper.quasi_random_sweeper import StudyKeys
from playbook.errors import InputError
from playbook.run_files import Result, write_result
from playbook.study import progress
from playbook.study.app import App
from playbook.study.budget import Budget
from playbook.study.config import CommandLine, StudyConfig, read_study_config
from playbook.study.design import Design, Objective, Trial
from playbook.study.ledger import Ledger
from playbook.study.progress import Watch
from playbook.study.session import SMALL_STUDY, Program, StudySession, open_study
from playbook.study.space import Float
from playbook.study.study_files import STUDY, Outcome, read_study

HOUR = 3600.0
RESULT = Result("complete", 0.5, 1, 0.5, 10, HOUR, {}, 0, "objective", "min")


def outcomes(*hours: float, arms: str = "ab") -> list[Outcome]:
    """Trials that took so many hours, of the arms in turn."""
    return [
        Outcome(trial, "complete", result=replace(RESULT, seconds=each * HOUR))
        for trial, each in zip(trials(len(hours), arms=arms), hours, strict=True)
    ]


def trials(stop: int, start: int = 0, arms: str = "ab") -> list[Trial]:
    return [Trial(number, arms[number % len(arms)], {}) for number in range(start, stop)]


@pytest.mark.parametrize(
    ("budget", "num_workers", "expected"),
    [
        (Budget(5, []), 4, 4),  # nothing is known: one for each worker
        (Budget(5, []), None, 1),
        (Budget(5, []), 256, 8),
        (Budget(5, [], timed_seconds=HOUR), 4, 4),
        (Budget(2, [], timed_seconds=HOUR), 4, 2),
        (Budget(0.5, [], timed_seconds=HOUR), 4, 1),  # the first tells what a trial really takes
        (Budget(8, outcomes(1, 1)), 1, 1),  # 6 fit
        (Budget(8, outcomes(1, 1)), 2, 3),
        (Budget(8, outcomes(1, 1)), 4, 4),
        (Budget(8, outcomes(1, 1)), 16, 6),
        (Budget(8, outcomes(1, 1)), None, 3),
        (Budget(3, outcomes(1, 1)), 4, 1),
        (Budget(2.9, outcomes(1, 1)), 4, 0),
        (Budget(1, outcomes(1, 1)), 4, 0),
        (Budget(100, outcomes(1, 1)), 16, 10),  # of 10 that are left
        (Budget(0.7, outcomes(*[0.1] * 6)), 2, 1),  # fits exactly, whatever the floats add up to
    ],
)
def test_as_many_are_started_as_fit(budget: Budget, num_workers: int | None, expected: int) -> None:
    left = trials(20, start=10)
    assert budget.next_trials(left, num_workers) == left[:expected]


def test_a_trial_takes_what_those_of_its_arm_took() -> None:
    budget = Budget(11, outcomes(1, 3))  # 7 hours are left: 1 + 3 + 1, and no other 3
    assert budget.num_fitting(trials(10, start=2)) == 3
    assert budget.num_fitting(trials(10, start=2, arms="c")) == 3  # 2 each
    assert budget.num_fitting(trials(10, start=3)) == 3  # 3 + 1 + 3


def test_what_was_taken_over_costs_nothing_and_says_what_a_trial_takes() -> None:
    ended = [replace(each, result=replace(each.result, reused_from="x")) for each in outcomes(1, 1) if each.result]
    assert Budget(2, ended).spent_seconds == 0
    assert Budget(2, ended).num_fitting(trials(9)) == 2


def test_what_is_said_is_enough_to_type() -> None:
    left = trials(5, start=2)
    budget = Budget(2.5, outcomes(1, 1))
    line = budget.used_up(left, 5, "study")
    assert line is not None
    assert line.startswith(
        "study.budget_hours=2.5 is used up (2 h of compute): 3 of 5 trials left to train; the same command"
    )
    assert "study.budget_hours=5.5 goes on (about 3 h more)" in line
    assert Budget(5.5, outcomes(1, 1)).num_fitting(left) == 3
    assert Budget(3, outcomes(1, 1)).used_up(left, 5, "study") is None
    assert budget.used_up([], 5, "study") is None
    assert budget.said(left) == "2 h 30 min of compute, 2 h used; about 0 of the 3 trials to go fit"


@pytest.mark.parametrize("given", [0, -1.0, math.inf, math.nan, "two", True])
def test_a_budget_is_a_number_of_hours(given: object) -> None:
    with pytest.raises(InputError, match=r"^study\.budget_hours=.*finite number > 0[^\n]*$"):
        read_study_config({"budget_hours": given})


def test_the_sweeper_of_other_apps_has_every_key_of_a_study() -> None:
    assert {field.name for field in fields(StudyKeys)} == set(StudyConfig.model_fields)


class Steps(App):
    """Trials of 100,000 steps a unit of width, of which 50,000 take an hour by the measurement."""

    def __init__(self) -> None:
        self.timed: list[object] = []
        self.ended: list[Path] = []

    def num_steps(self, plain):
        return 100_000 * plain["width"]

    def seconds_of_trial(self, plain):
        self.timed.append(plain)
        return 2 * HOUR * plain["width"]

    def on_end(self, folder, console):
        self.ended.append(folder)


class Studies:
    """Calls of one study of two arms with widths 1 and 2; each trial takes an hour a unit of width."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.app = Steps()
        self.launched: list[list[int]] = []
        self.console = Console(width=200, record=True, force_terminal=False)

    @property
    def folder(self) -> Path:
        return self.root / "s"

    def open(self, budget_hours: float | None, n_trials: int = 12, workers: int | None = 1, **keys) -> StudySession:
        program = Program(self.app, Composer(), self.root, "p.py", "python p.py", self.root, num_workers=workers)
        block = {
            "name": "s",
            "n_trials": n_trials,
            "budget_hours": budget_hours,
            "scientific": {"width": [1, 2]},
            "nuisance": {"lr": {"min": 1e-3, "max": 1.0, "scale": "log"}},
            **keys,
        }
        given = CommandLine({}, frozenset(), {})
        return open_study(program, StudyConfig(**block), given, Objective("objective", "min"), [], self.console)

    def __call__(self, budget_hours: float | None, **keys) -> str:
        """What is printed."""
        session = self.open(budget_hours, **keys)
        session.show_plan()
        session.run(lambda trials: self.launch(trials))
        session.finish()
        return self.console.export_text()

    def launch(self, trials):
        self.launched.append([trial.number for trial in trials])
        for trial in trials:
            own = self.folder / trial.folder
            own.mkdir(exist_ok=True)
            write_result(own, replace(RESULT, seconds=HOUR * trial.settings["width"]))
        return [None] * len(trials)

    @property
    def by_width(self) -> dict[int, int]:
        file = read_study(self.folder)
        assert file is not None
        done = [trial for trial in file.design.trials(file.n_trials) if (self.folder / trial.folder).exists()]
        return dict(Counter(trial.settings["width"] for trial in done))


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(tmp_path)


def test_a_study_stops_at_its_budget_and_a_larger_one_goes_on(studies: Studies) -> None:
    said = studies(7.5)
    assert studies.launched == [[0], [1], [2], [3], [4]]  # 1 + 2 + 1 + 2 + 1 hours
    assert studies.by_width == {1: 3, 2: 2}
    assert "s: 5 of 12 trials done" in said
    assert (
        "study.budget_hours=7.5 is used up (7 h of compute): 7 of 12 trials left to train; the same command with"
        in said
    )
    assert studies.app.ended == [studies.folder]
    for same_or_smaller in (7.5, 2.0, None):
        said = studies(same_or_smaller)
        assert "is used up (7 h of compute): 7 of 12 trials left to train" in said
        assert len(studies.launched) == 5
    file = read_study(studies.folder)
    assert file is not None
    assert file.budget_hours == 2.0  # the last that was given, which a call without one keeps
    assert "used up" not in studies(20.0)
    assert studies.launched[5:] == [[5], [6], [7], [8], [9], [10], [11]]
    assert studies.by_width == {1: 6, 2: 6}
    assert len(studies.app.ended) == 5


@pytest.mark.parametrize("hours", [1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0, 9.0, 12.0, 17.9])
@pytest.mark.parametrize("workers", [1, 2, 3, None])
def test_arms_differ_by_at_most_one_trial_and_nothing_is_overspent(
    studies: Studies, hours: float, workers: int | None
) -> None:
    studies(hours, workers=workers)
    assert sorted(number for batch in studies.launched for number in batch) == list(
        range(sum(studies.by_width.values()))
    )
    assert abs(studies.by_width.get(1, 0) - studies.by_width.get(2, 0)) <= 1
    spent = sum(width * num for width, num in studies.by_width.items())
    # That the second arm takes twice as long is known when its first trials have ended: one for each worker.
    assert spent <= hours + (workers or 1)
    assert spent > hours - 2 or spent == 18


def test_without_a_budget_all_are_launched_at_once(studies: Studies) -> None:
    studies(None, workers=2)
    assert studies.launched == [list(range(12))]


def test_a_crashed_trial_is_tried_again_before_the_next(studies: Studies) -> None:
    launch, crashed = studies.launch, []

    def crash_once(trials):
        if not crashed:
            crashed.append(studies.launched.append([trial.number for trial in trials]))
            return [RuntimeError("a bug")] * len(trials)
        return launch(trials)

    studies.launch = crash_once  # type: ignore[method-assign]
    studies(4.0)
    assert studies.launched == [[0], [0], [1], [2]]


def test_trials_that_were_trained_before_are_taken_over_in_their_turn(
    studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of one arm are known: it gets no more of them than the other is trained for."""

    class Known:
        def __init__(self, trial: Trial) -> None:
            self.trial = trial
            self.source = Path("other/trial_00000")
            self.result = replace(RESULT, reused_from="other")

        def take_over(self, folder: Path) -> None:
            (folder / self.trial.folder).mkdir()
            write_result(folder / self.trial.folder, self.result)

    def trained_before(self):
        return [Known(trial) for trial in self.missing if trial.settings["width"] == 1]

    monkeypatch.setattr(StudySession, "_trained_before", trained_before)
    assert "5 of 12 trials done" in studies(4.0)
    assert studies.launched == [[1], [3]]
    assert studies.by_width == {1: 3, 2: 2}
    studies(100.0)
    assert studies.by_width == {1: 6, 2: 6}


def test_the_plan_of_a_new_study_says_what_it_costs(studies: Studies) -> None:
    said = studies(9.0, workers=3)
    assert "12 trials; about 12 h to go: 3 h a trial, 3 at a time" in said
    # Six of 100,000 steps and six of twice as many, at 50,000 an hour.
    assert (
        "cost (B4): 1,800,000 steps in 12 trials; about 1 day, 12 h of compute, by timing a few steps of the first"
        in said
    )
    assert "budget: 9 h of compute, 0.0 s used; about 3 of the 12 trials to go fit" in said
    assert len(studies.app.timed) == 1
    studies(30.0, workers=3)
    assert len(studies.app.timed) == 1  # trials have ended: they say it


def test_what_is_over_at_once_is_timed_only_where_the_plan_is_all_that_is_asked(studies: Studies) -> None:
    studies.app.num_steps = lambda plain: SMALL_STUDY // 12  # type: ignore[method-assign]
    session = studies.open(None)
    session.show_plan()
    said = studies.console.export_text()
    assert "how long is unknown until the first trial ends" in said
    assert f"cost (B4): 12 trials × {SMALL_STUDY // 12:,} steps = " in said
    assert studies.app.timed == []
    studies.open(None, dry_run=True).show_plan()
    assert "by timing a few steps" in studies.console.export_text()
    assert len(studies.app.timed) == 1
    assert not studies.folder.exists()


def test_trials_of_other_machines_are_not_timed_on_this_one(studies: Studies) -> None:
    session = studies.open(None, dry_run=True)
    session._elsewhere = True
    session.show_plan()
    assert studies.app.timed == []


@pytest.mark.parametrize("given", ["0", ".inf", "many", "-3.0"])
def test_a_damaged_budget_is_told(studies: Studies, given: str) -> None:
    studies(2.0)
    path = studies.folder / STUDY
    path.write_text(path.read_text().replace("budget_hours: 2.0", f"budget_hours: {given}"))
    with pytest.raises(InputError, match=r"study\.yaml cannot be read"):
        read_study(studies.folder)


APP = """
import time
import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

@hydra.main(version_base="1.3", config_path=None, config_name="app")
def main(cfg: DictConfig) -> float:
    time.sleep(0.2)
    return cfg.x

if __name__ == "__main__":
    ConfigStore.instance().store(name="app", node={"x": 0.0, "kind": "a"})
    main()
"""


@pytest.mark.integration
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")])
def test_a_budget_from_the_command_line_of_any_app(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """Every trial takes at least 0.2 s, so that a budget of 0.1 s is used up by the first of each worker."""
    (tmp_path / "app.py").write_text(APP)
    words = ("-m", "hydra/sweeper=quasi_random", "x=interval(0,1)", "kind=a,b", "hydra.sweeper.study.name=f", *launcher)
    words = (*words, "++hydra.sweeper.study.roles.kind=scientific", "hydra.sweeper.study.n_trials=4")
    workers = 2 if launcher else 1
    no_devices = {"CUDA_VISIBLE_DEVICES": ""}  # for which each worker would import torch
    for _ in range(2):
        budget = f"hydra.sweeper.study.budget_hours={0.1 / HOUR}"
        done = warm.run("app.py", *words, budget, folder=tmp_path, **no_devices)
        assert done.returncode == 0, done.stderr
        assert f"{workers} of 4 trials done" in done.stdout
        assert (
            f"{4 - workers} of 4 trials left to train; the same command with hydra.sweeper.study.budget_hours="
            in done.stdout
        )
    done = warm.run("app.py", *words, "hydra.sweeper.study.budget_hours=1", folder=tmp_path, **no_devices)
    assert "4 of 4 trials done" in done.stdout
    assert "used up" not in done.stdout


def test_run_study_has_a_budget_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import playbook

    monkeypatch.chdir(tmp_path)
    words = (
        "logger=none",
        "max_steps=5",
        "eval_every=5",
        "trainer.num_threads=1",
        "trainer.device=cpu",
        "lr=0.1,0.2,0.3",
    )
    study = playbook.run_study(*words, "study.name=s", "study.budget_hours=1e-9", quiet=True)
    assert [each.trial.number for each in study.outcomes] == [0]
    page = (study.path / "report" / "index.html").read_text()
    assert "study.budget_hours=1e-09 is used up" in page
    assert "2 of 3 trials left to train" in page
    longer = playbook.run_study(*words, "study.name=s", "study.budget_hours=1", quiet=True, report=False)
    assert len(longer.outcomes) == 3


def test_one_line_for_a_budget_that_is_none(door: Door) -> None:
    done = door("-m", "lr=0.1,0.2", "logger=none", "study.budget_hours=-1")
    assert done.code == 2
    assert done.err.startswith("error: study.budget_hours=-1: allowed is a finite number > 0")
    assert len(done.err.splitlines()) == 1
    assert done.left_behind == []


@pytest.mark.parametrize(("budget_hours", "left"), [(None, "0:00:40"), (5.0, "0:00:15"), (2.0, "–")])
def test_the_time_left_is_that_of_the_trials_that_the_budget_lets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget_hours: float | None, left: str
) -> None:
    """Two trials of an hour each have ended, in ten seconds of this clock."""
    design = Design("s", nuisance={"lr": Float(0.1, 0.2)})
    ledger = Ledger(tmp_path, design, design.trials(10), None)
    watch = Watch(ledger, design.trials(10), 10, budget_hours=budget_hours, quiet=True)
    watch.__enter__()
    watch._stop.set()
    ledger.outcomes |= {each.trial.number: each for each in outcomes(1, 1)}
    monkeypatch.setattr(progress.time, "monotonic", lambda: watch._began + 10)
    assert dict(watch._fields())["Time left"] == left
