"""What a study is about to do, for a person to nod at: arms, space, caveats, advice, time (B2, B4).

It reads well at 80 columns and is printed before the first trial runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from playbook.config import NOT_PART_OF_A_TRIAL
from playbook.study.advice import Advice, advice, arm_plans
from playbook.study.design import Case, Design
from playbook.study.space import Choice, Dimension, Value
from playbook.text import count, duration
from playbook.validation import show

MAX_ARMS = 12
MAX_CAVEATS = 12
MAX_OF_A_BLOCK = 8
"""Rows, lines, and settings of a line: the plan is a screen, and study.yaml has the rest."""

_DULL = (
    *NOT_PART_OF_A_TRIAL,
    "data.in_memory",
    "data.num_workers",
    "eval_every",
    "keep_best",
    "objective",
    "seed",
    "trainer",
)
_FIRST = ("batch_size", "max_steps", "lr", "optimizer", "model", "schedule", "data")
"""Blocks and top-level keys whose caveats matter most come first."""


@dataclass(frozen=True)
class Plan:
    """A study of `n_trials` trials, of which those that took `seconds` have ended, with `num_workers` at a time.

    `steps` are those of each missing trial, empty where nobody knows; `timed_seconds` is what one of them takes by a
    measurement before the first; `budget` says what `study.budget_hours` leaves, `rungs` who goes on; or nothing.
    """

    design: Design
    n_trials: int
    seconds: tuple[float, ...] = ()
    num_workers: int = 1
    steps: tuple[int, ...] = ()
    timed_seconds: float | None = None
    budget: str = ""
    rungs: str = ""

    @property
    def num_missing(self) -> int:
        """Trials that are still to run."""
        return max(0, self.n_trials - len(self.seconds))

    @property
    def estimated_seconds(self) -> float | None:
        """Wall-clock time of the trials that are missing; None where nothing is known of what one takes."""
        each = self.seconds_of_trial
        return None if each is None else each * math.ceil(self.num_missing / self.num_workers)

    @property
    def seconds_of_trial(self) -> float | None:
        """What a trial takes: the median of those that have ended, or what was timed."""
        return statistics.median(self.seconds) if self.seconds else self.timed_seconds

    @property
    def advice(self) -> list[Advice]:
        """What the playbook would do otherwise."""
        return advice(self.design, self.n_trials)

    def text(self, width: int = 80) -> str:
        """The plan as plain text."""
        console = Console(width=width, color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text.assemble((self.design.name, "bold"), f": {self.design.goal}" if self.design.goal else "")
        yield from self._about()
        yield Text()
        if self.design.listed_trials:
            yield _trials(self.design, self.n_trials)
        else:
            yield self._arms()
            yield Text()
            yield _hyperparameters(self.design)
        if caveats := list(_caveats(self.design)):
            yield Text()
            yield _block("Fixed: what is found holds for these (B2)", caveats, "dim")
        if said := self.advice:
            yield Text()
            yield _block("Advice", [(each.rule, each.message) for each in said], "yellow")

    def _about(self) -> Iterator[RenderableType]:
        objective, done = self.design.objective, len(self.seconds)
        better = "lowest" if objective.mode == "min" else "highest"
        yield Text(f"objective: the {better} {objective.metric} over the course of a trial", style="dim")
        if self.design.bayesian is not None:
            yield Text(self.design.bayesian.words())
        trials = count(self.n_trials, "trial") + (f", {done} done" if done else "")
        if self.num_missing == 0:
            time = "nothing left to run"
        elif self.estimated_seconds is None or self.seconds_of_trial is None:
            time = "how long is unknown until the first trial ends"
        else:
            left = duration(self.estimated_seconds)
            each = duration(self.seconds_of_trial)
            time = f"about {left} to go: {each} a trial, {self.num_workers} at a time"
        yield Text(f"{trials}; {time}")
        if cost := "; ".join(self._cost()):
            yield Text(f"cost (B4): {cost}")
        if self.budget:
            yield Text(f"budget: {self.budget}")
        if self.rungs:
            yield Text(f"rungs (G7): {self.rungs}")

    def _cost(self) -> Iterator[str]:
        """What the missing trials cost: `16 trials × 2,000 steps = 32,000 steps`, and compute time."""
        if not self.num_missing:
            return
        if self.steps:
            trials, total = count(len(self.steps), "trial"), f"{sum(self.steps):,}"
            is_same = len(set(self.steps)) == 1
            yield f"{trials} × {self.steps[0]:,} steps = {total}" if is_same else f"{total} steps in {trials}"
        if self.seconds_of_trial is not None:
            timed = "" if self.seconds else ", by timing a few steps of the first"
            yield f"about {duration(self.num_missing * self.seconds_of_trial)} of compute{timed}"

    def _arms(self) -> Table:
        plans = arm_plans(self.design, self.n_trials)
        table = _table("Arm", "Trials", "Dimensions", "Points a dimension")
        for plan in plans[:MAX_ARMS]:
            repeats = f" × {len(plan.arm.repeats)}" if len(plan.arm.repeats) > 1 else ""
            trials = f"{plan.points}{repeats}"
            density = f"{plan.points_a_dimension:.1f}" if plan.dimensions and plan.trials else "–"
            table.add_row(Text(plan.arm.name), trials, str(plan.dimensions), "all" if plan.is_whole else density)
        if len(plans) > MAX_ARMS:
            table.add_row(f"and {len(plans) - MAX_ARMS} more", "", "", "")
        return table


def _hyperparameters(design: Design) -> Table:
    """A row a hyperparameter; a conditional one has a row for each condition."""
    table = _table("Hyperparameter", "Role", "Values", "Scale")
    spaces: list[tuple[str, Mapping[str, Dimension], Mapping[str, Sequence[Value]]]] = [
        ("scientific", design.scientific, {}),
        *(("case", _given(each), {"case": (name,)}) for name, each in design.cases.items()),
        ("nuisance", design.nuisance, {}),
        *(("nuisance", each.space, each.when) for each in design.conditional),
        ("repeat", design.repeat, {}),
    ]
    for role, space, when in spaces:
        for key, each in space.items():
            condition = " and ".join(f"{name}={','.join(map(show, values))}" for name, values in when.items())
            name = Text(key).append(f"\n  where {condition}" if condition else "", style="dim")
            table.add_row(name, role, Text(_values(each)), "" if isinstance(each, Choice) else _scale(each))
    return table


def _given(case: Case) -> dict[str, Dimension]:
    """What a case searches, and the values that it sets."""
    return {**{key: Choice((value,)) for key, value in case.settings.items()}, **case.space}


def _trials(design: Design, n_trials: int) -> Table:
    """A list of trials, setting by setting."""
    table = _table("Trial", *design.parameters)
    for trial in design.trials(n_trials)[:MAX_ARMS]:
        shown = (show(trial.settings[key]) if key in trial.settings else "" for key in design.parameters)
        table.add_row(str(trial.number), *map(Text, shown))
    if n_trials > MAX_ARMS:
        table.add_row(f"and {n_trials - MAX_ARMS} more")
    return table


def _caveats(design: Design) -> Iterator[tuple[str, str]]:
    """`(block, its settings)` of what is fixed, the weightiest first; then how much more there is."""
    rows = [("", block, settings) for block, settings in _blocks(design.fixed).items()]
    for arm, fixed in design.fixed_in.items():
        rows += [(arm, block, settings) for block, settings in _blocks(fixed).items()]
    left_out = sum(len(settings) for _, _, settings in rows[MAX_CAVEATS:])
    for arm, block, settings in rows[:MAX_CAVEATS]:
        words = [key if value is None else f"{key}={value}" for key, value in settings.items()]
        left_out += len(words[MAX_OF_A_BLOCK:])
        where = f"where {arm}: " if arm else ""
        yield block, where + " ".join(words[:MAX_OF_A_BLOCK])
    if left_out:
        yield "", f"and {left_out} more in study.yaml"


def _blocks(fixed: Mapping[str, Value]) -> dict[str, dict[str, str | None]]:
    """Settings by their block, without the dull ones; a component's class stands first, as a word of its own."""
    blocks: dict[str, dict[str, str | None]] = {}
    for key, value in fixed.items():
        if value == {} or any(key == dull or key.startswith(f"{dull}.") for dull in _DULL):
            continue
        block, _, name = key.partition(".")
        if not name:
            blocks.setdefault("trial", {})[key] = show(value)
        elif name == "_target_":
            blocks[block] = {str(value).rpartition(".")[2]: None, **blocks.get(block, {})}
        else:
            blocks.setdefault(block, {})[name] = show(value)
    order = ["trial", *_FIRST, *blocks]
    for block, settings in blocks.items():
        ordered = sorted(settings, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
        blocks[block] = {key: settings[key] for key in ordered}
    return {block: blocks[block] for block in sorted(blocks, key=order.index)}


def _values(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return ", ".join(map(show, dimension.values))
    return f"{dimension.low:g} to {dimension.high:g}"


def _scale(dimension: Any) -> str:
    return {"log_one_minus": "log of 1 − x"}.get(dimension.scale, dimension.scale)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", show_edge=False)
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    return table


def _block(title: str, rows: Sequence[tuple[str, str]], style: str) -> Table:
    table = Table(
        box=None, padding=(0, 2, 0, 0), show_header=False, show_edge=False, title=Text(title), title_justify="left"
    )
    table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for first, second in rows:
        table.add_row(Text(first), Text(second))
    return table
