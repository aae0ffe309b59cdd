"""Loader workers start, serve and end wherever a launcher runs the trial: in joblib's processes, in ranks, in both."""

from __future__ import annotations

import pytest
from joblib import Parallel, delayed

WORKERS = ("data.in_memory=false", "data.num_workers=2", "logger=none", "trainer.device=cpu", "trainer.num_threads=1")


def trial_of(folder: str, *overrides: str):
    """What joblib's process runs: a whole trial; its objective, and the processes that it has left behind."""

    def work():
        import multiprocessing
        from dataclasses import replace

        from playbook.training import train
        from playbook.trial_config import compose

        config = compose(*overrides, "max_steps=6", "eval_every=3", "model.width=8")
        result = train(replace(config, output_dir=folder), verbose=False)
        return result.status, result.objective, len(multiprocessing.active_children())

    return work


@pytest.mark.integration
@pytest.mark.parametrize("trainer", ["default"])
def test_workers_serve_a_trial_in_a_process_of_joblib(tmp_path, trainer):
    place = (f"trainer={trainer}", *(["trainer.num_devices=2"] if trainer == "ddp" else []))
    expected = trial_of(str(tmp_path / "here"), *place, *WORKERS, "data.num_workers=0")()
    works = [trial_of(str(tmp_path / f"there_{number}"), *place, *WORKERS) for number in range(2)]
    assert Parallel(n_jobs=2, backend="loky")(delayed(work)() for work in works) == [expected] * 2
    assert expected[0] == "complete"
