"""Does instability limit the learning rate, where does it begin, and what mends it? (E5 to E8)

A sweep finds the best learning rate; runs at 1.5, 2, 5 and 10 times of it, and one that is evaluated after every step,
say whether the loss goes up: early, where warmup helps, or mid-run, where clipping does. With mend=true the shortest
warmup that holds at ten times the unstable learning rate is searched for, or the clipping threshold taken from the
norms, the learning rate is tuned again with it, and the two are compared on fresh seeds.

  python scripts/diagnose_stability.py model=mlp model.residual=true model.depth=12
  python scripts/diagnose_stability.py model=mlp model.residual=true model.depth=12 mend=true
  python scripts/diagnose_stability.py optimizer=adam lr_low=1e-5 lr_high=0.1 seeds=5
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from playbook.analysis.instability_of_rates import LIMITS, Begins, BestRate, Rate, Verdict, begins, best_rate, verdict
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.diagnose_stability_charts import diagnosis_charts, mending_charts
from playbook.procedures.diagnose_stability_mend import Mended, mend
from playbook.procedures.diagnose_stability_runs import Bench, TrainedRun, rounded
from playbook.procedures.diagnose_stability_words import answer_of, fixes, next_of, remarks_of, table_of
from playbook.study.overrides import override_key

PROBES = (1.5, 2.0, 5.0, 10.0)
"""Times the best learning rate (E5)."""
SPAN = 16.0
"""The sweep reaches so many times below and above the learning rate of the config: with nine of them, neighbours differ
by a factor of 2, as the best one and the one at which early instability is looked for do."""
EARLY_STEPS = 500
"""Of the run at twice the best learning rate that is evaluated after every step (E5)."""
EARLY_EXAMPLES = 256
"""That it is evaluated on: its loss is to be seen, not measured."""
GAP = 1.6
"""Instability begins between two learning rates that are no further apart than this, where most runs of the lower one
are stable; it is looked for between them at most `HALVINGS` times."""
HALVINGS = 2


class DiagnoseStabilityOptions(Options):
    """The keys beside those of train.py."""

    EXTENDS = frozenset({"seeds", "mend", "max_repeats"})

    lr_low: float | None = Field(default=None, gt=0, description="lowest learning rate of the sweep; null: lr / 16")
    lr_high: float | None = Field(default=None, gt=0, le=1e38, description="highest one; null: 16 lr")
    rates: int = Field(default=9, ge=5, le=100, description="learning rates of the sweep, evenly spaced on a log scale")
    seeds: int = Field(
        default=3, ge=3, le=100, description="runs of each learning rate; a verdict needs three that agree"
    )
    mend: bool = Field(
        default=False, description="search for the warmup or the clipping that mends it, and compare (E6, E7)"
    )
    max_repeats: int = Field(
        default=10, ge=3, le=1000, description="of mended and baseline on fresh seeds, with mend=true"
    )


@dataclass(frozen=True)
class Diagnosis:
    """What was found: `rates` judged, the best one, where instability begins, and the smallest that shows it."""

    rates: tuple[Rate, ...]
    best: BestRate
    begins: Begins | None
    verdict: Verdict
    shown_by: Rate | None


DEFAULTS = DiagnoseStabilityOptions()


def diagnose_stability(*words: str, options: DiagnoseStabilityOptions = DEFAULTS, quiet: bool = False) -> Answer:
    """Diagnose the training of `python train.py <words>`, as `scripts/diagnose_stability.py` does.

    Raises:
        InputError: one line, and nothing has been trained.
        CrashError: trials crashed; the same call runs them again.
    """
    call = begin("diagnose_stability", words, options, quiet=quiet)
    low, high = _range(call)
    bench = Bench(call, tuple(range(call.config.seed, call.config.seed + options.seeds)))
    grid = [rounded(float(rate)) for rate in np.geomspace(low, high, options.rates)]
    bench.sweep = grid
    bench.add("sweep", f"which learning rate from {grid[0]:g} to {grid[-1]:g} is best?", grid)
    best = best_rate(bench.rates(), call.config.objective.mode)
    if best is None or best.edge is not None:
        return _cannot_tell(call, bench, best)
    probes = [rounded(times * best.lr) for times in PROBES]
    bench.add(f"probes-{best.lr:g}", "does the loss go up above the best learning rate?", probes)
    early = _every_step(bench, rounded(LIMITS.near * best.lr))
    for _ in range(HALVINGS):
        if (between := _between(bench.rates(best.lr))) is None:
            break
        bench.add(f"between-{between:g}", "where does instability begin?", [between])
    rates = tuple(bench.rates(best.lr))
    found = Diagnosis(rates, best, begins(rates), *verdict(rates, best))
    mended = None
    if options.mend and found.verdict.startswith("unstable") and found.begins is not None:
        mended = mend(bench, found.verdict, best, found.begins.lr, options.max_repeats)
    return _finish(call, bench, found, early, mended)


def _range(call: Call[DiagnoseStabilityOptions]) -> tuple[float, float]:
    options, lr = call.options, call.config.lr
    for word in call.words:
        key = override_key(word)
        if key in ("lr", "output_dir", "study") or key.startswith("study."):
            instead = "give lr_low= and lr_high=" if key == "lr" else "leave it out"
            raise InputError(f"{word}: the learning rates and folders of the runs are chosen here; {instead}")
    low = lr / SPAN if options.lr_low is None else options.lr_low
    high = lr * SPAN if options.lr_high is None else options.lr_high
    if high < 4 * low:
        raise InputError(f"lr_high={high:g}: allowed is 4 times lr_low={low:g} or more, such as lr_high={30 * low:g}")
    return low, high


def _every_step(bench: Bench, lr: float) -> TrainedRun:
    """An abbreviated run of the first seed, evaluated after every step: early instability that has gone again is missed
    by evaluations that are far apart (E5)."""
    steps = min(EARLY_STEPS, bench.call.config.max_steps)
    words = [f"max_steps={steps}", "eval_every=1", f"eval_examples={EARLY_EXAMPLES}", "keep_best=0"]
    goal = f"{steps} steps at twice the best learning rate, evaluated after each"
    return bench.train_constant(f"every-step-{lr:g}", goal, lr, bench.seeds[:1], *words)[0]


def _between(rates: list[Rate]) -> float | None:
    """A learning rate between the highest stable one and where instability begins, if they are far apart."""
    start = begins(rates)
    below = [rate.lr for rate in rates if start is not None and rate.lr < start.lr]
    if start is None or not below or start.lr <= GAP * max(below):
        return None
    return rounded(math.sqrt(max(below) * start.lr))


def _cannot_tell(call: Call[DiagnoseStabilityOptions], bench: Bench, best: BestRate | None) -> Answer:
    """The best learning rate is not within the sweep."""
    low, high = bench.sweep[0], bench.sweep[-1]
    if best is None:
        why = "because most runs of every learning rate were infeasible"
        command = call.command_with(f"lr_low={rounded(low / 1000):g}", f"lr_high={low:g}")
    else:
        why = f"because the best learning rate, {best.lr:g}, is the {best.edge} end of the range"
        wider = {"lower": f"lr_low={rounded(low / 30):g}", "upper": f"lr_high={rounded(high * 30):g}"}
        command = call.command_with(wider[best.edge or "lower"])
    sentence = f"Cannot tell, {why}: what is beyond {low:g} to {high:g} was not tried."
    unknown = ("lr_star", "lr_star_interval", "unstable_base_learning_rate", "unstable_interval", "mended")
    evidence: dict[str, Any] = {**dict.fromkeys(unknown), "early_steps": bench.early_steps, "fixes": []}
    evidence["rates"] = [_plain(rate) for rate in bench.rates()]
    return call.finish(
        Answer("cannot tell", sentence, command, evidence=evidence),
        Evidence(
            "Which learning rate is best?",
            [(f"{low:g} to {high:g}", "learning rates tried")],
            diagnosis_charts(bench, bench.rates(), None, None, None),
            "Every learning rate",
            table_of(bench.rates(), None),
        ),
    )


def _finish(
    call: Call[DiagnoseStabilityOptions], bench: Bench, found: Diagnosis, early: TrainedRun, mended: Mended | None
) -> Answer:
    best, starts = found.best, found.begins
    charts = diagnosis_charts(bench, list(found.rates), best, starts, early)
    overrides: tuple[str, ...] | None = (f"lr={best.lr:g}",)
    if mended is not None:
        charts += mending_charts(mended, bench, best)
        overrides = mended.overrides if mended.adopted else overrides
    evidence: dict[str, Any] = {
        "lr_star": best.lr,
        "lr_star_interval": [best.low, best.high],
        "unstable_base_learning_rate": None if starts is None else starts.lr,
        "unstable_interval": None if starts is None else [starts.stable_to, starts.unstable_from],
        "early_steps": bench.early_steps,
        "rates": [_plain(rate) for rate in found.rates],
        "fixes": fixes(call, found.verdict, best, starts, mended),
        "mended": None if mended is None else mended.plain(),
    }
    beginning = "none" if starts is None else f"{starts.lr:g}"
    numbers = [
        (found.verdict, "verdict"),
        (f"{best.lr:g}", f"best learning rate ({best.low:g} to {best.high:g} cannot be told from it)"),
        (beginning, "learning rate at which it becomes unstable"),
    ]
    if starts is not None:
        numbers.append((f"{starts.lr / best.lr:.2g} ×", "that is, of the best one"))
    if mended is not None:
        numbers += mended.numbers
    answer = Answer(
        found.verdict,
        answer_of(found.verdict, list(found.rates), best, starts, found.shown_by, mended),
        next_of(call, found.verdict, best, mended),
        remarks_of(call, found.verdict, best, starts, mended),
        overrides,
        evidence,
    )
    title = "Does instability limit the learning rate?"
    return call.finish(
        answer, Evidence(title, numbers, charts, "Every learning rate", table_of(list(found.rates), best))
    )


def _plain(rate: Rate) -> dict[str, Any]:
    return {
        "lr": rate.lr,
        "objectives": list(rate.objectives),
        "unstable": rate.num_unstable,
        "kinds": [course.kind for course in rate.courses],
        "onsets": [course.onset for course in rate.courses],
    }
