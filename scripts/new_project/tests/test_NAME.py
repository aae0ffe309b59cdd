"""Our own parts. The template's tests compose and train every option of `conf/` besides."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from NAME.data import Spirals
from NAME.task import FocalClassification


def test_the_splits_are_apart_and_balanced():
    splits = [Spirals(120).examples(name) for name in ("train", "val", "test")]
    assert [len(targets) for _, targets in splits] == [60, 30, 30]
    assert all(targets.bincount().unique().numel() == 1 for _, targets in splits)
    assert not torch.equal(splits[1][0], splits[2][0])


def test_without_focus_it_is_cross_entropy():
    outputs, targets = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    task = FocalClassification(targets, 3, gamma=0)
    torch.testing.assert_close(task.loss(outputs, targets), F.cross_entropy(outputs, targets))


def test_our_experiment_learns(run_trial):
    run = run_trial("experiment=NAME", "max_steps=300", "eval_every=100", "batch_size=64")
    assert run.result.objective < 0.5 * run.result.chance
