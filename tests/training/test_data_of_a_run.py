"""A result belongs to the data that it was got from: other data under the same name are noticed (D6)."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_state import kill_at, snapshot
from torch.utils.data import Dataset

import playbook
from playbook import components
from playbook.cli import one_line_errors
from playbook.data import DatasetSplit, Source, Split, SplitName
from playbook.errors import InputError
from playbook.training import train
from playbook.training.data import load_data

HERE = f"{__name__}."
INPUTS = np.random.default_rng(0).normal(size=(60, 4))
CLASSES = np.arange(60) % 3


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))


class Examples(Dataset):
    """Examples of a file, with noise of all three default generators."""

    def __init__(self, file: Path, split: SplitName, noise: float = 0.0) -> None:
        inputs, self.labels = torch.load(file, weights_only=True)[split]
        self.inputs = inputs
        self.noise = noise

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> torch.Tensor:
        drawn = torch.tensor([torch.randn(()), np.random.randn(), random.gauss(), 0.0])
        return self.inputs[index] + self.noise * drawn


class InAFolder(Source):
    """What README shows, with a folder of its own: `root` is all that tells its data apart."""

    num_classes = 3

    def __init__(self, root: str, noise: float = 0.0, num_workers: int = 0) -> None:
        super().__init__(num_workers=num_workers)
        self.file = Path(root) / "examples.pt"
        self.noise = noise

    def load(self, split: SplitName) -> Split:
        dataset = Examples(self.file, split, self.noise)
        return DatasetSplit(dataset, dataset.labels)


class Plain(Source):
    """What README shows: one attribute and one method."""

    num_classes = 3

    def load(self, split: SplitName) -> Split:
        inputs = torch.from_numpy(INPUTS[{"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}[split]])
        return DatasetSplit(list(inputs.float()), torch.arange(len(inputs)) % 3)


class Empty(Plain):
    """Its validation split has no examples."""

    def load(self, split: SplitName) -> Split:
        return DatasetSplit([], torch.arange(0)) if split == "val" else super().load(split)


def fill(folder: Path, seed: int) -> Path:
    """Examples and labels that depend on `seed`; the numbers of examples do not."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    sizes = {"train": 200, "val": 50, "test": 50}
    draw = {k: (torch.randn(n, 4, generator=generator), torch.arange(n) % 3) for k, n in sizes.items()}
    torch.save(draw, folder / "examples.pt")
    return folder


def with_data(config, **block):
    """The trial `config` with another source."""
    return replace(config, data=components.check(block, "data"))


def arrays_trial(trial_config, tmp_path, *overrides, **arrays):
    """A trial of `data=arrays`, whose file is written now."""
    np.savez(tmp_path / "mine.npz", **{"inputs": INPUTS, "targets": CLASSES} | arrays)
    return trial_config("data=arrays", f"data.path={tmp_path / 'mine.npz'}", "model.width=8", *overrides)


def records(config):
    """What a trial recorded, its times aside."""
    run = playbook.load_run(config.output_dir)
    return run.steps.drop("data_seconds", "step_seconds"), run.evals, run.predictions


def test_a_finished_run_of_other_data_is_not_printed_as_the_answer(trial_config, tmp_path, capsys):
    config = arrays_trial(trial_config, tmp_path)
    result = train(config, verbose=False)
    assert result.environment["data"] == load_data(config.data).fingerprint
    np.savez_compressed(tmp_path / "mine.npz", targets=CLASSES, inputs=INPUTS)  # the same data in another file
    train(config)
    assert "finished before" in capsys.readouterr().out
    arrays_trial(trial_config, tmp_path, targets=CLASSES[::-1].copy())
    before = snapshot(tmp_path / "run")
    with pytest.raises(SystemExit) as end, one_line_errors():
        train(config)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "holds the result of other data" in said
    assert str(tmp_path / "mine.npz") in said
    assert "overwrite=true trains anew" in said
    assert snapshot(tmp_path / "run") == before
    assert train(replace(config, resume="force")) == playbook.load_run(config.output_dir).result
    assert "the data have changed since" in capsys.readouterr().out
    anew = train(replace(config, overwrite=True), verbose=False)
    assert anew.environment["data"] != result.environment["data"]


def test_an_unfinished_run_does_not_go_on_with_other_data(trial_config, tmp_path, capsys):
    config = arrays_trial(trial_config, tmp_path)
    kill_at(config, 7)
    arrays_trial(trial_config, tmp_path, targets=CLASSES[::-1].copy())
    before = snapshot(tmp_path / "run")
    with pytest.raises(InputError, match=r"data: \w+ there, \w+ here.*resume=force") as error:
        train(config, verbose=False)
    assert "\n" not in str(error.value)
    assert snapshot(tmp_path / "run") == before
    arrays_trial(trial_config, tmp_path)  # the first data are back, in a file of another time
    assert train(config, verbose=False).status == "complete"


def test_what_outliers_hide_is_said_once(trial_config, tmp_path, capsys):
    inputs = INPUTS.astype(np.float64)
    inputs[:3, 0] = 3e199
    for seed in (0, 1):
        train(arrays_trial(trial_config, tmp_path, f"seed={seed}", "overwrite=true", inputs=inputs), verbose=False)
    assert capsys.readouterr().err.count("warning: feature 0: a few values, up to 3e+199,") == 1


