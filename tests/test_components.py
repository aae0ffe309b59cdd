"""Components: what a `_target_` may name, and how a class's own signature checks its config block."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, PositiveInt
from torch import nn

from playbook import components
from playbook.components import check, resolve, trusted_prefixes
from playbook.config import GROUPS, Config
from playbook.errors import InputError

HERE = __name__  # a fork's package, once it is trusted


class Sized(nn.Module):
    """A fork's model: bounds in the annotations, a combination in the constructor, a nested component."""

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        *,
        width: PositiveInt,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm: Literal["none", "batch"] = "none",
        path: str | None = None,
        sizes: list[PositiveInt] | None = None,
        activation: nn.Module | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if norm == "batch" and width == 1:
            raise ValueError(f"model.norm=batch needs model.width>1; got {width}")
        if path == "several lines":
            raise ValueError("first\nsecond")
        self.given = {"input_shape": input_shape, "num_outputs": num_outputs, "width": width, "dropout": dropout}
        self.given |= {"norm": norm, "sizes": sizes, "more": more}
        self.activation = activation


class TakesAnything:
    """A class whose keys only it knows."""

    def __init__(self, first: PositiveInt = 1, **rest: Any) -> None:
        self.given = {"first": first, **rest}


class Inherits(Sized):
    """Its constructor, and so its schema, is that of its parent."""


class Unannotated:
    def __init__(self, width, depth=2) -> None:  # type: ignore[no-untyped-def]
        self.given = (width, depth)


class Nothing:
    """Has no constructor of its own."""


class RefusesInOtherWords:
    """Raises what people raise."""

    def __init__(self, kind: str) -> None:
        if kind == "type":
            raise TypeError("a bug in the class")
        if kind == "assert":
            raise AssertionError
        if kind.startswith("memory:"):
            raise RuntimeError(kind)
        if kind == "input":
            raise InputError("data.path: one line of our own")
        raise ValueError(kind)


