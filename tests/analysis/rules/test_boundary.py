"""A best trial at the edge of its range: by hand, and with what else puts it there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import linregress
from synthetic_tables import study, tables, together
from verdicts_of_studies import EACH_DRAW, Case, a_study, check_verdicts, with_monsters

from playbook.analysis.finding import Finding
from playbook.analysis.rules.boundary import edges, find, lead, slope_towards
from playbook.study.space import Choice, Float, Int

LR = {"lr": Float(1e-4, 1e-1, "log")}
TWO = {**LR, "model.dropout": Float(0.1, 0.6)}


def severities(found):
    return {(each.parameter, each.evidence["end"]): each.severity for each in find(found)}


@pytest.mark.parametrize("num_trials", [8, 100, 10_000])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_an_optimum_outside_is_a_problem_with_the_wider_range_as_words(num_trials, mode):
    (found,) = find(study(num_trials, LR, lambda at: (at["lr"] + 0.3) ** 2, noise=0.01, mode=mode))
    assert (found.code, found.rule, found.severity, found.parameter) == ("space_boundary", "B5", "problem", "lr")
    assert found.evidence["end"] == "lower"
    assert found.next[0].changes == {"lr": Float(1e-5, 0.1, "log")}


@pytest.mark.parametrize("num_trials", [8, 100, 10_000])
def test_an_optimum_inside_is_nothing(num_trials):
    assert find(study(num_trials, TWO, lambda at: (at["lr"] - 0.5) ** 2 + (at["model.dropout"] - 0.4) ** 2)) == []


def test_what_does_not_matter_is_never_a_problem_and_seldom_advice():
    space = {f"k{i}": Float(1, 2) for i in range(5)}
    called = [
        each.severity
        for seed in range(40)
        for each in find(study(16, space, lambda at: np.zeros(16), noise=1.0, seed=seed))
    ]
    assert "problem" not in called
    assert called.count("info") > called.count("advice")
    assert called.count("advice") <= 4  # of 40 studies, with ten ends each


def test_one_hyperparameter_at_its_edge_and_not_the_other():
    found = study(60, TWO, lambda at: (at["lr"] - 1.3) ** 2 + (at["model.dropout"] - 0.4) ** 2, noise=0.02)
    assert severities(found) == {("lr", "upper"): "problem"}


def test_each_arm_has_its_own_edges():
    inside = study(30, LR, lambda at: (at["lr"] - 0.5) ** 2, arm="optimizer=adam")
    outside = study(30, LR, lambda at: (at["lr"] + 0.3) ** 2, arm="optimizer=sgd")
    assert [each.arm for each in find(together(inside, outside))] == ["optimizer=sgd"]


def test_beyond_the_best_all_failed_so_widening_does_not_help():
    found = study(40, LR, lambda at: (at["lr"] - 1.2) ** 2, infeasible=lambda at: at["lr"] > 0.92)
    assert find(found) == []


def test_a_plateau_that_reaches_the_end_is_no_more_than_information():
    for seed in range(10):
        found = study(60, LR, lambda at: np.maximum(at["lr"], 0.3), noise=0.02, seed=seed)
        assert set(severities(found).values()) <= {"info"}
        assert all(each.next == () for each in find(found))


@pytest.mark.parametrize("seed", range(3))
def test_a_best_trial_inside_by_luck_hides_no_edge(seed):
    """By 10 deviations of the noise over the range: the best trial lies anywhere in the last third."""
    found = study(200, {"lr": LR["lr"], "k": Float(1, 2)}, lambda at: 10 * at["lr"], noise=1.0, seed=seed)
    (edge,) = [each for each in edges(found, "all") if (each.key, each.end) == ("lr", "lower")]
    assert edge.nearest <= 0.1 < edge.reach
    assert severities(found) == {("lr", "lower"): "problem"}


def test_one_good_trial_at_the_end_of_a_plateau_of_bad_ones():
    losses = [24.5, *(68 + 0.01 * np.sin(np.arange(20)))]
    grid = Choice(tuple(float(each) for each in np.geomspace(1e-5, 1, 21)))
    found = tables(losses, {"lr": list(grid.values)}, {"lr": grid})
    assert severities(found) == {("lr", "lower"): "problem"}
    assert severities(tables(losses[::-1], {"lr": list(grid.values)}, {"lr": grid})) == {("lr", "upper"): "problem"}


def test_zero_is_as_low_as_a_dropout_goes():
    found = study(40, {"model.dropout": Float(0.0, 0.5)}, lambda at: (at["model.dropout"] + 0.3) ** 2)
    assert find(found) == []


def test_grids_and_whole_numbers():
    grid = Choice((16, 32, 64, 128, 256))
    rows = [(width, lr) for width in grid.values for lr in (0.01, 0.1, 1.0, 10.0)]
    loss = [1 / width + 0.001 * (np.log10(lr) - 0.4) ** 2 for width, lr in rows]
    space = {"model.width": grid, "lr": Choice((0.01, 0.1, 1.0, 10.0))}
    found = tables(loss, {"model.width": [r[0] for r in rows], "lr": [r[1] for r in rows]}, space)
    assert severities(found) == {("model.width", "upper"): "problem"}
    assert find(found)[0].next[0].changes == {"model.width": Choice((16, 32, 64, 128, 256, 512, 1024))}
    whole = study(60, {"model.width": Int(16, 256, "log")}, lambda at: 1 - at["model.width"], noise=0.005)
    assert severities(whole) == {("model.width", "upper"): "problem"}


@pytest.mark.parametrize(
    ("best", "found"), [(-0.3, {("lr", "lower"): "problem"}), (0.5, {}), (1.3, {("lr", "upper"): "problem"})]
)
def test_a_grid_of_three_beside_another_hyperparameter(best, found):
    space = {"lr": Choice((0.001, 0.01, 0.1)), "model.dropout": Float(0.1, 0.6)}
    loss = lambda at: (np.floor(3 * at["lr"]) / 2 - best) ** 2 + (at["model.dropout"] - 0.5) ** 2  # noqa: E731
    assert severities(study(48, space, loss, noise=0.03)) == found


def test_a_list_of_names_a_repeat_and_two_values_have_no_edges():
    space = {"model.activation": Choice(("a", "b", "c")), "seed": Choice((0, 1, 2, 3)), "lr": Choice((0.1, 1.0))}
    columns = {
        "model.activation": list("abc") * 8,
        "seed": [i % 4 for i in range(24)],
        "lr": [0.1 if i < 12 else 1.0 for i in range(24)],
    }
    loss = [float(i) for i in range(24)]
    found = replace(tables(loss, columns, space), repeat=("seed",))
    assert {each.parameter for each in find(found)} <= {"lr"}
    assert all(each.severity != "problem" for each in find(found))


def test_a_lucky_repeat_at_the_end_is_no_best_setting():
    lrs, luck = np.geomspace(1e-4, 1e-1, 9), np.array([-2.0, 1.0, 1.0])
    loss = [float((place - 4) ** 2 / 16 + (luck[seed] if place == 0 else 0)) for place in range(9) for seed in range(3)]
    columns = {"lr": [float(lr) for lr in lrs for _ in range(3)], "seed": list(range(3)) * 9}
    found = tables(loss, columns, {"lr": Choice(tuple(lrs.tolist())), "seed": Choice((0, 1, 2))})
    without = tables(loss[::3], {"lr": columns["lr"][::3]}, {"lr": Choice(tuple(lrs.tolist()))})
    assert ("lr", "lower") in severities(without)
    assert severities(found) == severities(replace(found, repeat=("seed",))) == {}


def test_monsters_at_random_hide_no_edge():
    found = study(60, LR, lambda at: (at["lr"] + 0.3) ** 2, noise=0.01)
    hit = pl.Series(np.random.default_rng(0).random(60) < 0.15)
    objective = pl.when(hit).then(1e17).otherwise("objective")
    assert severities(replace(found, trials=found.trials.with_columns(objective=objective))) == {
        ("lr", "lower"): "problem"
    }


@pytest.mark.parametrize("objective", [[None] * 9, [0.5] * 9, [0.1], [0.1, None, None], []])
def test_what_tells_nothing(objective):
    lrs = [1e-4 * 2**i for i in range(len(objective))]
    assert all(each.severity != "problem" for each in find(tables(objective, {"lr": lrs}, LR)))


def test_the_slope_of_three_distances_is_that_of_a_line():
    """With three distinct distances the fit is a line, whose one-sided p-value scipy knows."""
    far = np.repeat([0.1, 0.5, 0.9], 4)
    lost = far / 2 + np.random.default_rng(0).normal(0, 0.1, 12)
    known = linregress(far, lost, alternative="greater")
    assert slope_towards(far, lost, []).p == pytest.approx(known.pvalue)


def test_the_slope_of_a_parabola_changes_its_sign_at_a_tenth_of_the_range():
    far = np.linspace(0, 1, 60)
    noise = np.random.default_rng(1).normal(0, 0.01, 60)
    assert slope_towards(far, 0.5 * (far + 0.1) ** 2 + noise, []).p < 1e-6
    assert slope_towards(far, 0.5 * (far - 0.3) ** 2 + noise, []).p > 1 - 1e-6
    assert slope_towards(far[:3], far[:3], []) is None


def test_the_lead_is_in_units_of_the_noise():
    far = np.linspace(0, 1, 200)
    lost = np.where(far == 0, 0.0, 1.0) + np.random.default_rng(0).normal(0, 0.02, 200) * (far > 0)
    ahead = lost[1:].min() - lost[0]
    assert lead(far, lost) == pytest.approx(ahead / 0.02, rel=0.25)
    assert lead(far, 1 - lost) == 0.0
    assert lead(far[:4], lost[:4]) == 0.0


def test_the_numbers_of_an_edge():
    found = tables([0.5, 0.1, 0.4, 0.9, 0.3], {"lr": [1e-4, 1e-3, 1e-2, 1e-1, 10**-2.5]}, LR)
    lower, upper = edges(found, "all")
    assert (lower.trial, lower.value, lower.near) == (1, 1e-3, False)
    assert lower.distance == pytest.approx(1 / 3)
    assert upper.distance == pytest.approx(2 / 3)
    assert (lower.nearest, lower.reach) == (lower.distance, lower.distance)  # the noise is unknown: a set of one


def space_boundary(rng, fault: bool) -> Case:
    dimensions = int(rng.integers(1, 5))
    end, outside = str(rng.choice(["lower", "upper"])), rng.uniform(0.1, 0.5)
    inside = rng.uniform(0.25, 0.75)
    at = (-outside if end == "lower" else 1 + outside) if fault else inside
    tables = a_study(rng, int(rng.integers(12, 40)) * dimensions, dimensions, lr=at)
    if rng.random() < 0.3:
        tables = with_monsters(tables, rng, 0.1)

    def named(finding: Finding) -> bool:
        here = finding.parameter == "lr" and finding.evidence["end"] == end
        return finding.severity != "info" and (here or not fault)

    return Case(tables, find, fault, named)


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(space_boundary, seed)