def test_a_forced_resume_takes_the_data_as_they_are(trial_config, tmp_path):
    config = arrays_trial(trial_config, tmp_path)
    kill_at(config, 7)
    arrays_trial(trial_config, tmp_path, targets=CLASSES[::-1].copy())
    result = train(replace(config, resume="force"), verbose=False)
    assert result.environment["data"] == load_data(config.data).fingerprint


def test_test_arrays_do_not_belong_to_the_data_of_a_run(trial_config, tmp_path):
    first = load_data(arrays_trial(trial_config, tmp_path, test_inputs=INPUTS, test_targets=CLASSES).data)
    second = load_data(arrays_trial(trial_config, tmp_path, test_inputs=-INPUTS, test_targets=CLASSES).data)
    assert first.fingerprint == second.fingerprint


def test_another_root_of_an_own_source_is_noticed(trial_config, tmp_path, capsys):
    first, second, copy = (fill(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 1), ("c", 0)))
    config = with_data(trial_config(), _target_=f"{HERE}InAFolder", root=str(first))
    train(config, verbose=False)
    with pytest.raises(InputError, match=r"holds the result of other data \(data.root=.*/b: "):
        train(with_data(config, _target_=f"{HERE}InAFolder", root=str(second)), verbose=False)
    train(with_data(config, _target_=f"{HERE}InAFolder", root=str(copy)))
    assert "have changed" not in capsys.readouterr().out
    train(with_data(config, _target_=f"{HERE}InAFolder", root=str(tmp_path / "nowhere")))
    assert "its data cannot be read now" in capsys.readouterr().out


def test_a_result_of_before_data_had_a_fingerprint_is_still_a_result(trial_config, tmp_path):
    config = arrays_trial(trial_config, tmp_path)
    train(config, verbose=False)
    path = tmp_path / "run" / "result.json"
    plain = json.loads(path.read_text())
    del plain["environment"]["data"]
    path.write_text(json.dumps(plain))
    arrays_trial(trial_config, tmp_path, targets=CLASSES[::-1].copy())
    assert train(config, verbose=False).status == "complete"


def test_trials_of_one_process_read_a_changed_file_again(trial_config, tmp_path):
    config = arrays_trial(trial_config, tmp_path)
    first = load_data(config.data, reuse=True)
    assert load_data(config.data, reuse=True) is first
    arrays_trial(trial_config, tmp_path, inputs=INPUTS + 1, targets=CLASSES[::-1].copy())
    second = load_data(config.data, reuse=True)
    assert second.fingerprint != first.fingerprint
    assert not torch.equal(second.train.targets, first.train.targets)


def test_trials_of_one_process_notice_a_changed_file_of_a_source_without_a_fingerprint(trial_config, tmp_path):
    block = {"_target_": f"{HERE}InAFolder", "root": str(fill(tmp_path / "a", 0))}
    config = with_data(trial_config(), **block)
    first = load_data(config.data, reuse=True)
    fill(tmp_path / "a", 1)
    assert load_data(config.data, reuse=True).fingerprint != first.fingerprint


@pytest.mark.parametrize("num_workers", [0, 2])
def test_noise_in_a_data_set_does_not_disturb_a_resumed_run(trial_config, tmp_path, num_workers):
    block = {"_target_": f"{HERE}InAFolder", "root": str(fill(tmp_path / "a", 0)), "noise": 1.0}
    undisturbed = with_data(trial_config(folder="undisturbed"), **block)
    train(undisturbed, verbose=False)
    resumed = with_data(trial_config(), **block, num_workers=num_workers)
    kill_at(resumed, 7)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    train(resumed, verbose=False)
    for ours, theirs in zip(records(undisturbed), records(resumed), strict=True):
        assert ours.equals(theirs)


def test_the_source_of_the_readme_trains_and_takes_workers(trial_config):
    config = with_data(trial_config("batch_size=8"), _target_=f"{HERE}Plain")
    assert train(config, verbose=False).status == "complete"
    with_workers = with_data(trial_config("batch_size=8", folder="workers"), _target_=f"{HERE}Plain", num_workers=2)
    assert load_data(with_workers.data).source.num_workers == 2
    train(with_workers, verbose=False)
    for ours, theirs in zip(records(config), records(with_workers), strict=True):
        assert ours.equals(theirs)


def test_an_empty_split_is_one_line(trial_config):
    config = with_data(trial_config(), _target_=f"{HERE}Empty")
    with pytest.raises(InputError, match=r"^a split without examples[^\n]*$"):
        train(config, verbose=False)
    assert not Path(config.output_dir).exists()


def test_more_workers_than_a_machine_can_start_are_refused(trial_config):
    config = trial_config("data.in_memory=false", "data.num_workers=1000")
    with pytest.raises(InputError, match=r"^data.num_workers=1000: .*; allowed is 0 to \d+$"):
        train(config, verbose=False)
    assert not Path(config.output_dir).exists()
