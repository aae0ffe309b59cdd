"""Which trials stand out and which failed: the same on every chart, in the table and at the head of the page (B7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from playbook.analysis.repeats import averaged, setting_of_trials
from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import NUM_BEST, Tables, computed_once

WORDS = {
    "no_better_than_start": "no better than at the start",
    "no_better_than_chance": "no better than chance",
}
"""Causes whose name alone is no phrase."""


@dataclass(frozen=True)
class Standing:
    """`best` are stars, best first; `members` cannot be told from them; `shown` are the few whose curves stand out.

    `failed` says why, by trial. A trial that failed is none of the others, whatever its number.
    """

    best: tuple[int, ...]
    members: tuple[int, ...]
    shown: tuple[int, ...]
    failed: Mapping[int, str]


@computed_once
def standing(tables: Tables) -> Standing:
    """The standing of the trials."""
    judged = causes(tables).filter(pl.col("cause").is_not_null())
    failed = {trial: _why(cause, metric) for trial, _, cause, metric in judged.iter_rows()}
    works = [trial for trial in tables.ranked()["trial"] if trial not in failed]
    num_settings = len(averaged(tables).ranked())
    few = max(1, min(NUM_BEST, num_settings // 4))  # few in a small study, so that a star means something
    best, members = tuple(works[:few]), ()
    shown = tuple(dict.fromkeys([*best, *members, *works]))[: min(NUM_BEST, max(1, num_settings // 2))]
    return Standing(best, members, shown, failed)


def _why(cause: str, metric: str | None) -> str:
    words = WORDS.get(cause, cause.replace("_", " "))
    return f"{words}, by {metric}" if metric else words


@dataclass(frozen=True)
class Counts:
    """How many settings were tried (trials where none is repeated), how many of them failed, and how many crashed."""

    tried: int
    failed: int
    crashed: int


def counts(tables: Tables, arm: str | None = None) -> Counts:
    """Of an arm, or of all, as the findings count: a setting fails where a repeat of it does; a crash is no trial."""
    failed = list(standing(tables).failed)
    tried, num_failed = 0, 0
    for name in tables.arms if arm is None else (arm,):
        settings = setting_of_trials(tables, name).group_by("setting").agg(pl.col("trial").is_in(failed).any())
        tried, num_failed = tried + len(settings), num_failed + int(settings["trial"].sum())
    trials = tables.trials if arm is None else tables.of_arm(arm)
    return Counts(tried, num_failed, len(trials.filter(status="crashed")))
