"""How many steps to train for, as a first guess: the fewest that reach perfect training performance (C3).

Trials at a constant learning rate, without augmentation and regularisation, `max_steps` each: the fastest to a training
error of 0 says how long is enough; where its learning rate is at the edge of the sweep there is no answer yet.

  python scripts/find_max_steps.py                                    digits, an MLP
  python scripts/find_max_steps.py model=cnn optimizer=adam max_steps=4000
  python scripts/find_max_steps.py lr_min=0.001 lr_max=10 n_trials=24
  python scripts/find_max_steps.py experiment=text_transformer metric=train/eval_loss target=1.5
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from playbook.analysis.fastest_lr import Fastest, SweptTrial, enough_for_all, fastest, steps_to
from playbook.analysis.study import Study
from playbook.components import resolve
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.find_max_steps_charts import Curve, max_steps_charts
from playbook.procedures.plain_training import PlainTraining, without_regularisation
from playbook.study.overrides import override_key
from playbook.text import brief, count, listed

NUM_EVALUATIONS = 80
"""Of a trial, unless `eval_every` is typed: steps are known to about a hundredth of the longest trial, and evaluations
of a small network take no longer than its steps."""
AROUND = 100.0
"""The sweep's ends over the learning rate that the optimizer brings: four decades, as in `study=learning_rate`."""
WIDER = 10.0
"""How much further the end goes at which the fastest trial lies."""
LONGER = 4
SEEDS_LONGER, SEEDS_LOOKS = 5, 16
"""The trials with fresh seeds may take so many times the fewest steps of the sweep, and are evaluated so often in
those: at a constant learning rate a shorter trial is the beginning of a longer one."""


class FindMaxStepsOptions(Options):
    """See the fields."""

    EXTENDS: ClassVar[frozenset[str]] = frozenset({"n_trials", "num_seeds"})

    lr_min: PositiveFloat | None = Field(
        default=None, description="of the sweep; null: a hundredth of the optimizer's lr"
    )
    lr_max: PositiveFloat | None = Field(
        default=None, description="of the sweep; null: a hundred times the optimizer's lr"
    )
    n_trials: int = Field(default=12, ge=4, le=1000, description="learning rates, quasi-random on a log scale")
    num_seeds: int = Field(default=3, ge=2, le=100, description="fresh seeds of the fastest learning rate")
    metric: Literal["train/error", "train/eval_loss"] = Field(
        default="train/error", description="what has to be perfect: of a fixed sample of the training split"
    )
    target: float | None = Field(
        default=None, description="what is perfect; null: an error of 0, where the task can have one"
    )


@dataclass(frozen=True)
class _Swept:
    """The trials of the sweep and, once it has an inner fastest one, those of its learning rate with fresh seeds."""

    target: float
    plain: PlainTraining
    trials: tuple[SweptTrial, ...]
    fastest: Fastest
    curves: tuple[Curve, ...]
    repeats: tuple[SweptTrial, ...] = ()
    repeats_every: int = 0
    repeats_until: int = 0


