"""Code that was edited is not taken for what it was."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import pytest
from run_state import kill_at

from playbook import models
from playbook.errors import InputError
from playbook.training import code_hash, train
from playbook.training.code_hash import code_of

FILE = Path(inspect.getfile(models.MLP))


@pytest.fixture
def edit(monkeypatch):
    """`edit(old, new)`: from now on the model's file reads so, for whoever looks at the code."""
    source = FILE.read_text()
    read = Path.read_text

    def apply(old: str, new: str) -> None:
        assert old in source
        edited = source.replace(old, new)
        monkeypatch.setattr(Path, "read_text", lambda p, *a, **k: edited if p == FILE else read(p, *a, **k))
        code_hash._hash.cache_clear()

    yield apply
    monkeypatch.undo()
    code_hash._hash.cache_clear()


def test_comments_and_layout_are_not_code(trial_config, edit):
    config = trial_config()
    before = code_of(config)
    edit("class MLP(", "# a comment\n\n\nclass MLP(")
    assert code_of(config) == before
    edit("class MLP(", "EDITED = True\n\n\nclass MLP(")
    assert {key for key in before if before[key] != code_of(config)[key]} == {"code of model"}


def test_a_run_of_edited_code_is_refused_until_forced(trial_config, edit):
    config = trial_config("max_steps=10", "eval_every=5")
    kill_at(config, 7)
    edit("class MLP(", "EDITED = True\n\n\nclass MLP(")
    with pytest.raises(InputError, match=r"code of model: \w+ there, \w+ here.*resume=force"):
        train(config, verbose=False)
    assert train(trial_config("max_steps=10", "eval_every=5", "resume=force"), verbose=False).status == "complete"


def test_a_finished_run_says_that_its_code_has_changed(trial_config, edit, capsys):
    config = trial_config("max_steps=2")
    train(config, verbose=False)
    train(config)
    assert "has changed since" not in capsys.readouterr().out
    edit("class MLP(", "EDITED = True\n\n\nclass MLP(")
    train(config)
    said = capsys.readouterr().out
    assert "finished before, not trained again; overwrite=true does" in said
    assert "the code of model has changed since" in said


def test_library_classes_are_told_by_their_version(trial_config):
    assert "code of optimizer" in code_of(trial_config())
    config = trial_config("optimizer._target_=torch.optim.SGD", "~optimizer.decay_norm_and_bias", "~optimizer.decay")
    assert "code of optimizer" not in code_of(config)


@pytest.mark.parametrize(
    "line",
    [
        "from .parts import SCALE",
        "from . import parts",
        "from mypackage.parts import SCALE",
        "from ..mypackage.parts import SCALE",
        "import mypackage.parts",
    ],
)
def test_what_a_module_imports_of_its_package_counts_however_it_is_written(tmp_path, monkeypatch, line):
    inside = line.startswith("from ..")
    folder = tmp_path / "outer" / "mypackage" if inside else tmp_path / "mypackage"
    folder.mkdir(parents=True)
    (tmp_path / "outer" / "__init__.py").touch() if inside else None
    (folder / "__init__.py").touch()
    (folder / "parts.py").write_text("SCALE = 1\n")
    (folder / "model.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "outer.mypackage.model" if inside else "mypackage.model"
    try:
        importlib.import_module(name)
        before = code_hash._hash(name)
        (folder / "parts.py").write_text("SCALE = 2\n")
        code_hash._hash.cache_clear()
        assert code_hash._hash(name) != before
    finally:
        code_hash._hash.cache_clear()
        for module in [module for module in sys.modules if module.split(".")[0] in ("outer", "mypackage")]:
            del sys.modules[module]
