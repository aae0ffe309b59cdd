"""What a run recorded and somebody then damaged is noticed: no trial ends complete with rows missing."""

from __future__ import annotations

import shutil

import pytest
from run_state import final_state, kill_at, snapshot

import playbook
from playbook.errors import InputError
from playbook.training import train

TRIAL = ("model.width=8", "max_steps=15", "eval_every=5", "keep_best=3")
TABLES = ("steps.csv", "evals.csv", "predictions.csv")


def _without_a_row(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:2] + lines[3:])


DAMAGES = {
    "deleted": None,
    "emptied": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "a row missing": _without_a_row,
    "text": lambda text: text.replace("\n0,", "\nzero,", 1),
    "other numbers": lambda text: text.replace("1", "2", 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_of_an_unfinished_run_is_refused(trial_config, tmp_path, name, damage):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    path = folder / name
    if damage == "deleted":
        path.unlink()
    else:
        path.write_text(DAMAGES[damage](path.read_text()))
    before = snapshot(folder)
    with pytest.raises(InputError, match=rf"{name}: rows are missing .*overwrite=true$"):
        train(config, verbose=False)
    assert snapshot(folder) == before
    assert train(trial_config(*TRIAL, "overwrite=true"), verbose=False).status == "complete"


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_of_a_finished_run_is_refused_where_it_is_read(run_trial, name):
    run = run_trial(*TRIAL)
    (run.path / name).write_text("\n".join((run.path / name).read_text().splitlines()[:-3]) + "\n")
    with pytest.raises(InputError, match=rf"{name}: rows are missing"):
        getattr(run, name.removesuffix(".csv"))


def test_rows_that_are_being_written_are_not_read(trial_config, tmp_path):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    with (folder / "steps.csv").open("a") as file:
        file.write("10,0.1,0.2,0.0")
    assert playbook.load_run(folder).steps["step"].to_list() == list(range(10))


def test_a_checkpoint_under_another_steps_name_is_not_believed(trial_config, tmp_path, capsys):
    train(trial_config(*TRIAL, folder="whole"), verbose=False)
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    checkpoints = folder / "checkpoints"
    shutil.copy(checkpoints / "resume_00000005.ckpt", checkpoints / "resume_00000015.ckpt")
    train(config, verbose=False)
    assert (
        "resume_00000015.ckpt is not the checkpoint of its name: it holds step 5; going on" in capsys.readouterr().err
    )
    assert final_state(folder) == final_state(tmp_path / "whole")


def test_a_best_checkpoint_under_another_steps_name_is_refused(run_trial):
    run = run_trial(*TRIAL)
    first, second = run.best_steps[:2]
    checkpoints = run.path / "checkpoints"
    shutil.copy(checkpoints / f"step_{first:08d}.ckpt", checkpoints / f"step_{second:08d}.ckpt")
    with pytest.raises(InputError, match=f"it holds step {first}"):
        run.model(second)


def test_an_unfinished_run_without_checkpoints_says_that_it_begins_again(trial_config, tmp_path, capsys):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    shutil.rmtree(folder / "checkpoints")
    train(config, verbose=False)
    assert "checkpoints: no checkpoint to go on from is left; beginning again from step 0" in capsys.readouterr().err
    assert playbook.load_run(folder).steps["step"].to_list() == list(range(15))


def test_a_run_that_goes_on_as_it_was_has_nothing_to_say(trial_config, capsys):
    for step in (0, 3, 12):
        kill_at(trial_config(*TRIAL), step)
    train(trial_config(*TRIAL), verbose=False)
    assert capsys.readouterr().err == ""


def test_a_best_checkpoint_that_is_missing_is_said(trial_config, tmp_path, capsys):
    config, checkpoints = trial_config(*TRIAL), tmp_path / "run" / "checkpoints"
    kill_at(config, 12)
    (checkpoints / "step_00000005.ckpt").unlink()
    train(config, verbose=False)
    assert "step_00000005.ckpt is missing, the weights of one of the best" in capsys.readouterr().err


def test_a_best_checkpoint_of_an_unfinished_run_that_was_renamed_is_refused(trial_config, tmp_path):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 12)
    (folder / "checkpoints" / "step_00000005.ckpt").rename(folder / "checkpoints" / "step_00000007.ckpt")
    before = snapshot(folder)
    with pytest.raises(InputError, match=r"step_00000007\.ckpt is not the checkpoint of its name: it holds step 5"):
        train(config, verbose=False)
    assert snapshot(folder) == before


def test_a_checkpoint_under_a_name_of_ones_own_is_kept(trial_config, tmp_path):
    config, checkpoints = trial_config(*TRIAL), tmp_path / "run" / "checkpoints"
    kill_at(config, 12)
    shutil.copy(checkpoints / "step_00000005.ckpt", checkpoints / "mine.ckpt")
    train(config, verbose=False)
    assert (checkpoints / "mine.ckpt").exists()
