"""A device for each worker: real processes that claim, without a GPU and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hydra_plugins.quasi_random_sweeper._launchers import _devices
from hydra_plugins.quasi_random_sweeper._launchers._joblib import Workers
from playbook.composition import compose_config
from playbook.training_app import TrainingApp

WORKER = """
import sys
from hydra_plugins.quasi_random_sweeper._launchers._devices import claim_device

print(claim_device(int(sys.argv[1])), flush=True)
assert "torch" not in sys.modules
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are known within the machine's temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")


@contextmanager
def worker(count: int = 1) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that has claimed something, and what."""
    command = [sys.executable, "-c", WORKER, str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@contextmanager
def workers(number: int, count: int = 1) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [stack.enter_context(worker(count))[0] for _ in range(number)]


@pytest.mark.parametrize("number", [2, 3, 7])
def test_devices_are_shared_evenly(number):
    with workers(number) as claimed:
        counts = Counter(claimed)
    assert set(counts) <= {"0", "1", "2"}
    assert max(counts.values()) - min(counts.get(device, 0) for device in "012") <= 1


def test_a_dead_worker_frees_its_device():
    with workers(1) as (first,), worker() as (second, process):
        process.kill()
        process.wait()
        with workers(2) as others:
            assert sorted([first, *others]) == ["0", "1", "2"]
            assert second in others


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", ["None", "None"]),
        ("-1", ["None", "None"]),
        ("2, 5", ["2", "5"]),
        ("GPU-8a,-1,1", ["GPU-8a", "GPU-8a"]),  # CUDA sees nothing past an entry that is no device
        ("MIG-GPU-8a/1/0,MIG-GPU-8a/2/0", ["MIG-GPU-8a/1/0", "MIG-GPU-8a/2/0"]),
    ],
)
def test_what_is_claimed_is_what_was_visible(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with workers(2) as claimed:
        assert sorted(claimed) == sorted(expected)


def test_trials_of_several_devices_claim_groups(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    with workers(3, count=2) as claimed:
        assert sorted(claimed) == ["0,1", "0,1", "2,3"]
    with workers(1, count=6) as claimed:
        assert claimed == ["None"]


def test_a_worker_keeps_its_device_for_life(tmp_path):
    def job(number: int) -> tuple[int, str, str]:
        first = _devices.claim_device()
        assert first == _devices.claim_device()
        (tmp_path / f"{os.getpid()}.pid").touch()
        while len(list(tmp_path.glob("*.pid"))) < 3:  # all are there before the first one ends
            time.sleep(0.01)
        return os.getpid(), first, os.environ["CUDA_VISIBLE_DEVICES"]

    ends = set(Workers(3).run([partial(job, number) for number in range(9)]))
    assert len(ends) == 3  # each process has been on one
    assert sorted(claimed for _, claimed, _ in ends) == ["0", "1", "2"]
    assert all(claimed == visible for _, claimed, visible in ends)


APP = """
import os, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from playbook.study.app import App

class OfTwoDevices(App):
    def num_devices(self, plain):
        return plain["devices"]

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    out = Path(HydraConfig.get().runtime.output_dir)
    (out / "visible").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    while len(list(out.parent.glob("*/visible"))) < 2:  # at once
        time.sleep(0.01)
    return cfg.x

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [_self_, {override hydra/sweeper: quasi_random}, {override hydra/launcher: joblib}]
x: 0
devices: 2
study: {app: app.OfTwoDevices}
"""


@pytest.mark.integration
def test_a_study_of_trials_of_two_devices_gives_each_two(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "app.py", "-m", "x=1,2", "hydra.launcher.n_jobs=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.read_text() for path in tmp_path.glob("studies/*/trial_*/visible")) == ["0,1", "2,3"]


@pytest.mark.parametrize(("words", "number"), [([], 1), (["trainer=ddp"], 2), (["trainer.device=cpu"], 0)])
def test_what_a_trial_of_this_template_takes(words, number):
    plain = OmegaConf.to_container(compose_config("train", words).trainer)
    assert TrainingApp().num_devices({"trainer": plain}) == number


def test_a_forked_child_does_not_hold_the_device():
    """A loader's worker outlives its trial by seconds."""
    forks = "import os, time\npid = os.fork()\nif pid: print(pid, flush=True)\ntime.sleep(600)"
    command = [sys.executable, "-c", WORKER.replace("sys.stdin.read()", forks), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, child = process.stdout.readline().strip(), int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with workers(3) as claimed:
                assert sorted(claimed) == ["0", "1", "2"]
            assert first in claimed
        finally:
            os.kill(child, 9)


def test_without_a_word_the_devices_are_counted(monkeypatch):
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert _devices.visible_devices() == ["0", "1"]
