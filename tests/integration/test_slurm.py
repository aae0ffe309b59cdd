"""A study on Slurm: a trial that another job pushes off its node, one at the end of its time, one that is killed."""

from __future__ import annotations

import signal

import pytest

from hydra_plugins.quasi_random_sweeper._launchers._submitit import Queue
from integration.slurm import Cluster
from integration.study import N_TRIALS, Study, assert_same, wait_until

pytestmark = pytest.mark.integration
WORDS = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=trials")


def test_a_study_on_slurm_is_the_study(slurm: Cluster, undisturbed: Study, tmp_path):
    """Ctrl-C leaves no job behind; the same command goes on."""
    study = Study(tmp_path)
    with study.running(*WORDS, environment=slurm.environment, code=130) as sweep:
        study.in_the_middle(0)
        sweep.send_signal(signal.SIGINT)
    wait_until(lambda: not slurm.jobs())
    before = study.committed(0)
    study.run(*WORDS, environment=slurm.environment)
    assert_same(study, undisturbed)
    assert study.went_on_from(before, 0)
    assert not slurm.jobs()


def test_a_study_of_more_trials_than_an_array_may_have(slurm: Cluster, tmp_path):
    """This cluster allows four jobs to an array."""
    study = Study(tmp_path)
    study.run(*WORDS, "study.n_trials=5", "max_steps=20", "eval_every=10", environment=slurm.environment)
    assert [study.ended(number) for number in range(5)] == [True] * 5
    jobs = [path.name.split("_") for path in (study.folder / ".submitit").glob("[0-9]*_[0-9]*")]
    arrays = {array: sorted(index for of, index in jobs if of == array) for array, _ in jobs}
    assert sorted(arrays.values()) == [["0", "1"], ["0", "1", "2"]]


def test_a_suspended_job_has_not_ended(slurm: Cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    job = slurm.submit("sleep 600")
    wait_until(lambda: slurm.jobs()[job] == "RUNNING")
    slurm.suspend(job)
    queue = Queue()
    assert queue.ask()[job] == "SUSPENDED"
    assert not queue.has_ended(job)
    slurm.signal(job, "KILL")
    wait_until(lambda: queue.has_ended(job))


@pytest.fixture(scope="module")
def disturbed(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[list[str]]]:
    """A study whose first trial runs out of time, whose others make room for an urgent job, and whose last is then
    killed; and for each the rows of steps that it had then.
    """
    study = Study(tmp_path_factory.mktemp("disturbed"))
    with study.running(*WORDS, environment=slurm.environment):
        study.in_the_middle(0)
        array = next(iter(slurm.jobs())).partition("_")[0]
        jobs = [f"{array}_{number}" for number in range(N_TRIALS)]

        def is_pending(number: int) -> bool:
            return slurm.jobs()[jobs[number]] == "PENDING"

        slurm.signal(jobs[0], "USR2")  # as Slurm does before the time is up
        wait_until(lambda: is_pending(0))
        out_of_time = study.committed(0)

        study.in_the_middle(1)
        urgent = slurm.run_urgently("sleep 1")
        wait_until(lambda: is_pending(1) and is_pending(2))
        preempted = study.committed(1)

        wait_until(lambda: urgent not in slurm.jobs())
        for job in jobs:
            slurm.start_now(job)
        study.in_the_middle(2)
        slurm.signal(jobs[2], "KILL")
        wait_until(lambda: jobs[2] not in slurm.jobs())
        killed = study.committed(2)
    return study, [out_of_time, preempted, killed]


def test_a_disturbed_study_ends_as_if_never_disturbed(disturbed, undisturbed: Study):
    study, _ = disturbed
    assert_same(study, undisturbed)


@pytest.mark.parametrize("number", range(N_TRIALS))
def test_its_trials_went_on_from_their_last_commits(disturbed, number):
    study, rows = disturbed
    assert study.went_on_from(rows[number], number)


def test_only_the_killed_trial_has_crashed(disturbed):
    study, _ = disturbed
    assert [study.crashes(number) for number in range(N_TRIALS)] == [0, 0, 1]
