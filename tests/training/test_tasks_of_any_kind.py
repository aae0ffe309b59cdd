"""Inputs, targets and outputs of any kind: each task trains, is killed, and goes on as if it had not been."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from run_state import final_state, kill_at
from torch import Tensor, nn
from torchmetrics import Metric

import playbook
from playbook import components
from playbook.batch import Batch, tensors
from playbook.config import load_config
from playbook.data import DatasetSplit, Source, Split, SplitName, StreamSplit, TensorSource, TensorSplit
from playbook.errors import InputError
from playbook.tasks import Task
from playbook.training import train

HERE = f"{__name__}."
LENGTH, VOCABULARY = 6, 11


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens_of(split: SplitName, count: int = 60) -> Tensor:
    """Each token is the one before it plus one, most of the time."""
    generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
    steps = 1 + (torch.rand(count, LENGTH + 1, generator=generator) < 0.1).long()
    return steps.cumsum(1) % VOCABULARY


class Tokens(Source):
    """Bytes, some of which are padding."""

    supplies = ("vocab_size", "bytes_per_token")
    vocab_size = VOCABULARY
    bytes_per_token = 2.5

    def load(self, split: SplitName) -> Split:
        tokens = tokens_of(split)
        targets = tokens[:, 1:].clone()
        targets[::3, 2:] = -100
        return TensorSplit(tokens[:, :-1].to(torch.uint8), targets)


class Masked(Tokens):
    """The same, with a mask in the place of −100, in inputs and in targets."""

    def load(self, split: SplitName) -> Split:
        tokens = tokens_of(split)
        mask = torch.ones(len(tokens), LENGTH, dtype=torch.bool)
        mask[::3, 2:] = False
        inputs = {"tokens": tokens[:, :-1].int(), "mask": mask}
        return TensorSplit(inputs, {"tokens": tokens[:, 1:], "mask": mask})


class Endless(Tokens):
    """Training examples without an end, with noise that the loaders seed."""

    def load(self, split: SplitName) -> Split:
        return Counting() if split == "train" else super().load(split)


class Counting(StreamSplit):
    def __init__(self) -> None:
        super().__init__((LENGTH,))

    def batch(self, indices: Tensor) -> Batch:
        noise = torch.rand(len(indices), LENGTH + 1) < 0.1
        tokens = (indices[:, None] + torch.arange(LENGTH + 1) + noise) % VOCABULARY
        return Batch(tokens[:, :-1], tokens[:, 1:])


class Bigrams(nn.Module):
    """The next token from this one, whatever the inputs are."""

    def __init__(self, vocab_size: int, num_outputs: int) -> None:
        super().__init__()
        assert vocab_size == num_outputs
        self.table = nn.Embedding(vocab_size, num_outputs)

    def forward(self, inputs: Tensor | dict[str, Tensor]) -> Tensor:
        tokens = inputs["tokens"] if isinstance(inputs, dict) else inputs
        assert not tokens.is_floating_point()
        return self.table(tokens.int())


class Labels(TensorSource):
    """Three labels that overlap, of four numbers."""

    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        inputs = draw(50, 4, seed=len(split))
        return inputs, (inputs[:, :3] + 0.3 > 0).float()


class Two(TensorSource):
    """An image and a table, whose class is in both; ids are not standardised."""

    num_classes = 3

    def examples(self, split: SplitName) -> tuple[dict[str, Tensor], Tensor]:
        targets = torch.arange(60) % 3
        image = draw(60, 1, 4, 4, seed=len(split)) * 5 + targets[:, None, None, None]
        return {"image": image, "parts": (targets + 7, draw(60, 2, seed=9) * 3)}, targets


class Both(nn.Module):
    def __init__(self, input_shape: dict[str, object], num_outputs: int) -> None:
        super().__init__()
        assert input_shape == {"image": (1, 4, 4), "parts": ((), (2,))}
        self.ids = nn.Embedding(10, 4)
        self.rest = nn.Linear(16 + 4 + 2, num_outputs)

    def forward(self, inputs: dict[str, object]) -> Tensor:
        ids, table = inputs["parts"]
        return self.rest(torch.cat([inputs["image"].flatten(1), self.ids(ids), table], 1))


class Pixels(Source):
    """Segmentation: a class a pixel, from a data set of which the labels come only with the batch."""

    num_classes = 2

    def load(self, split: SplitName) -> Split:
        images = draw(40, 1, 4, 4, seed=len(split))
        return DatasetSplit([(image, (image[0] > 0).long()) for image in images])


class PerPixel(nn.Module):
    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, num_outputs, 3, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.convolution(inputs)


class Unlabelled(TensorSource):
    """Five numbers, of which two are enough, and no targets."""

    def examples(self, split: SplitName) -> tuple[Tensor, None]:
        return draw(60, 2, seed=len(split)) @ draw(2, 5, seed=7), None


class Squares(Metric):
    """The mean square of what the first output is off."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outputs: tuple[Tensor, Tensor], targets: dict[str, Tensor]) -> None:
        self.sums += torch.stack([(outputs[0] - targets["all"]).double().square().sum(), torch.tensor(len(outputs[0]))])

    def compute(self) -> dict[str, float]:
        return {"error": (self.sums[0] / self.sums[1]).item()}


