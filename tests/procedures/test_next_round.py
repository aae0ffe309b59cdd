"""The next round of a study: what becomes of its schedules, which settings are taken, and that it trains."""

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from ended_study import begin, end

import playbook
from playbook.errors import InputError
from playbook.procedures.next_round import NextRoundOptions, next_round
from playbook.procedures.next_round_plan import longer_schedule
from playbook.report.registry import registry_page
from playbook.run_files import RESULT
from playbook.study.design import Design
from playbook.study.registry import read_registry
from playbook.study.space import Choice
from playbook.trial_config import compose

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "eval_every=4", "batch_size=32", "model.width=8")


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A study of four lrs with two seeds each, trained; its folder."""
    root = tmp_path_factory.mktemp("first")
    words = (*SMALL, "max_steps=8", "schedule=linear", "optimizer=adam", f"output_root={root}")
    block = {
        "name": "first",
        "goal": "lr?",
        "nuisance": {"lr": [0.0001, 0.001, 0.003, 0.01]},
        "repeat": {"seed": [0, 1]},
        "n_trials": 8,
    }
    return playbook.run_study(*words, study=block, quiet=True, report=False).path


@pytest.fixture(scope="module")
def second(studied):
    """The next round of it, trained: the answer, and its folder."""
    answer = next_round(options=NextRoundOptions(study_dir=str(studied), k=2, max_steps=16, run=True), quiet=True)
    return answer, studied.parent / "first-round-2"


def rates(config):
    schedule = config.schedule.build()
    return [config.lr * schedule.factor(step, config.max_steps) for step in range(config.max_steps)]


def longer(*words, max_steps=100):
    before = compose(*words, "max_steps=40")
    found = longer_schedule(before, max_steps)
    after = compose(*words, f"max_steps={max_steps}", *(f"{key}={value}" for key, value in found.settings.items()))
    return rates(before), rates(after)


@pytest.mark.parametrize(("words", "decay"), [((), 40), (("schedule.decay_steps=15",), 15)])
def test_linear_keeps_its_decay_in_steps_and_extends_the_constant_part(words, decay):
    before, after = longer("schedule=linear", *words)
    assert after[-decay:] == pytest.approx(before[-decay:])
    assert set(after[:-decay]) == {before[0]}


@pytest.mark.parametrize("fraction", [0.2, 0.31, 1.0])
def test_wsd_keeps_its_decay_in_steps(fraction):
    before, after = longer("schedule=wsd", f"schedule.decay_fraction={fraction}")
    decay = round(40 * fraction)
    assert after[-decay:] == pytest.approx(before[-decay:])
    assert set(after[:-decay]) == {before[0]}


@pytest.mark.parametrize("words", [(), ("schedule.decay_steps=20",)])
def test_cosine_keeps_the_base_lr_and_stretches(words):
    before, after = longer("schedule=cosine", *words, max_steps=120)
    assert after[::3] == pytest.approx(before)
    assert after[0] == before[0]


def test_constant_stays():
    before, after = longer("schedule=constant")
    assert set(after) == set(before)


def test_the_round_is_a_study_file_with_the_best_settings_and_the_command_that_trains_it(
    studied, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    answer = next_round("logger=none", options=NextRoundOptions(study_dir=str(studied), k=2, factor=3), quiet=True)
    assert answer.verdict == "planned"
    (path,) = Path(answer.page).parent.glob("study/*.yaml")
    block = yaml.safe_load(path.read_text())
    assert block["follows"] == "first"
    means = (
        playbook.load_study(studied).trials.group_by("lr").agg(pl.mean("objective")).sort("objective")["lr"].to_list()
    )
    assert [each["lr"] for each in block["trials"]] == means[:2]  # settings, and not two repeats of one
    words = answer.next.split()
    assert "max_steps=24" in words
    assert "schedule.decay_steps=8" in words
    assert "schedule=linear" in words
    assert "optimizer=adam" in words
    assert "study=first-round-2" in words
    surely = {row["what"]: row["surely"] for row in answer.evidence["carried_over"]}
    assert list(surely.values()) == ["likely", "likely", "next", "less", "less", "less", "least"]
    assert next(iter(surely)) == "warmup length"
    assert list(surely)[-1] == "schedule"
    page = Path(answer.page).read_text()
    assert "the decay keeps its 8 steps, constant for 16 steps instead of 0" in page


def test_run_trains_the_round_and_says_what_became_of_it(second):
    answer, folder = second
    assert answer.verdict == "trained"
    trained = playbook.load_study(folder)
    assert trained.design.follows == "first"
    assert trained.trials["steps"].to_list() == [16, 16]
    assert playbook.load_run(trained.folder(0)).config.schedule.arguments["decay_steps"] == 8
    written = json.loads(Path(answer.page).with_name(RESULT).read_text())
    assert written["studies"] == [str(folder)]
    assert [each["objective_of_the_round"] for each in written["trials"]] == trained.trials["objective"].to_list()
    assert Path(answer.page).read_text().count("<svg") == 2


def test_the_printed_command_is_that_of_the_round_that_was_trained(studied, second):
    planned = next_round(options=NextRoundOptions(study_dir=str(studied), k=2, max_steps=16), quiet=True)
    words = planned.next.split()
    assert words[:3] == ["python", "train.py", "-m"]
    assert set(playbook.load_study(second[1]).design.overrides) <= {*words}


def test_the_registry_says_what_a_round_follows(studied, second, tmp_path):
    registry = read_registry(studied.parent)
    entry = next(each for each in registry.entries if each.name == "first-round-2")
    assert entry.follows == "first"
    assert "The next round of first" in registry_page(registry, tmp_path)


def test_the_round_of_a_round_counts_on(second):
    answer = next_round(options=NextRoundOptions(study_dir=str(second[1]), k=1), quiet=True)
    assert "first-round-3" in answer.next
    assert "max_steps=160" in answer.next


@pytest.mark.parametrize(
    ("words", "options", "line"),
    [
        ((), {"factor": 2.0, "max_steps": 9}, "one of them says how long"),
        ((), {"max_steps": 8}, "had max_steps=8 already"),
        (("lr=0.1",), {}, "lr=0.1: the study's best settings say what lr is"),
        (("schedule=cosine",), {}, "schedule=cosine: the schedule is the study's own"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(studied, words, options, line):
    before = sorted(studied.parents[1].rglob("*"))
    with pytest.raises(InputError, match=line) as refused:
        next_round(*words, options=NextRoundOptions(study_dir=str(studied), **options), quiet=True)
    assert "\n" not in str(refused.value)
    assert sorted(studied.parents[1].rglob("*")) == before


def test_a_study_that_has_not_ended_is_refused(tmp_path):
    design = Design("half", nuisance={"lr": Choice((0.1, 0.2))})
    trials = begin(tmp_path / "half", design, 2)
    end(tmp_path / "half", design, trials[:1])
    with pytest.raises(InputError, match=r"1 of its 2 trials have ended; finish it first: python train\.py -m"):
        next_round(options=NextRoundOptions(study_dir=str(tmp_path / "half")), quiet=True)
    with pytest.raises(InputError, match="study_dir: a value is needed"):
        next_round(quiet=True)
    with pytest.raises(InputError, match="there is no study here"):
        next_round(options=NextRoundOptions(study_dir=str(tmp_path)), quiet=True)


def test_what_a_study_follows_is_kept_and_changes_no_identity():
    design = Design("second", nuisance={"lr": Choice((0.1, 0.2))}, follows="first")
    assert Design.of(design.plain()).follows == "first"
    assert "follows" not in replace(design, follows=None).plain()
