"""Up to which batch size do larger batches still save steps? With the learning rate tuned anew for each (A6, A7, G4).

  python scripts/critical_batch_size.py
  python scripts/critical_batch_size.py experiment=fashion_mnist_mlp max_steps=1000
  python scripts/critical_batch_size.py 'batch_sizes=[16,32,64,128,256]' objective.metric=val/loss target=0.3

A first round at batch_size, over max_steps, chooses the target. Then each size trains until well after it may be
expected to reach it, with learning rates around lr·√(size/batch_size); its best trial counts. It ends with the fit of
steps to the target S = a + b/B, the critical batch sizes that follow from it, each by its name and with an interval,
the time and the device-seconds of each size, and the gradient noise scale of the same runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from playbook.analysis.critical_batch_size import THRESHOLDS, Interval, ScalingFit, fit_scaling
from playbook.analysis.noise_scale import NoiseScale, noise_scale
from playbook.analysis.study import Study
from playbook.config import Config
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.critical_batch_size_charts import charts
from playbook.procedures.critical_batch_size_reading import Size, attempts_of, noise_measured, sizes_of
from playbook.study.overrides import override_key
from playbook.text import brief, duration, listed

OF_THE_WAY = 0.95
"""Of the way from the start to the best of the first round: far enough that training is what it is, and near enough
that every size gets there."""
SLACK = 2.0
"""Steps of a trial for each that perfect scaling from the first round asks for."""
EVALUATIONS = 50
"""Of a trial, about."""
FIRST_EVALUATIONS = 100
FEWEST_LRS = 4
"""Of a size: with fewer the best is the first or the last. The first round, which is long, makes do with half."""
NOISE_EVERY = 5
"""Evaluations from one measurement of the gradient's noise to the next: it takes as long as some of them."""
DECIDED = {
    "eval_every": "evaluations are as frequent as each batch size needs",
    "keep_best": "no checkpoint of these trials is kept",
}


class CriticalBatchSizeOptions(Options):
    """The keys of `scripts/critical_batch_size.py`."""

    batch_sizes: list[PositiveInt] | None = Field(
        default=None, description="null: batch_size times 1/8, 1/4, … 16, as far as there are training examples"
    )
    target: float | None = Field(
        default=None,
        description="value of objective.metric; null: 95 % of the way from the start to the first round's best",
    )
    num_lrs: Annotated[int, Field(ge=FEWEST_LRS, le=256)] = Field(
        default=8, description="learning rates that each size is tried with"
    )
    lr_factor: Annotated[float, Field(gt=1)] = Field(
        default=10.0,
        description="they lie between lr/lr_factor and lr·lr_factor, where lr is scaled by √(size/batch_size)",
    )


def critical_batch_size(
    *words: str,
    options: CriticalBatchSizeOptions = CriticalBatchSizeOptions(),  # noqa: B008
    quiet: bool = False,
) -> Answer:
    """Find where larger batches stop saving steps, as `scripts/critical_batch_size.py` does.

    `words` are overrides of `train.py` for all trials: `batch_size` and `max_steps` are those of the first round, `lr`
    the middle of the rates that are tried at that size. The same call goes on where it was stopped.

    Raises:
        InputError: one line. Nothing has been trained.
        CrashError: trials crashed; the same call runs them again.
    """
    call = begin("critical_batch_size", words, options, quiet=quiet)
    _refuse_words(call)
    batch_sizes = _batch_sizes(call)
    first = _first_round(call)
    target, found = _target(call, first)
    if found is None:
        return _no_target(call, first, target)
    study = _sizes_study(call, batch_sizes, found, target)
    sizes = sizes_of(study, {_case(size): size for size in batch_sizes}, target)
    used = [size for size in sizes if size.left_out is None]
    fit = None
    if len(used) >= THRESHOLDS.fewest_sizes:
        fit = fit_scaling([size.batch_size for size in used], [size.steps or math.nan for size in used])
    noise = noise_scale(noise_measured(study, used))
    reading = Reading(call, sizes, target, fit, noise)
    return call.finish(reading.answer(), reading.evidence())


