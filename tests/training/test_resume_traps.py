"""Each trap that Lightning sets for a trial that is interrupted: that it is one, and that ours does not step into it.

Where a trap can be shown in a few lines, the test shows it first on `Plain`, a module and a trainer as people write
them. Should a later Lightning no longer have it, that half fails, and what we do about it can go.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from run_state import final_state, kill, kill_at
from torch.utils.data import DataLoader

import playbook
from playbook.run_files import EVALS, STEPS, read_table
from playbook.training import build, evaluator, resume, train
from playbook.training.checkpoints import step_of
from playbook.training.evaluator import Evaluator
from playbook.training.loop import TrialLoop
from playbook.training.progress import TrialProgress

TRIAL = ("model.width=16", "model.dropout=0.2", "lr=0.1", "max_steps=20", "eval_every=5", "keep_best=2")
EVAL_STEPS = [0, 5, 10, 15, 20]
NUM_VALIDATION = 359


class Plain(LightningModule):
    """Validates every five batches; finds the number of the step, or what `values` says for it."""

    def __init__(self, values: dict[int, float] | None = None, reads_total: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.values = values or {}
        self.reads_total = reads_total
        self.validated: list[int] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        step = self.trainer.global_step
        self.validated.append(step)
        self.log("val", self.values.get(step, float(step)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.reads_total:  # to build a schedule
            assert self.trainer.estimated_stepping_batches
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAt(Callback):
    """Saves in `on_train_batch_end`, where a callback of one's own would."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


class Stateful(DataLoader):  # type: ignore[type-arg]
    """A loader that remembers how far it is, as Lightning supports it."""

    served = 0
    restored: int | None = None

    def __iter__(self) -> Iterator[Any]:
        for batch in super().__iter__():
            self.served += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"served": self.served}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.restored = state["served"]


def plain_fit(module: Plain, *callbacks: Callback, resume_from: Path | None = None, **settings: Any) -> Trainer:
    """Twenty steps of plain Lightning."""
    loader = settings.pop("loader", DataLoader(torch.ones(100, 2), batch_size=1))
    trainer = Trainer(
        **{"max_steps": 20, "max_epochs": -1, "val_check_interval": 5, "check_val_every_n_epoch": None} | settings,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader, DataLoader(torch.ones(1, 2)), ckpt_path=None if resume_from is None else resume_from)
    return trainer


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "pytorch_lightning")


pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice on what `Plain` does on purpose


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `TRIAL` leaves behind when nothing happens to it."""
    from conftest import config_of

    folder = tmp_path_factory.mktemp("uninterrupted")
    train(config_of(folder, *TRIAL), verbose=False)
    return final_state(folder)


def newest_commit(folder: Path) -> int:
    return max(map(step_of, (folder / "checkpoints").glob("resume_*.ckpt")))


def evaluated(folder: Path) -> list[int]:
    return read_table(folder, EVALS).filter(metric="val/error")["step"].to_list()


# Trap 1.


def test_plain_resume_at_a_validation_step_skips_that_validation(tmp_path):
    plain_fit(module := Plain(), SaveAt(tmp_path / "a.ckpt", 10))
    assert module.validated == [5, 10, 15, 20]
    plain_fit(module := Plain(), resume_from=tmp_path / "a.ckpt")
    assert module.validated == [15, 20]  # saved before the validation of step 10, which never happens


@pytest.mark.parametrize("step", [0, 10, 20])
@pytest.mark.parametrize("moment", ["evaluate", "_save_to_resume", "after"])
def test_no_evaluation_is_skipped_or_repeated(trial_config, tmp_path, uninterrupted, step, moment):
    """Ours saves when the evaluation is over: killed before that, the run goes back and evaluates again; killed after
    it, step 0 included, the evaluation is not made a second time.
    """
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    if moment == "after":
        kill(config, TrialProgress, "evaluated", lambda *_: newest_commit(folder) == step)  # the commit's last act
        assert newest_commit(folder) == step
    else:
        owner = Evaluator if moment == "evaluate" else TrialLoop
        kill(config, owner, moment, lambda owner, *given: (given[-1] if given else owner.step) == step)
        assert list((folder / "checkpoints").glob("resume_*")) == [] if step == 0 else newest_commit(folder) == step - 5
    train(config, verbose=False)
    assert evaluated(folder) == EVAL_STEPS
    assert final_state(folder) == uninterrupted


# Trap 2.


def test_plain_checkpoints_are_ranked_with_the_validation_before(tmp_path):
    callback = ModelCheckpoint(
        tmp_path, monitor="val", every_n_train_steps=5, save_top_k=-1, filename="{step}-{val:.0f}"
    )
    plain_fit(Plain(), callback)
    assert (tmp_path / "step=20-val=15.ckpt").exists()  # at step 20 the validation finds 20


def test_best_checkpoints_belong_to_their_evaluation_across_a_resume(trial_config, tmp_path):
    config, folder = trial_config(*TRIAL, "model.norm=batch", "keep_best=5"), tmp_path / "run"
    for step in (3, 8, 19):
        kill_at(config, step)
    train(config, verbose=False)
    run = playbook.load_run(folder)
    validation = run.config.data.build().load("val")
    assert sorted(run.best_steps) == EVAL_STEPS
    losses = set()
    for step in run.best_steps:
        with torch.no_grad():
            probabilities = run.model(step)(validation.inputs).double()
        recorded = dict(run.evals.filter(step=step).select("metric", "value").iter_rows())
        wrong = (probabilities.argmax(-1) != validation.targets).double().mean().item()
        loss = -probabilities[torch.arange(len(validation)), validation.targets].log().mean().item()
        assert recorded["val/error"] == pytest.approx(wrong, abs=1e-12)
        assert recorded["val/loss"] == pytest.approx(loss, rel=1e-5)
        losses.add(round(loss, 6))
    assert len(losses) == len(EVAL_STEPS)


# Trap 3.


def test_plain_save_last_is_stale_when_nothing_improves(tmp_path):
    plain_fit(Plain(), ModelCheckpoint(tmp_path, monitor="val", save_last=True, save_top_k=1))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5  # of 20


@pytest.mark.parametrize("keep_best", [0, 1])
def test_every_commit_can_be_resumed_also_when_nothing_improves(trial_config, tmp_path, monkeypatch, keep_best):
    config, folder = trial_config(*TRIAL, f"keep_best={keep_best}"), tmp_path / "run"
    errors, real = iter([0.1, 0.2, 0.3, 0.4, 0.5]), evaluator.evaluate

    def worse_each_time(model, task, loader, **rest):
        metrics = real(model, task, loader, **rest)
        return metrics | {"error": next(errors)} if loader.num_examples == NUM_VALIDATION else metrics

    monkeypatch.setattr(evaluator, "evaluate", worse_each_time)
    for step in (6, 11, 16):
        kill_at(config, step)
        assert newest_commit(folder) == step - 1
    train(config, verbose=False)
    assert read_table(folder, EVALS).filter(metric="val/error")["value"].to_list() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert playbook.load_run(folder).best_steps == [0][:keep_best]


# Trap 4.


def test_plain_reading_the_number_of_steps_drops_the_loaders_state(tmp_path):
    restored = []
    for reads_total in (False, True):
        path, loaders = tmp_path / f"{reads_total}.ckpt", [Stateful(torch.ones(100, 2), batch_size=1) for _ in "ab"]
        plain_fit(Plain(reads_total=reads_total), SaveAt(path, 10), loader=loaders[0], max_epochs=3)
        plain_fit(Plain(reads_total=reads_total), resume_from=path, loader=loaders[1], max_epochs=3)
        restored.append(loaders[1].restored)
    assert restored == [10, None]


def test_whoever_reads_the_number_of_steps_changes_nothing(trial_config, tmp_path, monkeypatch, uninterrupted):
    """Ours has no epochs, so Lightning answers without making the loader, which begins where the run then is."""
    read = []
    real = TrialLoop.configure_optimizers

    def reading(module: TrialLoop) -> torch.optim.Optimizer:
        read.append(module.trainer.estimated_stepping_batches)
        return real(module)

    monkeypatch.setattr(TrialLoop, "configure_optimizers", reading)
    config = trial_config(*TRIAL)
    kill_at(config, 13)
    train(config, verbose=False)
    assert read == [20, 20]
    assert final_state(tmp_path / "run") == uninterrupted


# Trap 5.


def test_plain_validation_counts_batches_and_not_steps():
    plain_fit(module := Plain(), accumulate_grad_batches=2)
    assert module.validated == [2, 5, 7, 10, 12, 15, 17, 20]


def test_everything_is_counted_in_optimizer_steps(trial_config, tmp_path, monkeypatch):
    """Counted where they happen: an evaluation of step k finds that the optimizer did k updates, a kill or not."""
    updates, seen = [0], []
    real_evaluate = Evaluator.evaluate
    overrides = (*TRIAL, "warmup_steps=3", "optimizer=adam", "lr=0.01")
    config, folder = trial_config(*overrides), tmp_path / "run"
    optimizer_class = type(config.optimizer.build(params=[torch.nn.Parameter(torch.zeros(1))], lr=0.1))
    step_once = optimizer_class.step

    def counted(self, *arguments, **named):
        updates[0] += 1
        return step_once(self, *arguments, **named)

    def noted(self, model, precision, step):
        seen.append((step, updates[0]))
        return real_evaluate(self, model, precision, step)

    monkeypatch.setattr(build, "_check_optimizer", lambda *_: None)  # which takes a step too
    monkeypatch.setattr(optimizer_class, "step", counted)
    monkeypatch.setattr(Evaluator, "evaluate", noted)
    kill_at(config, 12)
    assert seen == [(0, 0), (5, 5), (10, 10)]
    updates[0] = 10  # those of the last commit; two more were lost
    train(config, verbose=False)
    assert seen[3:] == [(15, 15), (20, 20), (23, 23)]
    assert read_table(folder, STEPS)["step"].to_list() == list(range(23))


# Trap 6.


def test_plain_resume_at_the_last_step_knows_no_metrics(tmp_path):
    trainer = plain_fit(Plain(), SaveAt(tmp_path / "a.ckpt", 20))
    assert trainer.callback_metrics
    again = plain_fit(Plain(), resume_from=tmp_path / "a.ckpt")
    assert again.state.finished
    assert not again.callback_metrics


def test_killed_between_the_last_commit_and_the_result(trial_config, tmp_path, uninterrupted):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill(config, resume, "write_result")
    assert newest_commit(folder) == 20
    assert not (folder / "result.json").exists()
    result = train(config, verbose=False)
    assert result == playbook.load_run(folder).result
    assert {"val/error", "val/loss", "train/error", "train/eval_loss"} <= set(result.metrics)
    assert final_state(folder) == uninterrupted


def test_the_checkpoints_to_resume_from_are_the_same_to_the_last_bit(trial_config, tmp_path):
    """Weights, optimizer and counters, which a finished run no longer has: compared as they are before the result."""
    kill(trial_config(*TRIAL, "optimizer=adam", folder="whole"), resume, "write_result")
    config, folder = trial_config(*TRIAL, "optimizer=adam"), tmp_path / "run"
    for step in (2, 8, 13):
        kill_at(config, step)
    kill(config, resume, "write_result")
    assert sum(path.name.startswith("resume_") for path in (folder / "checkpoints").iterdir()) == 2
    assert final_state(folder) == final_state(tmp_path / "whole")


def test_killed_between_the_result_and_the_end(trial_config, tmp_path, uninterrupted):
    """The checkpoints to resume from, which nobody reads now, go when the same command is given again."""
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill(config, resume, "keep", lambda *_: (folder / "result.json").exists())
    assert newest_commit(folder) == 20
    train(config, verbose=False)
    assert final_state(folder) == uninterrupted


# Trap 7.


def test_plain_version_counter_leaves_orphans(tmp_path):
    for _ in range(2):
        plain_fit(Plain(), ModelCheckpoint(tmp_path, filename="resume", every_n_train_steps=5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume-v1.ckpt", "resume.ckpt"]


def test_no_file_is_left_over(trial_config, tmp_path, uninterrupted):
    """Also not what a save had half done: its temporary is gone when the next commit is made."""
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    for step in (2, 7, 7, 12, 17):
        kill_at(config, step)
        (folder / "checkpoints" / "resume_00000099.ckpt.tmp").write_bytes(b"half")
        (folder / "steps.csv.tmp").write_bytes(b"half")
    train(config, verbose=False)
    assert final_state(folder) == uninterrupted
    train(trial_config(*TRIAL, "overwrite=true"), verbose=False)
    assert final_state(folder) == uninterrupted


# Trap 8.


def test_plain_moved_folder_forgets_the_best(tmp_path):
    def keep_two(folder: Path) -> ModelCheckpoint:
        return ModelCheckpoint(folder, monitor="val", mode="max", save_last=True, save_top_k=2, filename="{step}")

    plain_fit(Plain(), keep_two(tmp_path / "here"), max_steps=10)
    shutil.move(tmp_path / "here", tmp_path / "there")
    callback = keep_two(tmp_path / "there")
    plain_fit(Plain({15: -1.0, 20: -2.0}), callback, resume_from=tmp_path / "there" / "last.ckpt")
    assert Path(callback.best_model_path).name == "step=15.ckpt"  # that of step 10 was better, and is now an orphan
    assert (tmp_path / "there" / "step=10.ckpt").exists()


def test_a_moved_run_goes_on_and_keeps_its_best(trial_config, tmp_path, monkeypatch):
    errors = dict(zip(EVAL_STEPS, [0.5, 0.1, 0.2, 0.6, 0.7], strict=True))
    real = Evaluator.evaluate

    def scripted(self, model, precision, step):
        found = real(self, model, precision, step)
        return replace(found, metrics=found.metrics | {"val/error": errors[step]})

    monkeypatch.setattr(Evaluator, "evaluate", scripted)
    train(trial_config(*TRIAL, folder="uninterrupted"), verbose=False)
    kill_at(trial_config(*TRIAL), 12)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    train(trial_config(*TRIAL, folder="moved"), verbose=False)
    run = playbook.load_run(tmp_path / "moved")
    assert run.best_steps == [5, 10]
    assert not (tmp_path / "run").exists()
    assert final_state(run.path) == final_state(tmp_path / "uninterrupted")


# What else an interruption must not depend on.


def test_a_temporary_is_beside_its_target(trial_config, tmp_path, monkeypatch, uninterrupted):
    """Lightning's own is in TMPDIR: across file systems its move is a copy over the live file."""
    moves: list[tuple[Path, Path]] = []
    replace, nowhere = os.replace, tmp_path / "no such folder"
    monkeypatch.setenv("TMPDIR", str(nowhere))
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere))

    def noted(source, target, **rest):
        moves.append((Path(source), Path(target)))
        replace(source, target, **rest)

    monkeypatch.setattr(os, "replace", noted)
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    train(config, verbose=False)
    assert {target.name for _, target in moves} >= {*uninterrupted_names(folder), "config.yaml", "result.json"}
    assert all(source.parent == target.parent for source, target in moves)
    assert final_state(folder) == uninterrupted


