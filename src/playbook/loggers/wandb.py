"""Weights & Biases as a mirror of the run: on by default, never a question, never a long wait, never the truth.

Online with a key, offline without one or where the server does not answer in time; `wandb sync` sends an offline run
later. Written for wandb 0.31.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import polars as pl
import wandb

from playbook.loggers.base import RunLogger
from playbook.loggers.wandb_content import (
    STEP_NAMES,
    Row,
    ThinnedSteps,
    classes_table,
    facts,
    is_of_a_class,
    predictions_table,
    tags,
)
from playbook.run_files import WANDB_ID, Result, StepRows, replace_file

if TYPE_CHECKING:
    from pytorch_lightning import loggers as lightning_loggers

TIMEOUT_SECONDS = 10
STEP = "trainer/global_step"


class WandbLogger(RunLogger):
    """One W&B run a trial, with the metric names and the steps of its files.

    `options` are those of the config groups (`{"optimizer": "adam"}`), and `study` says whose trial it is (`{"name":
    …, "arm": …, "trial": …}`): whoever composes the trial fills them in.
    """

    def __init__(
        self,
        project: str,
        entity: str | None = None,
        tags: list[str] | None = None,
        group: str | None = None,
        job_type: str = "trial",
        dir: str | None = None,  # W&B's own word
        mode: Literal["auto", "online", "offline"] = "auto",
        options: dict[str, str] | None = None,
        study: dict[str, Any] | None = None,
    ) -> None:
        self._project = project
        self._entity = entity
        self._tags = tags or []
        self._group = group
        self._job_type = job_type
        self._dir = dir
        self._mode = mode
        self._options = options or {}
        self._study = study or {}
        self._run: Any = None
        self._run_dir = Path()
        self._steps = ThinnedSteps(0)

    @property
    def lightning_logger(self) -> lightning_loggers.Logger | None:  # type: ignore[override]
        """Lightning's own logger on the same run, for callbacks that log."""
        if self._run is None:
            return None
        from pytorch_lightning import loggers as lightning_loggers

        return lightning_loggers.WandbLogger(experiment=self._run, log_model=False)

    def open(self, *, run_dir: str, config: Mapping[str, Any]) -> None:
        self._run_dir = Path(run_dir)
        folder = Path(self._dir or run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {
            "project": self._project,
            "entity": self._entity,
            "tags": tags(self._tags, self._options, self._study),
            "group": self._group,
            "job_type": self._job_type,
            "dir": str(folder),
            "name": Path(run_dir).name,
            "id": _known_id(Path(run_dir)) or secrets.token_hex(4),
            "resume": "allow",
            "config": facts(config, self._options, self._study),
            "reinit": "create_new",  # trials in one process do not log into each other's runs
        }
        self._run = _init(arguments, folder, self._mode)
        self._steps = ThinnedSteps(config["warmup_steps"] + config["max_steps"])
        url = None if self._run.offline or self._run.disabled else self._run.url
        replace_file(Path(run_dir) / WANDB_ID, json.dumps({"id": arguments["id"], "url": url}) + "\n")
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        objective = config["objective"]
        self._run.define_metric(objective["metric"], step_metric=STEP, summary=objective["mode"])

    @property
    def where(self) -> str | None:  # type: ignore[override]
        """The page of an online run, the command that sends an offline one."""
        if self._run is None or self._run.disabled:
            return None
        return self._run.url if not self._run.offline else f"offline; wandb sync {Path(self._run.dir).parent}"

    def log_steps(self, rows: StepRows) -> None:
        self._send_steps(self._steps.add(rows))
        norms = rows.grad_norm[np.isfinite(rows.grad_norm)]
        if len(norms):
            histogram = wandb.Histogram(np_histogram=np.histogram(norms, bins=32))
            self._run.log({STEP: rows.first_step + len(rows) - 1, "grad_norm_histogram": histogram})

    def _send_steps(self, rows: list[Row]) -> None:
        for step, values in rows:
            self._run.log({STEP: step, **dict(zip(STEP_NAMES, values, strict=True))})

    def log_evaluation(self, step: int, metrics: Mapping[str, float], predictions: list[tuple[Any, ...]]) -> None:
        self._run.log({STEP: step, **{name: value for name, value in metrics.items() if not is_of_a_class(name)}})

    def close(self, result: Result | None) -> None:
        if self._run is None:
            return
        try:
            self._send_steps(self._steps.rest())
        finally:
            run, self._run = self._run, None
            self._finish(run, result)

    def _finish(self, run: Any, result: Result | None) -> None:
        try:
            if result is not None:
                run.summary.update({name: getattr(result, name) for name in _SUMMARY})
                _log_table(run, "predictions", predictions_table(self._run_dir))
                _log_table(run, "classes", classes_table(self._run_dir, result.best_step))
        finally:
            # A run that is not finished here would be "finished" by whatever ends the process, even a crash.
            run.finish(exit_code=0 if result is not None else 1)


_SUMMARY = (
    "status",
    "reason",
    "objective",
    "objective_se",
    "n_examples",
    "best_step",
    "final_objective",
    "chance",
    "above_chance",
    "steps",
    "seconds",
)


def _log_table(run: Any, name: str, table: pl.DataFrame) -> None:
    if table.height:
        shown = wandb.Table(columns=[*table.columns], data=[list(row) for row in table.rows()])
        run.log({STEP: table["step"].max(), name: shown})


def settings() -> wandb.Settings:
    """Of every run of ours: no question, no word, no long wait."""
    return wandb.Settings(init_timeout=TIMEOUT_SECONDS, finish_timeout=60, silent=True, console="off")


_lost = False
"""Set when W&B has failed once: later trials of this process do not wait for it again, nor say so."""


def can_be_online() -> bool:
    """Whether there is a key and its server answers, within `TIMEOUT_SECONDS`; whoever runs a study asks once.

    A server that does not answer is said in a line; a missing key is nothing to talk about.
    """
    if _lost:
        return False
    try:
        wandb.setup(settings=wandb.Settings(x_disable_viewer=True, silent=True))  # else login waits for the server
        if not wandb.login(prompt=False, verify=False):
            return False
        _ask(str(wandb.setup().settings.base_url))
    except Exception as error:  # a key of the wrong form, no server: whatever it is, it is no reason not to train
        _go_offline(error)
        return False
    return True


@cache
def _ask(url: str) -> None:
    with suppress(urllib.error.HTTPError):  # it answers
        urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)


