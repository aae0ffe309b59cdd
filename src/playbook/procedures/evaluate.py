"""How good is a run's best model on the test split? The one command that looks at it, and counts how often (B12).

The best checkpoint of a finished run, or of a study's winner, with an interval. Choose nothing by what it says: what
was chosen by a test set has no test set left. With fold_validation=true the same configuration is first trained once
more, on the validation examples too, and judged after as many steps as the run took to its best checkpoint.

  python scripts/evaluate.py run_dir=outputs/runs/<name>
  python scripts/evaluate.py run_dir=outputs/studies/<study>
  python scripts/evaluate.py run_dir=outputs/runs/<name> fold_validation=true
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from playbook.analysis.mean_interval import bootstrap, optimism, wilson
from playbook.analysis.rules.best import best
from playbook.analysis.study import load_study
from playbook.config import read_config
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.evaluate_charts import evaluate_charts
from playbook.procedures.looks_at_test import FOLDER, Look, looks_at, record_look
from playbook.procedures.run_overrides import overrides_of
from playbook.run_files import CONFIG, read_result, replace_file
from playbook.study.overrides import override_key
from playbook.study.study_files import STUDY
from playbook.text import brief, count

if TYPE_CHECKING:
    from playbook.training.test_split import OnTest

PREDICTIONS = "predictions.npz"
OF_THE_PLACE = ("data.root", "data.download", "trainer.device", "trainer.num_threads")
"""Keys of a trial that may be other ones here than when it was trained."""
ALLOWED = (*OF_THE_PLACE, "output_root", "logger", "hydra/launcher", "hydra.launcher")


class EvaluateOptions(Options):
    """See the fields."""

    run_dir: str | None = Field(default=None, description="the folder of a finished run, or of a study (its winner)")
    fold_validation: bool = Field(
        default=False, description="train the configuration once more, on training and validation, and judge that"
    )


@dataclass(frozen=True)
class _Judged:
    """What the test split says; `low` and `high` are None where the metric is no mean over examples."""

    found: OnTest
    low: float | None
    high: float | None
    how: str
    confusion: NDArray[np.int64] | None
    before: tuple[Look, ...]
    is_folded: bool
    trained: Path


def evaluate(
    *words: str,
    options: EvaluateOptions = EvaluateOptions(),  # noqa: B008
    quiet: bool = False,
) -> Answer:
    """Judge the best model of a run on the test split; `words` say where things are now, such as `data.root=/data`.

    Raises:
        InputError: one line; the test split has not been read.
        CrashError: the trial on both splits crashed; the same call goes on.
    """
    _refuse(words)
    call = begin("evaluate", words, options, quiet=quiet)
    if options.run_dir is None:
        raise InputError("run_dir: a value is needed; add run_dir=<the folder of a finished run, or of a study>")
    run = _run_of(Path(options.run_dir))
    folder, step = _folded(call, run) if options.fold_validation else (run, None)
    from playbook.training.test_split import judge_on_test  # torch and Lightning take seconds

    change = {key: value for key, value in _flat(call).items() if key in OF_THE_PLACE}
    found = judge_on_test(folder, step, change, lambda line: call.console.print(line, highlight=False))
    value = found.metrics[found.metric]
    root = call.config.output_root
    before = tuple(looks_at(root, found.test_set))
    look = Look(str(folder.absolute()), found.step, found.model, f"test/{found.metric}", value)
    record_look(root, found.test_set, look)
    judged = _with_interval(found, before, options.fold_validation, run)
    _keep_predictions(call, found)
    return call.finish(_answer(call, judged), _evidence(call, judged))


def _refuse(words: tuple[str, ...]) -> None:
    for word in words:
        key = override_key(word)
        if not (key in ALLOWED or key.startswith(tuple(f"{each}." for each in ALLOWED))):
            raise InputError(
                f"{word}: run_dir says what was trained; allowed beside it are {', '.join(OF_THE_PLACE)}, output_root"
            )


def _flat(call: Call[EvaluateOptions]) -> dict[str, Any]:
    """What was typed, as it was checked."""
    typed = set(map(override_key, call.words))
    plain = call.config.plain()
    return {key: plain[key.partition(".")[0]][key.partition(".")[2]] for key in OF_THE_PLACE if key in typed}


def _run_of(folder: Path) -> Path:
    """The folder of the run, or of the winner."""
    if (folder / STUDY).exists():
        winner = best(load_study(folder).tables())
        if winner is None:
            raise InputError(f"run_dir={folder}: the study has no winner: none of its trials is complete")
        folder = load_study(folder).folder(winner.trial)
    if not (folder / CONFIG).exists():
        raise InputError(f"run_dir={folder}: neither a run ({CONFIG}) nor a study ({STUDY})")
    return folder


def _folded(call: Call[EvaluateOptions], run: Path) -> tuple[Path, int]:
    """The trial on both splits, and its step that is that of the run's best checkpoint.

    Which checkpoint is the best can no longer be seen: what was learnt of that on the validation split is its step.
    """
    result, plain = read_result(run), read_config(run / CONFIG)
    if plain.get("fold_validation"):
        raise InputError(f"run_dir={run} fold_validation=true: it was trained on both; leave fold_validation out")
    if result is None or not result.best_step:
        raise InputError(
            f"run_dir={run} fold_validation=true: its best evaluation is that before training; there is nothing to"
            " train again"
        )
    step, total = result.best_step, int(plain["warmup_steps"]) + int(plain["max_steps"])
    kept = math.ceil(total / step) + 1
    trial: dict[str, Any] = {"fold_validation": True, "eval_every": step, "seed": result.seed}
    words = [word for word in overrides_of(plain, f"run_dir={run}") if override_key(word) not in (*trial, "keep_best")]
    words += [f"keep_best={kept}", *(word for word in call.words if override_key(word) in OF_THE_PLACE)]
    goal = f"the configuration of {run} on training and validation"
    study = call.run_study("folded", goal, {"trials": [trial]}, *words)
    (status,) = study.trials["status"]
    if status != "complete":
        raise InputError(f"{study.folder(0)}: trained on both splits it was {status}; the test split has not been read")
    return study.folder(0), step


def _with_interval(found: OnTest, before: tuple[Look, ...], is_folded: bool, run: Path) -> _Judged:
    values, value = found.values, found.metrics[found.metric]
    low = high = None
    how = "no interval: the metric is no mean over examples"
    if values is not None and found.weights is not None:
        if values.dtype == np.bool_:
            low, high = wilson(int(values.sum()), len(values))
            how = "Wilson"
        else:
            low, high = bootstrap(value, values, found.weights, found.slope)
            how = "bootstrap over examples"
    return _Judged(found, low, high, how, _confusion(found), before, is_folded, run)


def _confusion(found: OnTest) -> NDArray[np.int64] | None:
    """(classes, classes): how often an example of the row's class was taken for the column's; None without classes."""
    targets, scores = found.targets.get("target"), found.predictions.get("prediction")
    if targets is None or scores is None or targets.ndim != 1 or targets.dtype.kind not in "iu" or scores.ndim != 2:
        return None
    size = scores.shape[1]
    counts = np.bincount(targets.astype(np.int64) * size + scores.argmax(1), minlength=size * size)
    return counts.reshape(size, size)


def _keep_predictions(call: Call[EvaluateOptions], found: OnTest) -> None:
    arrays: dict[str, NDArray[Any]] = {**found.targets, **found.predictions}
    if found.values is not None:
        arrays["values"] = found.values
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    try:
        call.out_dir.mkdir(parents=True, exist_ok=True)
        replace_file(call.out_dir / PREDICTIONS, buffer.getvalue())
    except OSError as error:
        raise InputError(f"out_dir={call.out_dir}: it cannot be written there ({error.strerror})") from None


def _answer(call: Call[EvaluateOptions], judged: _Judged) -> Answer:
    found, value = judged.found, judged.found.metrics[judged.found.metric]
    name = f"test/{found.metric}"
    interval = "" if judged.low is None else f" ({_between(judged)}, 95 %, {judged.how})"
    is_share = found.values is not None and found.values.dtype == np.bool_
    counted = f": {int(found.values.sum())} of {found.n_examples:,} examples" if is_share else ""  # type: ignore[union-attr]
    trained = " trained on validation too," if judged.is_folded else ""
    answer = (
        f"{name} is {brief(value)}{interval}{counted}; the model after {found.step:,} steps,{trained} of {found.run}."
    )
    remarks = []
    if judged.low is None:
        remarks.append(f"There is {judged.how}.")
    else:
        remarks.append("The interval is that of this one model for new examples; another seed gives another model.")
    if found.of_validation is not None:
        remarks.append(
            f"On the {found.num_validation:,} validation examples, by which it was chosen, {found.metric} is"
            f" {brief(found.of_validation)}."
        )
    remarks += _looks_in_words(judged)
    looks = (*judged.before, None)
    models = {look.model for look in judged.before} | {found.model}
    evidence: dict[str, Any] = {
        "metric": name,
        "value": value,
        "interval": None if judged.low is None else [judged.low, judged.high],
        "interval_by": judged.how,
        "n_examples": found.n_examples,
        "metrics": {f"test/{key}": each for key, each in found.metrics.items() if math.isfinite(each)},
        "validation": found.of_validation,
        "run_dir": str(found.run),
        "step": found.step,
        "folded": judged.is_folded,
        "confusion": None if judged.confusion is None else judged.confusion.tolist(),
        "classes": list(found.classes) if found.classes else None,
        "test_set": found.test_set,
        "looks": len(looks),
        "models_looked_at": len(models),
        "predictions": str(call.out_dir / PREDICTIONS),
    }
    if judged.is_folded:
        following = f"python scripts/show_run.py run_dir={found.run}"
    else:
        following = call.command_with("fold_validation=true")
    return Answer("evaluated", answer, following, tuple(remarks), evidence=evidence)


def _looks_in_words(judged: _Judged) -> list[str]:
    found, before = judged.found, judged.before
    models = {look.model for look in before} | {found.model}
    if not before:
        return ["It is the first look at this test set."]
    again = any(look.model == found.model for look in before)
    lines = [
        f"It is look number {len(before) + 1} at this test set, {count(len(models), 'model')} in all"
        f"{', this one not for the first time' if again else ''} ({FOLDER}/{found.test_set}.jsonl)."
    ]
    if len(models) > 1:
        more = ""
        if judged.low is not None and judged.high is not None:
            by = optimism(len(models), (judged.high - judged.low) / 3.92)
            more = f": the best of {len(models)} equally good models looks better than it is by about {brief(by, 2)}"
        lines.append(f"Whatever is chosen by these numbers is no longer tested by them{more}.")
    return lines


def _evidence(call: Call[EvaluateOptions], judged: _Judged) -> Evidence:
    found, value = judged.found, judged.found.metrics[judged.found.metric]
    numbers = [(brief(value), f"test/{found.metric}")]
    if judged.low is not None:
        numbers.append((_between(judged), "95 % interval"))
    if found.of_validation is not None:
        numbers.append((brief(found.of_validation), f"val/{found.metric}"))
    numbers += [(f"{found.n_examples:,}", "test examples"), (str(len(judged.before) + 1), "looks at them")]
    charts = evaluate_charts(judged.confusion, found.classes, found.targets, found.predictions)
    if judged.confusion is None:
        rows = [(name, brief(each)) for name, each in found.metrics.items()]
        return Evidence("How good is it on new data?", numbers, charts, "Every metric", (("metric", "test"), rows))
    head = ("class", "examples", "right", "error", "95 %", "most often taken for")
    return Evidence("How good is it on new data?", numbers, charts, "Every class", (head, _class_rows(judged)))


def _class_rows(judged: _Judged) -> list[tuple[str, ...]]:
    assert judged.confusion is not None
    names = judged.found.classes or tuple(str(place) for place in range(len(judged.confusion)))
    rows: list[tuple[str, ...]] = []
    for place, row in enumerate(judged.confusion):
        total, right = int(row.sum()), int(row[place])
        if not total:
            rows.append((names[place], "0", "–", "–", "–", "–"))
            continue
        low, high = wilson(total - right, total)
        others = row.copy()
        others[place] = 0
        mistaken = f"{names[int(others.argmax())]} ({others.max()})" if others.any() else "–"
        error = brief(1 - right / total, 3)
        rows.append((names[place], str(total), str(right), error, f"{brief(low, 2)} – {brief(high, 2)}", mistaken))
    return rows


def _between(judged: _Judged) -> str:
    assert judged.low is not None
    assert judged.high is not None
    return f"{brief(judged.low, 3)} to {brief(judged.high, 3)}"
