"""The config of a trial, checked and with its folder named: of a command line, or composed from Python."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from playbook.composition import compose_config, explain, refuse_group_without_option
from playbook.config import Config, flatten, load_config
from playbook.errors import InputError
from playbook.validation import show

SWEEPERS = (
    "hydra_plugins.quasi_random_sweeper.quasi_random_sweeper.QuasiRandomSweeper",
    "hydra_plugins.bayesian_sweeper.bayesian_sweeper.BayesianSweeper",
)
"""Those that run studies."""

SHOWN_GROUPS = ("experiment", "task", "data", "model", "optimizer", "schedule")
"""Those whose options a run is grouped by where it is shown."""


def compose(*overrides: str) -> Config:
    """The config of `python train.py <overrides>`, for `playbook.train`; the same command finds the run again.

    Raises:
        InputError: a line for each fault. Nothing has been created.
    """
    try:
        for override in overrides:
            refuse_group_without_option(override)
        cfg = compose_config("train", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, "train", overrides) from error
    return _config(cfg, cfg.hydra, folder=None)


def config_of(cfg: DictConfig) -> Config:
    """The config of the trial that Hydra composed for this process.

    Raises:
        InputError: a line for each fault. Nothing has been created.
    """
    hydra = cast(DictConfig, HydraConfig.get())
    return _config(cfg, hydra, folder=Path(hydra.sweep.dir) / hydra.sweep.subdir if in_a_study() else None)


def in_a_study() -> bool:
    """Whether this is one of the trials of a study, each in a folder that the sweeper names."""
    return _in_a_study(HydraConfig.get())


def _in_a_study(hydra: Any) -> bool:
    return hydra.mode == RunMode.MULTIRUN and hydra.sweeper.get("_target_") in SWEEPERS


def _config(cfg: DictConfig, hydra: DictConfig, folder: Path | None) -> Config:
    """`folder` is where the trial goes that says no `output_dir`; None: it is named after the config."""
    if not _in_a_study(hydra):
        _refuse_study_without_its_sweeper(hydra)
    config = load_config(plain_trial(cfg, hydra))
    if config.output_dir is not None:
        return config
    if folder is None:
        folder = Path(config.output_root) / "runs" / f"{trial_name(hydra)}-{config.fingerprint()}"
    return replace(config, output_dir=str(folder))


def trial_name(hydra: DictConfig, left_out: Sequence[str] = ()) -> str:
    """`digits-mlp-adam`: what the names of folders begin with; `hydra` is Hydra's own block.

    A group whose option is null has its block in the experiment, which stands for it.
    """
    groups = [group for group in ("data", "model", "optimizer") if group not in left_out]
    choices = hydra.runtime.choices
    named = [choices[group] if choices[group] is not None else choices.get("experiment") for group in groups]
    return "-".join(dict.fromkeys(str(name).replace("/", "_") for name in named))


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
    logger = plain.get("logger")
    if isinstance(logger, dict) and "options" in logger and logger["options"] is None:
        logger["options"] = _chosen_options(hydra)
    return {str(key): value for key, value in plain.items()}


def _chosen_options(hydra: DictConfig) -> dict[str, str]:
    """`{"optimizer": "adam", …}`: what each config group was set to, for whoever shows a run by name."""
    choices = {group: hydra.runtime.choices.get(group) for group in SHOWN_GROUPS}
    return {group: str(option) for group, option in choices.items() if option is not None}


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
    if given and hydra.mode != RunMode.MULTIRUN:
        raise InputError(f"{given[0]}: a study is run with -m: python train.py -m {given[0]}")
    if given:
        raise InputError(
            f"{given[0]}: hydra/sweeper={hydra.runtime.choices['hydra/sweeper']} runs no studies; leave it out"
        )


def _refuse_lr_of_another_optimizer(cfg: DictConfig, hydra: DictConfig) -> None:
    """An experiment's lr was found for its own optimizer: another one on the command line needs its own."""
    overrides, choices = _overrides(hydra), dict(hydra.runtime.choices)

    def without(group: str) -> list[str]:
        return [word for word in overrides if not re.match(rf"\+{{0,2}}{group}=", word)]

    names_optimizer, names_lr = without("optimizer") != overrides, without("lr") != overrides
    if choices.get("experiment") is None or not names_optimizer or names_lr:
        return
    config_name = str(hydra.job.config_name)
    alone = compose_config(config_name, [f"optimizer={choices['optimizer']}"])  # other words may need the experiment
    brought = OmegaConf.select(alone, "lr")  # None where it brings none
    designed_for = compose_config(config_name, without("optimizer")).hydra.runtime.choices.optimizer
    if choices["optimizer"] != designed_for and cfg.lr != brought:
        raise InputError(
            f"optimizer={choices['optimizer']}: experiment={choices['experiment']} sets lr={cfg.lr} for {designed_for},"
            f" while {choices['optimizer']} itself brings lr={show(brought)}; say which with lr=<value>"
        )
