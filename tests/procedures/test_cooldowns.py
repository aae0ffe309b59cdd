"""Decays branched off one run: each is the run from step 0, the same call finds them, and what is no run is refused."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command import ROOT

import playbook
from playbook.errors import InputError
from playbook.procedures.cooldowns import DEFAULTS, cooldowns, length_of
from playbook.procedures.cooldowns_answer import default_commits
from playbook.run_files import RESULT
from playbook.training import train
from playbook.trial_config import compose

sys.path.append(str(ROOT / "tests" / "training"))
from run_state import final_state

WORDS = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=20", "eval_every=5", "model.width=8")
OWN = {"steps": [10, 20], "decay": 0.25}


def call(folder, *words, **options):
    given = DEFAULTS.model_copy(update={**OWN, **options})
    return cooldowns(*WORDS, *words, f"output_root={folder}", options=given, quiet=True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The folder, and what was said of a run that was trained too."""
    folder = tmp_path_factory.mktemp("cooldowns")
    return folder, call(folder)


@pytest.mark.parametrize("decay", [0.05, 0.2, 0.25, 0.5, 0.9])
def test_a_length_is_the_shortest_that_leaves_the_stable_steps(decay):
    for stable in (1, 2, 3, 10, 99, 400, 1000):
        length = length_of(stable, decay)
        assert length - max(1, round(decay * length)) >= stable
        assert length - 1 - max(1, round(decay * (length - 1))) < stable


def test_a_branch_equals_the_run_from_step_0(outputs, tmp_path):
    said = outputs[1]
    lengths = json.loads((Path(said.page).parent / RESULT).read_text())["lengths"]
    assert [(each["branched_at"], each["max_steps"]) for each in lengths] == [(10, 13), (20, 26)]
    branch = playbook.load_run(lengths[1]["folder"])
    alone = replace(branch.config, continue_from=None, output_dir=str(tmp_path / "alone"))
    train(alone, verbose=False)
    ours, theirs = final_state(branch.path), final_state(tmp_path / "alone")
    for state in (ours, theirs):
        for content in [state["config.yaml"], *(state[name]["hyper_parameters"] for name in state if "ckpt" in name)]:
            content.pop("continue_from")
    assert ours == theirs
    steps = branch.steps["lr"].to_list()
    assert steps[:20] == [branch.config.lr] * 20
    assert steps[-1] < steps[20]


def test_the_answer_the_page_and_the_cost(outputs):
    said = outputs[1]
    page = Path(said.page).read_text()
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert any("cost 29 steps, 1.1 times the longest run" in line for line in said.remarks)  # 20 + 3 + 6 of 26
    assert any("would cost 39, 1.5 times" in line for line in said.remarks)
    assert said.next.startswith("python ")


def test_the_same_call_and_that_of_the_run_train_nothing_and_one_decay(outputs):
    folder, said = outputs
    before = {path: path.stat().st_mtime_ns for path in folder.rglob(RESULT) if "studies" in str(path)}
    assert call(folder) == said
    trunk = next(iter(folder.glob("studies/cooldowns-*-run/trial_00000")))
    again = cooldowns(
        f"output_root={folder}",
        "logger=none",
        options=DEFAULTS.model_copy(update={**OWN, "run_dir": str(trunk)}),
        quiet=True,
    )
    assert again.evidence["lengths"][1]["objective"] == said.evidence["lengths"][1]["objective"]
    assert before.items() <= {path: path.stat().st_mtime_ns for path in folder.rglob(RESULT)}.items()
    reused = [playbook.load_run(each["folder"]).result.reused_from for each in again.evidence["lengths"]]
    assert all(reused)  # the same trials under another name


def test_what_makes_no_sense_is_refused_in_a_line(outputs, tmp_path):
    folder, _ = outputs
    trunk = next(iter(folder.glob("studies/cooldowns-*-run/trial_00000")))
    branch = next(iter(folder.glob("studies/cooldowns-*-decays/trial_00000")))

    def refused(*words, **options):
        with pytest.raises(InputError) as error:
            cooldowns(*words, options=DEFAULTS.model_copy(update=options), quiet=True)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "there is no run here" in refused(run_dir=str(tmp_path))
    assert "lr: 0.05 there, 0.5 here" in refused("lr=0.5", run_dir=str(trunk))
    assert "it kept 10, 20" in refused(run_dir=str(trunk), steps=[15])
    assert "schedule=cosine" in refused("schedule=cosine")
    assert "evaluate more often" in refused("max_steps=20", "eval_every=15")
    said = refused(run_dir=str(branch))
    assert "it kept no commits" in said
    assert "keep_commits=[5,10]" in said
    assert "overwrite=true" in said


def test_commits_are_spread_evenly_over_the_steps_after_warmup():
    assert default_commits(compose()) == [200, 500, 700, 1000, 1200, 1500, 1700, 2000]
    assert default_commits(compose("warmup_steps=200"))[0] == 400