class TwoPasses(Task):
    """Outputs are (numbers, code); the loss asks that noise on the inputs does not change the code."""

    num_outputs = 5

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        return {"all": batch.inputs}

    def outputs(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        numbers = model(inputs)
        return numbers, numbers[:, :2]

    def loss(self, outputs: tuple[Tensor, Tensor], targets: dict[str, Tensor]) -> Tensor:
        return (outputs[0] - targets["all"]).square().mean()

    def training_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        first = self.outputs(model, batch.inputs)
        second = self.outputs(model, batch.inputs + 0.1 * torch.randn_like(batch.inputs))
        return self.loss(first, self.targets(batch)) + (first[1] - second[1]).square().mean()

    def check(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> None:
        super().check(outputs[0], batch)

    def own_metrics(self) -> Metric:
        return Squares()


class Raises(TwoPasses):
    """Has a bug where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__()
        bugs = {"loss": lambda *_: {}["nothing"], "shape": lambda *_: torch.ones(3, requires_grad=True)}
        if where in ("loss", "shape"):
            self.training_loss = bugs[where]
        else:
            setattr(self, where, bugs["loss"])


CASES = {
    "tokens": (("task=language_modelling",), "Tokens", "Bigrams"),
    "masked": (("task=language_modelling",), "Masked", "Bigrams"),
    "stream": (("task=language_modelling",), "Endless", "Bigrams"),
    "multilabel": (("task=multilabel",), "Labels", None),
    "two inputs": (("task=classification",), "Two", "Both"),
    "segmentation": (("task=classification",), "Pixels", "PerPixel"),
    "two passes": (("task=reconstruction", "model.width=8"), "Unlabelled", None),
    "unlabelled": (("task=reconstruction", "model.width=2"), "Unlabelled", None),
}


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))


@pytest.fixture
def case(trial_config):
    """`case("tokens", "lr=0.1", folder="other")`: the config of one of the cases above."""

    def make(name: str, *overrides: str, folder: str = "run"):
        words, source, model = CASES[name]
        config = trial_config(*words, "optimizer=adam", "lr=0.05", "batch_size=8", *overrides, folder=folder)
        plain = config.plain() | {"data": {"_target_": f"{HERE}{source}"}}
        if name == "two passes":
            plain["task"] = {"_target_": f"{HERE}TwoPasses"}
        if model is not None:
            plain["model"] = {"_target_": f"{HERE}{model}"}
        return replace(load_config(plain), output_dir=config.output_dir)

    return make


def trained(config) -> playbook.Run:
    train(config, verbose=False)
    return playbook.load_run(config.output_dir)


@pytest.mark.parametrize("name", CASES)
def test_it_learns_is_killed_and_goes_on_bit_for_bit(case, tmp_path, name):
    whole = trained(case(name, "max_steps=60", "eval_every=20", folder="whole"))
    curve = whole.evals.filter(metric=whole.config.objective.metric)["value"]
    assert curve[-1] < 0.8 * curve[0]
    config = case(name, "max_steps=60", "eval_every=20")
    for step in (7, 45):
        kill_at(config, step)
    trained(config)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_read_back_and_gives_what_was_recorded(case, name):
    run = trained(case(name, "keep_best=9"))
    step, (part, _, metric) = 10, run.config.objective.metric.partition("/")
    predictor, split = run.model(step), run.config.data.build().load(part)
    batch = split.batch(torch.arange(len(split)))
    task = predictor.task
    with torch.no_grad():
        outputs = task.outputs(predictor.model, batch.inputs)
        metrics = task.metrics()
        metrics.update(outputs, task.targets(batch))
        again = predictor(batch.inputs)
    recorded = dict(run.evals.filter(step=step).select("metric", "value").iter_rows())
    assert recorded[f"val/{metric}"] == pytest.approx(metrics.compute()[metric], rel=1e-6)
    expected = task.predict(outputs)
    assert all(map(torch.equal, tensors(again), tensors(expected)))
    assert len(run.predictions.filter(step=step)) == min(64, len(split))


def test_token_losses_do_not_count_padding(case):
    """By hand from the weights, with the three names of one number, and its standard error."""
    run = trained(case("tokens", "keep_best=9"))
    log_probabilities = run.model(10).model.table.weight.detach().double().log_softmax(-1).numpy()
    validation = Tokens().load("val")
    sums, counts = [], []
    for inputs, targets in zip(validation.inputs.tolist(), validation.targets.tolist(), strict=True):
        pairs = [(x, y) for x, y in zip(inputs, targets, strict=True) if y != -100]
        sums.append(-sum(log_probabilities[x, y] for x, y in pairs))
        counts.append(len(pairs))
    sums, counts = np.array(sums), np.array(counts)
    loss = sums.sum() / counts.sum()
    recorded = dict(run.evals.filter(step=10).select("metric", "value").iter_rows())
    assert recorded["val/loss"] == pytest.approx(loss, rel=1e-6)
    assert recorded["val/perplexity"] == pytest.approx(np.exp(loss), rel=1e-6)
    assert recorded["val/bits_per_byte"] == pytest.approx(loss / np.log(2) / 2.5, rel=1e-6)
    residuals = sums - loss * counts
    expected = np.sqrt(60 / 59 * (residuals**2).sum()) / counts.sum()
    assert recorded["val/loss_se"] == pytest.approx(expected, rel=1e-5)
    frequencies = np.bincount(Tokens().load("train").targets.clamp(min=-1).flatten() + 1, minlength=12)[1:] + 1.0
    seen = validation.targets[validation.targets != -100].numpy()
    assert run.result.chance == pytest.approx(-np.log(frequencies / frequencies.sum())[seen].mean())
    assert run.result.objective < run.result.chance


def test_a_mask_is_the_same_as_minus_100(case):
    first, second = (trained(case(name, folder=name)) for name in ("tokens", "masked"))
    assert first.evals.equals(second.evals)


def test_a_stream_gives_each_example_once_and_the_same_to_any_number_of_ranks():
    from playbook.data import StepLoader

    settings = {"batch_size": 4, "seed": 0, "num_steps": 3}
    exact = type("Exact", (Counting,), {"batch": lambda _, indices: Batch(indices, None)})()
    assert [batch.inputs.tolist() for batch in StepLoader(exact, **settings)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    ranks = [StepLoader(exact, **settings, rank=rank, world_size=2) for rank in range(2)]
    joined = [torch.cat([part.inputs for part in parts]).tolist() for parts in zip(*ranks, strict=True)]
    assert joined == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    (noisy,) = list(StepLoader(Counting(), **settings, start_step=2))
    (again,) = list(StepLoader(Counting(), **settings, start_step=2, num_workers=1))
    assert torch.equal(noisy.inputs, again.inputs)


class EndlessValidation(Endless):
    def load(self, split: SplitName) -> Split:
        return Counting()


class Forgets(Tokens):
    """Does not have what it says that it supplies."""

    supplies = ("vocab_size", "merges")


class Wide(Bigrams):
    """A logit too many."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.pad(super().forward(inputs), (0, 1))


@pytest.mark.parametrize(
    ("data", "model", "line"),
    [
        ("EndlessValidation", "Bigrams", r"data._target_=.*EndlessValidation: the validation split is a stream"),
        ("Forgets", "Bigrams", r"data: .*no attribute 'merges'"),
        (
            "Tokens",
            "Wide",
            r"model._target_=.*Wide: it gives \(2, 6, 12\) for .*; \(2, 6, 11\) is needed \(examples, len",
        ),
        ("Labels", "Bigrams", r"model.vocab_size: a value is needed"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(case, tmp_path, data, model, line):
    CASES["bad"] = (("task=language_modelling",), data, model)
    try:
        with pytest.raises(InputError, match=f"^{line}[^\n]*$"):
            train(case("bad"), verbose=False)
    finally:
        del CASES["bad"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("loss", r"task: 'nothing' \(KeyError in training_loss\(\) of Raises; HYDRA_FULL_ERROR=1 shows where\)"),
        ("shape", r"task._target_=.*Raises: its loss is \(3,\); a tensor of one number is needed"),
        ("targets", r"task: 'nothing' \(KeyError in targets\(\) of Raises; .*"),
        ("describe", r"task: 'nothing' \(KeyError in describe\(\) of Raises; .*"),
    ],
)
def test_a_bug_of_a_task_is_one_line_before_anything_is_written(case, tmp_path, where, line):
    plain = case("two passes").plain() | {"task": {"_target_": f"{HERE}Raises", "where": where}}
    with pytest.raises(InputError, match=f"^{line}$"):
        train(replace(load_config(plain), output_dir=str(tmp_path / "run")), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_what_the_data_supply_is_not_to_be_set(case):
    plain = case("tokens").plain()
    with pytest.raises(InputError, match=r"^model.vocab_size=3: the program supplies this; remove it$"):
        load_config(plain | {"model": plain["model"] | {"vocab_size": 3}})


def test_parts_are_standardised_by_themselves_and_ids_are_not():
    inputs = Two().load("train").inputs
    assert inputs["image"].mean().item() == pytest.approx(0, abs=1e-5)
    ids, table = inputs["parts"]
    assert ids.tolist() == (torch.arange(60) % 3 + 7).tolist()
    assert table.std(0, correction=0).tolist() == pytest.approx([1, 1], abs=1e-5)
    stored = Two(in_memory=False).load("train").batch(torch.arange(60)).inputs
    assert torch.equal(stored["image"], inputs["image"])
    assert torch.equal(stored["parts"][1], table)


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
def test_token_ids_stay_whole_numbers_in_every_precision(case, precision):
    assert trained(case("masked", f"trainer.precision={precision}", "max_steps=2")).result.status == "complete"


def test_a_metric_that_misses_a_label_among_two_examples_is_not_heard_before_it_judges(case, recwarn):
    auroc = "{_target_: torchmetrics.classification.MultilabelAUROC, num_labels: 3}"
    run = trained(case("multilabel", f"+task.metrics.auroc={auroc}", "max_steps=2", "eval_every=2"))
    assert run.evals.filter(metric="val/auroc").height == 2
    assert [str(warning.message) for warning in recwarn if "samples in targets" in str(warning.message)] == []
