"""Rises of the loss of steps, on curves whose truth is known: drawn in ways that the judgement does not assume."""

import math

import numpy as np
import pytest

from playbook.analysis.instability import Calm, holds, judge

STEPS, EARLY = 600, 60
NOISES = ("even", "in proportion", "outliers", "heavy tails", "slow, of the data", "slow, its own")


def pair_of_curves(noise: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A stable run and its calm one (a quarter of its learning rate): they share what each batch is like."""
    rng = np.random.default_rng([seed, NOISES.index(noise)])
    floor = rng.choice([0.0, 0.05, 1.0])
    rate, power = rng.uniform(20, 100), rng.uniform(0.5, 2)
    clean = [floor + 2.3 * (1 + np.arange(STEPS) / each) ** -power for each in (rate, 4 * rate)]
    batch, own = rng.standard_normal(STEPS), [rng.standard_normal(STEPS) for _ in range(2)]
    if noise == "even":
        return tuple(c + 0.1 * batch + 0.05 * n for c, n in zip(clean, own, strict=True))
    if noise == "in proportion":
        return tuple(c * np.exp(0.25 * batch + 0.15 * n) for c, n in zip(clean, own, strict=True))
    if noise == "outliers":  # one batch in fifty is ten times as hard, for both
        hard = np.where(rng.random(STEPS) < 0.02, 10.0, 1.0)
        return tuple(c * hard * np.exp(0.1 * batch + 0.05 * n) for c, n in zip(clean, own, strict=True))
    if noise == "heavy tails":
        tails = 0.1 * np.abs(rng.standard_t(2, STEPS))
        return tuple(c + tails + 0.05 * n for c, n in zip(clean, own, strict=True))
    slow = np.zeros((2, STEPS))
    for step in range(1, STEPS):
        slow[:, step] = 0.98 * slow[:, step - 1] + math.sqrt(1 - 0.98**2) * rng.standard_normal(2)
    if noise == "slow, of the data":
        return tuple(c + 0.3 * slow[0] + 0.1 * batch + 0.03 * n for c, n in zip(clean, own, strict=True))
    return tuple(c + 0.08 * s + 0.1 * batch + 0.03 * n for c, s, n in zip(clean, slow, own, strict=True))


@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_no_instability(noise):
    judged = [judge(run, Calm(calm), EARLY).kind for run, calm in (pair_of_curves(noise, seed) for seed in range(40))]
    assert judged.count("stable") >= 39


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(
    ("begin", "lasts", "times", "kind"),
    [
        (2, 4, 2.0, "early"),  # of what the loss was at first; gone again within a few steps
        (10, 30, 2.0, "early"),
        (400, 30, 1.5, "mid-run"),
        (400, STEPS, 1.5, "mid-run"),  # a network that dies
    ],
)
def test_a_rise_is_found_where_it_begins(noise, begin, lasts, times, kind):
    found = []
    for seed in range(12):
        run, calm = pair_of_curves(noise, seed)
        rising = run.copy()
        rising[begin : begin + lasts] += times * 2.3
        course = judge(rising, Calm(calm), EARLY)
        found.append(course.kind == kind and abs(course.onset - begin) <= 5)
    assert sum(found) >= 11


def test_a_single_step_is_an_instability_early_on_unless_its_batch_is_hard_for_all():
    run, calm = pair_of_curves("even", 0)
    jump = run.copy()
    jump[1] += 5  # overshot on the first update, and came back
    assert judge(jump, Calm(calm), EARLY).kind == "early"
    hard = calm.copy()
    hard[1] += 5
    assert judge(jump, Calm(hard), EARLY).kind == "stable"


def test_a_run_that_stays_high_or_learns_slowly_does_not_rise():
    run, calm = pair_of_curves("even", 1)
    high = 2.0 + (run - run[0]) * 0.1
    assert judge(high, Calm(run), EARLY).kind == "stable"
    assert judge(calm, Calm(run), EARLY).kind == "stable"


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf, 1e35])
def test_what_is_not_finite_is_unstable_at_its_step(last):
    run, calm = pair_of_curves("even", 2)
    for step, kind in ((1, "early"), (EARLY, "early"), (EARLY + 1, "mid-run"), (500, "mid-run")):
        course = judge([*run[:step], last], Calm(calm), EARLY)
        assert (course.kind, course.onset, course.diverged) == (kind, step, True)


def test_the_judgement_does_not_depend_on_the_units_of_the_loss():
    for seed in range(10):
        run, calm = pair_of_curves("in proportion", seed)
        run[300:320] += 1.0
        courses = [judge(unit * run, Calm(unit * calm), EARLY) for unit in (1.0, 1024.0)]
        assert courses[0].onset == courses[1].onset
        assert courses[0].height == pytest.approx(courses[1].height)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 40])
def test_few_steps_are_judged_too(steps):
    run, calm = pair_of_curves("even", 3)
    assert judge(run[:steps], Calm(calm), EARLY).kind == "stable"
    assert judge(run[:steps], Calm(calm[:steps]), EARLY).kind == "stable"


def test_a_bad_beginning_is_not_what_there_is_to_learn():
    _, calm = pair_of_curves("even", 4)
    bad = calm.copy()
    bad[:3] = 60, 20, 5
    assert Calm(bad).scale == pytest.approx(Calm(calm).scale, rel=0.3)


def test_warmup_holds_where_the_loss_does_not_rise_and_comes_down_as_far_as_the_baseline():
    run, calm = pair_of_curves("even", 5)
    short = run[:90]
    assert holds(short, run, Calm(calm))
    assert not holds(np.append(short, math.nan), run, Calm(calm))
    blown = short.copy()
    blown[40:60] += 3
    assert not holds(blown, run, Calm(calm))
    dead = np.full(90, run[0])  # never rises, never learns
    assert not holds(dead, run, Calm(calm))
    assert not holds(run, run[:90], Calm(calm))  # nothing to hold it against