def _go_offline(error: Exception) -> None:
    global _lost
    _lost = True
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    print(f"W&B cannot be reached ({reason}); recording offline, `wandb sync` sends it later", file=sys.stderr)


def _init(arguments: dict[str, Any], folder: Path, mode: Literal["auto", "online", "offline"]) -> Any:
    """The run: as WANDB_MODE or `mode` says, else online if there is a key and the server answers, else offline."""
    if "WANDB_MODE" in os.environ:
        return wandb.init(**arguments, settings=settings())
    if mode != "auto":
        return wandb.init(**arguments, settings=settings(), mode=mode)
    if can_be_online():
        try:
            return wandb.init(**arguments, settings=settings())
        except Exception as error:  # a server that answers with nonsense, a service that died: none is worth a trial
            _go_offline(error)
            for leftover in (folder / "wandb").glob(f"run-*-{arguments['id']}"):
                shutil.rmtree(leftover)
            arguments["id"] = secrets.token_hex(4)  # wandb's service holds on to the id of the run that it gave up
    return wandb.init(**arguments, settings=settings(), mode="offline")


def _known_id(run_dir: Path) -> str | None:
    """The id of the W&B run that an earlier part of this run went to."""
    try:
        return cast(str, json.loads((run_dir / WANDB_ID).read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
