"""Eleven small runs that between them use everything that has a state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from image_files import write_fashion


@dataclass(frozen=True)
class Setting:
    """A run: its name in the table, its command line."""

    name: str
    overrides: tuple[str, ...]
    keep_best: int

    def words(self, data_root: Path) -> list[str]:
        """The overrides of `train.py`, without the folder."""
        shown = [word.format(images=data_root / "images") for word in self.overrides]
        return ["logger=none", "trainer.device=cpu", "trainer.num_threads=1", f"keep_best={self.keep_best}", *shown]


def write_data(data_root: Path) -> None:
    """The image files that some settings read."""
    write_fashion(data_root / "images", "train", 400)
    write_fashion(data_root / "images", "t10k", 50)


def _setting(name: str, words: str, keep_best: int) -> Setting:
    return Setting(name, tuple(words.split()), keep_best)


_IMAGES = "data=fashion_mnist data.root={images} data.crop_padding=2 data.flip=true"
_WORKERS = "data.in_memory=false data.num_workers=2"

SETTINGS = (
    _setting(
        "everything",
        "model.width=32 model.dropout=0.2 model.norm=batch optimizer=adamw schedule=cosine warmup_steps=20 clip_norm=1"
        " max_steps=125 eval_every=20",
        5,
    ),
    _setting("dropout", "model.width=32 model.dropout=0.3 max_steps=300 eval_every=50", 1),
    _setting("batch_norm", "model.norm=batch optimizer=adam schedule=linear max_steps=240 eval_every=40", 3),
    _setting(
        "ghost_batch_norm",
        "model.norm=ghost_batch model.norm_batch_size=16 optimizer=momentum clip_norm=0.5 max_steps=200 eval_every=40",
        0,
    ),
    _setting("augmentation", f"{_IMAGES} model.width=16 optimizer=rmsprop max_steps=160 eval_every=25", 1),
    _setting(
        "workers",
        f"{_IMAGES} {_WORKERS} model.width=16 model.dropout=0.2 optimizer=nadam max_steps=120 eval_every=20",
        1,
    ),
    _setting(
        "convolutions",
        f"{_IMAGES} model=cnn model.width=4 model.depth=1 model.norm_batch_size=8 batch_size=16 max_steps=105"
        " eval_every=20 warmup_steps=10 schedule=linear schedule.decay_steps=50",
        3,
    ),
    _setting(
        "transformer",
        f"experiment=text_transformer {_WORKERS} data.context=16 data.val_fraction=0.01 data.test_fraction=0.9"
        " model.width=16 model.depth=1 model.heads=2 trainer.precision=bf16-mixed trainer.micro_batch_size=4"
        " optimizer=muon lr=0.02 averaging=ema averaging.decay=0.9 max_steps=100 warmup_steps=10 eval_every=20",
        2,
    ),
    _setting("regression", "data=diabetes task=regression optimizer=adam lr=0.01 max_steps=330 eval_every=70", 3),
    _setting("float64", "trainer.precision=64-true optimizer=sgd warmup_steps=50 max_steps=301 eval_every=60", 1),
    _setting(
        "diverges",
        "data=diabetes task=regression model.activation=gelu optimizer=sgd lr=0.9 warmup_steps=300 max_steps=50"
        " eval_every=20",
        1,
    ),
)
