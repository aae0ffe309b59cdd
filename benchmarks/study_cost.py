"""What a study costs beyond the training of its trials: per trial, per point of the sequence, and to be asked again.

    OMP_NUM_THREADS=1 python benchmarks/study_cost.py [trials|points|resume ...] [--rounds 5] [--trials 64 128]

trials    100 steps on digits each, one after the other, whole processes: the marginal cost of a trial is
          (t128 - t64) / 64, so that the start of Python, torch and W&B does not count, and the report's growth does.
          Four ways, that take turns within a round in a new order each round; medians over rounds:
              ours, none     `train.py -m`, with `logger=none`
              ours, wandb    the same with `logger=wandb`, offline
              basic, none    `train.py -m hydra/sweeper=basic`: Hydra's own sweeper, no study, otherwise the same trials
              plain          a script as people write it: a loop over learning rates with a Lightning Trainer in it
points    100,000 points of the sequence in 10 dimensions, beside scipy's scrambled Halton.
resume    `train.py -m` on a finished study of 1,000 trials whose report has been written: a whole process that finds
          out that nothing is missing. Nearly all of its trials are copies of two that were run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from scipy.stats import qmc

from playbook.run_files import RESULT
from playbook.study.halton import points
from playbook.study.study_files import TRIALS

TRAIN = Path(__file__).parents[1] / "train.py"
TRIAL = ("max_steps=100", "trainer.num_threads=1", "trainer.device=cpu")
TARGET_S = {"ours, none": 0.25, "ours, wandb": 0.35, "points": 2.0, "resume": 3.0}
NUM_POINTS, DIMENSIONS = 100_000, 10
NUM_TRIALS, NUM_RUN = 1000, 2

PLAIN = """
import sys

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class Digits(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.model = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )

    def training_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        logits = self.model(batch[0])
        self.log("val/loss", F.cross_entropy(logits, batch[1]))
        self.log("val/error", (logits.argmax(1) != batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, nesterov=True)


digits = load_digits()
inputs = torch.tensor(digits.data, dtype=torch.float32)
dataset = TensorDataset((inputs - inputs.mean()) / inputs.std(), torch.tensor(digits.target))
train, val, _ = random_split(dataset, [1168, 359, 270], generator=torch.Generator().manual_seed(0))
errors = {}
for lr in map(float, sys.argv[1:]):
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=100,
        val_check_interval=100,
        check_val_every_n_epoch=None,
        logger=False,
        default_root_dir=f"lr_{lr}",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(lr), DataLoader(train, 64, shuffle=True, drop_last=True), DataLoader(val, 512))
    errors[lr] = trainer.callback_metrics["val/error"].item()
print(min(errors, key=errors.get))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="trials, points, resume; all of them if none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, nargs=2, default=(64, 128), metavar=("FEW", "MANY"))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: allowed is {', '.join(PARTS)}")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments)


def measure_trials(arguments: argparse.Namespace) -> None:
    few, many = arguments.trials
    ways: dict[str, Callable[[int], float]] = {
        "ours, none": lambda count: ours(count, "logger=none"),
        "ours, wandb": lambda count: ours(count, "logger=wandb"),
        "basic, none": lambda count: ours(count, "logger=none", "hydra/sweeper=basic"),
        "plain": plain,
    }
    turns = [(name, count) for name in ways for count in (few, many)]
    seconds: dict[tuple[str, int], list[float]] = {turn: [] for turn in turns}
    for _ in range(arguments.rounds):
        for name, count in random.sample(turns, len(turns)):
            seconds[name, count].append(ways[name](count))
    marginal = {
        name: [(b - a) / (many - few) for a, b in zip(seconds[name, few], seconds[name, many], strict=True)]
        for name in ways
    }
    print(f"\na trial of 100 steps on digits, (t{many} - t{few}) / {many - few}, {arguments.rounds} rounds")
    for name, values in marginal.items():
        against = median(a / b for a, b in zip(values, marginal["plain"], strict=True))
        row(name, values, TARGET_S.get(name), f"× plain {against:5.2f}   t{few} {median(seconds[name, few]):.1f} s")


