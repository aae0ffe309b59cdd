"""Which batch size? The smallest that is about as fast as any that fits, and what bounds the throughput (A4, D1).

Steps of real trials are timed at growing powers of two, in processes of their own, until memory runs out or throughput
stops growing. It is no question of quality: lr and regularisation are tuned again for a new batch size (A8).

  python scripts/find_batch_size.py                                   digits, an MLP
  python scripts/find_batch_size.py model=cnn data=fashion_mnist memory_gb=8
  python scripts/find_batch_size.py data=cifar10 model=wide_resnet passes=5 within=0.1
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from playbook.analysis.throughput import Doubling, Ended, Parts, Scaling, Size, Thresholds, scaling
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.find_batch_size_charts import batch_size_charts
from playbook.procedures.step_times import MEASUREMENTS, Search, machine_name, measure_sizes
from playbook.study.overrides import override_key
from playbook.text import brief


class FindBatchSizeOptions(Options):
    """See the fields."""

    EXTENDS: ClassVar[frozenset[str]] = frozenset({"passes"})

    smallest: PositiveInt = Field(default=16, description="the first size, of each device together; then its doubles")
    largest: PositiveInt | None = Field(
        default=None, description="the last; null: until it does not fit or is no faster"
    )
    memory_gb: PositiveFloat | None = Field(
        default=None, description="what a trial may use; null: what is free on the device"
    )
    within: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.05, description="the share of the largest throughput that a smaller batch is worth"
    )
    passes: int = Field(default=3, ge=2, le=100, description="times that all sizes are measured, interleaved")


def find_batch_size(
    *words: str,
    options: FindBatchSizeOptions = FindBatchSizeOptions(),  # noqa: B008
    quiet: bool = False,
) -> Answer:
    """Find the batch size of the trial that `words` compose: the smallest that is about as fast as any that fits.

    Raises:
        InputError: one line, and nothing has been written.
        CrashError: a process that measures ended without an answer.
    """
    call = begin("find_batch_size", words, options, quiet=quiet)
    _refuse(call)
    budget = None if options.memory_gb is None else round(options.memory_gb * 1e9)

    def say(line: str) -> None:
        call.console.print(line, highlight=False)

    search = Search(options.smallest, options.largest, options.passes, budget)
    path = call.out_dir / MEASUREMENTS
    where = f"{machine_name()}, {call.fingerprint}"
    known, ended = measure_sizes(call.config.plain(), search, path, say, where)
    sizes = known.sizes(call.config.trainer.num_devices)
    if not sizes:
        return call.finish(_nothing_fits(call, known.too_large), _no_evidence(known.too_large))
    found = scaling(sizes, ended, options.within)
    return call.finish(_answer(call, sizes, found, ended, known.too_large), _evidence(sizes, found, known.too_large))


def _refuse(call: Call[FindBatchSizeOptions]) -> None:
    options, trainer = call.options, call.config.trainer
    for word in call.words:
        if override_key(word) == "batch_size":
            raise InputError(f"{word}: it is what is looked for; say between what with smallest=… largest=…")
    if options.largest is not None and options.largest < options.smallest:
        raise InputError(f"smallest={options.smallest} largest={options.largest}: the first is above the second")
    if trainer.num_nodes > 1:
        raise InputError(f"trainer.num_nodes={trainer.num_nodes}: one machine is measured; allowed is 1")
    if options.smallest % trainer.num_devices:
        raise InputError(
            f"smallest={options.smallest}: it is shared equally by trainer.num_devices={trainer.num_devices};"
            f" allowed is a multiple of {trainer.num_devices}"
        )


def _nothing_fits(call: Call[FindBatchSizeOptions], too_large: dict[int, str]) -> Answer:
    smallest = call.options.smallest
    said = too_large.get(smallest, "")
    answer = f"Cannot tell, because not even batch_size={smallest} fits: {said}."
    smaller = max(call.config.trainer.num_devices, smallest // 8)
    wanted = call.command_with(f"smallest={smaller}") if smaller < smallest else call.command
    return Answer("cannot tell", answer, wanted, evidence={"bottleneck": "memory", "sizes": []})


def _no_evidence(too_large: dict[int, str]) -> Evidence:
    rows = [(str(size), said) for size, said in too_large.items()]
    return Evidence("Which batch size?", [], [], "Every size", (("batch_size", "out of memory"), rows))


def _answer(
    call: Call[FindBatchSizeOptions], sizes: list[Size], found: Scaling, ended: Ended, too_large: dict[int, str]
) -> Answer:
    knee, (low, high) = found.knee, found.knee_range
    parts = found.parts[knee.batch_size]
    evidence: dict[str, Any] = {
        "batch_size": knee.batch_size if found.told else None,
        "range": [low, high],
        "bottleneck": found.bound_by,
        "ended": ended,
        "out_of_memory": {str(size): said for size, said in too_large.items()},
        "sizes": [_plain(size, found.parts[size.batch_size]) for size in sizes],
        "doublings": [_plain_doubling(each) for each in found.doublings],
    }
    remarks = [*_bound_in_words(sizes, found, ended, too_large), *_short_in_words(found)]
    wait = parts.input / parts.total
    if found.bound_by != "input" and wait >= Thresholds().worth_saying:
        remarks.append(
            f"{wait:.0%} of a step is spent waiting for data at batch_size={knee.batch_size} (D1): more"
            " data.num_workers, or data.in_memory=true."
        )
    if not found.told:
        answer = (
            f"Cannot tell, because the passes disagree: the smallest size within {call.options.within:.0%} of the"
            f" largest throughput may be any from {low} to {high}; let nothing else run, or measure more often."
        )
        more = call.command_with(f"passes={2 * call.options.passes}")
        return Answer("cannot tell", answer, more, tuple(remarks), evidence=evidence)
    between = "" if low == high else f", {low} to {high} with 95 % confidence"
    answer = (
        f"batch_size={knee.batch_size}: {knee.throughput:,.0f} examples/s, {_ms(knee.step_seconds)} a step; the"
        f" smallest size within {call.options.within:.0%} of the largest throughput{between}. Bound by"
        f" {found.bound_by}."
    )
    remarks.append("The batch size is no hyperparameter of quality: tune lr and regularisation again for it (A8).")
    overrides = (f"batch_size={knee.batch_size}",)
    study = call.train_command("-m", "study=learning_rate", *overrides)
    return Answer("found", answer, study, tuple(remarks), overrides, evidence)


def _bound_in_words(sizes: list[Size], found: Scaling, ended: Ended, too_large: dict[int, str]) -> list[str]:
    last = sizes[-1]
    parts = found.parts[last.batch_size]
    if found.bound_by == "input":
        at_knee = found.parts[found.knee.batch_size]
        share = max(at_knee.input / at_knee.total, parts.input / parts.total)
        lines = [
            f"Bound by input: {share:.0%} of a step is spent waiting for data (D1): more data.num_workers,"
            " data.in_memory=true, or examples that are prepared once. Mend it before anything is tuned."
        ]
    elif found.bound_by == "memory" and len(sizes) == 1:
        lines = [f"Only batch_size={last.batch_size} fits: whether a larger one would be faster is not known."]
    elif found.bound_by == "memory":
        lines = [f"Throughput still grows at batch_size={last.batch_size}, where memory ends."]
    elif found.bound_by == "fixed cost":
        lines = [
            f"Throughput still grows at batch_size={last.batch_size}: {parts.fixed / parts.total:.0%} of a step does"
            " not depend on the batch (launching kernels, the loop, the optimizer): a larger batch, a larger model, or"
            " trainer.compile=true."
        ]
    elif found.bound_by == "synchronisation":
        lines = [
            f"Bound by synchronisation: {parts.synchronisation / parts.total:.0%} of a step is what one device with its"
            " share of the batch does not need: fewer devices, or a faster connection."
        ]
    else:
        lines = [f"Bound by compute, which is what one wants: waiting for data takes {_share(found)} of a step."]
    lines += [f"batch_size={size} is out of memory: {said}." for size, said in sorted(too_large.items())]
    if ended == "data":
        lines.append(f"No size above {last.batch_size} was tried: it would hold the whole training split.")
    if ended == "asked":
        lines.append(f"No size above {last.batch_size} was tried, as largest= says.")
    return lines


def _short_in_words(found: Scaling) -> list[str]:
    return [
        f"From batch_size={each.batch_size} to {2 * each.batch_size} throughput grows {brief(each.gain.value, 3)} times"
        f" only ({brief(each.gain.low, 3)} to {brief(each.gain.high, 3)}): most of what a step takes longer is"
        f" {'waiting for data' if each.adds == 'input' else each.adds}."
        for each in found.short[:1]
    ]


def _share(found: Scaling) -> str:
    parts = found.parts[found.knee.batch_size]
    return f"{parts.input / parts.total:.1%}"


def _plain(size: Size, parts: Parts) -> dict[str, Any]:
    low, high = size.quartiles
    return {
        "batch_size": size.batch_size,
        "examples_per_second": size.throughput,
        "step_seconds": size.step_seconds,
        "step_seconds_quartiles": [low, high],
        "wait_seconds": size.wait_seconds,
        "peak_bytes": size.peak_bytes,
        "parts": vars(parts),
    }


def _plain_doubling(each: Doubling) -> dict[str, Any]:
    known = each.gain.low > 0
    interval = [each.gain.low, each.gain.high] if known else None
    return {"from": each.batch_size, "gain": each.gain.value, "interval": interval, "adds": each.adds}


def _evidence(sizes: list[Size], found: Scaling, too_large: dict[int, str]) -> Evidence:
    knee = found.knee
    low, high = found.knee_range
    numbers = [
        (str(knee.batch_size) if found.told else f"{low} – {high} ?", "batch_size"),
        (f"{knee.throughput:,.0f}", "examples/s"),
        (_ms(knee.step_seconds), "a step"),
        (found.bound_by, "bounds it"),
    ]
    if knee.peak_bytes is not None:
        numbers.append((_gb(knee.peak_bytes), "peak memory"))
    rows = []
    for size in sizes:
        parts = found.parts[size.batch_size]
        first, third = size.quartiles
        rows.append(
            (
                str(size.batch_size),
                f"{size.throughput:,.0f}",
                _ms(size.step_seconds),
                f"{_ms(first)} – {_ms(third)}",
                f"{parts.input / parts.total:.1%}",
                "–" if size.peak_bytes is None else _gb(size.peak_bytes),
            )
        )
    rows += [(str(size), "out of memory", "–", "–", "–", "–") for size in sorted(too_large)]
    head = ("batch_size", "examples/s", "a step", "quartiles", "waiting for data", "peak memory")
    return Evidence("Which batch size?", numbers, batch_size_charts(sizes, found), "Every size", (head, rows))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
