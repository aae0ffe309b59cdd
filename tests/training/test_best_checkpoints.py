"""The N best checkpoints, each with the evaluation that it belongs to (D3)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning.plugins.precision.precision import Precision
from run_state import kill

import playbook
from playbook.data import PassLoader
from playbook.errors import InputError
from playbook.training import evaluator, resume, train
from playbook.training.evaluation import evaluate

ERRORS = [0.9, 0.5, 0.3, 0.5, 0.3, 0.4]  # of the evaluations at steps 0, 2, … 10; two pairs are equal
NUM_VALIDATION = 359


@pytest.fixture
def scripted(monkeypatch):
    """The validation error of each evaluation is that of the list, whatever the model does."""
    script, real = iter(ERRORS), evaluator.evaluate

    def scripted_evaluate(model, task, loader, **rest):
        metrics = real(model, task, loader, **rest)
        return metrics | {"error": next(script)} if loader.num_examples == NUM_VALIDATION else metrics

    monkeypatch.setattr(evaluator, "evaluate", scripted_evaluate)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def best_first(mode: str) -> list[int]:
    """The steps in order, found by taking the best of what is left, the earliest of equals, over and over."""
    left, order = dict(zip(range(0, 12, 2), ERRORS, strict=True)), []
    while left:
        extreme = min(left.values()) if mode == "min" else max(left.values())
        step = next(step for step, value in left.items() if value == extreme)
        order.append(step)
        del left[step]
    return order


@pytest.mark.usefixtures("scripted")
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("keep_best", [0, 1, 3, 20])
def test_the_best_are_kept_and_nothing_else(run_trial, keep_best, mode):
    run = run_trial("eval_every=2", f"keep_best={keep_best}", f"objective.mode={mode}", "model.width=8")
    kept = best_first(mode)[:keep_best]
    assert run.evals.filter(metric="val/error")["value"].to_list() == ERRORS
    assert run.best_steps == kept
    checkpoints = [f"checkpoints/step_{step:08d}.ckpt" for step in sorted(kept)]
    others = ["config.yaml", "evals.csv", "examples.bin", "predictions.csv", "result.json", "steps.csv"]
    assert files_in(run.path) == sorted([*checkpoints, *others])
    result = run.result
    assert (result.objective, result.best_step) == {"min": (0.3, 4), "max": (0.9, 0)}[mode]
    assert result.final_objective == 0.4
    assert (result.objective_metric, result.objective_mode) == ("val/error", mode)


@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_kept_weights_are_those_of_their_evaluation(run_trial, data):
    task = "classification" if data == "digits" else "regression"
    run = run_trial(f"data={data}", f"task={task}", "eval_every=2", "keep_best=20", "model.norm=batch", "lr=0.02")
    val = run.config.data.build().load("val")
    assert sorted(run.best_steps) == [0, 2, 4, 6, 8, 10]
    losses = set()
    for step in run.best_steps:
        predictor = run.model(step)
        loader = PassLoader(val, batch_size=1024)
        metrics = evaluate(predictor.model, predictor.task, loader, precision=Precision())
        recorded = dict(run.evals.filter(step=step).select("metric", "value").iter_rows())
        for name in ("error", "loss"):
            assert metrics[name] == recorded[f"val/{name}"]  # to the last bit
        losses.add(metrics["loss"])
    assert len(losses) == 6


def test_the_default_model_is_the_best_one(run_trial):
    run = run_trial("eval_every=2", "keep_best=2", "lr=0.2", "max_steps=20", "batch_size=8")
    values = run.evals.filter(metric="val/error").sort("value", "step")
    assert run.best_steps == values["step"].to_list()[:2]
    assert (run.result.objective, run.result.best_step) == (values["value"][0], values["step"][0])
    best = dict(run.model(run.best_steps[0]).state_dict())
    for name, tensor in run.model().state_dict().items():
        assert torch.equal(tensor, best[name])
    missing = next(step for step in range(0, 22, 2) if step not in run.best_steps)
    with pytest.raises(InputError, match="kept are the steps"):
        run.model(missing)


def test_without_kept_checkpoints_there_is_no_model(run_trial):
    run = run_trial("keep_best=0")
    with pytest.raises(InputError, match="no checkpoint was kept"):
        run.model()


def test_predictions_are_in_the_units_of_the_targets(run_trial):
    run = run_trial("data=diabetes", "task=regression", "max_steps=200", "eval_every=200", "lr=0.02")
    val = run.config.data.build().load("val")
    with torch.no_grad():
        residual = run.model()(val.inputs) - val.targets
    assert residual.square().mean().sqrt().item() == pytest.approx(run.result.objective, rel=1e-5)
    assert run.result.objective < 75  # points; the mean gets 77


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no run here"):
        playbook.load_run(tmp_path)


def test_a_damaged_best_checkpoint_stops_a_resume_until_the_user_decides(trial_config, capsys):
    whole = train(trial_config("max_steps=20", "eval_every=5", "keep_best=2", folder="whole"), verbose=False)
    config = trial_config("max_steps=20", "eval_every=5", "keep_best=2")
    kill(config, resume, "write_result")
    folder = Path(config.output_dir)
    best = folder / "checkpoints" / f"step_{whole.best_step:08d}.ckpt"
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 4
    best.write_bytes(content)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=rf"{best.name} is damaged .* delete it to go on without it"):
        train(config, verbose=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    best.unlink()
    assert train(config, verbose=False).objective == whole.objective
