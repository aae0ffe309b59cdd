"""A run's model on the test split: the one place in the program that reads it (B12).

Before it does, the data are compared with those of the run, and the checkpoint has to give what the run recorded on
the validation split: a test set that was looked at for nothing has been looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from playbook.batch import Tree, map_tensors, tensors
from playbook.components import errors_of
from playbook.config import Config
from playbook.data import PassLoader, Source, Split, StoredSplit, StreamSplit, TensorSource, fingerprint_of_splits
from playbook.errors import InputError
from playbook.run_files import Result
from playbook.training.averaging import AVERAGED
from playbook.training.checkpoints import best_path
from playbook.training.data import DATA, load_data
from playbook.training.device import choose_device
from playbook.training.distributed import Rank
from playbook.training.eval_batch_size import eval_batch_size
from playbook.training.evaluation import evaluate, evaluating, flat_metrics
from playbook.training.evaluator import part_and_name
from playbook.training.initial_weights import InitialWeights
from playbook.training.lightning_adapter import make_trainer
from playbook.training.load import Predictor, Run, load_run

MOST_BYTES = 1 << 28
"""Of predictions that are kept: those of language models, a number a token and place, are larger and are not."""
SAME = 0.01
"""How far the validation metric may be from the recorded one, as a share of it or of all examples: another device
rounds otherwise. Other weights, code or data are further off."""


@dataclass(frozen=True)
class OnTest:
    """What the model of `run` after `step` steps gives on the test split.

    `metrics` by name, among them `metric`, the objective's; `values` and `weights` (n,) are what each example has to
    say about it, None where it is no mean over examples, and `slope` is what it changes by for each unit of their mean.
    `targets` and `predictions` are arrays by name, an example a row; there are none where they would be large.
    `of_validation` is the same metric on the validation split, None where the model was trained on that too.
    `test_set` and `model` are fingerprints.
    """

    run: Path
    step: int
    metric: str
    metrics: Mapping[str, float]
    n_examples: int
    values: NDArray[Any] | None
    weights: NDArray[Any] | None
    slope: float
    targets: Mapping[str, NDArray[Any]]
    predictions: Mapping[str, NDArray[Any]]
    classes: tuple[str, ...] | None
    of_validation: float | None
    num_validation: int
    test_set: str
    model: str


def judge_on_test(folder: Path, step: int | None, change: Mapping[str, Any], say: Callable[[str], None]) -> OnTest:
    """The best checkpoint of a run, or that of `step`, on the test split.

    `change` are the keys of the data and the trainer that are other than when it was trained, such as
    `{"data.root": "/data"}`.

    Raises:
        InputError: the run has not ended, its checkpoint does not give what it recorded, the data are other ones, or
            there is no test split.
    """
    run = load_run(folder)
    result = run.result
    if result is None or result.status != "complete":
        raise InputError(f"run_dir={folder}: the run is not complete; only one that is has a model to judge")
    config = _changed(run.config, change)
    device = choose_device(config.trainer.device, config.trainer.precision, Rank())
    data = load_data(config.data)
    if (then := (result.environment or {}).get(DATA)) not in (None, data.fingerprint):
        raise InputError(
            f"run_dir={folder}: the data are not those that it was trained on (fingerprint {then}, now"
            f" {data.fingerprint}); what is held out now may be what it has seen"
        )
    if step is None:
        step = _best_step(run)
    predictor = run.model(step)  # says that no checkpoint was kept
    assert step is not None
    with TemporaryDirectory() as scratch:
        settings = config.trainer.model_copy(update={"num_devices": 1, "num_nodes": 1})
        trainer = make_trainer(
            settings, max_steps=1, device=device, rank=Rank(), callbacks=[], logger=None, folder=Path(scratch)
        )
        precision = trainer.precision_plugin
    model = InitialWeights(str(folder), dict(predictor.state_dict())).fingerprint()
    precision.convert_module(predictor)  # in place
    predictor.to(device).eval()
    part, metric = part_and_name(config.objective.metric)
    judge = _Judge(config, predictor, precision, device, metric)
    of_validation = None
    if not config.fold_validation:
        of_validation = judge.metric_of(data.validation)
        _refuse_other_weights(run, result, step, part, metric, of_validation, len(data.validation))
    say("the checkpoint gives what the run recorded; reading the test split")
    test = _test_split(data.source)
    found = judge.whole(test)
    names = getattr(data.source, "class_names", None)
    return OnTest(
        run=folder,
        step=step,
        metric=metric,
        of_validation=of_validation,
        num_validation=len(data.validation),
        classes=tuple(names) if names else None,
        test_set=_fingerprint(data.source, test),
        model=model,
        n_examples=len(test),
        **found,
    )


def _best_step(run: Run) -> int | None:
    """That of the best evaluation; of a run that was trained on validation too, which says nothing, the last kept."""
    kept = run.best_steps
    return None if not kept else max(kept) if run.config.fold_validation else kept[0]


def _changed(config: Config, change: Mapping[str, Any]) -> Config:
    data = {key.removeprefix("data."): value for key, value in change.items() if key.startswith("data.")}
    trainer = {key.removeprefix("trainer."): value for key, value in change.items() if key.startswith("trainer.")}
    return replace(
        config,
        data=replace(config.data, arguments={**config.data.arguments, **data}),
        trainer=config.trainer.model_copy(update=trainer),
    )


def _test_split(source: Source) -> Split:
    with errors_of("data", f"load('test') of {type(source).__name__}"):
        test = source.load("test")
    if isinstance(test, StreamSplit):
        raise InputError("data: the test split is a stream, which has no end")
    return test


def _fingerprint(source: Source, test: Split) -> str:
    """Of the examples as they are stored, where that can be had: standardised ones depend on the training split."""
    if isinstance(source, TensorSource):
        test = StoredSplit(*source.examples("test"), standardisation=lambda inputs: inputs)
    return fingerprint_of_splits(test)


def _refuse_other_weights(
    run: Run, result: Result, step: int, part: str, metric: str, found: float, num_examples: int
) -> None:
    if part not in ("val", AVERAGED):
        return
    name = f"{part}/{metric}"
    if run.config.eval_examples is not None and run.config.eval_examples < num_examples:
        return  # a sample was judged
    recorded = run.evals.filter(metric=name, step=step)["value"]
    if len(recorded) and abs(found - recorded[0]) > SAME * max(abs(recorded[0]), 1.0 if metric == "error" else 0.0):
        checkpoint = best_path(run.path / "checkpoints", step)
        raise InputError(
            f"{checkpoint}: it gives {name}={found:.4g}, and the run recorded {recorded[0]:.4g}: code, data or weights"
            " have changed since; the test split has not been read"
        )


class _Judge:
    """Evaluates one model."""

    def __init__(self, config: Config, predictor: Predictor, precision: Any, device: torch.device, metric: str) -> None:
        self._config, self._predictor, self._precision = config, predictor, precision
        self._device, self._metric = device, metric

    def _batches(self, split: Split) -> PassLoader:
        size = self._config.eval_batch_size
        if size == "auto":
            small = split.batch(torch.arange(min(2, len(split))))
            small = type(small)(*(map_tensors(lambda each: each.to(self._device), part) for part in small))
            size = eval_batch_size(self._predictor.model, self._predictor.task, small, self._config.batch_size)
        return PassLoader(split, batch_size=size, device=self._device)

    def metric_of(self, split: Split) -> float:
        """The objective's metric."""
        loader = self._batches(split)
        found = evaluate(self._predictor.model, self._predictor.task, loader, precision=self._precision)
        if self._metric not in found:
            raise InputError(f"objective.metric={self._config.objective.metric}: no metric of an evaluation")
        return found[self._metric]

    @torch.no_grad()
    def whole(self, split: Split) -> dict[str, Any]:
        """All that is to be known of a split."""
        model, task, precision = self._predictor.model, self._predictor.task, self._precision
        judge = torch.device("cpu") if self._device.type == "mps" else self._device
        metrics = task.metrics(self._metric).to(judge)
        values: list[Tensor] = []
        weights: list[Tensor] = []
        kept: dict[str, list[NDArray[Any]]] = {}
        size = 0
        with evaluating(model):
            for batch in self._batches(split):
                with precision.forward_context():
                    outputs = task.outputs(model, precision.convert_input(batch.inputs))
                targets = task.targets(batch)
                said = metrics.update(outputs, targets)
                if said is not None:
                    values.append(said[0].cpu())
                    weights.append(torch.ones(len(said[0])) if said[1] is None else said[1].cpu())
                if size <= MOST_BYTES:
                    named = _named("prediction", task.predict(outputs)) | _named("target", targets)
                    size += sum(each.nbytes for each in named.values())
                    for name, array in named.items():
                        kept.setdefault(name, []).append(array)
        computed = flat_metrics(metrics.compute())
        arrays = {} if size > MOST_BYTES else {name: np.concatenate(parts) for name, parts in kept.items()}
        given = torch.cat(values).numpy() if values else None
        mean = 0.0 if given is None else float(np.average(given.astype(float), weights=torch.cat(weights).numpy()))
        return {
            "metrics": {name: value for name, value in computed.items() if not name.endswith("_se")},
            "values": given,
            "weights": torch.cat(weights).numpy() if weights else None,
            "slope": 1.0 if given is None else float(task.standard_error(self._metric, mean, 1.0)),
            "predictions": {name: array for name, array in arrays.items() if name.startswith("prediction")},
            "targets": {name: array for name, array in arrays.items() if name.startswith("target")},
        }


def _named(name: str, tree: Tree) -> dict[str, NDArray[Any]]:
    """`prediction`, or `prediction_0`, `prediction_1` of a tree of several tensors."""
    found = [each.detach().cpu() for each in tensors(tree)]
    plain = [each.float() if each.dtype == torch.bfloat16 else each for each in found]
    if len(plain) == 1:
        return {name: plain[0].numpy()}
    return {f"{name}_{place}": each.numpy() for place, each in enumerate(plain)}
