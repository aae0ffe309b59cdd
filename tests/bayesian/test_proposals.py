"""What a model proposes from the results so far: points of the space, new ones, better ones, whatever has failed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from searched_surfaces import DEPTH, MOMENTUM, STEEP, SURFACES, ended, searched, told_of

from playbook.bayesian.proposals import Observed, _Parameter, propose, regrets
from playbook.run_files import Result
from playbook.study.bayesian import Bayesian, Told
from playbook.study.design import Design, Objective
from playbook.study.space import Choice, Dimension, Float, Int, identity
from playbook.study.study_files import Crash, Outcome


def test_it_beats_as_many_quasi_random_points() -> None:
    """The quick look; `make truth` asks it of four surfaces and twenty seeds."""
    found = np.array([searched(SURFACES[1], seed, 12, 17) for seed in range(3)])
    search, quasi_random = np.median(found, axis=0)
    assert search < quasi_random


def design_told(*objectives: float | None, mode: str = "min") -> Design:
    """A search that was told of so many points."""
    design = Design("s", Objective("loss", mode), nuisance=STEEP)  # type: ignore[arg-type]
    told = tuple(
        Told(each.number, each.settings, objective)
        for each, objective in zip(design.trials(max(1, len(objectives))), objectives, strict=False)
    )
    return replace(design, bayesian=Bayesian("start", told))


@pytest.mark.filterwarnings("error")  # which a user would see between trials
@pytest.mark.parametrize(
    "objectives",
    [
        [None] * 8,  # nothing trained
        [None] * 7 + [0.3],
        [0.3] * 8,  # nothing differs
        [0.3] * 4 + [None] * 4,
        [0.3, 0.2, 1e17, math.inf, 1e300, 0.25, None, 0.4],
        [0.3],
        [None],
        [],
    ],
)
def test_no_result_is_too_bad_for_it(objectives: list[float | None]) -> None:
    for trial in propose(design_told(*objectives, mode="max"), [], 2).trials(2):
        assert all(each.low <= trial.settings[key] <= each.high for key, each in STEEP.items())


def test_a_crashed_trial_is_not_proposed_again() -> None:
    design = propose(design_told(0.3, 0.2, 0.5, None, 0.4, 0.6, 0.3, 0.35), [], 1)
    (trial,) = design.trials(1)
    after = propose(design, [Outcome(trial, "crashed", crash=Crash(3, "RuntimeError", "a bug"))], 1)
    again, other = after.trials(2)
    assert again == trial
    apart = [
        abs(each.position(trial.settings[key]) - each.position(other.settings[key])) for key, each in STEEP.items()
    ]
    assert max(apart) > 0.02


def test_it_learns_where_training_diverges() -> None:
    """Of points that fill the space a third diverges; of those proposed, next to none."""
    surface = SURFACES[0]
    design = surface.design(3)
    trials = design.trials(16)
    search = told_of(design, [ended(each, surface.loss(each.settings)) for each in trials])
    proposed = propose(search, [], 4).trials(4)
    assert sum(math.isnan(surface.loss(each.settings)) for each in trials) >= 4
    assert sum(math.isnan(surface.loss(each.settings)) for each in proposed) <= 1


def test_points_that_run_at_once_are_apart() -> None:
    """Each counts the others as running: without, the best place would be proposed several times."""
    surface = SURFACES[0]
    design = surface.design(3)
    search = told_of(design, [ended(each, surface.loss(each.settings)) for each in design.trials(16)])
    one, other = (each.settings for each in propose(search, [], 2).trials(2))
    assert max(abs(each.position(one[key]) - each.position(other[key])) for key, each in STEEP.items()) > 0.02


def test_a_proposal_is_a_function_of_the_results_and_of_nothing_else() -> None:
    design = design_told(0.3, 0.2, 0.5, None, 0.4, 0.6, 0.3, 0.35)
    once = propose(design, [], 1)
    assert propose(design, [], 1) == once
    (trial,) = once.trials(1)
    assert propose(once, [ended(trial, 0.1)], 1) != propose(once, [ended(trial, math.nan)], 1)
    assert propose(replace(design, seed=1), [], 1) != once


def test_a_finite_space_is_gone_through_without_a_repeat() -> None:
    space: dict[str, Dimension] = {"width": Choice((16, 64)), "activation": Choice(("relu", "gelu", None))}
    design = replace(Design("s", Objective("loss"), nuisance=space), bayesian=Bayesian("", (), 2))
    outcomes: list[Outcome] = []
    while len(outcomes) < 6:
        if len(outcomes) == len(design.trials(6)):
            design = propose(design, outcomes, 1)
        outcomes.append(ended(design.trials(6)[len(outcomes)], 0.1 * len(outcomes)))
    assert len({identity(each.trial.settings) for each in outcomes}) == 6


def test_points_are_trained_with_each_repeat_and_all_are_told() -> None:
    design = Design("s", Objective("loss"), nuisance=STEEP, repeat={"seed": Choice((0, 1))})
    design = replace(design, bayesian=Bayesian("", (), 2))
    first = [ended(each, 0.1 + 0.1 * each.number) for each in design.trials(99)]
    assert [each.trial.settings["seed"] for each in first] == [0, 1, 0, 1]
    third = propose(design, first, 1).trials(99)[4:]
    assert [each.settings["seed"] for each in third] == [0, 1]
    assert third[0].settings["lr"] == third[1].settings["lr"]
    assert len(propose(design, first, 1).trials(5)) == 5


DIMENSIONS = [
    *STEEP.values(),
    *MOMENTUM.values(),
    *DEPTH.values(),
    Int(3, 9),
    Choice((0.1, 0.001, 10.0)),
    Choice((True, 1, 1.0, "1", None)),
    Choice(([64], [64, 64])),
]


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=str)
def test_a_value_is_itself_again(dimension: Dimension) -> None:
    """What the model is told of a value is in its range, and gives the value back."""
    parameter = _Parameter(dimension)
    distribution = parameter.distribution()
    for u in [0.0, *np.linspace(0.001, 0.999, 41)]:
        value = dimension.at(float(u))
        place = parameter.place(value)
        assert distribution._contains(distribution.to_internal_repr(place))
        assert identity(parameter.value(place)) == identity(value)


def test_numbers_of_a_list_are_told_in_their_order() -> None:
    parameter = _Parameter(Choice((0.1, 0.001, 10.0)))
    assert [parameter.place(value) for value in (0.001, 0.1, 10.0)] == [0, 1, 2]


def observed(*objectives: float | None, fills: bool = True) -> list[Observed]:
    return [Observed({}, each, fills) for each in objectives]


def test_the_model_is_told_regrets() -> None:
    """0 is the best, 1 the typical point of those that fill the space, and nothing is worse than 2."""
    given = observed(1.0, 2.0, 3.0, 40.0, None)
    assert regrets(given, "min").tolist() == pytest.approx([0, 2 / 3, 4 / 3, 2, 2])  # of four the typical is 2.5
    negative = [replace(each, objective=None if each.objective is None else -each.objective) for each in given]
    assert regrets(negative, "max").tolist() == regrets(given, "min").tolist()


def test_proposals_that_crowd_around_the_best_change_no_scale() -> None:
    """The regret of two points keeps its ratio: else what is left of the scale is noise."""
    before = regrets(observed(1.0, 2.0, 3.0), "min")
    after = regrets([*observed(1.0, 2.0, 3.0), *observed(*[1.001] * 30, fills=False)], "min")
    assert after[:3].tolist() == before.tolist() == [0, 1, 2]


def test_a_result_has_no_objective_where_it_is_infeasible() -> None:
    """Whatever number the file of a trial that diverged holds."""
    design = design_told()
    design = replace(design, bayesian=Bayesian("", (), 1))
    (trial,) = design.trials(1)
    result = Result("infeasible", 0.0001, 1, 0.0001, 10, 1.0, {}, 0, "loss", "min")
    assert propose(design, [Outcome(trial, "infeasible", result)], 1) == propose(design, [ended(trial, math.nan)], 1)


def test_a_range_that_reaches_1_is_told_on_its_scale() -> None:
    parameter = _Parameter(Float(0.0, 0.999, "log_one_minus"))
    assert parameter.place(1 - 10**-1.5) == pytest.approx(0.5)
