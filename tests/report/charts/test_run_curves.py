"""The picture of a run shows what the tables hold, and chance where it belongs: with the objective."""

import json
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

import playbook
from playbook.config import Config
from playbook.report import plot_run
from playbook.run_files import Result


@dataclass(frozen=True)
class Recorded:
    """A run that nobody ran."""

    steps: pl.DataFrame
    evals: pl.DataFrame
    config: Config
    result: Result | None = None
    path: Path = Path("a run")


def steps_table(count: int, spike_at: int) -> pl.DataFrame:
    random.seed(0)
    losses = [1 / (1 + step) + 0.01 * random.random() for step in range(count)]
    losses[spike_at] = 1e6
    norms = [math.sqrt(loss) for loss in losses]
    return pl.DataFrame({"step": range(count), "loss": losses, "grad_norm": norms, "lr": [0.1] * count})


EVALS = pl.DataFrame(
    {
        "step": [0, 0, 0, 500, 500, 500, 1000, 1000, 1000],
        "metric": ["val/error", "val/loss", "val/f1"] * 3,
        "value": [0.9, 2.3, 0.1, 0.1, 0.4, 0.8, 0.2, math.nan, 0.7],
    }
)


def panels(metric: str, mode: str = "min") -> dict[str, list[pl.DataFrame]]:
    """The tables of each panel, by the title of its axis, of a run judged by `metric`."""
    config = playbook.compose(f"objective.metric={metric}", f"objective.mode={mode}", "clip_norm=2")
    result = Result("complete", 0.1, 500, 0.2, 1000, 1.0, {}, 0, metric, mode, chance=0.75)
    specification = plot_run(Recorded(steps_table(1000, 7), EVALS, config, result)).to_dict()
    tables = {}
    for panel in specification["vconcat"]:
        text = json.dumps(panel)
        (title,) = set(re.findall(r'"title": "([^"]+)", "type"', text)) - {"step"} or {""}
        tables[title] = [specification["datasets"][name] for name in re.findall(r'"data": {"name": "(.+?)"}', text)]
    return tables


CHANCE = [{"value": 0.75, "label": "chance"}]


@pytest.mark.parametrize(
    ("metric", "mode", "panel", "star"),
    [
        ("val/error", "min", "error", 0.1),
        ("val/loss", "min", "loss", 0.4),  # chance of a loss is no error
        ("val/f1", "max", "f1", 0.8),
    ],
)
def test_the_objective_is_drawn_with_its_best_step_and_chance(metric, mode, panel, star):
    tables = panels(metric, mode)
    marked = [title for title, found in tables.items() if CHANCE in found]
    assert marked == [panel]
    of_one_step = [rows[0] for rows in tables[panel] if len(rows) == 1 and "step" in rows[0]]
    assert [(row["step"], row["value"]) for row in of_one_step] == [(500, star)]
    assert [{"value": 2.0, "label": "clip_norm"}] in tables["gradient norm"]
    values = [row["value"] for rows in tables["loss"] for row in rows if "value" in row]
    assert 1e6 in values  # the spike
    assert not any(math.isnan(value) for value in values)


def test_a_run_that_has_just_begun_can_be_drawn(tmp_path):
    empty = steps_table(3, 0).clear()
    plot_run(Recorded(empty, EVALS.clear(), playbook.compose())).save(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
