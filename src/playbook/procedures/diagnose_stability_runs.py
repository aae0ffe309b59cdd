"""The runs of a diagnosis: trained as studies, each seed at the same learning rates, and judged beside a calm run.

Runs of one seed see the same batches, whatever their learning rate, so that a hard batch is no instability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.curves.rectangle import Values
from playbook.analysis.instability import Calm, Course, Thresholds, judge
from playbook.analysis.instability_of_rates import Rate
from playbook.analysis.study import Study
from playbook.procedures.call import Call
from playbook.study.overrides import override_key

CALM = 4.0
"""Times smaller, at least, is the learning rate of a calm run than the best one, and than that of the run it judges."""
CONSTANT = "playbook.optim.Constant"


@dataclass(frozen=True)
class TrainedRun:
    """A run with its learning rate and seed: the loss and the gradient's norm of each step, the last not finite where
    it diverged, and its evaluations of the objective."""

    lr: float
    seed: int
    objective: float | None
    losses: Values
    grad_norms: Values
    rates: Values
    evals: pl.DataFrame


@dataclass
class Bench:
    """Trains and judges runs. `runs` holds those of full length, `sweep` the learning rates of the sweep."""

    call: Call[Any]
    seeds: tuple[int, ...]
    runs: dict[tuple[float, int], TrainedRun] = field(default_factory=dict)
    sweep: list[float] = field(default_factory=list)

    @property
    def early_steps(self) -> int:
        """Steps in which an instability is early."""
        config = self.call.config
        return config.warmup_steps + max(1, math.floor(Thresholds.early * config.max_steps))

    def train(self, part: str, goal: str, rates: Iterable[float], *words: str) -> list[TrainedRun]:
        """Runs of these learning rates, a seed each; the first ones stay where seeds are added."""
        trials = [{"seed": seed, "lr": rate} for seed in self.seeds for rate in rates]
        return read_runs(self._studies().run_study(part, goal, {"trials": trials}, *words))

    def add(self, part: str, goal: str, rates: Iterable[float]) -> None:
        """Runs of full length, kept for the verdict."""
        wanted = [rate for rate in rates if (rate, self.seeds[0]) not in self.runs]
        if wanted:
            self.runs |= {(run.lr, run.seed): run for run in self.train(part, goal, wanted)}

    def train_constant(self, part: str, goal: str, rate: float, seeds: Sequence[int], *words: str) -> list[TrainedRun]:
        """Short runs at a learning rate that stays where it is (after warmup, if the words say so)."""
        study = {"trials": [{"seed": seed, "lr": rate} for seed in seeds]}
        return read_runs(self._studies(constant=True).run_study(part, goal, study, *words))

    def calm(self, seed: int, lr: float, best: float) -> Calm:
        """The run of this seed beside which a run at `lr` is judged."""
        low = [rate for rate in self.sweep if rate <= min(lr, best) / CALM]
        return Calm(self.runs[max(low, default=min(self.sweep)), seed].losses)

    def course(self, run: TrainedRun, best: float) -> Course:
        """How a run of full length went."""
        return judge(run.losses, self.calm(run.seed, run.lr, best), self.early_steps)

    def rates(self, best: float | None = None) -> list[Rate]:
        """The runs of full length by their learning rates; not judged before the best one is known."""
        found = []
        for lr in sorted({lr for lr, _ in self.runs}):
            runs = [self.runs[lr, seed] for seed in self.seeds]
            courses = [Course("stable") if best is None else self.course(run, best) for run in runs]
            found.append(Rate(lr, tuple(run.objective for run in runs), tuple(courses)))
        return found

    def _studies(self, constant: bool = False) -> Call[Any]:
        """The call with words that leave room for a trial's own keys."""
        own = {"seed"}
        words = [word for word in self.call.words if override_key(word) not in own]
        if constant and self.call.config.schedule.target != CONSTANT:
            words = [word for word in words if not word.lstrip("+~").startswith(("schedule=", "schedule."))]
            words.append("schedule=constant")
        return replace(self.call, words=tuple(words))


def read_runs(study: Study) -> list[TrainedRun]:
    """The runs of a study's trials; of one that diverged in an evaluation, with a last loss that says so."""
    found = []
    curves = study.curves([study.design.objective.metric])
    for row in study.trials.iter_rows(named=True):
        steps = study.steps(row["trial"])
        losses, norms = (steps[key].cast(pl.Float64()).to_numpy() for key in ("loss", "grad_norm"))
        if row["reason"] == "diverged" and np.isfinite(losses).all():
            losses = np.append(losses, math.nan)
        evals = curves.filter(pl.col("trial") == row["trial"])
        rates = steps["lr"].to_numpy()
        objective = row["objective"] if row["status"] == "complete" else None
        found.append(TrainedRun(row["lr"], row["seed"], objective, losses, norms, rates, evals))
    return found


def rounded(rate: float) -> float:
    """With three digits: a learning rate to type."""
    return float(f"{rate:.3g}")
