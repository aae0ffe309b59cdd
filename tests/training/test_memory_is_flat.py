"""A run's memory does not grow with its steps; `benchmarks/transformer_memory.py` measures a large one."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import pytest

from playbook.models import Transformer

STATM = Path("/proc/self/statm")
MEGABYTE = 1 << 20


@pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")
def test_two_hundred_steps_of_a_transformer_hold_no_more_than_eighty(run_trial, monkeypatch):
    """The logits of a batch are 1 MiB: a graph that is kept, or a row of tensors, shows within a few steps."""
    resident, forward = [], Transformer.forward

    def measured(self, inputs):
        if self.training:
            resident.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return forward(self, inputs)

    monkeypatch.setattr(Transformer, "forward", measured)
    sizes = ["batch_size=16", "data.context=64", "model.width=16", "model.depth=1", "model.heads=1"]
    fractions = ["data.val_fraction=0.002", "data.test_fraction=0.996"]
    steps = ["max_steps=200", "warmup_steps=0", "eval_every=40"]
    run_trial("experiment=text_transformer", "lr=0.003", *sizes, *fractions, *steps)
    assert len(resident) >= 200
    assert median(resident[-20:]) - median(resident[60:80]) < 20 * MEGABYTE
