"""Half precision and compiled training: what resumes goes on to the last bit, and what is saved is the plain model."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from run_state import final_state, kill, kill_at

from playbook.config import TrainerConfig
from playbook.errors import CrashError, InputError
from playbook.training import build, loop, resume, train
from playbook.training.checkpoints import best_path, load_of_step
from playbook.training.distributed import Rank
from playbook.training.lightning_adapter import make_trainer

TRIAL = ("model.width=16", "model.dropout=0.2", "optimizer=adam", "lr=0.01", "max_steps=12", "eval_every=4")
NO_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is None


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_half_precision_goes_on_bit_for_bit(trial_config, tmp_path, precision, averaging):
    words = (*TRIAL, f"trainer.precision={precision}", f"averaging={averaging}", "model.norm=batch")
    kill(trial_config(*words, folder="whole"), resume, "write_result")
    config = trial_config(*words)
    for step in (3, 6):
        kill_at(config, step)
    kill(config, resume, "write_result")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_it_is_evaluated_in_its_own_arithmetic(run_trial, precision):
    """The loss that is recorded is that of a pass in bfloat16 of the weights that were kept."""
    run = run_trial(*TRIAL, f"trainer.precision={precision}", "keep_best=9")
    validation = run.config.data.build().load("val")
    true = precision == "bf16-true"
    for step in (0, 12):
        model = run.model(step).model.to(torch.bfloat16 if true else torch.float32)
        state = load_of_step(best_path(run.path / "checkpoints", step))["state_dict"]
        assert {value.dtype for name, value in state.items() if name.startswith("model.")} == {
            next(model.parameters()).dtype
        }
        inputs = validation.inputs.to(torch.bfloat16) if true else validation.inputs
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=not true):
            outputs = model(inputs)
        assert outputs.dtype == torch.bfloat16
        wrong = (outputs.argmax(-1) != validation.targets).double().mean().item()
        assert run.evals.filter(step=step, metric="val/error")["value"].item() == pytest.approx(wrong, abs=1e-12)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_token_ids_are_left_alone(tmp_path, precision):
    """1001 is no bfloat16."""
    settings = TrainerConfig(device="cpu", precision=precision, num_threads=1)
    cpu = torch.device("cpu")
    trainer = make_trainer(settings, max_steps=1, device=cpu, rank=Rank(), callbacks=[], logger=None, folder=tmp_path)
    tokens = torch.tensor([[1001, 3]])
    assert torch.equal(trainer.precision_plugin.convert_input(tokens), tokens)
    assert trainer.precision_plugin.convert_input(tokens).dtype == torch.int64


def test_compiling_without_a_compiler_is_one_line(trial_config, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"^trainer\.compile=true: .*there is no no-such-compiler here"):
        train(trial_config("trainer.compile=true"), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_compiled_is_one_line(trial_config, tmp_path, monkeypatch):
    """It shows at the first step, when the first evaluation is saved; the reason is the compiler's own first lines."""

    def broken(graph, example_inputs):
        raise RuntimeError("no such instruction\n\nand pages about it")

    monkeypatch.setattr(loop, "compile_training", lambda model: model.compile(backend=broken))
    monkeypatch.setattr(build, "refuse_without_compiler", lambda device: None)
    with pytest.raises(CrashError) as error:
        train(trial_config("trainer.compile=true"), verbose=False)
    said = str(error.value)
    assert "\n" not in said
    assert "trainer.compile=true: torch.compile failed (" in said
    assert "no such instruction); trainer.compile=false trains without it" in said
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("resume_*")] == ["resume_00000000.ckpt"]


@pytest.mark.integration
@pytest.mark.skipif(NO_COMPILER, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_training_goes_on_bit_for_bit(trial_config, run_trial, tmp_path):
    words = (
        "model.width=16",
        "model.depth=1",
        "model.norm=batch",
        "max_steps=6",
        "eval_every=3",
        "trainer.compile=true",
    )
    kill(trial_config(*words, folder="whole"), resume, "write_result")
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    config = trial_config(*words)
    kill_at(config, 4)
    kill(config, resume, "write_result")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    plain = run_trial(*words[:-1], folder="plain")
    compiled = run_trial(*words)
    assert compiled.model(6).state_dict().keys() == plain.model(6).state_dict().keys()
    assert compiled.steps["loss"].to_list() == pytest.approx(plain.steps["loss"].to_list(), rel=1e-4)
