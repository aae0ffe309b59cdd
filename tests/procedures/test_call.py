"""What every procedure has of the base: its door, its studies, its files. The procedure here is the tests' own."""

import json
import sys
import types

import pytest
from pydantic import Field

from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options, begin
from playbook.procedures.command import procedure_script
from playbook.run_files import RESULT

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=4", "eval_every=4", "batch_size=8")
DOCSTRING = "Which of two rates?\n\n  python scripts/two_rates.py model=cnn"


class TwoRatesOptions(Options):
    EXTENDS = frozenset({"num_seeds"})
    rates: list[float] = Field(default=[0.1, 0.2], description="the rates")
    num_seeds: int = Field(default=1, gt=0, description="of each")


def two_rates(*words: str, options: TwoRatesOptions = TwoRatesOptions(), quiet: bool = False) -> Answer:  # noqa: B008
    call = begin("two_rates", words, options, quiet=quiet)
    study = call.run_study("sweep", "which is better?", {"trials": [{"lr": rate} for rate in options.rates]})
    best = study.trials.sort("objective")["lr"][0]
    answer = Answer("found", f"It is {best}.", call.train_command(f"lr={best}"), overrides=(f"lr={best}",))
    return call.finish(answer, Evidence("Which?", [("2", "rates")], [], "Trials", (("lr",), [(str(best),)])))


@pytest.fixture
def door(tmp_path, monkeypatch, capsys):
    module = types.ModuleType("playbook.procedures.two_rates", DOCSTRING)
    module.two_rates = two_rates
    monkeypatch.setitem(sys.modules, "playbook.procedures.two_rates", module)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["two_rates.py", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as end:
            procedure_script("two_rates")()
        return end.value.code, capsys.readouterr()

    return run


def test_a_procedure_trains_answers_and_says_what_to_type_next(door, tmp_path):
    code, said = door(*SMALL, "rates=[0.1,0.3]")
    assert code == 0
    (folder,) = tmp_path.glob("outputs/two_rates/*")
    written = json.loads((folder / RESULT).read_text())
    assert written["answer"] in said.out
    assert written["next"].startswith("python train.py logger=none")
    assert written["overrides"][0] in written["next"]
    assert "rates=" in written["command"]
    assert "rates=" not in written["next"]
    (study,) = written["studies"]
    assert json.loads((tmp_path / study / "verdict.json").read_text())["answer"] == written["answer"]
    page = (folder / "index.html").read_text()
    assert written["answer"] in page
    assert "<script" not in page
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"{study}/trial_*/{RESULT}")}
    assert len(before) == 2
    assert door(*SMALL, "rates=[0.1,0.3]")[0] == 0  # finds its own study
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("num_seeds=0",), "num_seeds=0: allowed is"),
        (("numseeds=1",), "did you mean num_seeds?"),
        (("lr=-1",), "lr=-1"),
        (("-m",), "-m: scripts/two_rates.py runs its own studies"),
        (("--config-dir=/",), "composed from conf/"),
        (("rates=[a]",), "rates[0]=a: allowed is"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(door, tmp_path, words, said):
    code, output = door(*SMALL, *words)
    assert code == 2
    assert said in output.err
    assert len(output.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_names_every_option(door):
    code, said = door("--help")
    assert code == 0
    assert "Which of two rates?" in said.out
    assert "num_seeds=1" in said.out
    assert "out_dir=null" in said.out


def test_the_same_question_has_the_same_name_however_long_it_runs():
    def named(*words: str, **options: object) -> str:
        return begin("two_rates", words, TwoRatesOptions(**options), quiet=True).fingerprint

    assert named() == named("output_root=elsewhere", num_seeds=5, out_dir="x")
    assert len({named(), named("lr=0.5"), named(rates=[1.0])}) == 3


def test_commands_replace_the_words_of_the_same_key():
    call: Call[TwoRatesOptions] = begin("two_rates", ("lr=0.5", "hydra/launcher=joblib"), TwoRatesOptions(num_seeds=2))
    assert call.train_command("lr=0.1", "max_steps=5") == "python train.py lr=0.1 max_steps=5"
    assert call.command_with("num_seeds=4") == ("python scripts/two_rates.py lr=0.5 hydra/launcher=joblib num_seeds=4")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    call = begin("two_rates", SMALL, TwoRatesOptions(out_dir=str(tmp_path / "file" / "x")), quiet=True)
    with pytest.raises(InputError, match="cannot be written"):
        call.finish(Answer("found", "", ""), Evidence("", [], [], "", ((), [])))
