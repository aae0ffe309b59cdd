"""A study in joblib's processes, one of which is killed; and with the sweep itself stopped."""

from __future__ import annotations

import os
import signal

import pytest

from integration.study import N_TRIALS, Study, assert_same

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
