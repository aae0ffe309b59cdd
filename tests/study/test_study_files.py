"""What a study's file may say is what a command line may say: a hand may have been at it."""

from dataclasses import replace

import pytest
import yaml
from ended_study import PLAIN, begin, end

from playbook.config import identity
from playbook.errors import InputError
from playbook.study.study_files import STUDY, read_study, read_trials, write_trials


@pytest.fixture
def folder(tmp_path):
    begin(tmp_path / "study", PLAIN, 3)
    return tmp_path / "study"


def edited(folder, **changes):
    path = folder / STUDY
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overrides": ["output_dir=/elsewhere"]}, "overrides: output_dir=/elsewhere: the study says where its trials"),
        ({"overrides": ["hydra.sweep.dir=/elsewhere"]}, "overrides: hydra.sweep.dir=/elsewhere: the study says where"),
        ({"overrides": ["hydra/launcher=joblib"]}, "overrides: hydra/launcher=joblib: the study says where"),
        (
            {"overrides": ["max_steps=200"], "fixed": {"max_steps": 100}},
            "overrides: max_steps=200: the study's trials have max_steps=100",
        ),
        (
            {"overrides": ["model._target_=os.system"], "fixed": {"model._target_": "playbook.models.MLP"}},
            "overrides: model._target_=os.system: the study's trials have model._target_=playbook.models.MLP",
        ),
        ({"n_trials": 10**9}, "n_trials=1000000000: allowed is a whole number >= 1 and <= 100000"),
        ({"n_trials": 0}, "n_trials=0: allowed is a whole number >= 1"),
        ({"n_trials": True}, "n_trials=true: allowed is a whole number"),
        ({"n_trials": 2.7}, "n_trials=2.7: allowed is a whole number"),
        ({"n_trails": 7}, "n_trails=7: there is no such key; did you mean n_trials?"),
        ({"n_trials": 3, "nuisance": {"lr": [0.1, 0.2]}}, "n_trials=3: the space has 2 different trials"),
        ({"budget_hours": -1}, "budget_hours=-1: allowed is a finite number > 0 or null"),
        ({"name": 7}, "name=7: allowed is text"),
        ({"caveats": [{"torch": 1}]}, "caveats[0]={'torch': 1}: allowed is a list of text"),
        ({"caveats": {"torch": "1"}}, "caveats={'torch': '1'}: allowed is a list of text"),
        ({"overrides": [5, None]}, "overrides[0]=5: allowed is a list of text"),
        ({"overrides": "lr=1"}, "overrides=lr=1: allowed is a list of text"),
        ({"goal": {"x": 1}}, "goal={'x': 1}: allowed is text"),
        ({"objective": {"metric": 3, "mode": "min"}}, "objective.metric=3: allowed is text"),
        ({"objective": {"metric": "val/error", "mode": "less"}}, "objective.mode=less: allowed is one of min, max"),
        ({"objective": ["val/error"]}, "objective=['val/error']: allowed is a block of keys"),
        ({"seed": "x"}, "seed=x: allowed is a whole number"),
        ({"seed": -1}, "seed=-1: allowed is a whole number >= 0"),
        ({"points": "own"}, "points=own: allowed is one of shared, per_arm"),
        ({"nuisance": ["lr"]}, "nuisance=['lr']: allowed is a block of keys"),
        ({"nuisance": {3: [1, 2]}}, "nuisance"),
        ({"trials": [1, 2], "nuisance": {}}, "trials[0]=1: allowed is a list of a block of keys"),
        ({"trials": {"lr": 1}, "nuisance": {}}, "trials={'lr': 1}: allowed is a list of a block of keys"),
        ({"conditional": [3]}, "conditional[0]=3: allowed is a list"),
        ({"conditional": [{"when": {"optimizer": "adam"}, "space": {}}]}, "conditional[0]=adam: allowed is a list"),
        ({"fixed": None}, "fixed=null: allowed is a block of keys"),
        ({"fixed_in": {"optimizer=adam": 3}}, "fixed_in=3: allowed is a block of keys"),
        ({"environment": "torch"}, "environment=torch: allowed is a block of keys"),
        ({"command": ["rm"]}, "command=['rm']: allowed is text"),
    ],
)
def test_what_no_command_could_have_written_is_one_line(folder, changes, said):
    with pytest.raises(InputError) as refused:
        read_study(edited(folder, **changes))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "3", "[a]", "{a: [", "&a [*a]", "[" * 5000, "!!python/object/apply:os.getcwd []"])
def test_what_is_no_block_of_keys_is_one_line(folder, text):
    (folder / STUDY).write_text(text)
    with pytest.raises(InputError, match="cannot be read as a study") as refused:
        read_study(folder)
    assert "\n" not in str(refused.value)


def test_what_a_command_has_written_is_read(folder):
    overrides = ["max_steps=1e2", "output_dir=null", "optimizer=adam", "+data.path='a b'", "lr=${oc.env:LR}"]
    overrides += ["model.norm='none'", "data.path=a/b", "clip_norm=null", "batch_size='64'", "seed=1", "seed=0"]
    overrides += ["data.num_workers=2"]
    fixed = {
        "max_steps": 100,
        "lr": 0.1,
        "model.norm": "none",
        "data.path": "/home/a/b",
        "clip_norm": None,
        "batch_size": 64,
        "seed": 0,
        **identity({"data": {"num_workers": 2}}),
    }
    study = read_study(edited(folder, overrides=overrides, fixed=fixed))
    assert study.design.overrides == tuple(overrides)


def test_the_table_of_trials_says_how_well_each_objective_is_known(folder):
    """And one that was written before it did is read all the same."""
    first, *others = end(folder, PLAIN, PLAIN.trials(3))
    known = replace(first, result=replace(first.result, objective_se=0.01, n_examples=359))
    write_trials(folder, PLAIN, [known, *others])
    lines = (folder / "trials.csv").read_text().splitlines()
    assert lines[0] == "trial,arm,status,objective,best_step,seed,objective_se,n_examples,lr,model.dropout"
    assert read_trials(folder).select("objective_se", "n_examples").rows() == [(0.01, 359), (None, None), (None, None)]
    older = [",".join(cells[:6] + cells[8:]) for cells in (line.split(",") for line in lines)]
    (folder / "trials.csv").write_text("\n".join(older) + "\n")
    assert read_trials(folder).select("seed", "objective_se", "n_examples").rows() == [(3, None, None)] * 3
