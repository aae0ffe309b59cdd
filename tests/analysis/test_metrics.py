"""Metrics are known by their names, ours and other people's."""

import polars as pl
import pytest

from playbook.analysis import metrics
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import Objective


def tables(*names: str, objective: str = "val/error", mode: str = "min") -> Tables:
    rows = [(0, 0, name, 1.0) for name in names]
    return Tables(pl.DataFrame(), Objective(objective, mode), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"))


@pytest.mark.parametrize(
    ("names", "training", "validation"),
    [
        (["val/error", "val/accuracy", "val/loss", "train/error", "train/eval_loss"], "train/eval_loss", "val/loss"),
        (["train/eval_loss", "train/loss"], "train/eval_loss", None),
        (["train_losses", "test_losses", "train_accuracies", "test_accuracies"], "train_losses", "test_losses"),
        (["trainLoss", "valLoss"], "trainLoss", "valLoss"),
        (["loss/train", "loss/val"], "loss/train", "loss/val"),
        (["training_loss", "loss"], "training_loss", "loss"),
        (["train_aux_loss", "train_loss"], "train_loss", None),
        (["train_nll", "valid_nll"], "train_nll", "valid_nll"),
        (["constraint", "trainable", "losses_avoided"], None, "losses_avoided"),
        (["val/error"], None, None),
        ([], None, None),
    ],
)
def test_the_losses_are_found(names, training, validation):
    assert metrics.training_loss(tables(*names)) == training
    assert metrics.validation_loss(tables(*names)) == validation


def test_without_a_training_loss_the_objective_on_training_data_stands_in_with_its_direction():
    given = tables("val_acc", "train_acc", "train_auc", objective="val_acc", mode="max")
    assert metrics.training_metric(given) == "train_acc"
    assert metrics.sign(given, "train_acc") == metrics.sign(given, "val_acc") == -1
    assert metrics.training_metric(tables("val_acc", "train_auc", objective="val_acc", mode="max")) is None


def test_less_of_a_loss_is_better_whatever_the_objective():
    given = tables("val/accuracy", "train/loss", objective="val/accuracy", mode="max")
    assert metrics.sign(given, "train/loss") == 1
    assert metrics.main_metrics(given) == ("val/accuracy", "train/loss")
