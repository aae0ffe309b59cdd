"""The quick version of `make faults`: one run that has everything, killed, damaged and starved; it ends as its twin."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import playbook
from faults.chains import DAMAGED, KILLED, Driver, Trials, flip
from faults.disk import MEBIBYTE, full_disk, small_file_system
from faults.settings import SETTINGS
from faults.state import canonical, difference, digest, left_over
from playbook.errors import InputError
from playbook.training.checkpoints import SafeCheckpointIO, step_of, verify

SETTING = next(setting for setting in SETTINGS if setting.name == "everything")
CHAIN = (
    "config.yaml: before rename",
    "evals.csv: header torn",
    "evaluation half done",
    "resume: before",
    "step done",
    "steps.csv: half written",
    "resume: before rename",
    "predictions.csv: cut half written",
    "examples.bin: half written",
    "best: half written",
    "cleaning: between two",
    "result.json: before rename",
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="children are forked")


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    with Driver(place) as driver:
        yield Trials(SETTING, place, driver)


def same(outcome) -> None:
    assert not outcome.faults, outcome.row()


@pytest.mark.integration
def test_killed_at_named_phases_it_ends_as_its_twin(trials):
    outcomes = trials.phases(CHAIN)
    for outcome in outcomes:
        same(outcome)
    assert set(sum((outcome.kills for outcome in outcomes), Counter())) >= set(CHAIN)


def test_killed_at_random_moments_it_ends_as_its_twin(trials, monkeypatch):
    monkeypatch.setattr(trials, "seconds", 100 * trials.seconds)  # as if others had used the machine then
    outcome = trials.moments(3, "moments")
    same(outcome)
    assert outcome.kills.total() == 3


@pytest.mark.integration
def test_a_new_process_goes_on_from_what_a_killed_one_left(trials):
    folder = trials.place / "process"
    assert trials.driver.run(trials.words, folder, kill_after=trials.seconds / 2).code == KILLED
    assert trials.driver.run_process(trials.words, folder).code == 0
    same(trials.compare(folder, "process", Counter()))


def test_a_killed_run_does_not_keep_its_folder_locked_by_its_workers(trials):
    # Workers of a killed process look after five seconds whether it is still there.
    words = [*trials.words, "data.in_memory=false", "data.num_workers=2"]
    folder = trials.place / "workers"
    assert trials.driver.run(words, folder, phase="step done", nth=40).code == KILLED
    ended = trials.driver.run(words, folder)
    assert ended.code == 0, ended.output


@pytest.mark.parametrize("precision", [pytest.param("64-true", marks=pytest.mark.integration), "bf16-true"])
def test_weights_of_another_precision_go_on_with_all_their_digits(trials, precision):
    words = [*trials.words, f"trainer.precision={precision}", "max_steps=60"]
    twin, folder = (trials.place / f"{precision} {name}" for name in ("twin", "killed"))
    assert trials.driver.run(words, twin).code == 0
    assert trials.driver.run(words, folder, phase="step done", nth=50).code == KILLED
    assert trials.driver.run(words, folder).code == 0
    assert difference(digest(twin), digest(folder)) == []


def test_a_flipped_bit_is_found_and_the_commit_before_serves(trials):
    outcome = trials.flips(3)
    same(outcome)
    assert outcome.kills.total() == 3


@pytest.mark.parametrize(
    "damage",
    [*(pytest.param(damage, marks=pytest.mark.integration) for damage in ("half", "longer")), "both generations"],
)
def test_other_damage_is_found_too(trials, damage):
    folder = trials.place / damage
    assert trials.driver.run(trials.words, folder, phase="cleaning: before", nth=4).code == KILLED
    older, newest = sorted(folder.glob("checkpoints/resume_*.ckpt"), key=step_of)[-2:]
    content = newest.read_bytes()
    left = {"half": content[: len(content) // 2], "longer": content + b"\0", "both generations": b""}
    newest.write_bytes(left[damage])
    if damage == "both generations":
        flip(older, 1000)
    ended = trials.driver.run(trials.words, folder)
    assert ended.output.count(DAMAGED) == (2 if damage == "both generations" else 1)
    same(trials.compare(folder, damage, Counter()))


def test_a_flipped_bit_in_a_best_checkpoint_is_found(trials, tmp_path):
    folder = shutil.copytree(trials.twin, tmp_path / "run")
    run = playbook.load_run(folder)
    assert run.model()
    path = folder / "checkpoints" / f"step_{run.best_steps[0]:08d}.ckpt"
    size = path.stat().st_size
    for bit in (0, 8 * size // 3, 4 * size, 8 * size - 1):
        flip(path, bit)
        with pytest.raises(InputError, match="checksum does not match"):
            run.model()
        flip(path, bit)


@pytest.mark.parametrize(
    "share", [pytest.param(0.1, marks=pytest.mark.integration), 0.6, pytest.param(0.95, marks=pytest.mark.integration)]
)
def test_a_full_disk_is_one_line_and_the_last_commit_stays(trials, tmp_path, share):
    with small_file_system(tmp_path / "disk", 4 * MEBIBYTE) as disk:
        if not isinstance(disk, Path):
            pytest.skip(disk)
        same(full_disk(trials, disk, share))


def test_a_disk_that_fills_up_within_a_tensor_is_still_an_os_error(tmp_path):
    # torch goes on to close the archive, and complains of that.
    with small_file_system(tmp_path / "disk", MEBIBYTE) as disk:
        if not isinstance(disk, Path):
            pytest.skip(disk)
        with pytest.raises(OSError, match="No space left on device"):
            SafeCheckpointIO().save_checkpoint({"weight": torch.zeros(MEBIBYTE)}, disk / "step_00000001.ckpt")
        assert not list(disk.glob("*.ckpt"))


@pytest.mark.parametrize(
    "phase", [pytest.param("config.yaml: half written", marks=pytest.mark.integration), "cleaning: between two"]
)
def test_killed_while_it_clears_a_folder_the_same_command_starts_afresh(trials, phase):
    folder = trials.place / f"overwrite {phase}"
    other = [word for word in trials.words if not word.startswith("max_steps")] + ["max_steps=60"]
    assert trials.driver.run(other, folder, phase="all steps done").code == KILLED
    assert trials.driver.run(other, folder, phase="predictions.csv: cut half written").code == KILLED
    again = [*trials.words, "overwrite=true"]
    assert trials.driver.run(again, folder, phase=phase).code == KILLED
    ended = trials.driver.run(again, folder)
    assert ended.code == 0, ended.output
    hashes = digest(folder)
    assert {name: value for name, value in hashes.items() if "ckpt" not in name and name != "config.yaml"} == {
        name: value for name, value in trials.hashes.items() if "ckpt" not in name and name != "config.yaml"
    }
    assert set(hashes) == set(trials.hashes)


def test_the_comparison_sees_every_bit(trials, tmp_path):
    """The yardstick itself: whatever differs is seen, and a clock and a folder are not."""
    copy = shutil.copytree(trials.twin, tmp_path / "copy")
    assert digest(copy) == trials.hashes

    def changed(name: str, edit) -> list[str]:
        before = (copy / name).read_bytes()
        (copy / name).write_bytes(edit(before))
        hashes = digest(copy)
        (copy / name).write_bytes(before)
        return [file for file in hashes if hashes[file] != trials.hashes[file]]

    assert changed("evals.csv", lambda text: text.replace(b"1", b"2", 1)) == ["evals.csv"]
    assert changed("steps.csv", lambda text: text.replace(b"\n0,", b"\n1,", 1)) == ["steps.csv"]
    assert changed("steps.csv", lambda text: text.rsplit(b",", 1)[0] + b",7\n") == []
    result = json.loads((copy / "result.json").read_text())
    assert changed("result.json", lambda _: json.dumps(result | {"seconds": 1e9}).encode()) == []
    assert changed("result.json", lambda _: json.dumps(result | {"steps": 1}).encode()) == ["result.json"]
    (copy / "left.tmp").touch()
    assert left_over(copy, keep_best=SETTING.keep_best) == ["left.tmp"]


def test_tensors_that_print_alike_differ():
    def content(value) -> bytes:
        return b"".join(canonical({"value": value}))

    one = torch.tensor([0.1, -0.0])
    next_to_it = torch.nextafter(one, torch.tensor([1.0, -0.0]))
    assert str(one) == str(next_to_it)
    variants = [one, next_to_it, one.abs(), one.double(), one.reshape(2, 1), one.tolist(), [0.1], 1, 1.0, True, "1"]
    assert len({content(value) for value in variants}) == len(variants)
    assert content({"seconds": 1.0}) == content({"seconds": 2.0})


def test_the_newest_checkpoints_of_a_killed_run_are_whole(trials):
    folder = trials.place / "whole"
    for phase in ("best: half written", "resume: half written", "resume: before rename"):
        assert trials.driver.run(trials.words, folder, phase=phase, nth=2).code == KILLED
        assert list(folder.glob("checkpoints/*.tmp"))
        for path in folder.glob("checkpoints/*.ckpt"):
            verify(path)
