"""Every option of `conf/`, the template's own and a fork's: all are found, composed and trained.

An option that a trial cannot be composed or trained with by itself says what it needs in `tests/<package>/needs.yaml`:

    data=mine_big: [data.root=tests/mine/small]        # overrides that go with it
    experiment=mine_big: needs 40 GB of images         # or why it is left out
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"

SHIPPED = {
    "task": ("classification", "language_modelling", "multilabel", "reconstruction", "regression"),
    "data": ("arrays", "cifar10", "diabetes", "digits", "fashion_mnist", "text"),
    "model": ("cnn", "mlp", "transformer", "vit", "wide_resnet"),
    "optimizer": (
        *("adam", "adamw", "momentum", "muon", "nadam", "nesterov", "rmsprop"),
        *("schedule_free_adamw", "schedule_free_sgd", "sgd"),
    ),
    "schedule": ("constant", "cosine", "linear", "wsd"),
    "averaging": ("ema", "none", "polyak"),
    "trainer": ("ddp", "default"),
    "logger": ("none", "wandb"),
    "experiment": ("diabetes_mlp", "fashion_mnist_cnn", "fashion_mnist_mlp", "text_transformer"),
}
"""The template's own, of which more is promised than that they train. A fork leaves it as it is."""
OPTIONS = {group: tuple(sorted(path.stem for path in (CONF / group).glob("*.yaml"))) for group in SHIPPED}
"""All, a fork's too."""

NEEDS = {
    "data=arrays": ["data.path=mine.npz"],
    "task=language_modelling": ["data=text", "model=transformer"],
    "task=multilabel": ["data=arrays", "data.path=multilabel.npz"],
    "task=regression": ["data=diabetes"],
    "data=diabetes": ["task=regression"],
    "data=text": ["task=language_modelling", "model=transformer"],
    "model=transformer": ["task=language_modelling", "data=text"],
}
for _file in sorted((ROOT / "tests").glob("*/needs.yaml")):
    NEEDS |= yaml.safe_load(_file.read_text(encoding="utf-8"))


def needs(group: str, option: str) -> list[str]:
    """The overrides that an option cannot do without; the test is skipped where it cannot be tested at all."""
    given = NEEDS.get(f"{group}={option}", [])
    if isinstance(given, str):
        pytest.skip(given)
    return list(given)
