"""What a search takes over from the study that it goes on from: the refined space, and the trials that lie in it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from ended_study import ARMS, DIVERGES_FROM, PLAIN, begin, end

from playbook.analysis.rules.refine import Refined
from playbook.bayesian import start as module
from playbook.bayesian.ending import ending
from playbook.bayesian.start import FEWEST_POINTS, Start, read_start, with_start
from playbook.errors import InputError
from playbook.study.design import Design, Objective
from playbook.study.space import Choice, Dimension, Float, Int
from playbook.text import brief

NARROW = Float(1e-3, 0.2, "log")


def ended(folder: Path, design: Design, n_trials: int = 12, crashed: dict[int, str] | None = None) -> Path:
    end(folder, design, begin(folder, design, n_trials), crashed)
    return folder


@pytest.fixture
def refines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of every study narrows lr and fixes dropout."""
    found = Refined({"lr": NARROW}, {"model.dropout": 0.0}, ("model.dropout",))
    monkeypatch.setattr(module, "refined", lambda tables, arm: found)


def search(start: Start, **other) -> Design:
    """The design of a search from there, with other entries in its space."""
    there = start.study.design
    space: dict[str, Dimension] = {**start.space, **other}
    fixed = {**there.fixed, **start.fixed}
    return with_start(Design("search", there.objective, nuisance=space, fixed=fixed), start)


def told_of(design: Design) -> dict[int, float | None]:
    assert design.bayesian is not None
    return {each.trial: each.objective for each in design.bayesian.told}


def test_it_is_told_all_trials_of_a_space_that_stays(tmp_path: Path) -> None:
    start = read_start(str(ended(tmp_path / "plain", PLAIN, crashed={3: "a bug"})), {}, {})
    assert dict(start.space) == dict(PLAIN.nuisance)
    design = search(start)
    assert design.bayesian is not None
    assert design.bayesian.start == str(tmp_path / "plain")
    assert design.bayesian.num_quasi_random == 0
    told = told_of(design)
    assert set(told) == set(range(12)) - {3}  # a crash says nothing of a setting
    for trial in PLAIN.trials(12):
        if trial.number in told:
            assert (told[trial.number] is None) == (trial.settings["lr"] > DIVERGES_FROM)


def test_it_goes_on_in_the_refined_space_with_the_trials_there(tmp_path: Path, refines: None) -> None:
    start = read_start(str(ended(tmp_path / "plain", PLAIN)), {}, {})
    assert dict(start.space) == {"lr": NARROW}
    assert dict(start.fixed) == {"model.dropout": 0.0}
    design = search(start)
    inside = [each for each in PLAIN.trials(12) if NARROW.low <= each.settings["lr"] <= NARROW.high]
    assert 0 < len(inside) < 12
    assert set(told_of(design)) == {each.number for each in inside}  # whatever their dropout was: it hardly matters
    assert design.bayesian is not None
    assert design.bayesian.num_quasi_random == max(0, FEWEST_POINTS - len(inside))


def test_what_is_typed_has_the_last_word(tmp_path: Path, refines: None) -> None:
    folder = str(ended(tmp_path / "plain", PLAIN))
    wide = Float(1e-4, 1e-2, "log")
    start = read_start(folder, {}, {"lr": wide, "model.dropout": Float(0.0, 0.2)})
    assert dict(start.space) == {"lr": wide, "model.dropout": Float(0.0, 0.2)}
    assert start.fixed == {}
    lr_and_dropout = [(each.settings["lr"], each.settings["model.dropout"]) for each in PLAIN.trials(12)]
    assert len(told_of(search(start))) == sum(lr <= 1e-2 and dropout <= 0.2 for lr, dropout in lr_and_dropout)
    fixed = read_start(folder, {"model.dropout": 0.3}, {})
    design = Design("s", nuisance=dict(fixed.space), fixed={"seed": 3, "model.dropout": 0.3})
    assert told_of(with_start(design, fixed)) == {}  # none had that dropout, and nobody has said that it is no matter


