"""`init_from`, `freeze`: a trial begins with the weights that it is told to, and leaves alone what it should (D6)."""

from __future__ import annotations

import json

import pytest
import torch
from run_state import final_state, kill, kill_at
from safetensors.torch import save_file

import playbook
from playbook.errors import InputError
from playbook.training import resume, train
from playbook.training.expected import expected_environment
from playbook.training.initial_weights import load_initial_weights

TRIAL = ("model.width=8", "model.norm=batch", "max_steps=6", "eval_every=3", "lr=0.1")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run to begin from."""
    from conftest import config_of

    config = config_of(tmp_path_factory.mktemp("source") / "run", *TRIAL, "seed=1")
    train(config, verbose=False)
    return playbook.load_run(config.output_dir)


def weights(run: playbook.Run, step: int) -> dict[str, torch.Tensor]:
    return run.model(step).model.state_dict()


def the_same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_kind_of_file_gives_the_same_beginning(source, run_trial, tmp_path):
    """A run's folder, its checkpoint, safetensors, a bare state dict, and that of a LightningModule; the first
    evaluation is that of the weights, and the record says which they were, whatever the file.
    """
    best = source.best_steps[0]
    state = weights(source, best)
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pt")
    torch.save(
        {"state_dict": {f"model.{n}": v for n, v in state.items()} | {"loss.w": torch.ones(1)}}, tmp_path / "w.ckpt"
    )
    own = source.path / "checkpoints" / f"step_{best:08d}.ckpt"
    places = (source.path, own, tmp_path / "w.safetensors", tmp_path / "w.pt", tmp_path / "w.ckpt")
    reached = source.evals.filter(step=best, metric="val/error")["value"].item()
    for number, place in enumerate(places):
        run = run_trial(*TRIAL, f"init_from={place}", "max_steps=1", "keep_best=9", folder=str(number))
        assert the_same(weights(run, 0), state)
        assert run.evals.filter(step=0, metric="val/error")["value"].item() == reached
    fingerprints = {load_initial_weights(str(place)).fingerprint() for place in (places[0], *places[2:4])}
    assert len(fingerprints) == 1
    assert json.loads((tmp_path / "0" / "result.json").read_text())["environment"]["init_from"] in fingerprints


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda s: s.pop("head.0.weight"), "missing there: head.0.weight"),
        (lambda s: s.update(more=torch.ones(1)), "only there: more"),
        (
            lambda s: s.update({"head.3.bias": torch.ones(7)}),
            r"of another shape: head.3.bias \(7,\) there, \(10,\) here",
        ),
    ],
)
def test_what_does_not_fit_is_said_by_name(source, trial_config, tmp_path, changed, said):
    state = dict(weights(source, source.best_steps[0]))
    changed(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=rf"^init_from=.*w\.pt does not fit the model \({said}\); init_skip="):
        train(trial_config(*TRIAL, f"init_from={tmp_path / 'w.pt'}"), verbose=False)
    assert not (tmp_path / "run").exists()


def test_what_is_skipped_stays_as_it_is_initialised(source, run_trial):
    """A head of other outputs, as fine-tuning has it."""
    begin = run_trial(*TRIAL, "keep_best=9", folder="fresh")
    run = run_trial(*TRIAL, "keep_best=9", f"init_from={source.path}", "init_skip=[head,blocks.*.bias]")
    fresh, given = weights(begin, 0), weights(source, source.best_steps[0])
    for name, value in weights(run, 0).items():
        own = name.startswith("head.") or (name.startswith("blocks.") and name.endswith(".bias"))
        assert torch.equal(value, fresh[name] if own else given[name]), name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init_from=nowhere.pt"], "init_from=nowhere.pt: there is no such file or folder"),
        (["init_from=https://host/w.pt"], "only read from a local file"),
        (["init_from=."], "this folder holds no run"),
        (["init_from=bad.pt"], "it is damaged, or holds more than tensors"),
        (["init_from=evil.pt"], "it is damaged, or holds io.open, which could run code"),
        (["init_from=bad.safetensors"], "it is damaged or no file of safetensors"),
        (["init_from=list.pt"], "it holds no state dict"),
        (["init_from=w.pt", "init_skip=[hed]"], r"init_skip=\[hed\]: no name matches; there are stem\.1\.weight"),
        (["init_skip=[head]"], r"init_skip=\[head\]: there is no init_from"),
        (["freeze=[hed]"], r"freeze=\[hed\]: no name matches; there are stem\.1\.weight"),
        (["freeze=['*']"], "nothing in it can be trained"),
    ],
)
def test_bad_input_is_one_line(source, trial_config, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pt").write_bytes(b"no")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    torch.save(weights(source, source.best_steps[0]), "w.pt")
    torch.save([1], "list.pt")
    torch.save({"w": Evil()}, "evil.pt")
    with pytest.raises(InputError, match=said) as error:
        train(trial_config(*TRIAL, *words), verbose=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ran").exists()


class Evil:
    """Pickled, it runs code when it is read."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def test_changed_weights_are_noticed(source, trial_config, tmp_path):
    """When a run goes on, when a finished one is found again, and by what a study takes over."""
    path = tmp_path / "w.pt"
    state = dict(weights(source, source.best_steps[0]))
    torch.save(state, path)
    config = trial_config(*TRIAL, f"init_from={path}")
    kill_at(config, 4)
    torch.save({name: value + 1 if value.is_floating_point() else value for name, value in state.items()}, path)
    with pytest.raises(InputError, match=r"was begun elsewhere .*init_from"):
        train(config, verbose=False)
    torch.save(state, path)
    result = train(config, verbose=False)
    assert result.environment == expected_environment(config, {})
    torch.save({name: value * 2 for name, value in state.items()}, path)
    with pytest.raises(InputError, match="holds the result of other initial weights"):
        train(config, verbose=False)
    looked_at: dict[str, str] = {}
    expected = expected_environment(config, looked_at)
    assert result.environment != expected
    path.unlink()
    assert expected_environment(config, looked_at) == expected  # a study reads the file once, not for each trial
    assert train(config, verbose=False) == result


def test_a_fine_tuned_trial_resumes_bit_for_bit(source, trial_config, tmp_path):
    words = (*TRIAL, f"init_from={source.path}", "init_skip=[head.3]", "freeze=[stem]")
    kill(trial_config(*words, folder="whole"), resume, "write_result")
    config = trial_config(*words)
    kill_at(config, 4)
    kill(config, resume, "write_result")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def test_what_is_frozen_stays_and_the_rest_is_trained(source, run_trial):
    """Batch norm's running averages too, where the pattern takes them in."""
    start = (*TRIAL, "keep_best=9", f"init_from={source.path}", "optimizer.weight_decay=0.1")
    run = run_trial(*start, "freeze=[blocks,head.0.bias]")
    before, after = weights(run, 0), weights(run, 6)
    assert any("running_mean" in name for name in before if name.startswith("blocks"))
    for name in before:
        frozen = name.startswith("blocks.") or name == "head.0.bias"
        assert torch.equal(before[name], after[name]) == frozen, name
    assert run.config.freeze == ["blocks", "head.0.bias"]


def test_a_frozen_scale_does_not_stop_its_running_averages(source, run_trial):
    run = run_trial(*TRIAL, "keep_best=9", f"init_from={source.path}", "freeze=['blocks.0.*.weight']")
    before, after = weights(run, 0), weights(run, 6)
    moved = {name for name in before if name.startswith("blocks.0") and not torch.equal(before[name], after[name])}
    assert any("running_mean" in name for name in moved)
    assert not any(name.endswith(".weight") for name in moved)