an_instance = Nothing()
SUPPLIED = frozenset({"input_shape", "num_outputs"})


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module is a package that a fork trusts."""
    monkeypatch.setattr(components, "own_packages", lambda: (HERE,))


def block(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.{name}", **arguments}


def refusal(block: Any, key: str = "model", supplied: frozenset[str] = SUPPLIED) -> str:
    with pytest.raises(InputError) as error:
        check(block, key, supplied).build()
    return str(error.value)


# Trust.


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.dict",
        "torch.load",
        "torch.hub.load",
        "torch.utils.data.DataLoader",
        "playbook",
        "playbookx.evil.Class",
        "torch.optimx.Class",
        "notplaybook.models.MLP",
        " playbook.models.MLP",
        "Playbook.models.MLP",
        "",
        ".",
        "..playbook.models.MLP",
        3,
        None,
        True,
        ["playbook.models.MLP"],
    ],
)
def test_other_places_are_refused_before_anything_is_imported(target: object) -> None:
    with pytest.raises(InputError) as error:
        resolve(target, "model")
    assert f"model._target_={target}" in str(error.value)
    for prefix in trusted_prefixes():
        assert prefix in str(error.value)


@pytest.mark.parametrize(
    "target",
    [
        # Through a module that a trusted module imported.
        "playbook.run_files.os.system",
        "playbook.run_files.os",
        "playbook.config.json.JSONDecoder",
        "playbook.components.importlib.import_module",
        "torch.nn.modules.linear.math.sqrt",
        "torch.optim.optimizer.warnings.catch_warnings",
        "pytorch_lightning.callbacks.os.system",
        # Classes from elsewhere that a trusted module imported by name.
        "playbook.config.Path",
        "playbook.config.BaseModel",
        "playbook.run_files.Mapping",
        "playbook.cli.DictConfig",
        "torch.nn.modules.module.OrderedDict",
        # Functions, instances, modules.
        "playbook.run_files.replace_file",
        "playbook.load_run",
        "playbook.config.GROUPS",
        "playbook.config.NOT_OFFERED",
        "playbook.models",
        "torch.nn.init.xavier_uniform_",
        "torch.nn.functional.relu",
        # What is inside a class, or not there.
        "playbook.config.Config.plain",
        "playbook.models.MLP.forward",
        "playbook.models.MLP.__init__",
        "playbook.models.MLP.__class__",
        "playbook.models.__loader__",
        "playbook.models.__builtins__",
        "playbook.models.Nope",
        "playbook.nope.Class",
        "playbook.",
        "playbook..Class",
        "playbook.models.",
        "playbook.models .MLP",
        "playbook.models.MLP ",
    ],
)
def test_detours_through_trusted_places_are_refused(target: str) -> None:
    message = refusal({"_target_": target})
    assert message.startswith(f"model._target_={target}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "target",
    ["playbook.models.MLP", "playbook.models.mlp.MLP", "torch.optim.AdamW", "torch.nn.Linear", "torchmetrics.F1Score"],
)
def test_trusted_classes_resolve(target: str) -> None:
    assert resolve(target, "model").__name__ == target.rpartition(".")[2]


def test_a_missing_dependency_of_a_trusted_module_is_no_fault_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: None
) -> None:
    package = tmp_path / "forkpkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(components, "own_packages", lambda: ("forkpkg",))
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        resolve("forkpkg.model.Model", "model")
    with pytest.raises(InputError, match=r"no module forkpkg\.modl"):
        resolve("forkpkg.modl.Model", "model")


@pytest.mark.parametrize(
    ("nested", "path"),
    [
        ({"activation": {"_target_": "os.system"}}, "model.activation"),
        ({"more": {"a": {"b": {"_target_": "os.system", "command": "ls"}}}}, "model.more.a.b"),
        ({"more": {"a": [1, {"_target_": "subprocess.Popen"}]}}, "model.more.a[1]"),
        ({"activation": {"_target_": "torch.nn.Sequential", "x": {"_target_": "os.system"}}}, "model.activation.x"),
    ],
)
def test_nested_targets_are_checked_before_anything_is_built(trusted: None, nested: dict[str, Any], path: str) -> None:
    with pytest.raises(InputError) as error:
        check(block("Sized", width=3, **nested), "model", SUPPLIED)
    assert str(error.value).startswith(f"{path}._target_=")


@pytest.mark.parametrize("given", [None, 3, "mlp", [], {}, {"width": 3}, [{"_target_": "playbook.models.MLP"}]])
def test_what_is_no_block_is_refused(given: object) -> None:
    message = refusal(given)
    assert message.startswith("model=")
    assert "model=<option>" in message


# The signature is the schema.


def test_a_forks_class_is_built_from_its_block(trusted: None) -> None:
    component = check(block("Sized", width=3, norm="batch", sizes=[1, 2], more={"a": [1]}), "model", SUPPLIED)
    built = component.build(input_shape=(5,), num_outputs=2, unknown="what a class does not take is not given")
    assert built.given == {
        "input_shape": (5,),
        "num_outputs": 2,
        "width": 3,
        "dropout": 0.0,
        "norm": "batch",
        "sizes": [1, 2],
        "more": {"a": [1]},
    }
    assert component.plain() == block("Sized", width=3, norm="batch", sizes=[1, 2], more={"a": [1]})


def test_an_inherited_constructor_is_read(trusted: None) -> None:
    assert "model.width=0: allowed is a whole number > 0" in refusal(block("Inherits", width=0))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, ["model.width", "a whole number > 0"]),
        ({"width": 0}, ["model.width=0", "a whole number > 0"]),
        ({"width": 2.5}, ["model.width=2.5", "a whole number"]),
        ({"width": True}, ["model.width=true", "a whole number"]),
        ({"width": None}, ["model.width=null", "a whole number"]),
        ({"width": "wide"}, ["model.width=wide", "a whole number"]),
        ({"width": float("nan")}, ["model.width=nan"]),
        ({"width": 3, "dropout": 1}, ["model.dropout=1", ">= 0 and < 1"]),
        ({"width": 3, "dropout": float("nan")}, ["model.dropout=nan", "a finite number"]),
        ({"width": 3, "dropout": True}, ["model.dropout=true", "a finite number"]),
        ({"width": 3, "norm": "Batch"}, ["model.norm=Batch", "none", "batch"]),
        ({"width": 3, "path": 3}, ["model.path=3", "text or null"]),
        ({"width": 3, "sizes": [1, 0]}, ["model.sizes[1]=0", "a whole number > 0"]),
        ({"width": 3, "sizes": 4}, ["model.sizes=4", "a list"]),
        ({"width": 3, "sizes": [1, True]}, ["model.sizes[1]=true", "a whole number"]),
        ({"wdith": 3, "width": 3}, ["model.wdith", "did you mean model.width?"]),
        ({"width": 3, "num_outputs": 9}, ["model.num_outputs=9", "the program supplies this"]),
        ({"width": 3, "input_shape": None}, ["model.input_shape=null", "the program supplies this"]),
        ({"width": 3, "_args_": [1]}, ["model._args_"]),
        ({"width": 3, "_partial_": True}, ["model._partial_"]),
    ],
)
def test_a_block_that_does_not_fit_the_signature(trusted: None, arguments: dict[str, Any], parts: list[str]) -> None:
    message = refusal(block("Sized", **arguments))
    for part in parts:
        assert part in message
    assert "\n" not in message


def test_values_are_given_in_the_types_of_the_signature(trusted: None) -> None:
    component = check(block("Sized", width="3", dropout="0.5", sizes=[2.0]), "model", SUPPLIED)
    assert component.plain() == block("Sized", width=3, dropout=0.5, sizes=[2])
    assert type(component.arguments["width"]) is int


def test_a_class_that_takes_anything_gets_extra_keys(trusted: None) -> None:
    built = check(block("TakesAnything", first=2, second=[3], third={"a": 1}), "logger").build(supplied=7)
    assert built.given == {"first": 2, "second": [3], "third": {"a": 1}, "supplied": 7}
    assert "logger.first=0" in refusal(block("TakesAnything", first=0), "logger")


def test_parameters_without_annotations_take_anything(trusted: None) -> None:
    assert check(block("Unannotated", width="x", depth=None), "model").build().given == ("x", None)
    assert "model.width" in refusal(block("Unannotated"))


def test_a_class_without_a_constructor_has_no_keys(trusted: None) -> None:
    assert type(check(block("Nothing"), "logger").build()) is Nothing
    assert refusal(block("Nothing", a=1), "logger") == "logger.a=1: there is no such key; there are none"


def test_a_trusted_class_without_a_signature_is_refused() -> None:
    assert refusal({"_target_": "playbook.errors.InputError"}).startswith("model._target_=playbook.errors.InputError: ")


def test_nested_blocks_become_instances(trusted: None) -> None:
    nested = {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.3}
    component = check(block("Sized", width=3, activation=nested, more={"list": [nested]}), "model", SUPPLIED)
    built = component.build(input_shape=(5,), num_outputs=2)
    assert isinstance(built.activation, nn.LeakyReLU)
    assert built.activation.negative_slope == 0.3
    assert isinstance(built.given["more"]["list"][0], nn.LeakyReLU)
    assert component.plain()["activation"] == nested
    assert component.build(input_shape=(5,), num_outputs=2).activation is not built.activation


def test_a_nested_blocks_own_keys_are_checked_before_anything_is_built(trusted: None) -> None:
    nested = {"_target_": "torch.nn.LeakyReLU", "negative_slope": "steep"}
    with pytest.raises(InputError, match=r"model\.activation\.negative_slope=steep"):
        check(block("Sized", width=3, activation=nested), "model", SUPPLIED)


# What a constructor says.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 1, "norm": "batch"}, "model.norm=batch needs model.width>1; got 1"),
        (
            {"width": 3, "path": "several lines"},
            "model: first second (ValueError in Sized(); HYDRA_FULL_ERROR=1 shows where)",
        ),
    ],
)
def test_a_value_error_of_a_constructor_is_one_line(trusted: None, arguments: dict[str, Any], message: str) -> None:
    component = check(block("Sized", **arguments), "model", SUPPLIED)
    with pytest.raises(InputError) as error:
        component.build(input_shape=(5,), num_outputs=2)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("type", "data: a bug in the class (TypeError in RefusesInOtherWords(); HYDRA_FULL_ERROR=1 shows where)"),
        ("assert", "data: no reason given (AssertionError in RefusesInOtherWords(); HYDRA_FULL_ERROR=1 shows where)"),
        ("words", "data: words (ValueError in RefusesInOtherWords(); HYDRA_FULL_ERROR=1 shows where)"),
        ("input", "data.path: one line of our own"),
    ],
)
def test_whatever_a_constructor_raises_is_one_line(trusted: None, kind: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        check(block("RefusesInOtherWords", kind=kind), "data").build()
    assert str(error.value) == message
    assert kind == "input" or error.value.__cause__ is not None  # which HYDRA_FULL_ERROR=1 shows


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 3 GiB", "std::bad_alloc"])
def test_that_memory_has_run_out_is_no_bad_input(trusted: None, words: str) -> None:
    with pytest.raises(RuntimeError, match=words.split()[0].partition(":")[0]):
        check(block("RefusesInOtherWords", kind=f"memory:{words}"), "data").build()


# The kind of class.


@pytest.mark.parametrize(
    ("group", "target", "part"),
    [
        ("schedule", "torch.nn.ReLU", "playbook.optim.Schedule"),
        ("schedule", "torch.optim.lr_scheduler.StepLR", "playbook.optim.Schedule"),
        ("model", "torch.optim.SGD", "torch.nn.Module"),
        ("model", "pytorch_lightning.LightningModule", "the training loop is there already"),
        ("task", "playbook.models.MLP", "playbook.tasks.Task"),
        ("task", "playbook.tasks.Task", "this class still has to define loss, own_metrics"),
        ("data", "playbook.data.TensorSource", "this class still has to define examples"),
        ("logger", "pytorch_lightning.loggers.CSVLogger", "playbook.loggers.RunLogger"),
        ("optimizer", "playbook.optim.Linear", "torch.optim.Optimizer"),
    ],
)
def test_a_class_of_another_kind_is_told_in_one_line(group: str, target: str, part: str) -> None:
    given = {"_target_": target, "momentum": 0.9, "nesterov": True, "width": 3}
    with pytest.raises(InputError) as error:
        check(given, group, GROUPS[group].supplied, GROUPS[group].base)
    assert str(error.value).startswith(f"{group}._target_={target}: ")
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_function_is_told_to_be_wrapped(trusted: None) -> None:
    assert refusal(block("block")).endswith("this is a function; a class is needed, whose __init__ may call it")


def test_the_keys_of_another_class_are_one_line(trusted: None) -> None:
    message = refusal(block("Sized", width=3, depth=2, heads=4, patch=7))
    assert message.startswith("model: Sized has no depth, heads, patch; there are width, dropout, norm")
    assert "conf/model/<name>.yaml" in message


def test_optimizers_that_refuse_their_own_combination_are_one_line() -> None:
    component = check(
        {"_target_": "torch.optim.AdamW", "fused": True, "foreach": True}, "optimizer", frozenset({"params", "lr"})
    )
    with pytest.raises(InputError, match=r"^optimizer: .*fused.*foreach[^\n]*HYDRA_FULL_ERROR=1 shows where\)$"):
        component.build(params=[nn.Parameter(torch.zeros(1))], lr=0.1)


# The whole way, with a class of another library.


def test_torchs_own_optimizer_trains(trial_config: Callable[..., Config]) -> None:
    import playbook
    from playbook.config import load_config
    from playbook.training import train

    config = trial_config("lr=0.01", "max_steps=20", "eval_every=10")
    plain = copy.deepcopy(config.plain())
    plain["optimizer"] = {"_target_": "torch.optim.AdamW", "betas": [0.8, 0.99], "weight_decay": 0.1}
    result = train(load_config(plain), verbose=False)
    assert result.status == "complete"
    run = playbook.load_run(plain["output_dir"])
    assert run.config.optimizer.plain() == plain["optimizer"]  # also what the class takes as a tuple
    assert train(load_config(plain), verbose=False) == result  # and so the same command finds it again
    losses = run.steps["loss"].to_list()
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [({"weight_decay": -1}, "weight_decay"), ({"betas": [0.9]}, "optimizer.betas"), ({"eps": "x"}, "optimizer.eps=x")],
)
def test_what_torchs_optimizer_refuses_is_a_line(arguments: dict[str, Any], part: str) -> None:
    given = {"_target_": "torch.optim.AdamW", **arguments}
    with pytest.raises(InputError) as error:
        check(given, "optimizer", frozenset({"params", "lr"})).build(params=[nn.Parameter(torch.zeros(1))], lr=0.1)
    assert part in str(error.value)
    assert str(error.value).startswith("optimizer")
    assert "\n" not in str(error.value)


def test_a_component_that_ends_the_process_is_one_line() -> None:
    line = r"^model: Mine\(\) ended the process \(sys\.exit\(0\)\)$"
    with pytest.raises(InputError, match=line), components.errors_of("model", "Mine()"):
        raise SystemExit(0)


@pytest.mark.parametrize("error", [SystemExit(-1), RuntimeError("not requeued")])
def test_what_a_signal_raises_while_a_component_is_built_is_no_fault_of_it(error: BaseException) -> None:
    """As submitit's handler does when Slurm takes the place of a job."""

    class Handler:
        def requeue(self, signum: int, frame: object) -> None:
            raise error

    before = signal.signal(signal.SIGUSR2, Handler().requeue)
    try:
        with pytest.raises(type(error)) as raised, components.errors_of("model", "Mine()"):
            signal.raise_signal(signal.SIGUSR2)
        assert raised.value is error
    finally:
        signal.signal(signal.SIGUSR2, before)