def find_max_steps(
    *words: str,
    options: FindMaxStepsOptions = FindMaxStepsOptions(),  # noqa: B008
    quiet: bool = False,
) -> Answer:
    """Find the steps to perfect training performance of the trial that `words` compose, as a first `max_steps`.

    Raises:
        InputError: one line, and nothing has been trained.
        CrashError: trials crashed; the same call runs them again.
    """
    _refuse(words)
    call = begin("find_max_steps", words, options, quiet=quiet)
    target = _target(call)
    plain = without_regularisation(call.words, call.config)
    trials = replace(call, words=plain.words)
    low, high = _range(call)
    eval_every = _eval_every(call)
    common = (
        *(f"objective.metric={options.metric}", "objective.mode=min", "keep_best=0"),
        *(() if call.config.eval_examples else ("eval_examples=256",)),  # validation is not what is looked at
    )
    call.console.print(f"turned off: {', '.join(plain.off) or 'nothing, it is plain already'}", highlight=False)
    sweep = {"nuisance": {"lr": {"min": low, "max": high, "scale": "log"}}, "n_trials": options.n_trials}
    goal = f"at which constant lr does {options.metric} get to {target:g} first?"
    study = trials.run_study("sweep", goal, sweep, *common, f"eval_every={eval_every}")
    swept, curves = _read(study, options.metric, target)
    found = fastest(swept, eval_every)
    seen = _Swept(target, plain, swept, found, curves)
    if found.edge is None and found.trial is not None and found.trial.steps is not None:
        lr, fewest = found.trial.lr, found.trial.steps
        every, until = max(1, fewest // SEEDS_LOOKS), min(call.config.max_steps, SEEDS_LONGER * max(1, fewest))
        seeds = [{"lr": lr, "seed": call.config.seed + 1 + number} for number in range(options.num_seeds)]
        goal = f"how many steps does lr={brief(lr)} take with other seeds?"
        shorter = (f"eval_every={every}", f"max_steps={until}")
        repeated = trials.run_study("seeds", goal, {"trials": seeds}, *common, *shorter)
        repeats, more = _read(repeated, options.metric, target)
        curves = (*curves, *(replace(each, is_repeat=True) for each in more))
        seen = replace(seen, repeats=repeats, curves=curves, repeats_every=every, repeats_until=until)
    return call.finish(_answer(call, seen, low, high, eval_every), _evidence(call, seen, eval_every))


def _refuse(words: tuple[str, ...]) -> None:
    for word in words:
        key = override_key(word)
        if key == "lr":
            raise InputError(f"{word}: the learning rate is swept; say between what with lr_min=… lr_max=…")
        if key.startswith("objective.") or key == "eval_examples":
            raise InputError(f"{word}: what is looked at is a training metric; choose it with metric=, target=")


def _target(call: Call[FindMaxStepsOptions]) -> float:
    if call.options.target is not None:
        return call.options.target
    perfect: float | None = None
    if call.options.metric == "train/error":
        task = resolve(call.config.task.target, "task")
        perfect = getattr(task, "perfect_error", None)
    if perfect is None:
        given = f"metric={call.options.metric} of {call.config.task.target.rpartition('.')[2]}"
        raise InputError(
            f"{given}: it has no value that is perfect; say what is good enough, such as metric=train/eval_loss"
            " target=0.1"
        )
    return perfect


def _range(call: Call[FindMaxStepsOptions]) -> tuple[float, float]:
    options, lr = call.options, call.config.lr
    low = lr / AROUND if options.lr_min is None else options.lr_min
    high = lr * AROUND if options.lr_max is None else options.lr_max
    if low >= high:
        raise InputError(f"lr_min={low:g} lr_max={high:g}: the first has to be below the second")
    return float(f"{low:.6g}"), float(f"{high:.6g}")


def _eval_every(call: Call[FindMaxStepsOptions]) -> int:
    typed = any(word.lstrip("+").startswith("eval_every=") for word in call.words)
    return call.config.eval_every if typed else max(1, call.config.max_steps // NUM_EVALUATIONS)


def _read(study: Study, metric: str, target: float) -> tuple[tuple[SweptTrial, ...], tuple[Curve, ...]]:
    """The trials that have ended, and their curves of `metric`."""
    values: dict[int, dict[str, list[tuple[int, float]]]] = {}
    for trial, step, name, value in study.curves([metric, "train/eval_loss"]).sort("step").iter_rows():
        values.setdefault(trial, {}).setdefault(name, []).append((step, value))
    trials, curves = [], []
    for row in study.trials.iter_rows(named=True):
        curve = values.get(row["trial"], {})
        steps = steps_to(target, curve.get(metric, []))
        losses = curve.get("train/eval_loss", curve.get(metric, []))
        final = losses[-1][1] if row["status"] == "complete" and losses else None
        trials.append(SweptTrial(float(row["lr"]), steps, final))
        curves.append(Curve(float(row["lr"]), tuple(curve.get(metric, [])), is_repeat=False))
    return tuple(trials), tuple(curves)


def _answer(call: Call[FindMaxStepsOptions], seen: _Swept, low: float, high: float, eval_every: int) -> Answer:
    evidence: dict[str, Any] = {
        "metric": call.options.metric,
        "target": seen.target,
        "turned_off": list(seen.plain.off),
        "range": [low, high],
        "eval_every": eval_every,
        "edge": seen.fastest.edge,
        "lr": seen.fastest.trial.lr if seen.fastest.trial else None,
        "sweep": [vars(trial) for trial in sorted(seen.trials, key=lambda trial: trial.lr)],
        "seeds": [vars(trial) for trial in seen.repeats],
    }
    if seen.fastest.edge is not None or seen.fastest.trial is None or not seen.fastest.arrived:
        return _cannot_tell(call, seen, low, high, eval_every, evidence)
    lr, fewest = seen.fastest.trial.lr, seen.fastest.trial.steps
    steps = sorted(trial.steps for trial in seen.repeats if trial.steps is not None)
    what = _perfect(call, seen)
    if len(steps) < len(seen.repeats):
        answer = (
            f"Cannot tell, because lr={brief(lr)}, which was the fastest with {fewest:,} steps, got to {what} with"
            f" {len(steps)} of {len(seen.repeats)} other seeds only, in {seen.repeats_until:,} steps."
        )
        longer = call.command_with(f"max_steps={LONGER * call.config.max_steps}")
        return Answer("cannot tell", answer, longer, evidence=evidence)
    most = enough_for_all(seen.target, [curve.values for curve in seen.curves if curve.is_repeat]) or steps[-1]
    chance = f"1 in {len(steps) + 1}"
    answer = (
        f"max_steps={most}: at lr={brief(lr)}, the fastest of {len(seen.trials)}, {what} takes {steps[0]:,} to"
        f" {steps[-1]:,} steps ({len(steps)} fresh seeds, looked at every {seen.repeats_every})."
    )
    remarks = [
        f"A further seed takes longer than {steps[-1]:,} steps with a chance of {chance}; the sweep's own trial took"
        f" {fewest:,}, and was chosen for being fast.",
        "It is a first guess, without "
        + (listed(seen.plain.off) if seen.plain.off else "any regularisation")
        + ": what is added"
        " to generalise takes longer; lr is to be tuned again at this max_steps (C3).",
        *_left_on(seen),
    ]
    evidence |= {"max_steps": most, "steps": [steps[0], steps[-1]]}
    overrides = (f"max_steps={most}",)
    study = call.train_command("-m", "study=learning_rate", *overrides)
    return Answer("found", answer, study, tuple(remarks), overrides, evidence)


def _cannot_tell(
    call: Call[FindMaxStepsOptions],
    seen: _Swept,
    low: float,
    high: float,
    eval_every: int,
    evidence: Mapping[str, Any],
) -> Answer:
    what, trial, edge = _perfect(call, seen), seen.fastest.trial, seen.fastest.edge
    higher, lower = f"lr_max={high * WIDER:g}", f"lr_min={low / WIDER:g}"
    max_steps = call.config.max_steps
    if trial is None:
        because, next_words = "all trials diverged; the best lr is below the range: lower lr_min", [lower]
    elif edge == "both":
        because = f"trials at both ends of the range are as fast as the fastest ({trial.steps:,} steps)"
        if trial.steps is not None and trial.steps <= 2 * eval_every:
            because += f", to within the {eval_every} steps between two looks: look more often"
            next_words = [f"eval_every={max(1, eval_every // 10)}", f"max_steps={max(10, max_steps // 10)}"]
        else:
            because, next_words = f"{because}: widen it both ways", [lower, higher]
    elif edge is not None:
        where = "high" if edge == "high" else "low"
        found = f"fastest, {trial.steps:,} steps," if trial.steps is not None else "least training loss"
        missed = "" if seen.fastest.arrived else f"no trial got to {what} in {max_steps:,} steps, and "
        side = "higher" if edge == "high" else "lower"
        because = (
            f"{missed}the {found} is at lr={brief(trial.lr)}, the {where} edge of {low:g} to {high:g}: the best lr may"
            f" be {side}, widen the range {'up' if edge == 'high' else 'down'}"
        )
        next_words = [higher if edge == "high" else lower]
    else:
        because = (
            f"no trial got to {what} in {max_steps:,} steps; the least training loss, {brief(trial.final_loss)}, is at"
            f" lr={brief(trial.lr)}, inside the range: train longer, or a larger model"
        )
        next_words = [f"max_steps={LONGER * max_steps}"]
    answer = f"Cannot tell, because {because}."
    return Answer("cannot tell", answer, call.command_with(*next_words), tuple(_left_on(seen)), evidence=evidence)


def _left_on(seen: _Swept) -> list[str]:
    if seen.plain.left_on is None:
        return []
    return [f"The augmentation of the data ({seen.plain.left_on}) stayed on: no key is known that turns it off."]


def _perfect(call: Call[FindMaxStepsOptions], seen: _Swept) -> str:
    named = "training error" if call.options.metric == "train/error" else "training loss"
    return f"a {named} of {seen.target:g}"


def _evidence(call: Call[FindMaxStepsOptions], seen: _Swept, eval_every: int) -> Evidence:
    numbers = [(count(len(seen.trials), "learning rate"), f"of {call.config.max_steps:,} steps each")]
    steps = [trial.steps for trial in seen.repeats if trial.steps is not None]
    if steps:
        numbers.insert(0, (f"{min(steps):,} – {max(steps):,}", f"steps, {count(len(seen.repeats), 'fresh seed')}"))
    if seen.fastest.trial is not None:
        numbers.append((brief(seen.fastest.trial.lr), "the fastest lr" if seen.fastest.arrived else "the best lr"))
    rows = [
        (brief(trial.lr), kind, "not reached" if trial.steps is None else f"{trial.steps:,}", _loss(trial))
        for kind, trials in (("sweep", seen.trials), ("seed", seen.repeats))
        for trial in sorted(trials, key=lambda trial: trial.lr)
    ]
    table = (("lr", "part", f"steps to {_perfect(call, seen)}", "training loss at the end"), rows)
    charts = max_steps_charts(
        seen.trials,
        seen.repeats,
        seen.curves,
        metric=call.options.metric,
        target=seen.target,
        longest=call.config.max_steps,
        eval_every=eval_every,
    )
    return Evidence("How many steps are enough?", numbers, charts, "Every trial", table)


def _loss(trial: SweptTrial) -> str:
    return "diverged" if trial.final_loss is None else brief(trial.final_loss)
