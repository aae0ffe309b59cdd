"""What a diagnosis says: its answer, what to have in mind, the fixes in the playbook's order, what to type next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from playbook.analysis.instability_of_rates import LIMITS, Begins, BestRate, Rate, Verdict
from playbook.procedures.call import Call
from playbook.procedures.comparison import between, signed
from playbook.procedures.diagnose_stability_mend import Mended
from playbook.study.overrides import shell_line
from playbook.text import brief, count, number

LONG_WARMUP = 0.05
"""Of `max_steps`: with a longer one more steps should be thought of (E6)."""

REACHES = (LIMITS.near, LIMITS.far)

Fix = dict[str, Any]


def answer_of(
    verdict: Verdict,
    rates: Sequence[Rate],
    best: BestRate,
    starts: Begins | None,
    shown_by: Rate | None,
    mended: Mended | None,
) -> str:
    """The verdict in a sentence or three, with what it rests on."""
    known = f"the best learning rate, {best.lr:g}"
    if best.low < best.high:
        known += f" ({best.low:g} to {best.high:g} cannot be told from it)"
    num_seeds = len(rates[0].courses)
    if verdict == "cannot tell" and shown_by is not None:
        said = (
            f"Cannot tell, because at {shown_by.lr:g}, {shown_by.lr / best.lr:.2g} times {known}, the loss rises in"
            f" {shown_by.num_unstable} of {num_seeds} seeds: that may be luck."
        )
    elif shown_by is not None:
        kind = verdict.removeprefix("unstable ")
        onsets = sorted(c.onset for c in shown_by.courses if c.kind == kind and c.onset is not None)
        said = (
            f"{verdict.capitalize()}: at {shown_by.lr:g}, {shown_by.lr / best.lr:.2g} times {known}, the loss goes up"
            f" in {shown_by.num_unstable} of {num_seeds} seeds, the first time around step"
            f" {onsets[len(onsets) // 2]:,}."
        )
        said += " Mending that is likely to pay."
    else:
        near, far = ([rate for rate in rates if best.lr <= rate.lr <= times * best.lr * 1.001] for times in REACHES)
        said = (
            f"Stable: at up to {LIMITS.near:g} times {known}, the loss goes up in {_runs(near)}, and at up to"
            f" {LIMITS.far:g} times it blows up after a steady decline in {_runs(far, 'mid-run')}."
        )
    said += f" {_beginning(rates, best, starts)}"
    return said if mended is None else f"{said} {_mended(mended)}"


def _runs(rates: Sequence[Rate], kind: str | None = None) -> str:
    """`0 of 9 runs`: those that are unstable, in one way or any."""
    unstable = sum(rate.num_unstable if kind is None else rate.num(kind) for rate in rates)
    return f"{unstable} of {count(sum(len(rate.courses) for rate in rates), 'run')}"


def _beginning(rates: Sequence[Rate], best: BestRate, starts: Begins | None) -> str:
    if starts is None:
        return f"Up to {rates[-1].lr:g} there is no learning rate from which on most runs are unstable."
    below = max((rate.lr for rate in rates if rate.lr < starts.lr), default=None)
    said = f"Instability begins at {starts.lr:g}, {starts.lr / best.lr:.2g} times the best"
    inside = []
    if starts.stable_to is not None:
        inside.append(f"no run at {starts.stable_to:g} or below is unstable")
    if starts.unstable_from is not None and starts.unstable_from > starts.lr:
        inside.append(f"every run at {starts.unstable_from:g} or above is")
    elif below is not None and below != starts.stable_to:
        inside.append(f"half of the runs at {below:g}, or fewer, are")
    return f"{said} ({', '.join(inside)})." if inside else f"{said}."


def _mended(mended: Mended) -> str:
    steps, parts = mended.warmup_steps, []
    if mended.warmups:
        last = f"{mended.base_lr:g}, ten times that"
        if steps is None:
            parts.append(f"No warmup of up to {mended.warmups[-1].steps:,} steps holds at {last}, in all seeds.")
        else:
            parts.append(f"A warmup of {steps:,} steps is the shortest tried that holds at {last}, in all seeds.")
    if "clip_norm" in mended.fix:
        parts.append(f"Clipped at {mended.clip_norm:g}, the 90th percentile of the gradient's norm:")
    said = mended.comparison
    if said is None:
        parts.append("There is nothing to compare with the baseline.")
        return " ".join(parts)
    last_look = said.last
    seen = f"with {' '.join(mended.overrides)}, the best of {len(mended.rates)} learning rates, {said.metric}"
    if last_look.effect is None or last_look.low is None or last_look.high is None:
        parts.append(f"{seen} is compared by ranks, since repeats were infeasible: {_told(said.verdict)}.")
    else:
        effect = f"{signed(last_look.effect)} ({between(last_look.low, last_look.high)})"
        parts.append(
            f"{seen} of the best checkpoint is better than the baseline's by {effect} on {last_look.repeats[0]} fresh"
            f" seeds each: {_told(said.verdict)}."
        )
    return " ".join(parts)


def _told(verdict: str) -> str:
    return {"adopt": "adopt it", "keep": "keep the baseline"}.get(verdict, "that could be luck, so it cannot be told")


def remarks_of(
    call: Call[Any], verdict: Verdict, best: BestRate, starts: Begins | None, mended: Mended | None
) -> tuple[str, ...]:
    """What to have in mind beside the answer."""
    found = []
    if starts is not None and verdict == "stable" and best.high * LIMITS.near >= starts.lr:
        found.append(f"Were {best.high:g} the best learning rate, which cannot be told from it, it would be unstable.")
    if (
        starts is not None
        and verdict.startswith("unstable")
        and best.low * LIMITS.near < starts.lr
        and best.low < best.lr
    ):
        found.append(
            f"The learning rate {best.low:g} cannot be told from the best and lies well below where instability begins:"
            " if it is as good, mending pays less."
        )
    if mended is not None and (steps := mended.warmup_steps) and steps > LONG_WARMUP * call.config.max_steps:
        found.append(f"That warmup is {steps / call.config.max_steps:.0%} of max_steps: think of more steps (E6).")
    if verdict.startswith("unstable"):
        listed = "; ".join(
            " ".join(
                [f"{place + 1}. {fix['what']}", *([f"({shell_line(*fix['overrides'])})"] if fix["overrides"] else [])]
            )
            for place, fix in enumerate(fixes(call, verdict, best, starts, mended))
        )
        found.append(f"Against instability, in this order (E8): {listed}.")
    if mended is not None and mended.comparison is not None:
        found += [remark for remark in mended.comparison.remarks if "steps" in remark]
    return tuple(found)


def fixes(call: Call[Any], verdict: Verdict, best: BestRate, starts: Begins | None, mended: Mended | None) -> list[Fix]:
    """What mends instability, in the playbook's order (E8), with the overrides for this model where there are some.

    Empty where there is none to mend.
    """
    if not verdict.startswith("unstable"):
        return []
    config = call.config
    model: Mapping[str, Any] = config.model.arguments
    inside, begun = [], []
    if model.get("residual", True) and "norm_placement" in model:
        if model["norm_placement"] != "pre":
            inside.append("model.norm_placement=pre")
        if model.get("norm") == "none":
            inside.append("model.norm=layer")
        if model.get("residual_init") == "default":
            begun.append("model.residual_init=zero")
    steps = None if mended is None else mended.warmup_steps
    clip_norm = None if mended is None else mended.clip_norm
    adam = () if "adam" in config.optimizer.target.lower() else ("optimizer=adam",)
    lower = best.lr if starts is None else min(best.lr, starts.lr / LIMITS.near)
    return [
        _fix("normalise inside the residual branch, x + f(Norm(x))", inside),
        _fix("warmup", [] if steps is None else [f"warmup_steps={steps}"]),
        _fix("clip the gradient's norm", [] if clip_norm is None else [f"clip_norm={clip_norm:g}"]),
        _fix("another optimizer", adam),
        _fix("another initialisation", begun),
        _fix("a lower learning rate, last", [f"lr={number(lower)}"]),
    ]


def _fix(what: str, overrides: Sequence[str]) -> Fix:
    return {"what": what, "overrides": list(overrides)}


def next_of(call: Call[Any], verdict: Verdict, best: BestRate, mended: Mended | None) -> str:
    """The command to type."""
    if verdict == "cannot tell":
        return call.command_with(f"seeds={2 * call.options.seeds}")
    if verdict != "stable" and mended is None and not call.options.mend:
        return call.command_with("mend=true")
    if mended is not None and mended.adopted:
        return call.train_command(*mended.overrides)
    if mended is not None and mended.comparison is not None and mended.comparison.verdict == "cannot tell":
        return mended.comparison.next
    return call.train_command(f"lr={best.lr:g}")


def table_of(rates: Sequence[Rate], best: BestRate | None) -> tuple[list[str], list[list[str]]]:
    """Every learning rate that was tried at full length."""
    head = ["lr", "× best", "objective", "feasible", "early", "mid-run", "from step"]
    rows = []
    for rate in rates:
        onsets = sorted(course.onset for course in rate.courses if course.onset is not None)
        mean = "–" if rate.mean is None else brief(rate.mean)
        times = "–" if best is None else f"{rate.lr / best.lr:.2g}"
        feasible = f"{len(rate.known)} of {len(rate.objectives)}"
        kinds = [str(rate.num(kind)) for kind in ("early", "mid-run")]
        rows.append([f"{rate.lr:g}", times, mean, feasible, *kinds, ", ".join(map(str, onsets)) or "–"])
    return head, rows
