"""How studies stand, as their files say: those that have ended, that run in another process, that were stopped."""

import json
import os
import subprocess
import sys
import time

import pytest
from ended_study import PLAIN, begin, end

from playbook.errors import InputError
from playbook.lock import is_locked, locked
from playbook.run_files import CONFIG, EVALS
from playbook.study.status import read_status, read_statuses

OTHER_PROCESS = """
import sys
from pathlib import Path
from playbook.lock import locked
with locked(Path(sys.argv[1]), "held"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    """A study of six trials: four have ended, one of them by a crash; the fifth has begun, an hour ago."""
    folder = tmp_path / "outputs" / "studies" / "plain"
    trials = begin(folder, PLAIN, 6)
    end(folder, PLAIN, trials[:4], crashed={3: "no disk"})
    own = folder / trials[4].folder
    own.mkdir()
    (own / CONFIG).write_text("lr: 1\n")
    (own / EVALS).write_text("step,metric,value\n0,val/error,0.9\n25,val/error,0.5\n50,val/err")
    for name in (CONFIG, EVALS):
        os.utime(own / name, (time.time() - 3600,) * 2)
    return folder


@pytest.fixture
def held():
    """`held(folder)`: another process holds its lock until the test is over."""
    processes = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdout.readline() == b"held\n"

    yield hold
    for process in processes:
        process.communicate()


def test_what_nobody_is_at_was_stopped(folder):
    status = read_status(folder)
    assert (status.state, status.done, status.file.n_trials) == ("stopped", 3, 6)
    (begun,) = status.unfinished
    assert (begun.trial, begun.state, begun.step) == (4, "stopped", 25)  # of the half row nothing
    assert 3500 < begun.quiet_seconds < 4000
    assert [(trial, crash.message) for trial, crash in status.died] == [(3, "no disk")]
    assert status.seconds_left is None


def test_what_another_process_holds_runs(folder, held):
    held(folder)
    held(folder / "trial_00004")
    status = read_status(folder)
    assert status.state == "running"
    assert [each.trial for each in status.running] == [4]
    seconds = [each.result.seconds for each in status.outcomes if each.result]
    assert status.seconds_left == pytest.approx(2.5 * sum(seconds) / len(seconds))


def test_a_trial_of_a_machine_whose_locks_are_not_seen_runs_while_it_writes(folder):
    os.utime(folder / "trial_00004" / EVALS)
    assert read_status(folder).state == "running"


def test_a_crashed_trial_that_is_run_again_has_not_died(folder, held):
    (folder / "trial_00003" / CONFIG).write_text("lr: 1\n")
    assert [trial for trial, _ in read_status(folder).died] == [3]
    held(folder / "trial_00003")
    status = read_status(folder)
    assert status.died == []
    assert 3 in [each.trial for each in status.running]


def test_a_study_that_is_done(tmp_path):
    folder = tmp_path / "plain"
    end(folder, PLAIN, begin(folder, PLAIN, 2))
    status = read_status(folder)
    assert (status.state, status.unfinished, status.seconds_left) == ("done", (), None)


def test_asking_changes_nothing_and_hinders_nobody(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    read_status(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with locked(folder, "held"):
        assert is_locked(folder)
    assert not is_locked(folder)
    with locked(folder, "held"), pytest.raises(InputError, match="held"), locked(folder, "held"):
        pass


def test_all_studies_are_listed_and_a_damaged_one_is_a_line(folder):
    damaged = folder.parent / "damaged"
    damaged.mkdir()
    (damaged / "study.yaml").write_text("name: [")
    statuses, (trouble,) = read_statuses(folder.parent)
    assert [status.file.design.name for status in statuses] == ["plain"]
    assert "damaged" in trouble


def test_the_script_prints_a_table_or_json(folder, script_door):
    status = script_door("status")
    code, said = status(f"studies_dir={folder.parent}")
    assert code == 0
    assert "3/6" in said.out
    code, said = status(f"study_dir={folder}")
    assert "trial 4: stopped, evaluated at step 25" in said.out
    assert "no disk" in said.out
    assert "goes on: python train.py -m" in " ".join(said.out.split())
    code, said = status(f"study_dir={folder}", "output=json")
    (plain,) = json.loads(said.out)["studies"]
    assert plain["done"] == 3
    assert plain["left"] == 3
    assert plain["died"][0]["trial"] == 3
    assert plain["stopped"][0]["step"] == 25


@pytest.mark.parametrize(
    ("words", "said"), [(["output=xml"], "output=xml: allowed is text, json"), (["study_dir=nowhere"], "nowhere")]
)
def test_what_makes_no_sense_is_one_line(script_door, words, said):
    code, output = script_door("status")(*words)
    assert code == 2
    assert said in output.err
