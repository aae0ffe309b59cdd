"""Steps to perfect training performance of digits: refused where the sweep does not tell (found: tests/integration)."""

from __future__ import annotations

import pytest

import playbook
from playbook.data import CropFlip, Digits
from playbook.errors import InputError
from playbook.procedures.find_max_steps import FindMaxStepsOptions, find_max_steps
from playbook.procedures.plain_training import PlainTraining, without_regularisation

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1")


def ask(folder, *words, **options):
    given = FindMaxStepsOptions(out_dir=str(folder / "out"), **{"n_trials": 5, "num_seeds": 2, **options})
    return find_max_steps(*SMALL, f"output_root={folder}", *words, options=given, quiet=True)


def test_a_range_that_is_cut_too_low_points_up(tmp_path, untimed):
    answer = ask(tmp_path, "max_steps=30", "eval_every=15", lr_min=1e-4, lr_max=1e-2, n_trials=4)
    assert answer.verdict == "cannot tell"
    assert answer.evidence["edge"] == "high"
    assert "widen the range up" in answer.answer
    assert "lr_max=0.1" in answer.next
    assert "lr_min=0.0001" in answer.next
    assert answer.overrides is None
    assert len(answer.evidence["seeds"]) == 0


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (("lr=0.1",), {}, "lr=0.1: the learning rate is swept"),
        (("data=diabetes", "task=regression"), {}, "metric=train/error of Regression: it has no value that is perfect"),
        ((), {"metric": "train/eval_loss"}, "metric=train/eval_loss of Classification"),
        ((), {"lr_min": 1.0, "lr_max": 0.1}, "lr_min=1 lr_max=0.1"),
        (("objective.metric=val/loss",), {}, "choose it with metric="),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, words, options, said):
    with pytest.raises(InputError) as refused:
        ask(tmp_path, *words, **options)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_everything_that_regularises_is_turned_off_and_said():
    words = (
        *("data=fashion_mnist", "data.crop_padding=2", "data.flip=true", "model=vit"),
        *("optimizer=adamw", "optimizer.weight_decay=0.1", "schedule=cosine", "schedule.decay_steps=5"),
        *("averaging=ema", "averaging.decay=0.9", "warmup_steps=3", "task.label_smoothing=0.1"),
        *("model.attention_dropout=0.1", "hydra/launcher=joblib"),
    )
    plain = without_regularisation(words, playbook.compose(*words))
    trained = playbook.compose(*(word for word in plain.words if "hydra" not in word)).plain()
    assert trained["schedule"] == {"_target_": "playbook.optim.Constant"}
    assert trained["averaging"] == {"_target_": "playbook.optim.NoAveraging"}
    assert trained["model"]["attention_dropout"] == trained["optimizer"]["weight_decay"] == 0
    assert trained["task"]["label_smoothing"] == trained["data"]["crop_padding"] == trained["warmup_steps"] == 0
    assert trained["data"]["flip"] is False
    assert trained["data"]["_target_"] == "playbook.data.FashionMNIST"
    assert "hydra/launcher=joblib" in plain.words
    assert plain.left_on is None
    assert set(plain.off) == {
        *("schedule=cosine", "averaging=ema", "warmup_steps=3", "model.attention_dropout=0.1", "data.flip=true"),
        *("optimizer.weight_decay=0.1", "task.label_smoothing=0.1", "data.crop_padding=2"),
    }
    assert without_regularisation((), playbook.compose()) == PlainTraining((), (), None)


def test_augmentation_that_no_key_turns_off_is_said(monkeypatch):
    monkeypatch.setattr(Digits, "augmentation", CropFlip(1, True))
    assert without_regularisation((), playbook.compose()).left_on == "CropFlip"
