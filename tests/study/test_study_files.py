"""What a study's file may say is what a command line may say: a hand may have been at it."""

import pytest
import yaml
from ended_study import PLAIN, begin

from playbook.errors import InputError
from playbook.study.study_files import STUDY, read_study


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
        ({"n_trials": 10**9}, "n_trials: 1000000000: allowed is 1 to 100000"),
        ({"n_trials": 0}, "n_trials: 0: allowed is 1 to 100000"),
        ({"name": 7}, "name: 7: a text is needed"),
        ({"caveats": [{"torch": 1}]}, "caveats: a list of texts is needed"),
        ({"caveats": {"torch": "1"}}, "caveats: a list of texts is needed"),
        ({"overrides": [5, None]}, "overrides: a list of texts is needed"),
        ({"overrides": "lr=1"}, "overrides: a list of texts is needed"),
        ({"goal": {"x": 1}}, "goal: {'x': 1}: a text is needed"),
        ({"objective": {"metric": 3, "mode": "min"}}, "objective.metric: 3: a text is needed"),
        ({"objective": {"metric": "val/error", "mode": "less"}}, "objective.mode: less: allowed are min, max"),
        ({"seed": "x"}, "seed: x: a whole number is needed"),
        ({"points": "own"}, "points=own: allowed is one of shared, per_arm"),
    ],
)
def test_what_no_command_could_have_written_is_one_line(folder, changes, said):
    with pytest.raises(InputError) as refused:
        read_study(edited(folder, **changes))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_command_has_written_is_read(folder):
    overrides = ["max_steps=1e2", "output_dir=null", "optimizer=adam", "+data.path='a b'", "lr=${oc.env:LR}"]
    overrides += ["model.norm='none'", "data.path=a/b", "clip_norm=null", "batch_size='64'", "seed=1", "seed=0"]
    fixed = {
        "max_steps": 100,
        "lr": 0.1,
        "model.norm": "none",
        "data.path": "/home/a/b",
        "clip_norm": None,
        "batch_size": 64,
        "seed": 0,
    }
    study = read_study(edited(folder, overrides=overrides, fixed=fixed))
    assert study.design.overrides == tuple(overrides)
