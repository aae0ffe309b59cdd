"""The notebooks run from top to bottom on a run as `make demo` makes it, and hold no outputs."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_is_one():
    assert {path.stem for path in NOTEBOOKS} >= {"read_a_run", "read_a_study"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(notebook):
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(notebook))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_no_module_of_ours(notebook):
    source = "\n".join("".join(cell["source"]) for cell in cells(notebook))
    assert "import playbook\n" in source
    assert not re.search(r"from playbook|import playbook\.", source)


def test_a_run_is_read(run_trial, tmp_path, monkeypatch):
    run_trial("max_steps=20", folder="outputs/studies/demo/trial_00000")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    names: dict = {}
    for cell in cells(next(path for path in NOTEBOOKS if path.stem == "read_a_run")):
        exec("".join(cell["source"]), names)
    assert names["error"] == pytest.approx(names["run"].result.objective, abs=1e-12)
    assert names["wide"]["step"].to_list() == [0, 5, 10, 15, 20]


def test_a_study_is_read(door, tmp_path, monkeypatch):
    words = ("-m", "lr=0.01,0.1,0.3,1e37", "study.name=demo", "logger=none", "max_steps=20", "eval_every=5")
    assert door(*words).code == 0
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    names: dict = {}
    for cell in cells(next(path for path in NOTEBOOKS if path.stem == "read_a_study")):
        exec("".join(cell["source"]), names)
    assert names["best_so_far"][-1] == pytest.approx(names["study"].trials["objective"].min())
    assert names["by_loss"].ranked()["objective"].is_sorted()
    assert {finding.code for finding in names["found"]} >= {"infeasible_fraction"}