def uninterrupted_names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").iterdir()}


def test_nothing_is_renamed_that_is_not_on_the_disk(run_trial, monkeypatch):
    """Without the first sync a crash of the machine leaves an empty file under the final name, without the second the
    old one, or none. Followed by inode: what was synced, how long it was then, what was renamed, in which folder.
    """
    log: list[tuple[str, int, int]] = []
    replace, fsync = os.replace, os.fsync

    def noted_sync(descriptor: int) -> None:
        fsync(descriptor)
        status = os.fstat(descriptor)
        log.append(("folder" if stat.S_ISDIR(status.st_mode) else "file", status.st_ino, status.st_size))

    def noted_replace(source, target, **rest):
        status = Path(source).stat()
        replace(source, target, **rest)
        log.append(("rename", status.st_ino, status.st_size))
        log.append(("into", Path(target).parent.stat().st_ino, 0))

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    run = run_trial(*TRIAL)
    renames = [index for index, (what, *_) in enumerate(log) if what == "rename"]
    num_best = 1 + sum(path.name.startswith("step_") for path in (run.path / "checkpoints").iterdir())
    assert len(renames) >= len(EVAL_STEPS) + num_best + 1  # commits, best checkpoints, the config, the result
    for index in renames:
        assert ("file", *log[index][1:]) == log[index - 1]
        assert log[index + 2][:2] == ("folder", log[index + 1][1])
    appended = [(run.path / name).stat() for name in ("steps.csv", "evals.csv", "predictions.csv")]
    for status in appended:
        assert ("file", status.st_ino, status.st_size) in log  # their last rows too


@pytest.mark.parametrize("seed", [1, 2])
def test_the_generators_of_the_process_do_not_matter(trial_config, tmp_path, uninterrupted, seed):
    """Lightning saves no random state; ours needs none (dropout, initialisation and order are those of the seed)."""
    config = trial_config(*TRIAL)
    kill_at(config, 11)
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    torch.rand(seed)
    train(config, verbose=False)
    assert final_state(tmp_path / "run") == uninterrupted
