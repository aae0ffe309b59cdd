"""The trials of this template, as a study sees them: checked configs, threads, W&B's group, the report at the end."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import joblib
from omegaconf import DictConfig

from playbook.compose import plain_trial, trial_name
from playbook.config import identity, load_config
from playbook.errors import InputError, one_line
from playbook.report.freshness import PAGE, REPORT, SUMMARY, is_current
from playbook.study.app import App
from playbook.study.load import load_study
from playbook.study.overrides import as_override

WANDB_MIRROR = "playbook.loggers.WandbLogger"
TIMEOUT_SECONDS = 10


class TrainingApp(App):
    """`python train.py -m`."""

    study_key = "study"

    def composed(self, cfg: DictConfig) -> dict[str, Any]:
        if cfg.overwrite:
            raise InputError(
                "overwrite=true: finished trials of a study stay; name another one with study.name=<name>, or remove"
                " the folder of the trial"
            )
        return plain_trial(cfg, cfg.hydra)

    def check(self, plain: Mapping[str, Any]) -> None:
        load_config(plain)

    def identity(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        return identity(plain)

    def title(self, cfg: DictConfig, varied: Sequence[str]) -> str:
        packaged = str(cfg.hydra.runtime.choices.study)
        return "-".join([*([packaged] if packaged != "_base_" else []), trial_name(cfg.hydra, left_out=varied)])

    def settled(self, plain: Mapping[str, Any], threads: int | None) -> list[str]:
        # The last bits of a sum depend on the threads: the trials of a study have as many wherever they run.
        if plain["trainer"]["num_threads"] != "auto":
            return []
        own = os.environ.get("OMP_NUM_THREADS", "")
        return [f"trainer.num_threads={int(own) if own.isdigit() and int(own) else threads or joblib.cpu_count()}"]

    def num_devices(self, plain: Mapping[str, Any]) -> int:
        return 0 if plain["trainer"]["device"] == "cpu" else int(plain["trainer"]["num_devices"])

    def placed(self, plain: Mapping[str, Any], folder: Path) -> list[str]:
        if plain["logger"]["_target_"] != WANDB_MIRROR:
            return []
        # One group a study, and one folder, since `wandb sync` does not look into folders within folders.
        own = {"group": folder.name, "dir": str(folder)}
        words = [as_override(f"logger.{key}", value) for key, value in own.items() if plain["logger"].get(key) is None]
        if plain["logger"].get("mode") == "auto" and _wandb_does_not_answer():
            words.append("logger.mode=offline")
        return words

    def finish(self, folder: Path) -> Sequence[str]:
        try:
            study, out_dir = load_study(folder), folder / REPORT
            if is_current(study):
                return [(out_dir / SUMMARY).read_text(encoding="utf-8").rstrip(), f"report: {out_dir / PAGE}"]
            from playbook.report.study_report import report  # a second of imports

            return [f"report: {report(folder)}"]
        except Exception as error:  # the trials are done and recorded, whatever becomes of the page
            said = one_line(f"{type(error).__name__}: {error}")
            return [
                f"the report could not be written ({said}); python scripts/report.py study_dir={folder} tries again"
            ]


@cache
def _wandb_does_not_answer() -> bool:
    """Whether there is a key and its server cannot be reached: found out once a study, and not by every trial."""
    if "WANDB_MODE" in os.environ:
        return False
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(x_disable_viewer=True, silent=True))  # else login waits for the server
        if not wandb.login(prompt=False, verify=False):
            return False  # each trial sees that there is no key, at once
        urllib.request.urlopen(wandb.setup().settings.base_url, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError:
        return False  # it answers
    except Exception as error:  # whatever W&B finds wrong is no reason not to train
        print(f"W&B cannot be reached ({error}); recording offline, `wandb sync` sends it later", file=sys.stderr)
        return True
    return False
