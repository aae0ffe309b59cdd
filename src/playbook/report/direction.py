"""Whether less or more of a metric is better, by its name."""

from __future__ import annotations

from typing import Literal

from playbook.analysis.metrics import is_loss, words
from playbook.errors import InputError

LESS = frozenset({"error", "err", "errors", "perplexity", "ppl", "mae", "rmse"})
MORE = frozenset({"accuracy", "acc", "f1", "auc", "auroc", "precision", "recall", "score", "bleu", "r2", "map", "iou"})


def direction(metric: str) -> Literal["min", "max"]:
    """`min` for losses and errors, `max` for accuracies and scores.

    Raises:
        InputError: its name does not say.
    """
    said = set(words(metric))
    less, more = is_loss(metric) or bool(said & LESS), bool(said & MORE)
    if less == more:
        raise InputError(f"objective.metric={metric}: is less of it better, or more? add objective.mode=min or max")
    return "min" if less else "max"
