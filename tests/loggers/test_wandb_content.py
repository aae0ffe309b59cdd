"""What W&B is sent of long runs and wide configs; the reference of the thinning is the page's own, in polars."""

import json

import numpy as np
import polars as pl
import pytest

from playbook.loggers.wandb_content import MOST_STEPS, ThinnedSteps, classes_table, facts, is_of_a_class, tags
from playbook.report.charts.thinning import thin
from playbook.run_files import StepRows


def rows_of(loss, norm, first_step=0):
    count = len(loss)
    zeros = [0.0] * count
    return StepRows(first_step, np.array(loss), np.array(norm), zeros, np.zeros(count, bool), zeros, zeros)


def long_run(steps=100_000):
    noise = np.random.default_rng(0)
    loss = np.exp(-np.arange(steps) / 2e4) + 0.05 * noise.standard_t(3, steps)
    norm = np.abs(noise.standard_t(2, steps))
    loss[31_415] = 80.0  # one spike
    norm[27_182] = np.inf
    return loss, norm


def sent(loss, norm, each):
    """The steps that are sent, of a run that commits every `each` steps."""
    thinned, parts = ThinnedSteps(len(loss)), []
    for first in range(0, len(loss), each):
        parts += thinned.add(rows_of(loss[first : first + each], norm[first : first + each], first))
    return [step for step, _ in [*parts, *thinned.rest()]]


@pytest.mark.parametrize("each", [7, 100, 100_000])
def test_a_long_run_is_light_and_keeps_what_the_page_keeps(each):
    loss, norm = long_run()
    steps = sent(loss, norm, each)
    assert 31_415 in steps
    assert (steps[0], steps[-1]) == (0, len(loss) - 1)
    assert steps == sorted(set(steps))
    assert len(steps) <= 2 * MOST_STEPS + 2
    for series in (loss, norm):
        table = pl.DataFrame({"step": np.arange(len(series)), "value": series})
        kept = _thinned(table)
        assert set(kept["step"].to_list()) <= set(steps)


def _thinned(table):
    return thin(table.with_columns(metric=pl.lit("m")), ["metric"], "value", MOST_STEPS + 2)


def test_what_is_sent_of_100_000_steps_is_under_five_megabytes():
    loss, norm = long_run()
    row = {"trainer/global_step": 100_000, "train/loss": loss[5], "grad_norm": norm[5], "lr": 0.012345678901234567}
    row |= {"clipped": False, "data_seconds": 0.0012345678, "step_seconds": 0.012345678, "_timestamp": 1.7e9 + 0.123456}
    assert len(sent(loss, norm, 100)) * len(json.dumps(row)) < 5e6


@pytest.mark.parametrize("steps", [1, 7, MOST_STEPS])
def test_a_short_run_is_sent_whole(steps):
    series = np.arange(float(steps))
    assert sent(series, series, 3) == list(range(steps))


def test_what_is_not_finite_is_no_extreme():
    loss = np.full(5000, np.nan)
    assert sent(loss, loss, 5000) == [0, 4999]


def test_no_rows_are_no_steps():
    thinned = ThinnedSteps(10_000)
    assert thinned.add(rows_of([], [])) == thinned.rest() == []


def test_the_config_has_what_a_dashboard_groups_by():
    config = {"lr": 0.1, "optimizer": {"_target_": "x", "beta1": 0.9, "beta2": 0.9999, "nesterov": True, "eps": 1e-8}}
    found = facts(config, {"optimizer": "adam"}, {"name": "s", "arm": "a", "trial": 3})
    assert found["optimizer"]["one_minus_beta1"] == 0.1
    assert found["optimizer"]["one_minus_beta2"] == 0.0001
    assert set(found["optimizer"]) - set(config["optimizer"]) == {"one_minus_beta1", "one_minus_beta2"}
    assert (found["options"], found["study"]["trial"]) == ({"optimizer": "adam"}, 3)
    assert config["optimizer"].keys() == {"_target_", "beta1", "beta2", "nesterov", "eps"}


def test_tags_are_short_and_none_is_there_twice():
    found = tags(["mine", "model=mlp"], {"model": "mlp", "data": "d" * 100}, {"arm": "optimizer=adam"})
    assert found[:2] == ["mine", "model=mlp"]
    assert found[-1] == "optimizer=adam"
    assert len(found) == len(set(found)) == 4
    assert max(map(len, found)) <= 64


def test_metrics_of_classes_are_known(tmp_path):
    assert is_of_a_class("val/correct/3")
    assert is_of_a_class("val/examples/a class")
    assert not is_of_a_class("val/correctness")
    assert classes_table(tmp_path, None).is_empty()
