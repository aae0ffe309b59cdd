"""The steps and the batch size that a procedure names are true of what is trained with them, in whole processes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import numpy as np
import pytest

import playbook
from playbook.data import loader
from playbook.procedures import step_times
from playbook.procedures.find_batch_size import FindBatchSizeOptions, find_batch_size
from playbook.procedures.find_max_steps import FindMaxStepsOptions, find_max_steps
from playbook.run_files import RESULT
from playbook.training.throughput import Request, measure

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1")


pytestmark = pytest.mark.integration


class HereTimer:
    """Measures in this process, where what is patched is slow."""

    def __init__(self, plain, budget):
        self._request = Request(plain, num_blocks=3, block_seconds=0.05, most_seconds=5.0, budget=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def measure(self, size):
        return asdict(measure(self._request, size))


def sizes(folder, *words, **options):
    given = FindBatchSizeOptions(out_dir=str(folder / "out"), passes=2, **options)
    return find_batch_size(*SMALL, f"output_root={folder}", *words, options=given, quiet=True)


def test_a_real_model_is_bound_by_its_computation(tmp_path):
    words = ("model.width=1024", "model.depth=3")
    answer = sizes(tmp_path, *words, smallest=32, largest=1024)
    assert answer.evidence["bottleneck"] == "compute"
    assert answer.evidence["sizes"][0]["wait_seconds"] < 0.1 * answer.evidence["sizes"][0]["step_seconds"]


def test_a_loader_slowed_on_purpose_is_named(tmp_path, monkeypatch):
    batch = loader._StepBatches.__getitem__

    def slowly(self, step):
        found = batch(self, step)
        time.sleep(1e-3 * len(found.inputs))
        return found

    monkeypatch.setattr(loader._StepBatches, "__getitem__", slowly)
    monkeypatch.setattr(step_times, "_Timer", HereTimer)
    answer = sizes(tmp_path, "model.width=16", largest=128)
    assert answer.evidence["bottleneck"] == "input"
    assert all(each["examples_per_second"] < 1000 for each in answer.evidence["sizes"])  # that of the loader


def test_a_budget_of_a_gigabyte_ends_the_search(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (20_000, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", inputs=images, targets=random.integers(0, 4, 20_000))
    words = ("data=arrays", f"data.path={tmp_path}/images.npz", "data.in_memory=false", "data.num_workers=0")
    model = ("model=cnn", "model.width=4", "model.depth=8", "model.stages=1")
    answer = sizes(tmp_path, *words, *model, smallest=512, memory_gb=1.0)
    assert answer.evidence["ended"] == "memory"
    found = answer.evidence["sizes"]
    assert found
    assert max(each["peak_bytes"] for each in found) <= 1e9
    (too_large,) = answer.evidence["out_of_memory"]
    assert int(too_large) == 2 * found[-1]["batch_size"]
    assert found[-1]["peak_bytes"] > 0.5e9  # twice the batch would have needed more than there is


def test_the_steps_that_it_names_are_enough(tmp_path):
    options = FindMaxStepsOptions(lr_min=0.003, lr_max=30.0, n_trials=5, num_seeds=2, out_dir=str(tmp_path / "out"))
    words = (*SMALL, "max_steps=240", "model.dropout=0.1", "eval_every=20", f"output_root={tmp_path}")
    answer = find_max_steps(*words, options=options, quiet=True)
    assert answer.verdict == "found"
    assert answer.evidence["turned_off"] == ["model.dropout=0.1"]
    low, high = answer.evidence["steps"]
    enough = answer.evidence["max_steps"]
    assert low <= high <= enough < 240
    assert answer.overrides == (f"max_steps={enough}",)
    assert f"max_steps={enough}" in answer.next
    assert "-m study=learning_rate" in answer.next
    assert "model.dropout=0.1" in answer.next  # it is what will be trained
    written = json.loads((tmp_path / "out" / RESULT).read_text())
    assert written["answer"] == answer.answer
    config = playbook.compose(
        *SMALL, *answer.overrides, f"lr={answer.evidence['lr']}", f"output_root={tmp_path}", "seed=1"
    )
    playbook.train(config, verbose=False)
    evals = playbook.load_run(config.output_dir).evals.filter(metric="train/error")
    assert evals.filter(step=enough)["value"].item() == 0