def ours(count: int, *words: str) -> float:
    """Seconds of `train.py -m` over as many learning rates."""
    with tempfile.TemporaryDirectory() as folder:
        swept = ",".join(learning_rates(count))
        spent = process(Path(folder), str(TRAIN), "-m", f"lr={swept}", *TRIAL, *words)
        results = list(Path(folder).rglob(RESULT))
        assert len(results) == count, f"{len(results)} of {count} trials have a result"
    return spent


def plain(count: int) -> float:
    """Seconds of the plain script over the same."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plain.py").write_text(PLAIN)
        return process(Path(folder), "plain.py", *learning_rates(count))


def learning_rates(count: int) -> list[str]:
    return [f"{lr:.6g}" for lr in np.geomspace(1e-3, 1e-1, count)]


def measure_points(arguments: argparse.Namespace) -> None:
    def timed(draw: Callable[[], object]) -> float:
        began = perf_counter()
        draw()
        return perf_counter() - began

    indices = np.arange(NUM_POINTS)
    values: dict[str, list[float]] = {"ours": [], "scipy": []}
    for seed in range(arguments.rounds):
        values["ours"].append(timed(lambda seed=seed: points(seed, indices, DIMENSIONS)))
        values["scipy"].append(
            timed(lambda seed=seed: qmc.Halton(DIMENSIONS, scramble=True, rng=seed).random(NUM_POINTS))
        )
    print(f"\n{NUM_POINTS:,} points in {DIMENSIONS} dimensions, {arguments.rounds} rounds")
    row("ours", values["ours"], TARGET_S["points"])
    row("scipy's Halton", values["scipy"])


def measure_resume(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        words = (str(TRAIN), "-m", "lr=tag(log,interval(1e-3,1e-1))", "study.name=long", "logger=none", *TRIAL)
        process(folder, *words, f"study.n_trials={NUM_RUN}")
        study = folder / "outputs" / "studies" / "long"
        for number in range(NUM_RUN, NUM_TRIALS - 1):  # the last is left to the study itself, which then ends it
            copy_trial(study / f"trial_{number % NUM_RUN:05d}", study / f"trial_{number:05d}", number)
        command = (*words, f"study.n_trials={NUM_TRIALS}")
        process(folder, *command)
        before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
        values = [process(folder, *command) for _ in range(arguments.rounds)]
        assert before == {path: path.stat().st_mtime_ns for path in study.rglob("*")}, "something was written again"
        rows = len((study / TRIALS).read_text().splitlines()) - 1
        report = "with" if any(study.glob("report/*.html")) else "WITHOUT"
    print(f"\na finished study of {rows} trials, {report} its report, is asked for again, {arguments.rounds} rounds")
    row("a whole process", values, TARGET_S["resume"])


def copy_trial(from_folder: Path, to_folder: Path, number: int) -> None:
    """With an objective of its own, since a report of a thousand equal trials has less to say."""
    shutil.copytree(from_folder, to_folder, ignore=shutil.ignore_patterns("checkpoints"))
    result = json.loads((to_folder / RESULT).read_text())
    result["objective"] *= 1 + number / NUM_TRIALS
    (to_folder / RESULT).write_text(json.dumps(result))


def process(folder: Path, *words: str) -> float:
    """Seconds of `python <words>` in `folder`, whole."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HYDRA_FULL_ERROR": "0"}
    began = perf_counter()
    ended = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    spent = perf_counter() - began
    if ended.returncode:
        raise SystemExit(f"{' '.join(words)[:200]}\n{ended.stdout}{ended.stderr}")
    return spent


def row(name: str, values: list[float], target: float | None = None, remark: str = "") -> None:
    if target is not None:
        verdict = "within" if median(values) < target else "above"
        remark = f"{remark}   {verdict} the target of {target:g} s".lstrip()
    print(f"  {name:16} {median(values):7.3f} s ({min(values):.3f} to {max(values):.3f})   {remark}".rstrip())


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "trials": measure_trials,
    "points": measure_points,
    "resume": measure_resume,
}


if __name__ == "__main__":
    main()
