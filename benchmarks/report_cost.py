"""What the report costs: whole processes of `scripts/report.py`, on trials that nobody had to run.

    OMP_NUM_THREADS=1 python benchmarks/report_cost.py [--rounds 3]

curves     1,000 trials × 200 evaluations × 4 metrics, six hyperparameters, a tenth of the trials diverged
points     10,000 trials with an objective each and no curves

Beside each, in turns: the same files read by polars and drawn by Altair as one scatter plot, the least that a report
could be. Medians over rounds; the page's size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import polars as pl

REPORT = Path(__file__).parents[1] / "scripts" / "report.py"
TARGETS = {"curves": (10, 5), "points": (20, 5)}
"""Seconds, and megabytes of the page."""

LEAST = """
import sys
import altair
import polars
trials = polars.read_csv(sys.argv[1])
if len(sys.argv) > 3:
    polars.read_csv(sys.argv[3])
altair.data_transformers.disable_max_rows()
altair.Chart(trials).mark_point().encode(x="lr:Q", y="objective:Q").save(sys.argv[2])
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        for name, num_trials, with_curves in (("curves", 1_000, True), ("points", 10_000, False)):
            folder = Path(scratch) / name
            folder.mkdir()
            files = write(folder, num_trials, with_curves)
            ours, least = [], []
            for _ in range(rounds):
                words = [f"{key}={path}" for key, path in files.items()]
                ours.append(seconds(str(REPORT), *words, "objective.metric=val/error", f"out_dir={folder / 'report'}"))
                paths = [
                    str(files["trials"]),
                    str(folder / "least.html"),
                    *(str(files[k]) for k in files if k == "curves"),
                ]
                least.append(seconds("-c", LEAST, *paths))
            page = (folder / "report" / "index.html").stat().st_size / 1e6
            at_most, megabytes = TARGETS[name]
            print(f"{num_trials:6} trials, {name}")
            print(f"  the report         {median(ours):5.2f} s (target {at_most} s)")
            print(f"  its page           {page:5.1f} MB (target {megabytes} MB)")
            print(f"  read and one plot  {median(least):5.2f} s, so × {median(ours) / median(least):.1f}")


def seconds(*words: str) -> float:
    """The time of a whole Python process."""
    began = perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return perf_counter() - began


def write(folder: Path, num_trials: int, with_curves: bool) -> dict[str, Path]:
    """`trials.csv`, and `curves.csv` of a power law with noise that each trial's hyperparameters decide."""
    draw = np.random.default_rng(0)
    lr = 10 ** draw.uniform(-4, 0, num_trials)
    others = {f"h{place}": draw.uniform(0, 1, num_trials) for place in range(5)}
    best = 0.05 + 0.05 * (np.log10(lr) + 2) ** 2 + 0.02 * others["h0"] + draw.normal(0, 0.003, num_trials)
    diverged = lr > 0.4
    files = {"trials": folder / "trials.csv"}
    objective = np.where(diverged, np.nan, best)
    pl.DataFrame({"trial": np.arange(num_trials), "objective": objective, "lr": lr, **others}).write_csv(
        files["trials"]
    )
    if with_curves:
        files["curves"] = folder / "curves.csv"
        steps = np.arange(200) * 50
        shape = (num_trials, 1)
        tables = []
        for metric, scale in (("val/error", 1.0), ("val/loss", 3.0), ("train/error", 0.8), ("train/eval_loss", 2.0)):
            curve = scale * (best.reshape(shape) + 0.8 / (1 + steps / 100)) + draw.normal(0, 0.004, (num_trials, 200))
            curve[diverged, 20:] = np.nan
            tables.append(
                pl.DataFrame(
                    {
                        "trial": np.repeat(np.arange(num_trials), 200),
                        "step": np.tile(steps, num_trials),
                        "metric": [metric] * (200 * num_trials),
                        "value": curve.ravel(),
                    }
                )
            )
        pl.concat(tables).write_csv(files["curves"])
    return files


if __name__ == "__main__":
    main()
