"""Which metric is which, by its name: ours are `val/error` and `train/eval_loss`, other people's `train_loss`.

A name is read as words (`train/eval_loss` → train, eval, loss), so that every usual spelling is understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from playbook.analysis.tables import Tables
from playbook.errors import InputError

TRAINING = frozenset({"train", "training", "trn", "tr"})
VALIDATION = frozenset({"val", "valid", "validation", "dev", "eval", "test", "heldout"})
Kind = Literal["loss", "error", "score"]
KINDS: Mapping[Kind, frozenset[str]] = {
    "loss": frozenset({"loss", "losses", "nll", "xent", "ce", "bpb", "mse", "elbo", "objective", "cost"}),
    "error": frozenset({"error", "err", "errors", "perplexity", "ppl", "mae", "rmse"}),
    "score": frozenset(
        {"accuracy", "acc", "f1", "auc", "auroc", "precision", "recall", "score", "bleu", "r2", "map", "iou"}
    ),
}
"""The words that say what a metric is: less is better of a loss and of an error, more of a score."""
_OFTEN_LOSS = ("loss", "losses")


def words(metric: str) -> list[str]:
    """The words of a metric's name: `trainLoss`, `train-loss` and `train/loss` are the same two."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", metric).lower())


def is_training(metric: str) -> bool:
    """Whether it is measured on training data; `train/eval_loss` is."""
    return not TRAINING.isdisjoint(words(metric))


def kinds(metric: str) -> set[Kind]:
    """What its words say it is."""
    return {kind for kind, names in KINDS.items() if not names.isdisjoint(words(metric))}


def is_loss(metric: str) -> bool:
    """Whether it is a loss, of which less is better."""
    return "loss" in kinds(metric)


def training_loss(tables: Tables) -> str | None:
    """The training loss among the curves' metrics; None where there is none.

    A loss over a fixed sample of the training split (`train/eval_loss`) is preferred to that of the step's batch, and
    a `loss` to what else is one.
    """
    losses = [metric for metric in _measured(tables) if is_training(metric) and is_loss(metric)]

    def rank(metric: str) -> tuple[bool, bool, int, str]:
        of_sample = not VALIDATION.isdisjoint(words(metric))
        return not of_sample, words(metric)[-1] not in _OFTEN_LOSS, len(words(metric)), metric

    return min(losses, key=rank, default=None)


def training_metric(tables: Tables) -> str | None:
    """What training is judged by: its loss, else the objective's metric on training data; None without either."""
    return training_loss(tables) or _on_training_data(tables)


def validation_loss(tables: Tables) -> str | None:
    """The validation loss among the curves' metrics; None where there is none."""
    losses = [metric for metric in _measured(tables) if is_loss(metric) and not is_training(metric)]

    def rank(metric: str) -> tuple[bool, int, str]:
        return VALIDATION.isdisjoint(words(metric)), len(words(metric)), metric

    return min(losses, key=rank, default=None)


def main_metrics(tables: Tables) -> tuple[str, ...]:
    """The objective's metric, what training is judged by, and the validation loss, where there are curves of them."""
    wanted = dict.fromkeys((tables.objective.metric, training_metric(tables), validation_loss(tables)))
    return tuple(metric for metric in wanted if metric in _measured(tables))


def sign(tables: Tables, metric: str) -> int:
    """1 where less of the metric is better (of every loss), else −1: times the metric, lower is better.

    The objective's direction is known, and that of the same on training data.
    """
    return tables.sign if metric in (tables.objective.metric, _on_training_data(tables)) else 1


def _on_training_data(tables: Tables) -> str | None:
    def rest(metric: str) -> list[str]:
        return [word for word in words(metric) if word not in TRAINING | VALIDATION]

    wanted = rest(tables.objective.metric)
    same = [metric for metric in _measured(tables) if is_training(metric) and rest(metric) == wanted]
    return min(same, default=None)


def _measured(tables: Tables) -> list[str]:
    return sorted(tables.curves["metric"].unique().to_list()) if len(tables.curves) else []


def direction(metric: str) -> Literal["min", "max"]:
    """`min` for losses and errors, `max` for accuracies and scores.

    Raises:
        InputError: its name does not say.
    """
    directions: set[Literal["min", "max"]] = {"max" if kind == "score" else "min" for kind in kinds(metric)}
    if len(directions) != 1:
        raise InputError(f"objective.metric={metric}: is less of it better, or more? add objective.mode=min or max")
    return directions.pop()
