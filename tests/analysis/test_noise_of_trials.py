"""Where the noise of a trial comes from, and how large it is: against known answers."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_tables import study, tables

from playbook.analysis.noise_of_trials import noise_of
from playbook.examples import Examples
from playbook.study.design import Objective
from playbook.study.space import Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


def repeated(seeds: int = 3, sd: float = 0.01, settings: int = 8):
    rng = np.random.default_rng(0)
    lrs = np.repeat(np.geomspace(1e-4, 1e-1, settings), seeds)
    loss = np.repeat(0.5 + 0.1 * np.arange(settings), seeds) + sd * rng.standard_normal(len(lrs))
    return tables(loss.tolist(), {"lr": lrs.tolist(), "seed": list(range(seeds)) * settings}, LR)


def with_columns(found, **columns):
    return replace(found, trials=found.trials.with_columns(**{key: pl.lit(value) for key, value in columns.items()}))


def test_repeats_come_first():
    noise = noise_of(with_columns(repeated(), n_examples=10_000, objective_se=0.005))
    assert (noise.source, noise.degrees) == ("repeats", 8)  # of the better half
    assert noise.seed_sd == noise.of_one == pytest.approx(0.01, rel=0.5)


def test_the_pooled_deviation_is_that_of_the_better_settings():
    found = repeated(seeds=5)
    values = found.trials["objective"].to_numpy().reshape(8, 5)
    worse = np.where(np.arange(8)[:, None] >= 4, 100, 1)  # the worse half is a hundred times as noisy
    values = values.mean(axis=1, keepdims=True) + worse * (values - values.mean(axis=1, keepdims=True))
    noisy = replace(found, trials=found.trials.with_columns(objective=pl.Series(values.ravel())))
    assert noise_of(noisy).of_one == pytest.approx(np.sqrt(values[:4].var(axis=1, ddof=1).mean()))


def test_repeats_that_are_all_the_same_say_nothing_of_noise():
    assert noise_of(repeated(sd=0.0)).source == "unknown"


@pytest.mark.parametrize("missed", [0, 9])
def test_an_error_of_n_examples(missed):
    found = with_columns(tables([missed / 359] * 6, {"lr": [0.01 * 2**i for i in range(6)]}, LR), n_examples=359)
    noise, share = noise_of(found), (missed + 2) / 363
    assert noise.source == "examples"
    assert noise.of_one == noise.examples_se == pytest.approx(np.sqrt(share * (1 - share) / 363))
    assert noise.least == pytest.approx(5 / 359)


def test_an_accuracy_in_per_cent_counts_examples_too():
    found = tables([97.5, 97.0, 96.5], {"lr": [0.01, 0.02, 0.04]}, LR, mode="max")
    found = replace(with_columns(found, n_examples=200), objective=Objective("val/accuracy", "max"))
    assert noise_of(found).least == pytest.approx(100 * 5 / 200)


def test_a_loss_has_the_standard_error_that_is_given_or_recorded():
    found = replace(tables([0.5, 0.6, 0.7], {"lr": [0.01, 0.02, 0.04]}, LR), objective=Objective("val/loss"))
    assert noise_of(with_columns(found, objective_se=0.02)).of_one == 0.02
    values = np.random.default_rng(0).exponential(0.5, (1, 400)).astype(np.float32)
    recorded = replace(found, examples={trial: Examples(np.array([10]), values) for trial in range(3)})
    noise = noise_of(recorded)
    assert (noise.source, noise.least) == ("examples", 0.0)
    assert noise.of_one == pytest.approx(values.std() / 20)


def test_a_smooth_surface_leaves_the_noise():
    errors = []
    for seed in range(10):
        found = study(32, LR, lambda at: 0.5 + np.abs(at["lr"] - 0.4), noise=0.02, seed=seed)
        noise = noise_of(found)
        assert noise.source == "surface"
        errors.append(np.log(noise.of_one / 0.02))
    assert abs(np.mean(errors)) < 0.5


def test_over_decades_noise_is_a_share_of_the_objective():
    rng = np.random.default_rng(0)
    lrs, loss = np.repeat(np.geomspace(1e-4, 1e-1, 8), 3), np.repeat(np.geomspace(1e-4, 1.0, 8), 3)
    noisy = loss * np.exp(0.2 * rng.standard_normal(24))
    found = tables(noisy.tolist(), {"lr": lrs.tolist(), "seed": [0, 1, 2] * 8}, LR)
    noise = noise_of(found)
    assert noise.relative == pytest.approx(0.2, rel=0.5)
    assert noise.of_one == pytest.approx(noise.relative * noisy.reshape(8, 3).mean(axis=1).min())


@pytest.mark.parametrize(
    "objective",
    [[], [None, None], [0.1], [0.5] * 10, [1e308, -1e308, 0.0], [-0.0] * 3],
)
def test_else_it_is_unknown(objective):
    found = tables(objective, {"lr": [1e-3 * 1.1**i for i in range(len(objective))]}, LR)
    assert (noise_of(found).source, noise_of(found).of_one) == ("unknown", None)
