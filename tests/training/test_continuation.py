"""Commits that are kept, runs that begin with them, and runs that pause: each equals, bit for bit, the plain run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from run_state import final_state, kill, kill_at, snapshot

from playbook.config import Config
from playbook.errors import InputError
from playbook.training import load_run, train
from playbook.training.checkpoints import SafeCheckpointIO, step_of
from playbook.training.continuation import Beginning
from playbook.training.loop import TrialLoop

RUN = ("model.width=8", "model.dropout=0.2", "lr=0.1", "max_steps=20", "eval_every=5", "keep_best=2")
COMMITS = "keep_commits=[10,20]"


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at a constant rate, whose commits at 10 and 20 were kept."""
    from conftest import config_of

    folder = tmp_path_factory.mktemp("trunk") / "run"
    train(config_of(folder, *RUN, COMMITS, "optimizer=adam"), verbose=False)
    return folder


def branch(trial_config, trunk: Path, *words: str, folder: str = "branch", **named) -> Config:
    own = {word.partition("=")[0] for word in words}
    kept = [word for word in (*RUN, "optimizer=adam") if word.partition("=")[0] not in own]
    return trial_config(*kept, *words, f"continue_from={trunk}", folder=folder)


def without(config: Config) -> Config:
    from dataclasses import replace

    assert config.output_dir is not None
    return replace(config, continue_from=None, output_dir=config.output_dir + "-alone")


def state_of(config: Config) -> dict:
    """`final_state`, but for where it began."""
    assert config.output_dir is not None
    found = final_state(Path(config.output_dir))
    for name, content in found.items():
        settings = content if name == "config.yaml" else content["hyper_parameters"] if name.endswith("ckpt") else {}
        settings.pop("continue_from", None)
    return found


def refused(config: Config, *parts: str) -> None:
    with pytest.raises(InputError) as error:
        train(config, verbose=False)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)
    assert config.output_dir is not None
    assert not (Path(config.output_dir) / "config.yaml").exists()


def test_commits_are_kept_after_the_end_with_the_best_weights_until_then(trunk):
    run = load_run(trunk)
    assert run.commits == [10, 20]
    assert not list(trunk.glob("checkpoints/resume_*"))
    objective = [pair for pair in run.evals.filter(metric="val/error").select("step", "value").rows() if pair[0] <= 10]
    best_until_10 = {step for step, _ in sorted(objective, key=lambda pair: (pair[1], pair[0]))[:2]}
    assert best_until_10 <= set(run.best_steps)
    content = SafeCheckpointIO().load_checkpoint(trunk / "checkpoints" / "commit_00000010.ckpt")
    assert content["optimizer_states"]
    assert content["global_step"] == 10


def test_to_keep_commits_changes_nothing_else(trunk, run_trial):
    plain = run_trial(*RUN, "optimizer=adam")
    assert plain.steps.drop("data_seconds", "step_seconds").equals(
        load_run(trunk).steps.drop("data_seconds", "step_seconds")
    )
    assert plain.evals.equals(load_run(trunk).evals)


@pytest.mark.parametrize(
    "words",
    [
        ("schedule=wsd", "max_steps=12", "schedule.decay_fraction=0.2"),  # decays from step 10 on
        ("schedule=linear", "max_steps=30", "schedule.decay_steps=10"),  # from the last step of the trunk
        ("schedule=wsd", "max_steps=18", "schedule.decay_fraction=0.3", "keep_commits=[5,10,15]"),
        ("max_steps=25", "keep_commits=[20,25]"),  # the constant rate, gone on with
    ],
)
def test_a_branch_equals_the_run_from_step_0(trial_config, trunk, words):
    config = branch(trial_config, trunk, *words)
    if "keep_commits=[5,10,15]" in words:
        refused(config, "kept no commit at step 5", "leave that out of keep_commits")
        config = branch(trial_config, trunk, *words[:3], "keep_commits=[10,15]")
    began = []
    with pytest.MonkeyPatch.context() as patch:
        real = TrialLoop.on_train_start
        patch.setattr(TrialLoop, "on_train_start", lambda loop: (began.append(loop.step), real(loop))[1])
        train(config, verbose=False)
        train(without(config), verbose=False)
    assert began in ([10, 0], [20, 0])
    assert state_of(config) == state_of(without(config))


@pytest.mark.parametrize("averaging", ["ema", "polyak"])
def test_a_branch_has_the_average_of_the_run_from_step_0(trial_config, tmp_path, averaging):
    words = (*RUN, f"averaging={averaging}", "objective.metric=val_avg/error")
    train(trial_config(*words, COMMITS, folder="trunk"), verbose=False)
    words = tuple(word for word in words if not word.startswith("max_steps"))
    config = trial_config(*words, "schedule=wsd", "max_steps=25", f"continue_from={tmp_path / 'trunk'}")
    train(config, verbose=False)
    train(without(config), verbose=False)
    assert state_of(config) == state_of(without(config))


def test_an_average_of_the_end_of_the_run_begins_where_the_runs_still_agree(trial_config, tmp_path):
    """The mean of the second half: of 20 steps it begins after 10, of 12 after 6."""
    words = [word for word in RUN if not word.startswith("max_steps")] + ["averaging=polyak"]
    train(trial_config(*words, "max_steps=20", "keep_commits=[5,10]", folder="trunk"), verbose=False)
    config = trial_config(*words, "max_steps=12", f"continue_from={tmp_path / 'trunk'}")
    train(config, verbose=False)
    train(without(config), verbose=False)
    assert state_of(config) == state_of(without(config))


