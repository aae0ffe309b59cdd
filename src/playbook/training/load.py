"""A run read back: what it was told, what it recorded, and the best model it found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from playbook.batch import Tree
from playbook.config import Config, load_config, read_config
from playbook.errors import InputError
from playbook.examples import Examples, examples_of_run
from playbook.run_files import (
    CHECKPOINTS,
    CONFIG,
    EVALS,
    PREDICTIONS,
    STEPS,
    Result,
    kept_commits,
    read_result,
    read_table,
)
from playbook.tasks import Task
from playbook.training.averaging import AVERAGED, AVERAGED_WEIGHTS
from playbook.training.checkpoints import best_path, load_of_step, saved, step_of


def load_run(path: str | Path) -> Run:
    """The run in the folder `path`, finished or not.

    Raises:
        InputError: the folder holds no run.
    """
    folder = Path(path)
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: there is no run here ({CONFIG} is missing)")
    return Run(folder)


@dataclass(frozen=True)
class Run:
    """The record of one trial. Tables are polars data frames with the columns of `playbook.run_files`."""

    path: Path

    @cached_property
    def config(self) -> Config:
        """The checked config."""
        return load_config(read_config(self.path / CONFIG))

    @property
    def steps(self) -> pl.DataFrame:
        """A row a step."""
        return read_table(self.path, STEPS)

    @property
    def evals(self) -> pl.DataFrame:
        """A row a metric an evaluation."""
        return read_table(self.path, EVALS)

    @property
    def predictions(self) -> pl.DataFrame:
        """A row an example of the fixed validation sample, an evaluation."""
        return read_table(self.path, PREDICTIONS)

    @property
    def examples(self) -> Examples | None:
        """What each validation example had to say about the objective, at each evaluation; None where it is no mean."""
        return examples_of_run(self.path)

    @property
    def result(self) -> Result | None:
        """How it ended; None while it has not."""
        return read_result(self.path)

    @property
    def best_steps(self) -> list[int]:
        """The steps whose checkpoints were kept, best first."""
        objective = self.config.objective
        kept = {step_of(path) for path in saved(self.path / CHECKPOINTS, "step")}
        values = self.evals.filter(pl.col("metric") == objective.metric, pl.col("step").is_in(kept))
        ranked = values.sort(["value", "step"], descending=[objective.mode == "max", False])
        return ranked["step"].to_list()

    @property
    def commits(self) -> list[int]:
        """The steps from which other runs can go on (`keep_commits`), in order."""
        return kept_commits(self.path)

    def model(self, step: int | None = None, *, averaged: bool | None = None) -> Predictor:
        """The model of the best evaluation, or of the kept checkpoint at `step`, on the CPU in evaluation mode.

        `averaged` says whether with the averaged weights; None: where the objective is theirs (`val_avg/…`).

        Raises:
            InputError: there is no such checkpoint, it is damaged, or it has no averaged weights.
        """
        if step is None:
            if not self.best_steps:
                raise InputError(f"{self.path}: no checkpoint was kept (keep_best={self.config.keep_best})")
            step = self.best_steps[0]
        path = best_path(self.path / CHECKPOINTS, step)
        if not path.exists():
            raise InputError(f"{path}: there is none; kept are the steps {self.best_steps}")
        checkpoint = load_of_step(path)
        if averaged is None:
            averaged = self.config.objective.metric.startswith(f"{AVERAGED}/")
        if averaged and AVERAGED_WEIGHTS not in checkpoint:
            raise InputError(f"{path}: it has no averaged weights; train with averaging=ema or averaging=polyak")
        shape = checkpoint["shape"]
        facts = {"num_classes": shape["num_classes"], **shape.get("facts", {})}
        input_shape = _input_shape(shape["input_shape"])
        model = self.config.model.build(input_shape=input_shape, num_outputs=shape["num_outputs"], **facts)
        # What the task learnt from the training targets is in the checkpoint: here they only have to be of their kind.
        # Checkpoints of before do not say which: then a class was a whole number, all else a float an output.
        is_class = shape["num_classes"] is not None
        target_shape = shape.get("target_shape", [] if is_class else [shape["num_outputs"]])
        target_dtype = shape.get("target_dtype", "int64" if is_class else "float32")
        targets = None
        if target_shape is not None:
            targets = torch.zeros(1, *target_shape, dtype=getattr(torch, target_dtype))
        task = self.config.task.build(train_targets=targets, input_shape=input_shape, **facts)
        predictor = Predictor(model, task)
        if self.config.trainer.precision == "64-true":
            predictor.double()
        predictor.load_state_dict(checkpoint["state_dict"])
        if averaged:
            predictor.model.load_state_dict(checkpoint[AVERAGED_WEIGHTS])
        return predictor.eval()


def _input_shape(stored: Any) -> Any:
    """The shape of one input, or the tree of those of its parts; earlier versions stored a list of numbers."""
    return tuple(stored) if isinstance(stored, list) and all(isinstance(size, int) for size in stored) else stored


class Predictor(nn.Module):
    """A trained model: normalised inputs of shape (n, *input_shape) to predictions in the units of the targets.

    Those are what the task's `predict` gives: class probabilities (n, classes), real values (n, k). `model` gives the
    raw outputs.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, inputs: Tree) -> Tree:
        """Predictions for `inputs`."""
        return self.task.predict(self.task.outputs(self.model, inputs))
