"""A study in joblib's processes, one of which is killed; and with the sweep itself stopped, or killed."""

from __future__ import annotations

import os
import signal

import pytest

from integration.study import N_TRIALS, Study, assert_same, wait_until

pytestmark = pytest.mark.integration
WORDS = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_a_disturbed_study_ends_as_if_never_disturbed(undisturbed: Study, tmp_path):
    study = Study(tmp_path)
    with study.running(*WORDS, code=143) as sweep:
        study.in_the_middle(0)
        study.in_the_middle(1)
        sweep.send_signal(signal.SIGTERM)
    stopped = [study.committed(0), study.committed(1)]
    with study.running(*WORDS):
        study.in_the_middle(2)
        os.kill(study.process(2), signal.SIGKILL)
        killed = study.committed(2)
    assert_same(study, undisturbed)
    assert all(study.went_on_from(rows, number) for number, rows in enumerate([*stopped, killed]))
    assert [study.crashes(number) for number in range(N_TRIALS)] == [0, 0, 1]


def test_a_killed_sweep_leaves_no_process_and_the_same_command_ends_it_as_if_never_killed(undisturbed: Study, tmp_path):
    """SIGKILL, as of a kernel without memory: nobody can be told, and yet the trials stop, saved."""
    study = Study(tmp_path)
    with study.running(*WORDS, code=-signal.SIGKILL) as sweep:
        study.in_the_middle(0)
        study.in_the_middle(1)
        sweep.kill()
    wait_until(lambda: not (study.processes(0) or study.processes(1)))
    stopped = [study.committed(0), study.committed(1)]
    assert not study.trial(2).exists()
    study.run(*WORDS)
    assert_same(study, undisturbed)
    assert all(study.went_on_from(rows, number) for number, rows in enumerate(stopped))
    assert [study.crashes(number) for number in range(N_TRIALS)] == [0, 0, 0]