def _refuse_words(call: Call[CriticalBatchSizeOptions]) -> None:
    for word in call.words:
        key = override_key(word)
        if reason := DECIDED.get(key):
            raise InputError(f"{word}: {reason}; leave it out")
    config = call.config
    schedule = config.schedule.build()
    if any(schedule.factor(step, config.max_steps) != schedule.factor(0, config.max_steps) for step in _some(config)):
        raise InputError(
            f"schedule._target_={config.schedule.target}: with a decay the steps to a target depend on where it was"
            " planned to end; use schedule=constant, with averaging=ema where the last bit matters"
        )


def _some(config: Config) -> range:
    """Steps along the run, the last hundredth of it among them."""
    return range(0, config.max_steps, max(1, config.max_steps // 100))


def _batch_sizes(call: Call[CriticalBatchSizeOptions]) -> list[int]:
    """Those to try, the smallest first."""
    given, base = call.options.batch_sizes, call.config.batch_size
    if given is not None:
        sizes = sorted(set(given))
    else:
        from playbook.data import StreamSplit
        from playbook.training.data import load_data

        train = load_data(call.config.data, reuse=True).train
        most = math.inf if isinstance(train, StreamSplit) else len(train)
        sizes = [
            base * 2**power // 8 for power in range(8) if base * 2**power % 8 == 0 and base * 2**power // 8 <= most
        ]
    if len(sizes) < THRESHOLDS.fewest_sizes:
        shown = ",".join(map(str, sizes))
        raise InputError(
            f"batch_sizes=[{shown}]: {THRESHOLDS.fewest_sizes} different sizes or more are needed for a fit with two"
            f" parameters; such as batch_sizes=[{','.join(str(max(1, base // 4) * 2**power) for power in range(6))}]"
        )
    return sizes


def _lrs(call: Call[CriticalBatchSizeOptions], batch_size: int) -> dict[str, object]:
    """The range of a size: about the rate that keeps the noise of an update, √B, with room for others (A6)."""
    middle = call.config.lr * math.sqrt(batch_size / call.config.batch_size)
    factor = call.options.lr_factor
    return {"min": float(f"{middle / factor:.3g}"), "max": float(f"{middle * factor:.3g}"), "scale": "log"}


def _case(batch_size: int) -> str:
    return f"batch_size_{batch_size}"


def _first_round(call: Call[CriticalBatchSizeOptions]) -> Study:
    config = call.config
    return call.run_study(
        "first-round",
        f"How soon does batch_size={config.batch_size} learn?",
        {"n_trials": max(FEWEST_LRS, call.options.num_lrs // 2), "nuisance": {"lr": _lrs(call, config.batch_size)}},
        f"eval_every={max(1, config.total_steps // FIRST_EVALUATIONS)}",
        "keep_best=0",
    )


def _target(call: Call[CriticalBatchSizeOptions], first: Study) -> tuple[float, int | None]:
    """The target, and the steps in which the first round's quickest trial reached it; None where none did.

    Raises:
        InputError: the target is met before training.
    """
    objective, given = call.config.objective, call.options.target
    curves = first.curves([objective.metric])
    starts = curves.filter(curves["step"] == 0)["value"].drop_nans()
    values = [each for each in first.trials["objective"].drop_nulls().to_list() if math.isfinite(each)]
    if not values or not len(starts):
        return math.nan if given is None else given, None
    start, best = float(starts.median()), (min if objective.mode == "min" else max)(values)  # type: ignore[arg-type]
    target = start + OF_THE_WAY * (best - start) if given is None else given
    if given is None:
        target = float(f"{target:.3g}")
    if (target >= start) if objective.mode == "min" else (target <= start):
        if given is None:
            return target, None  # nothing was learned
        raise InputError(
            f"target={brief(given)}: {objective.metric} is {brief(start)} before the first step; give one that training"
            f" has to reach, such as target={start + OF_THE_WAY * (best - start):.3g}"
        )
    (attempts,) = attempts_of(first, target, first.design.objective).values()
    reached = [each.reached.by for each in attempts if each.reached is not None]
    return target, min(reached) if reached else None


def _sizes_study(call: Call[CriticalBatchSizeOptions], batch_sizes: Sequence[int], found: int, target: float) -> Study:
    base, cases = call.config.batch_size, {}
    for size in batch_sizes:
        max_steps = math.ceil(SLACK * found * max(1.0, base / size))
        eval_every = max(1, max_steps // EVALUATIONS)
        cases[_case(size)] = {
            "batch_size": size,
            "max_steps": max_steps,
            "eval_every": eval_every,
            "trainer.callbacks.gradient_noise.every": NOISE_EVERY * eval_every,
            "lr": _lrs(call, size),
        }
    metric = call.config.objective.metric
    return call.run_study(
        "sizes",
        f"How many steps does each batch size take to {metric} {brief(target)}?",
        {"n_trials": call.options.num_lrs * len(batch_sizes), "cases": cases},
        "+trainer.callbacks.gradient_noise={_target_: playbook.training.GradientNoiseScale, every: 1}",
        "keep_best=0",
    )


def _no_target(call: Call[CriticalBatchSizeOptions], first: Study, target: float) -> Answer:
    config, metric = call.config, call.config.objective.metric
    values = first.trials["objective"].drop_nulls()
    given = call.options.target
    if not len(values):
        why = "none of the learning rates of the first round trained"
        then = call.command_with(f"lr={config.lr / 10:.3g}")
    elif given is None:
        why = f"no learning rate of the first round has learned anything in {config.max_steps} steps"
        then = call.command_with(f"max_steps={4 * config.max_steps}")
    else:
        best = values.min() if config.objective.mode == "min" else values.max()
        why = f"the first round got to {metric} {brief(best)} in {config.max_steps} steps, not to {brief(target)}"
        then = call.command_with(f"max_steps={4 * config.max_steps}")
    rows = [(str(row["trial"]), brief(row["lr"]), row["status"], brief(row["objective"])) for row in _rows(first)]
    answer = Answer("cannot tell", f"Cannot tell, because {why}.", then, evidence={"target": given})
    table = (("trial", "lr", "status", metric), rows)
    return call.finish(answer, Evidence("Where do larger batches stop paying?", [], [], "The first round", table))


def _rows(study: Study) -> list[dict[str, Any]]:
    return list(study.trials.iter_rows(named=True))


@dataclass(frozen=True)
class Reading:
    """What the sizes say together."""

    call: Call[CriticalBatchSizeOptions]
    sizes: Sequence[Size]
    target: float
    fit: ScalingFit | None
    noise: NoiseScale | None

    @property
    def num_devices(self) -> int:
        """Of a trial."""
        trainer = self.call.config.trainer
        return trainer.num_devices * trainer.num_nodes

    @property
    def at_least(self) -> str:
        """The target with its direction."""
        objective = self.call.config.objective
        return f"{objective.metric} {'≤' if objective.mode == 'min' else '≥'} {brief(self.target)}"

    def answer(self) -> Answer:
        verdict, said = self._verdict()
        chosen = self._chosen(verdict)
        overrides = None if chosen is None or chosen.best is None else self._overrides(chosen)
        return Answer(
            verdict,
            said,
            self._next(verdict, overrides),
            remarks=tuple(self._remarks(chosen)),
            overrides=overrides,
            evidence=self._numbers(),
        )

    def _verdict(self) -> tuple[str, str]:
        fit = self.fit
        if fit is None:
            used = [size for size in self.sizes if size.left_out is None]
            why = f"{len(used)} of {len(self.sizes)} batch sizes can be fitted and {THRESHOLDS.fewest_sizes} are needed"
            return "cannot tell", f"Cannot tell, because {why}: {self._why_left_out()}."
        balance = fit.balance
        spread = f"sizes lie {math.expm1(fit.residual_sd):.0%} off the fit"
        if balance.is_bounded:
            return "found", (
                f"The critical batch size is about {_whole(balance)}: there, at b/a, steps to {self.at_least} are twice"
                f" the fewest (a = {fit.a:.3g}) and examples twice the fewest (b = {fit.b:.4g})."
            )
        if balance.low > 0:
            return "at least", (
                f"The critical batch size b/a is at least {balance.low:.3g} (95 %): none of the sizes that were tried"
                f" is so large that its end shows."
            )
        if math.isfinite(balance.high):
            return "at most", (
                f"The critical batch size b/a is at most {balance.high:.3g} (95 %): steps fall too little from the"
                f" smallest size on to say where it lies."
            )
        return "cannot tell", (
            f"Cannot tell, because steps to the target do not say whether they depend on the batch size: {spread}."
        )

    def _chosen(self, verdict: str) -> Size | None:
        """The largest size up to b/a: the balance of time and resources."""
        if self.fit is None or verdict == "cannot tell":
            return None
        used = [size for size in self.sizes if size.left_out is None]
        most = self.fit.balance.value if verdict == "found" else self.fit.balance.low
        return max((size for size in used if size.batch_size <= most), key=_batch_size, default=used[0])

    def _overrides(self, chosen: Size) -> tuple[str, ...]:
        assert chosen.best is not None
        return (f"batch_size={chosen.batch_size}", f"lr={chosen.best.lr:.3g}")

    def _next(self, verdict: str, overrides: tuple[str, ...] | None) -> str:
        tried = [size.batch_size for size in self.sizes]
        if verdict == "at least":
            return self.call.command_with(_sizes_word([2 * tried[-1] // 2**power for power in range(-2, 5)]))
        if verdict == "at most" and tried[0] > 1:
            return self.call.command_with(_sizes_word([max(1, tried[0] // 2**power) for power in range(-4, 4)]))
        if overrides is not None:
            return self.call.train_command(*overrides)
        if any(size.edge for size in self.sizes):
            return self.call.command_with(f"lr_factor={3 * self.call.options.lr_factor:g}")
        return self.call.command_with(f"num_lrs={2 * self.call.options.num_lrs}")

    def _why_left_out(self) -> str:
        said = [f"batch_size={size.batch_size}: {size.left_out}" for size in self.sizes if size.left_out]
        return "; ".join(said)

    def _remarks(self, chosen: Size | None) -> list[str]:
        said = []
        fit = self.fit
        if fit is not None:
            base = self.sizes[0].batch_size
            over = fit.over_linear_scaling(base)
            said.append(
                f"By another definition, 20 % more steps than linear scaling from {base} (b/(5a) + 1.2·{base}), it is"
                f" {_whole(over)}."
            )
        if self.noise is not None:
            first, last = self.noise.parts[0], self.noise.parts[-1]
            said.append(
                f"The gradient noise scale of the same runs, another estimate and not the same quantity, is"
                f" {_whole(self.noise.scale)} on the average of the way, from {first:.3g} in its first quarter to"
                f" {last:.3g} in its last (McCandlish et al. 2018)."
            )
        if chosen is not None:
            said.append(
                f"batch_size={chosen.batch_size} is the largest that was tried up to there. Whatever the size,"
                " validation performance is the same once everything is tuned again, lr and regularisation first (A8)."
            )
        if fit is not None and (left_out := self._why_left_out()):
            said.append(f"Not fitted: {left_out}.")
        coarse = [size for size in self.sizes if size.left_out is None and _coarse(size)]
        if coarse:
            shown = listed([str(size.batch_size) for size in coarse])
            said.append(
                f"Evaluations are coarse beside the steps to the target at batch_size={shown}: a harder target tells"
                " sizes apart better."
            )
        if self.call.config.warmup_steps:
            said.append(f"Steps include warmup_steps={self.call.config.warmup_steps}, at every size.")
        how = "a running median of three evaluations, on the line between two; the best of"
        said.append(f"The target is {self.at_least}: {how} {self.call.options.num_lrs} learning rates a size.")
        return said

    def _numbers(self) -> dict[str, object]:
        fit, noise = self.fit, self.noise
        fitted = None
        if fit is not None:
            base = self.sizes[0].batch_size
            fitted = {
                "a": fit.a,
                "b": fit.b,
                "residual_sd": fit.residual_sd,
                "balance": _plain(fit.balance),
                "over_linear_scaling": {"base": base, "overhead": 0.2, **_plain(fit.over_linear_scaling(base))},
            }
        return {
            "target": {"metric": self.call.config.objective.metric, "value": self.target},
            "fit": fitted,
            "gradient_noise_scale": None if noise is None else {**_plain(noise.scale), "parts": list(noise.parts)},
            "sizes": [self._plain(size) for size in self.sizes],
        }

    def _plain(self, size: Size) -> dict[str, object]:
        best = size.best
        return {
            "batch_size": size.batch_size,
            "steps": size.steps,
            "between": None if best is None or best.reached is None else [best.reached.after, best.reached.by],
            "lr": None if best is None else best.lr,
            "trial": None if best is None else best.trial,
            "left_out": size.left_out,
            "regime": list(self.fit.regimes(size.batch_size)) if self.fit is not None else None,
            "step_seconds": size.step_seconds,
            "seconds": size.seconds,
            "device_seconds": None if size.seconds is None else size.seconds * self.num_devices,
            "examples": None if size.steps is None else size.steps * size.batch_size,
        }

    def evidence(self) -> Evidence:
        """The page."""
        fit = self.fit
        numbers = []
        if fit is not None:
            numbers = [
                (f"{fit.balance.value:.3g}", "critical batch size b/a"),
                (f"{fit.over_linear_scaling(self.sizes[0].batch_size).value:.3g}", "by 20 % over linear scaling"),
                (f"{fit.a:.3g}", "fewest steps a"),
                (f"{fit.b:.4g}", "fewest examples b"),
            ]
        if self.noise is not None:
            numbers.append((f"{self.noise.scale.value:.3g}", "gradient noise scale"))
        head = ("batch size", "steps", "best lr", "reached", "regime", "step", "time", "device-s", "examples")
        rows = [self._row(size) for size in self.sizes]
        pictures = charts(self.sizes, fit, self.at_least, self.num_devices)
        return Evidence("Where do larger batches stop paying?", numbers, pictures, "Every batch size", (head, rows))

    def _row(self, size: Size) -> tuple[str, ...]:
        best, reached = size.best, sum(each.reached is not None for each in size.attempts)
        of = f"{reached} of {len(size.attempts)}"
        if best is None or size.steps is None:
            return (str(size.batch_size), f"> {size.max_steps}", "–", of, "–", "–", "–", "–", "–")
        regime = "–" if self.fit is None else " or ".join(self.fit.regimes(size.batch_size))
        time = "–" if size.seconds is None else _time(size.seconds)
        device = "–" if size.seconds is None else f"{size.seconds * self.num_devices:.3g}"
        step = "–" if size.step_seconds is None else f"{1000 * size.step_seconds:.3g} ms"
        lr = f"{best.lr:.3g}" + ("" if size.edge is None else f" ({size.edge})")
        examples = f"{size.steps * size.batch_size:,.0f}"
        return (str(size.batch_size), f"{size.steps:.3g}", lr, of, regime, step, time, device, examples)


def _batch_size(size: Size) -> int:
    return size.batch_size


def _coarse(size: Size) -> bool:
    """Whether the target lies between two evaluations that are a fifth of the way apart."""
    reached = None if size.best is None else size.best.reached
    return reached is not None and reached.by - reached.after > 0.2 * reached.steps


def _whole(interval: Interval) -> str:
    low = "0" if interval.low == 0 else f"{interval.low:.3g}"
    high = "no end" if math.isinf(interval.high) else f"{interval.high:.3g}"
    return f"{interval.value:.3g} ({low} to {high}, 95 %)"


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _plain(interval: Interval) -> dict[str, object]:
    high = interval.high if math.isfinite(interval.high) else None
    return {"value": interval.value, "interval": [interval.low, high]}


def _sizes_word(sizes: Sequence[int]) -> str:
    return f"batch_sizes=[{','.join(map(str, sorted(set(sizes))))}]"