@pytest.mark.parametrize("moment", ["seed", "step 11", "commit 15"])
def test_a_branch_that_is_killed_goes_on(trial_config, trunk, moment):
    config = branch(trial_config, trunk, "schedule=wsd", "max_steps=18", "schedule.decay_fraction=0.3")
    if moment == "seed":  # all but the commit to go on from is there
        kill(config, Beginning, "_copy", lambda beginning, source, target: target.name.startswith("resume"))
    elif moment == "step 11":
        kill_at(config, 11)
    else:
        kill(config, TrialLoop, "_save_to_resume", lambda loop: loop.step == 15)
    train(config, verbose=False)
    train(without(config), verbose=False)
    assert state_of(config) == state_of(without(config))


def test_killed_between_a_kept_commit_and_the_one_to_resume_from(trial_config, tmp_path):
    config = trial_config(*RUN, COMMITS)
    saved = "save_checkpoint"
    kill(config, SafeCheckpointIO, saved, lambda _, __, path, *___: Path(path).name == "resume_00000010.ckpt")
    assert (tmp_path / "run" / "checkpoints" / "commit_00000010.ckpt").exists()
    train(config, verbose=False)
    again = trial_config(*RUN, COMMITS, folder="whole")
    train(again, verbose=False)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def test_a_run_that_pauses_equals_one_that_did_not(trial_config, tmp_path, capsys):
    rests = train(trial_config(*RUN, "pause_at=10"), verbose=True)
    assert "paused" in capsys.readouterr().out
    assert (rests.status, rests.steps) == ("paused", 10)
    folder = tmp_path / "run"
    assert not (folder / "result.json").exists()
    assert json.loads((folder / "paused.json").read_text())["objective"] == rests.objective
    before = snapshot(folder / "checkpoints")
    assert train(trial_config(*RUN, "pause_at=5"), verbose=False).steps == 10  # it is past that
    assert snapshot(folder / "checkpoints") == before
    assert train(trial_config(*RUN, "pause_at=15"), verbose=False).steps == 15
    kill_at(trial_config(*RUN), 17)
    train(trial_config(*RUN), verbose=False)
    train(trial_config(*RUN, folder="whole"), verbose=False)
    ours, theirs = final_state(folder), final_state(tmp_path / "whole")
    for state in (ours, theirs):
        for content in [state["config.yaml"], *(state[name]["hyper_parameters"] for name in state if "ckpt" in name)]:
            content.pop("pause_at")
    assert ours == theirs


def test_to_pause_at_the_end_is_to_end(trial_config):
    assert train(trial_config(*RUN, "pause_at=20"), verbose=False).status == "complete"


@pytest.mark.parametrize("word", ["keep_commits=[7]", "keep_commits=[25]", "pause_at=7"])
def test_only_commits_can_be_kept_or_paused_at(trial_config, word):
    with pytest.raises(InputError, match=r"multiples of eval_every=5 up to 20, and 20"):
        trial_config(*RUN, word)


def test_a_finished_run_that_kept_no_commit_says_what_to_type(trial_config, tmp_path, trunk):
    train(trial_config(*RUN), verbose=False)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"kept no commit at step 10; .* overwrite=true"):
        train(trial_config(*RUN, COMMITS), verbose=False)
    assert snapshot(tmp_path) == before
    train(trial_config(*RUN, COMMITS, "overwrite=true"), verbose=False)
    assert load_run(tmp_path / "run").commits == [10, 20]


def test_what_cannot_be_gone_on_from_is_refused(trial_config, trunk, tmp_path):
    decay = ("schedule=wsd", "max_steps=18", "schedule.decay_fraction=0.3")
    refused(branch(trial_config, tmp_path / "none", *decay), "there is no run here")
    refused(branch(trial_config, trunk, *decay, "lr=0.2"), "lr: 0.1 there, 0.2 here")
    refused(branch(trial_config, trunk, *decay, "model.width=9"), "model.width: 8 there, 9 here")
    refused(branch(trial_config, trunk, *decay, "warmup_steps=3"), "warmup_steps")
    refused(
        branch(trial_config, trunk, "schedule=cosine", "max_steps=30"),
        "the same for 1 steps",
        "its kept commits: 10, 20",
    )
    copy = tmp_path / "copy"
    shutil.copytree(trunk, copy)
    for path in copy.glob("checkpoints/commit_*"):
        path.unlink()
    refused(branch(trial_config, copy, *decay), "its kept commits: none", "keep_commits=[<steps>]")
    shutil.rmtree(copy)
    shutil.copytree(trunk, copy)
    table = (copy / "steps.csv").read_text().splitlines()
    table[4] = table[4].replace(",0.1,", ",0.2,")
    (copy / "steps.csv").write_text("\n".join(table) + "\n")
    refused(branch(trial_config, copy, *decay), "steps.csv")


def test_a_run_in_progress_is_gone_on_from_where_it_rests(trial_config, tmp_path):
    train(trial_config(*RUN, "pause_at=15", folder="trunk"), verbose=False)
    words = [word for word in RUN if not word.startswith("max_steps")]
    config = trial_config(*words, "max_steps=30", f"continue_from={tmp_path / 'trunk'}")
    train(config, verbose=False)
    train(without(config), verbose=False)
    assert state_of(config) == state_of(without(config))
    newest = max(map(step_of, (tmp_path / "trunk" / "checkpoints").glob("resume_*")))
    assert newest == 15


def test_a_study_does_not_pause_its_trials(door):
    said = door("-m", "lr=0.1,0.2", "pause_at=100", "logger=none")
    assert said.code == 2
    assert "pause_at=100: trials of a study pause where study.rungs says" in said.err
    assert said.left_behind == []
