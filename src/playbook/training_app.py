"""The trials of this template, as a study sees them: checked configs, threads, W&B's group, the report at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
from omegaconf import DictConfig
from rich.console import Console

from playbook.config import identity, load_config
from playbook.errors import CrashError, InputError, one_line
from playbook.report.freshness import PAGE, REPORT, SUMMARY, is_current
from playbook.report.wandb_address import wandb_address
from playbook.study.advice import refusals
from playbook.study.app import App
from playbook.study.design import Design, Trial
from playbook.study.load import load_record
from playbook.study.overrides import as_override
from playbook.study.rungs import step_of_rung
from playbook.trial_config import plain_trial, trial_name

WANDB_LOGGER = "playbook.loggers.WandbLogger"
TIMING_SECONDS = 30.0
"""How long a plan waits at most for what a trial takes; most of it are imports and the data."""


class TrainingApp(App):
    """`python train.py -m`."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, str] = {}  # of data, which are looked at once a call

    def plain_config(self, cfg: DictConfig) -> dict[str, Any]:
        if cfg.overwrite:
            raise InputError(
                "overwrite=true: finished trials of a study stay; name another one with study.name=<name>, or remove"
                " the folder of the trial"
            )
        plain = plain_trial(cfg, cfg.hydra)
        if plain.get("pause_at") is not None:  # a trial without a result would be taken for one that died
            raise InputError(
                f"pause_at={plain['pause_at']}: trials of a study pause where study.rungs says; leave it out"
            )
        return plain

    def check(self, plain: Mapping[str, Any]) -> None:
        load_config(plain)

    def refusals(self, design: Design) -> Sequence[str]:
        return refusals(design)

    def identity(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        return identity(plain)

    def recorded_config(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        return load_config(plain).plain()

    def environment(self, plain: Mapping[str, Any]) -> Mapping[str, Any] | None:
        from playbook.training.expected import expected_environment  # torch: where a trial of this config was found

        return expected_environment(load_config(plain), self._fingerprints)

    def default_name(self, cfg: DictConfig, varied: Sequence[str]) -> str:
        packaged = str(cfg.hydra.runtime.choices.study)
        return "-".join([*([packaged] if packaged != "_base_" else []), trial_name(cfg.hydra, left_out=varied)])

    def num_devices(self, plain: Mapping[str, Any]) -> int:
        return 0 if plain["trainer"]["device"] == "cpu" else int(plain["trainer"]["num_devices"])

    def num_steps(self, plain: Mapping[str, Any]) -> int:
        return load_config(plain).total_steps

    def step_of_rung(self, plain: Mapping[str, Any], share: float) -> int | None:
        return step_of_rung(plain, share)

    def pause_overrides(self, step: int) -> list[str]:
        return [f"pause_at={step}"]

    def seconds_of_trial(self, plain: Mapping[str, Any]) -> float | None:
        # In a process of its own: this one would keep its context on a GPU while others train there.
        command = [sys.executable, "-m", "playbook.training.timing"]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
        try:
            timed = subprocess.run(
                command, input=json.dumps(plain), capture_output=True, text=True, env=here, timeout=TIMING_SECONDS
            )
            return float(timed.stdout.split()[-1]) if timed.returncode == 0 else None
        except (OSError, ValueError, TypeError, IndexError, subprocess.TimeoutExpired):  # unknown until a trial ends
            return None

    def machine_overrides(self, plain: Mapping[str, Any], threads: int | None) -> list[str]:
        # The last bits of a sum depend on the threads: the trials of a study have as many wherever they run.
        if plain["trainer"]["num_threads"] != "auto":
            return []
        own = os.environ.get("OMP_NUM_THREADS", "")
        return [f"trainer.num_threads={int(own) if own.isdigit() and int(own) else threads or joblib.cpu_count()}"]

    def recording_overrides(self, plain: Mapping[str, Any], folder: Path, trial: Trial) -> list[str]:
        if plain["logger"]["_target_"] != WANDB_LOGGER:
            return []
        # One group a study, and one folder, since `wandb sync` does not look into folders within folders.
        study = {"name": folder.name, "arm": trial.arm, "trial": trial.number}
        own = {"group": folder.name, "dir": str(folder), "study": study}
        words = [as_override(f"logger.{key}", value) for key, value in own.items() if plain["logger"].get(key) is None]
        if plain["logger"].get("mode") == "auto" and "WANDB_MODE" not in os.environ:
            from playbook.loggers.wandb import can_be_online

            if not can_be_online():  # found out once a study, and not by every trial
                words.append("logger.mode=offline")
        return words

    def on_end(self, folder: Path, console: Console) -> None:
        try:
            study, out_dir = load_record(folder), folder / REPORT
            if is_current(study):
                console.print((out_dir / SUMMARY).read_text(encoding="utf-8").rstrip(), soft_wrap=True, highlight=False)
                page = out_dir / PAGE
            else:
                from playbook.report.study_report import report  # a second of imports

                page = report(folder, console=console)
            console.print(f"report: {page}", soft_wrap=True, highlight=False)
            if (address := wandb_address(study)) is not None:
                console.print(f"W&B: {address}", soft_wrap=True, highlight=False)
        except Exception as error:  # the trials are done and recorded, whatever becomes of the page
            said = one_line(f"{type(error).__name__}: {error}")
            raise CrashError(
                f"{folder}: the trials are done, and their report could not be written ({said});"
                f" python scripts/report.py study_dir={folder} tries again"
            ) from error
