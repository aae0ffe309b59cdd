"""A trial's config from overrides: what Hydra composes, checked, with the trial's folder named. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from playbook.config import Config, flatten, load_config
from playbook.errors import InputError
from playbook.validation import show

CONFIG_DIR = str(Path(__file__).parents[2] / "conf")
SCRIPT_CONFIG_DIR = str(Path(__file__).parent / "conf")
"""Where the configs of scripts are, so that scripts work without a checkout."""


def trial_config(cfg: DictConfig) -> Config:
    """The checked config of the trial that Hydra composed, with its folder named.

    Raises:
        InputError: a line for each fault. Nothing has been created.
    """
    hydra = cast(DictConfig, HydraConfig.get())
    if not in_a_study():
        _refuse_study_without_its_sweeper(hydra)
    config = load_config(plain_trial(cfg, hydra))
    if config.output_dir is None:
        if in_a_study():
            folder = Path(hydra.sweep.dir) / hydra.sweep.subdir
        else:
            folder = Path(config.output_root) / "runs" / f"{trial_name(hydra)}-{config.fingerprint()}"
        config = replace(config, output_dir=str(folder))
    return config


def in_a_study() -> bool:
    """Whether this is one of the trials that a sweeper runs, each in a folder that it names."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and hydra.sweep.subdir != "."


def trial_name(hydra: DictConfig, left_out: Sequence[str] = ()) -> str:
    """`digits-mlp-adam`: what the names of folders begin with; `hydra` is Hydra's own block."""
    groups = [group for group in ("data", "model", "optimizer") if group not in left_out]
    return "-".join(str(hydra.runtime.choices[group]).replace("/", "_") for group in groups)


def plain_trial(cfg: DictConfig, hydra: DictConfig) -> dict[str, Any]:
    """The config of a trial as plain containers, without Hydra's block and the study's.

    Raises:
        InputError: a line for each value that is missing, does not resolve, or was found for another optimizer.
    """
    trial = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "study")])
    _refuse_what_does_not_resolve(trial)
    if missing := OmegaConf.missing_keys(trial):
        raise InputError("\n".join(f"{key}: a value is needed; add {key}=<value>" for key in sorted(missing)))
    _refuse_lr_of_another_optimizer(trial, hydra)
    plain = OmegaConf.to_container(trial, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def compose_trial(*overrides: str) -> Config:
    """The checked config of `python train.py <overrides>` for use from Python; without an `output_dir` it has none.

    Raises:
        InputError: a line for each fault in a value. Hydra's own errors pass.
    """
    cfg = compose_config("train", overrides)
    with open_dict(cfg):
        del cfg["hydra"], cfg["study"]
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return load_config({str(key): value for key, value in plain.items()})


def compose_config(config_name: str, overrides: Sequence[str], config_dir: str = CONFIG_DIR) -> DictConfig:
    """What Hydra would compose for these command-line words, with its own `hydra` block; inside a door or outside."""
    inside = GlobalHydra.instance().is_initialized()
    context = nullcontext() if inside else initialize_config_dir(config_dir, version_base="1.3")
    with context:
        return compose(config_name, overrides=list(overrides), return_hydra_config=True)


def _refuse_what_does_not_resolve(cfg: DictConfig) -> None:
    """OmegaConf's error of an interpolation names what was not found, not where it stands."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    for key, value in flatten({str(name): block for name, block in raw.items()}):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            words = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
            raise InputError(f"{key}={show(value)}: {words}") from None


def _overrides(hydra: DictConfig) -> list[str]:
    """What was typed, also where it is an interpolation."""
    words = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _refuse_study_without_its_sweeper(hydra: DictConfig) -> None:
    """`python train.py study=learning_rate`, or with another sweeper, would train one trial and no study."""
    given = [word for word in _overrides(hydra) if re.match(r"\+{0,2}study[.=]", word)]
    if given and hydra.mode == RunMode.RUN:
        raise InputError(f"{given[0]}: a study is run with -m: python train.py -m {given[0]}")
    if given:
        raise InputError(
            f"{given[0]}: hydra/sweeper={hydra.runtime.choices['hydra/sweeper']} runs no studies; leave it out"
        )


def _refuse_lr_of_another_optimizer(cfg: DictConfig, hydra: DictConfig) -> None:
    """An experiment's lr was found for its own optimizer: another one on the command line needs its own."""
    overrides, choices = _overrides(hydra), dict(hydra.runtime.choices)

    def without(group: str) -> list[str]:
        return [word for word in overrides if not re.match(rf"\+?{group}=", word)]

    names_optimizer, names_lr = without("optimizer") != overrides, without("lr") != overrides
    if choices.get("experiment") is None or not names_optimizer or names_lr:
        return
    config_name = str(hydra.job.config_name)
    brought = OmegaConf.select(compose_config(config_name, without("experiment")), "lr")  # None where it brings none
    designed_for = compose_config(config_name, without("optimizer")).hydra.runtime.choices.optimizer
    if choices["optimizer"] != designed_for and cfg.lr != brought:
        raise InputError(
            f"optimizer={choices['optimizer']}: experiment={choices['experiment']} sets lr={cfg.lr} for {designed_for},"
            f" while {choices['optimizer']} itself brings lr={show(brought)}; say which with lr=<value>"
        )
