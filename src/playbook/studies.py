"""A study run from Python.

study = playbook.run_study("study=learning_rate", "study.n_trials=8")
study.trials, study.findings()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks  # Hydra hands one to sweepers and has no public way to make it
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from playbook.analysis.study import Study, load_study
from playbook.cli import INTERRUPTED, hydra_arguments
from playbook.composition import CONFIG_DIR, explain
from playbook.study.config import StudyConfig
from playbook.study.design import Design
from playbook.study.overrides import as_override
from playbook.trial_config import config_of


def run_study(
    *overrides: str,
    study: Mapping[str, Any] | Design | None = None,
    launcher: str | None = None,
    quiet: bool = False,
    report: bool = True,
    progress: bool = False,
) -> Study:
    """Run a study as `python train.py -m <overrides>` does, and read it back; the same call finds its own study again.

    It goes on where it was stopped, and a larger `study.n_trials` makes it longer. Trials run in this process, or
    where `launcher` (an option of `hydra/launcher`) sends them. `quiet` prints nothing but warnings, and with
    `progress` how far the study is; without a `report`, a procedure of several studies does not wait for theirs.

    `study` is a `Design`, or what a file in `conf/study/` holds, such as
    `{"name": "lr", "n_trials": 8, "nuisance": {"lr": {"min": 1e-3, "max": 1.0, "scale": "log"}}}`.

    Raises:
        InputError: a line for each fault. Nothing has been written.
        CrashError: trials crashed; the others are done and recorded, and the same call runs the crashed ones again.
        KeyboardInterrupt: Ctrl-C. What was done is saved, and the same call goes on.
    """
    words = [*_words(study), *overrides, *([] if launcher is None else [f"hydra/launcher={launcher}"])]
    with initialize_config_dir(CONFIG_DIR, version_base="1.3", job_name="train"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        given = [*hydra_arguments(words), "hydra.mode=MULTIRUN"]  # which trials are told by: see `in_a_study`
        try:
            config = hydra.compose_config("train", given, run_mode=RunMode.MULTIRUN)
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, "train", words) from None
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
        sweeper: Any = Plugins.instance().instantiate_sweeper(
            config=config, hydra_context=context, task_function=_train_trial
        )
        try:
            folder = sweeper.run_from_python(
                OmegaConf.to_container(config.hydra.overrides.task, resolve=False),
                script="train.py",
                words=("-m", *words),
                checkout=Path(CONFIG_DIR).parent,
                quiet=quiet,
                report=report,
                progress=progress,
            )
        except SystemExit as end:  # a trial that was stopped by a signal ends its process
            if end.code == INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
    return load_study(folder)


def _train_trial(cfg: DictConfig) -> float | None:
    config = config_of(cfg)
    from playbook.training import train  # torch and Lightning take seconds

    return train(config, verbose=False, reuse_data=True).objective


def _words(study: Mapping[str, Any] | Design | None) -> list[str]:
    """The overrides that say what a study is. Its file holds the same."""
    if study is None:
        return []
    if not isinstance(study, Design):
        return [as_override(f"++study.{key}", value) for key, value in study.items()]
    plain = study.plain()
    own = {key: plain[key] for key in StudyConfig.model_fields if plain.get(key)}
    objective = {f"objective.{key}": value for key, value in plain["objective"].items()}
    return [
        *study.overrides,
        *(as_override(f"++study.{key}", value) for key, value in own.items()),
        *(as_override(key, value) for key, value in objective.items()),
    ]
