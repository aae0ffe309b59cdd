"""Synthetic tables of steps: the loss, the gradient's norms and the seconds of trials whose faults are known."""

import numpy as np
import polars as pl

from playbook.analysis.tables import Tables
from playbook.study.design import Objective


def steps(seed: int = 0, count: int = 2000, clip_norm: float | None = None, waiting: float = 0.01) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    norms = np.exp(rng.normal(0, 0.5, count))
    seconds = np.exp(rng.normal(-6, 0.2, count))
    return pl.DataFrame(
        {
            "step": np.arange(count),
            "loss": 0.1 + 2 * np.exp(-np.arange(count) / (0.1 * count)) + 0.05 * rng.standard_normal(count),
            "grad_norm": norms,
            "clipped": np.zeros(count, bool) if clip_norm is None else norms > clip_norm,
            "data_seconds": waiting * seconds,
            "step_seconds": seconds,
        }
    )


def tables_of_steps(given: dict[int, pl.DataFrame], arms: str = "a", **others) -> Tables:
    trials = pl.DataFrame(
        {
            "trial": list(given),
            "arm": [arms[place % len(arms)] for place in range(len(given))],
            "status": "complete",
            "objective": [0.1 * place for place in range(len(given))],  # the first is the best
            **others,
        }
    )
    return Tables(trials, Objective(), steps=given, max_steps=2000)


def codes(found) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in found]
