"""What a run shows in W&B beside its metrics as they are: facts to group and filter by, fewer steps, tables.

Pure functions of the config, the rows and the files of a run; nothing here talks to W&B.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from playbook.run_files import EVALS, PREDICTIONS, StepRows, read_table

MOST_STEPS = 1_000
"""Points of a step's series that W&B is sent, about: its charts draw 500 to 1,500. `steps.csv` has all."""
LONGEST_TAG = 64
"""Characters of a tag that W&B takes."""
Row = tuple[int, tuple[Any, ...]]
"""A step, and its values in the order of `STEP_NAMES`."""
STEP_NAMES = ("train/loss", "grad_norm", "lr", "clipped", "data_seconds", "step_seconds")
_NEAR_ONE = re.compile(r"(^|_)(beta\d?|betas|momentum|rho|decay_rate)$")
_OF_A_CLASS = re.compile(r"(?P<split>\w+)/(?P<what>correct|examples)/(?P<name>.+)")


def facts(config: Mapping[str, Any], options: Mapping[str, str], study: Mapping[str, Any]) -> dict[str, Any]:
    """The config as W&B has it: with the options that were chosen, the study's name, arm and trial number, and
    `one_minus_beta1` beside `beta1`, since a chart has no axis of 1 − β of its own."""
    blocks = {
        name: {**block, **_one_minus(block)} if isinstance(block, Mapping) else block for name, block in config.items()
    }
    return {**blocks, "options": dict(options), "study": dict(study)}


def tags(own: Iterable[str], options: Mapping[str, str], study: Mapping[str, Any]) -> list[str]:
    """The user's, then `model=mlp` of each option, then the study's arm."""
    arm = [str(study["arm"])] if study.get("arm") else []
    given = [*own, *(f"{group}={option}" for group, option in options.items()), *arm]
    return list(dict.fromkeys(tag[:LONGEST_TAG] for tag in given))


def _one_minus(block: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"one_minus_{name}": float(f"{1 - value:.12g}")
        for name, value in block.items()
        if _NEAR_ONE.search(str(name)) and isinstance(value, float) and 0 <= value < 1
    }


class ThinnedSteps:
    """The steps of a run of `total_steps` that are sent: all of a short one; of a long one both ends, and of every
    stretch those with the least and the largest loss and norm, as the page thins curves.

    A stretch is sent when it is whole, so that it does not matter how often the run commits.
    """

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._waiting: list[Row] = []

    def add(self, rows: StepRows) -> list[Row]:
        """The rows that are sent now that these are known."""
        columns = rows.loss.tolist(), rows.grad_norm.tolist(), rows.lr, rows.clipped.tolist()
        each = zip(*columns, rows.data_seconds, rows.step_seconds, strict=True)
        new = [(rows.first_step + place, row) for place, row in enumerate(each)]
        if self._total_steps <= MOST_STEPS:
            return new
        sent: list[Row] = []
        for row in new:
            if self._waiting and self._stretch(self._waiting[0]) != self._stretch(row):
                sent += self.rest()
            self._waiting.append(row)
        return sent

    def rest(self) -> list[Row]:
        """The rows of the stretch that is not whole, which are sent at the end."""
        rows, self._waiting = self._waiting, []
        kept = {row[0] for row in rows if row[0] in (0, self._total_steps - 1)}
        for column in (0, 1):  # the loss and the norm
            finite = [row for row in rows if math.isfinite(row[1][column])]
            if finite:
                kept |= {extreme(finite, key=lambda row: row[1][column])[0] for extreme in (min, max)}
        return [row for row in rows if row[0] in kept]

    def _stretch(self, row: Row) -> int:
        return row[0] * (MOST_STEPS // 2) // self._total_steps


def is_of_a_class(metric: str) -> bool:
    """Whether it counts one class: twenty charts of ten classes that one table shows."""
    return _OF_A_CLASS.fullmatch(metric) is not None


def predictions_table(run_dir: Path) -> pl.DataFrame:
    """The rows of the last evaluation. From the file: it may have been in another process."""
    predictions = read_table(run_dir, PREDICTIONS)
    return predictions.filter(pl.col("step") == pl.col("step").max())


def classes_table(run_dir: Path, best_step: int | None) -> pl.DataFrame:
    """`step, split, class, examples, correct` of the best evaluation and of the last; without rows where no metric
    counts classes."""
    counted = read_table(run_dir, EVALS).filter(pl.col("metric").str.contains(f"^{_OF_A_CLASS.pattern}$"))
    schema = {"step": pl.Int64, "split": pl.String, "class": pl.String, "examples": pl.Int64, "correct": pl.Int64}
    if counted.is_empty():
        return pl.DataFrame(schema=schema)
    found = counted.with_columns(
        counted["metric"].str.extract_groups(_OF_A_CLASS.pattern).struct.unnest().rename({"name": "class"})
    )
    sizes = found.filter(what="examples").select("split", "class", examples=pl.col("value").cast(pl.Int64))
    last = counted["step"].max()
    correct = found.filter(pl.col("what") == "correct", pl.col("step").is_in([best_step, last]))
    table = correct.select("step", "split", "class", correct=pl.col("value").cast(pl.Int64))
    return table.join(sizes, on=["split", "class"], how="left", maintain_order="left").select(list(schema))