def test_an_arm_is_chosen_by_its_settings(tmp_path: Path) -> None:
    folder = str(ended(tmp_path / "arms", ARMS, 16))
    line = r"study\.start=.* compares 2 arms, and a search is of one; choose it: optimizer=adam, or optimizer=momentum$"
    with pytest.raises(InputError, match=line):
        read_start(folder, {}, {})
    with pytest.raises(InputError, match="has no such arm among 2 arms"):
        read_start(folder, {"optimizer": "lion"}, {})
    start = read_start(folder, {"optimizer": "adam"}, {})
    assert start.arm.name == "optimizer=adam"
    assert set(start.space) == {"lr", "optimizer.beta1", "model.hidden", "model.width", "model.bias"}
    design = search(start)
    trials = {each.number: each for each in ARMS.trials(16)}
    assert set(told_of(design)) == {number for number, each in trials.items() if each.arm == "optimizer=adam"}
    assert design.bayesian is not None
    assert all("seed" not in each.settings for each in design.bayesian.told)  # repeats are told as they are: twice


def test_an_arm_is_chosen_by_what_it_alone_searches(tmp_path: Path) -> None:
    folder = str(ended(tmp_path / "arms", ARMS, 16))
    start = read_start(folder, {}, {"optimizer.nesterov": Choice((True, False))})
    assert start.arm.name == "optimizer=momentum"


def test_few_trials_in_the_space_are_filled_up_with_others_of_the_sequence(tmp_path: Path) -> None:
    """Which are none of those told, though the space and the seed are the same."""
    start = read_start(str(ended(tmp_path / "plain", PLAIN, 3)), {}, {})
    design = search(start)
    points = PLAIN.trials(FEWEST_POINTS)
    assert [each.settings for each in design.trials(99)] == [each.settings for each in points[3:]]


def test_many_hyperparameters_take_more_points(tmp_path: Path) -> None:
    space = {f"key{place}": Float(0.0, 1.0) for place in range(6)}
    design = with_start(Design("s", nuisance=space), None)
    assert design.bayesian is not None
    assert design.bayesian.num_quasi_random == 12
    finite = with_start(Design("s", nuisance={"width": Int(1, 3)}), None)
    assert finite.bayesian is not None
    assert finite.bayesian.num_quasi_random == 3


def test_trials_of_other_settings_tell_nothing(tmp_path: Path) -> None:
    start = read_start(str(ended(tmp_path / "plain", replace(PLAIN, fixed={"seed": 3, "max_steps": 100}))), {}, {})
    design = Design("s", nuisance=dict(start.space), fixed={"seed": 3, "max_steps": 200})
    with pytest.raises(InputError, match=r"other settings \(max_steps: 100 there, 200 here\)"):
        with_start(design, start)
    with pytest.raises(InputError, match=r"judged by val/error \(min\), and here by val/loss \(min\)"):
        with_start(Design("s", Objective("val/loss"), nuisance=dict(start.space)), start)


def test_what_is_no_study_to_go_on_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^study\.start=.*there is no study here"):
        read_start(str(tmp_path), {}, {})
    begin(tmp_path / "begun", PLAIN, 4)
    with pytest.raises(InputError, match=r"^study\.start=.*none of its trials has ended"):
        read_start(str(tmp_path / "begun"), {}, {})
    listed = Design("list", listed_trials=({"lr": 0.1}, {"lr": 0.01}), fixed={"seed": 3})
    with pytest.raises(InputError, match=r"^study\.start=.*a list of trials"):
        read_start(str(ended(tmp_path / "list", listed, 2)), {}, {})


def test_it_is_said_whether_the_search_found_something_better(tmp_path: Path) -> None:
    design = search(read_start(str(ended(tmp_path / "plain", PLAIN)), {}, {}))
    assert design.bayesian is not None
    told = design.bayesian.best_told("min")
    assert told is not None
    for name, lr, words in (("better", 0.01, "where"), ("worse", 0.04, "no trial is better than trial")):
        one = replace(design.bayesian, proposed=({"lr": lr, "model.dropout": 0.0},))
        folder = ended(tmp_path / name, replace(design, bayesian=one), 1)
        (line,) = ending(folder)  # and no command: these folders have no config.yaml
        assert words in line
        assert brief(told.objective) in line


def test_the_best_told_is_that_of_its_direction(tmp_path: Path) -> None:
    design = search(read_start(str(ended(tmp_path / "plain", PLAIN)), {}, {}))
    assert design.bayesian is not None
    objectives = {number: value for number, value in told_of(design).items() if value is not None}
    best, worst = design.bayesian.best_told("min"), design.bayesian.best_told("max")
    assert best is not None
    assert worst is not None
    assert best.objective == min(objectives.values())
    assert worst.objective == max(objectives.values())
    assert not any(math.isinf(value) for value in objectives.values())
