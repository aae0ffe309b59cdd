"""The files of a study that has ended, without having trained anything: its best lr and its worst third are known.

On a log scale, lr has its best at 0.01 and everything over its upper third diverges; dropout does next to nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from playbook.run_files import EVALS, Result, Table, write_result
from playbook.study.design import Conditional, Design, Objective, Trial
from playbook.study.space import Choice, Float, Int
from playbook.study.study_files import Outcome, StudyFile, outcomes, record_crash, write_study

PLAIN = Design(
    name="plain",
    nuisance={"lr": Float(1e-4, 1.0, "log"), "model.dropout": Float(0.0, 0.5)},
    overrides=("data=digits",),
    fixed={"seed": 3},
)
ARMS = Design(
    name="arms",
    goal="Is Adam better than momentum?",
    objective=Objective("val/accuracy", "max"),
    scientific={"optimizer": Choice(("adam", "momentum"))},
    nuisance={
        "model.hidden": Choice(([64], [64, 64])),
        "model.width": Int(8, 512, "log"),
        "model.bias": Choice((True, 1)),
    },
    conditional=(
        Conditional(
            {"optimizer": ("adam",)},
            {"lr": Float(1e-5, 1e-1, "log"), "optimizer.beta1": Float(0.0, 0.999, "log_one_minus")},
        ),
        Conditional(
            {"optimizer": ("momentum",)}, {"lr": Float(1e-3, 10.0, "log"), "optimizer.nesterov": Choice((True, False))}
        ),
    ),
    repeat={"seed": Choice((0, 1))},
)
DIVERGES_FROM = 10 ** (-4 / 3)
EVALUATED = range(0, 100, 5)


def begin(folder: Path, design: Design, n_trials: int) -> list[Trial]:
    """Write `study.yaml`; the trials of the study."""
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, StudyFile(design, n_trials, n_trials, "2026-11-20T09:00:00", "python train.py -m", {}))
    return design.trials(n_trials)


def end(
    folder: Path, design: Design, trials: Iterable[Trial], crashed: Mapping[int, str] | None = None
) -> list[Outcome]:
    """Write what these trials leave behind, those of `crashed` with their message; how they ended."""
    trials = list(trials)
    for trial in trials:
        own = folder / trial.folder
        own.mkdir(parents=True, exist_ok=True)
        if crashed and trial.number in crashed:
            record_crash(own, RuntimeError(crashed[trial.number]))
            continue
        sign = 1 if design.objective.mode == "min" else -1
        diverges, lr = trial.settings["lr"] > DIVERGES_FROM, math.log10(trial.settings["lr"])
        values = [
            sign * ((lr + 2) ** 2 + 0.001 * trial.settings.get("model.dropout", 0) + 1 / (1 + at)) for at in EVALUATED
        ]
        if diverges:
            values[-2:] = [math.inf, math.nan]
        (own / EVALS).unlink(missing_ok=True)
        Table(own, EVALS).append(
            (step, metric, value)
            for step, value in zip(EVALUATED, values, strict=True)
            for metric in (design.objective.metric, "train/loss")
        )
        write_result(
            own,
            Result(
                status="infeasible" if diverges else "complete",
                objective=None if diverges else values[-1],
                best_step=None if diverges else EVALUATED[-1],
                final_objective=None if diverges else values[-1],
                steps=100,
                seconds=12.5,
                metrics={},
                seed=trial.settings.get("seed", 3),
                objective_metric=design.objective.metric,
                objective_mode=design.objective.mode,
                reason="diverged" if diverges else None,
                reason_step=90 if diverges else None,
            ),
        )
        os.utime(own / "result.json", (1.7e9, 1.7e9 + trial.number))
    return outcomes(folder, trials)
