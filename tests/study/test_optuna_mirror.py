"""Optuna's mirror says what the files say, in Optuna's words, however and in which order the trials got there."""

import math
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import warm
from ended_study import ARMS, DIVERGES_FROM, EVALUATED, PLAIN, begin, end
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from playbook.analysis.study import load_study
from playbook.errors import InputError
from playbook.lock import locked
from playbook.study.design import Design, Trial
from playbook.study.ledger import Ledger
from playbook.study.optuna_mirror import mirror as mirror_module
from playbook.study.optuna_mirror.database import database_url
from playbook.study.optuna_mirror.mirror import OptunaMirror, rebuild
from playbook.study.optuna_mirror.parameters import Parameter, parameters
from playbook.study.space import Choice, Float, Int

SCRIPT = Path(__file__).parents[2] / "scripts" / "rebuild_store.py"


def mirror(folder: Path, design: Design, url: str | None = None) -> optuna.Study:
    """The study as a tool that knows nothing of us reads it."""
    return optuna.load_study(study_name=design.name, storage=url or database_url(folder))


def fields(study: optuna.Study) -> list[dict[str, object]]:
    """Everything that a reader sees of each trial; NaN as a word, since it does not equal itself."""
    seen = []
    for trial in study.get_trials():
        curve = {step: "nan" if math.isnan(value) else value for step, value in trial.intermediate_values.items()}
        seen.append(
            {
                "number": trial.number,
                "state": trial.state,
                "values": trial.values,
                "params": trial.params,
                "distributions": trial.distributions,
                "user_attrs": trial.user_attrs,
                "constraints": trial.constraints,
                "intermediate_values": curve,
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
        )
    return seen


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A mirrored study of 30 trials, a third of them infeasible."""
    folder = tmp_path_factory.mktemp("studies") / "plain"
    trials = begin(folder, PLAIN, 30)
    OptunaMirror(folder, PLAIN).add(end(folder, PLAIN, trials))
    return trials, mirror(folder, PLAIN)


def test_each_trial_reads_as_it_ended(plain):
    trials, study = plain
    infeasible = {trial.number for trial in trials if trial.settings["lr"] > DIVERGES_FROM}
    assert len(infeasible) == 9
    for trial, seen in zip(trials, study.get_trials(), strict=True):
        assert seen.number == trial.number
        assert seen.state == TrialState.COMPLETE
        assert seen.params == trial.settings
        assert seen.distributions == {
            "lr": FloatDistribution(1e-4, 1.0, log=True),
            "model.dropout": FloatDistribution(0.0, 0.5),
        }
        assert list(seen.intermediate_values) == list(EVALUATED)
        assert seen.user_attrs["overrides"].startswith("data=digits lr=")
        assert {key: seen.user_attrs[key] for key in ("trial", "arm", "folder", "seed")} == {
            "trial": trial.number,
            "arm": "all",
            "folder": f"trial_{trial.number:05d}",
            "seed": 3,
        }
        (constraint,) = seen.constraints.values()
        if trial.number in infeasible:
            assert (seen.value, constraint > 0, seen.user_attrs["reason"]) == (math.inf, True, "diverged")
            assert seen.intermediate_values[90] == math.inf
            assert math.isnan(seen.intermediate_values[95])
        else:
            assert seen.value == seen.intermediate_values[95]
            assert constraint <= 0
            assert seen.user_attrs["best_step"] == 95
        assert seen.duration is not None
        assert seen.duration.total_seconds() == 12.5


def test_the_best_trial_and_the_importances_are_those_of_the_feasible_ones(plain):
    trials, study = plain
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.metric_names == ["val/error"]
    feasible = [trial for trial in trials if trial.settings["lr"] <= DIVERGES_FROM]
    nearest = min(feasible, key=lambda trial: abs(math.log10(trial.settings["lr"]) + 2))
    assert study.best_trial.number == nearest.number
    alone = optuna.create_study()
    alone.add_trials([study.trials[trial.number] for trial in feasible])
    for evaluator in (None, optuna.importance.FanovaImportanceEvaluator(seed=0)):
        importance = optuna.importance.get_param_importances(study, evaluator=evaluator)
        assert importance == optuna.importance.get_param_importances(alone, evaluator=evaluator)
        assert importance["lr"] > importance["model.dropout"]


def test_the_slice_plot_tells_feasible_from_infeasible(plain):
    from optuna.visualization._slice import _get_slice_plot_info  # what plot_slice draws, without plotly

    trials, study = plain
    lr, _ = _get_slice_plot_info(study, None, None, "val/error").subplots
    drawn = dict(zip(lr.trial_numbers, lr.x, strict=True))
    assert lr.is_log
    assert set(drawn) == {trial.number for trial in trials if trial.settings["lr"] <= DIVERGES_FROM}
    assert all(trials[number].settings["lr"] == x for number, x in drawn.items())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Clip non-finite values")
def test_a_sampler_goes_on_where_it_is_feasible(plain):
    _, study = plain
    go_on = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
    go_on.add_trials(study.get_trials())
    asked = [math.log10(go_on.ask(study.trials[0].distributions).params["lr"]) for _ in range(4)]
    assert all(abs(lr + 2) < 0.5 for lr in asked)  # at random it would be one


def test_hyperparameters_of_one_name_in_two_arms_are_two(tmp_path):
    trials = begin(tmp_path, ARMS, 8)
    OptunaMirror(tmp_path, ARMS).add(end(tmp_path, ARMS, trials))
    study = mirror(tmp_path, ARMS)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.user_attrs["goal"] == ARMS.goal
    shared = {
        "optimizer": CategoricalDistribution(["adam", "momentum"]),
        "model.hidden": CategoricalDistribution(["[64]", "[64, 64]"]),
        "model.width": IntDistribution(8, 512, log=True),
        "model.bias": CategoricalDistribution(["true", "1"]),  # Optuna takes True for 1
    }
    own = {
        "adam": {
            "lr [optimizer=adam]": FloatDistribution(1e-5, 1e-1, log=True),
            "1 - optimizer.beta1 [optimizer=adam]": FloatDistribution(0.001, 1.0, log=True),
        },
        "momentum": {
            "lr [optimizer=momentum]": FloatDistribution(1e-3, 10.0, log=True),
            "optimizer.nesterov [optimizer=momentum]": CategoricalDistribution([True, False]),
        },
    }
    for trial, seen in zip(trials, study.get_trials(), strict=True):
        settings = trial.settings
        optimizer = settings["optimizer"]
        assert seen.distributions == shared | own[optimizer]
        assert seen.params[f"lr [optimizer={optimizer}]"] == settings["lr"]
        assert seen.params["model.bias"] == ("true" if settings["model.bias"] is True else "1")
        assert seen.params["model.hidden"] == str(settings["model.hidden"])
        assert seen.user_attrs["seed"] == settings["seed"]
        words = f"optimizer={optimizer} lr={settings['lr']} 'model.hidden=[64"  # as a shell takes them
        assert seen.user_attrs["overrides"].startswith(words)
        if optimizer == "adam":
            said = seen.params["1 - optimizer.beta1 [optimizer=adam]"]
            assert said == pytest.approx(1 - settings["optimizer.beta1"], rel=1e-9)
        if settings["lr"] > DIVERGES_FROM:
            assert seen.value == -math.inf
    assert {trial.settings["seed"] for trial in trials} == {0, 1}
    assert study.best_value > -math.inf


def test_a_list_of_trials_is_mirrored_with_what_each_sets(tmp_path):
    design = Design(
        name="list", listed_trials=({"lr": 0.01}, {"lr": 0.02, "model.norm": None}, {"lr": 0.02, "model.norm": "layer"})
    )
    OptunaMirror(tmp_path, design).add(end(tmp_path, design, begin(tmp_path, design, 3)))
    assert [trial.params for trial in mirror(tmp_path, design).get_trials()] == list(design.listed_trials)


@pytest.mark.parametrize("design", [PLAIN, ARMS], ids=["plain", "arms"])
def test_rebuilding_gives_what_adding_one_by_one_gave(tmp_path, design):
    """In any order, several times over, by several stores, with a trial that crashed before it completed."""
    trials = begin(tmp_path, design, 16)
    crashed = {3: "the first time", 5: "for good"}
    ended = {each.trial.number: each for each in end(tmp_path, design, trials, crashed)}
    store = OptunaMirror(tmp_path, design)
    order = list(ended) * 2
    random.Random(0).shuffle(order)
    store.add([ended[3], ended[15]])
    for number in order:
        store.add([ended[number]])
    before = mirror(tmp_path, design).trials[3]
    assert (before.state, before.user_attrs["crash"]) == (TrialState.FAIL, "RuntimeError: the first time")
    store = OptunaMirror(tmp_path, design)
    store.add(end(tmp_path, design, [trials[3]]))
    incremental = fields(mirror(tmp_path, design))
    assert [each["number"] for each in incremental] == list(range(16))
    assert incremental[3]["state"] == TrialState.COMPLETE
    assert incremental[5]["state"] == TrialState.FAIL

    (tmp_path / "optuna.db").unlink()
    assert rebuild(tmp_path) == 16
    assert fields(mirror(tmp_path, design)) == incremental
    other = f"sqlite:///{tmp_path / 'shared.db'}"
    assert rebuild(tmp_path, other) == 16
    assert fields(mirror(tmp_path, design, other)) == incremental


def test_a_trial_that_is_there_keeps_its_id_and_a_new_one_of_its_number_gets_another(tmp_path):
    trials = begin(tmp_path, PLAIN, 4)
    ended = end(tmp_path, PLAIN, trials, crashed={3: "lost"})  # the last row, whose id sqlite would give again
    store = OptunaMirror(tmp_path, PLAIN)
    store.add(ended)
    reader = mirror(tmp_path, PLAIN)
    before = {trial.number: trial._trial_id for trial in reader.get_trials()}
    store.add([*ended[:3], *end(tmp_path, PLAIN, trials[3:])])
    after = {trial.number: trial._trial_id for trial in mirror(tmp_path, PLAIN).get_trials()}
    assert {number for number in after if after[number] != before[number]} == {3}
    assert after[3] not in before.values()
    assert reader.get_trials()[3].state == TrialState.COMPLETE  # though it keeps finished trials


def test_the_gaps_below_the_last_trial_are_waiting(tmp_path):
    trials = begin(tmp_path, PLAIN, 8)
    store = OptunaMirror(tmp_path, PLAIN)
    store.add(end(tmp_path, PLAIN, [trials[5], trials[2]]))
    seen = mirror(tmp_path, PLAIN).get_trials()
    waiting = [trial.number for trial in seen if trial.state == TrialState.WAITING]
    assert waiting == [0, 1, 3, 4]
    assert [trial.params for trial in seen] == [trial.settings for trial in trials[:6]]
    store.add(end(tmp_path, PLAIN, [trials[0]]))
    assert [trial.state.name for trial in mirror(tmp_path, PLAIN).get_trials()] == [
        *("COMPLETE", "WAITING", "COMPLETE", "WAITING", "WAITING", "COMPLETE")
    ]


def test_what_fails_half_way_leaves_nothing_of_it(tmp_path, monkeypatch):
    trials = begin(tmp_path, PLAIN, 6)
    ended = end(tmp_path, PLAIN, trials)
    store = OptunaMirror(tmp_path, PLAIN)
    store.add(ended[:2])
    before = fields(mirror(tmp_path, PLAIN))
    made, make = [], mirror_module.trial_row

    def fail_at_the_third(*args):
        made.append(args)
        if len(made) == 3:
            raise OSError("the disk is full")
        return make(*args)

    monkeypatch.setattr(mirror_module, "trial_row", fail_at_the_third)
    with pytest.raises(OSError, match="the disk is full"):
        store.add(ended[2:])
    assert fields(mirror(tmp_path, PLAIN)) == before
    made.clear()
    with pytest.raises(OSError, match="the disk is full"):
        rebuild(tmp_path)
    assert fields(mirror(tmp_path, PLAIN)) == before
    monkeypatch.undo()
    store.add(ended[2:])
    assert len(fields(mirror(tmp_path, PLAIN))) == 6


def add_all(folder: str, numbers: list[int]) -> None:
    """What a process of its own does."""
    store = OptunaMirror(Path(folder), PLAIN)
    for number in numbers:
        store.add(end(Path(folder), PLAIN, [PLAIN.trials(number + 1)[number]]))


def spawn(folder: Path, numbers: list[int]) -> multiprocessing.Process:
    preloaded = ["playbook.study.optuna_mirror.mirror", "optuna.storages._rdb.storage", "pytest"]
    multiprocessing.set_forkserver_preload(preloaded)  # imports would take longer than what they do
    process = multiprocessing.get_context("forkserver").Process(target=add_all, args=(str(folder), numbers))
    process.start()
    return process


def test_two_processes_at_once_lose_nothing(tmp_path):
    trials = begin(tmp_path, PLAIN, 24)
    processes = [spawn(tmp_path, list(range(start, 24, 2))) for start in (0, 1)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    incremental = fields(mirror(tmp_path, PLAIN))
    assert [each["params"] for each in incremental] == [trial.settings for trial in trials]
    rebuild(tmp_path)
    assert fields(mirror(tmp_path, PLAIN)) == incremental


def test_a_kill_leaves_whole_trials_and_the_rest_can_be_added(tmp_path):
    trials = begin(tmp_path, PLAIN, 400)
    OptunaMirror(tmp_path, PLAIN)
    process = spawn(tmp_path, list(range(400)))
    while process.is_alive() and not (tmp_path / trials[5].folder / "result.json").exists():
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    there = fields(mirror(tmp_path, PLAIN))
    assert 5 <= len(there) < 400
    assert all(len(each["intermediate_values"]) == len(EVALUATED) for each in there)
    ended = end(tmp_path, PLAIN, trials[len(there) : 30])
    OptunaMirror(tmp_path, PLAIN).add(ended)
    assert [each["number"] for each in fields(mirror(tmp_path, PLAIN))] == list(range(30))


def test_rebuilding_mends_what_is_damaged(tmp_path):
    trials = begin(tmp_path, PLAIN, 5)
    ended = end(tmp_path, PLAIN, trials)
    store = OptunaMirror(tmp_path, PLAIN)
    store.add(ended)
    whole = fields(mirror(tmp_path, PLAIN))
    (tmp_path / "optuna.db").write_bytes(b"not a database" * 1000)
    (tmp_path / "optuna.db-journal").write_bytes(b"of another time")
    (tmp_path / "optuna.db.new").write_bytes(b"of a rebuild that was killed")
    with pytest.raises(InputError, match=r"not a database; python scripts/rebuild_store\.py study_dir="):
        OptunaMirror(tmp_path, PLAIN)
    rebuild(tmp_path)
    assert fields(mirror(tmp_path, PLAIN)) == whole
    assert not list(tmp_path.glob("optuna.db?*"))
    store.add(end(tmp_path, PLAIN, PLAIN.trials(6)[5:]))  # a store from before writes to the new file
    assert len(fields(mirror(tmp_path, PLAIN))) == 6


def test_a_shared_database_keeps_its_other_studies(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for design in (PLAIN, ARMS):
        OptunaMirror(tmp_path / design.name, design, url).add(
            end(tmp_path / design.name, design, begin(tmp_path / design.name, design, 6))
        )
    arms = fields(mirror(tmp_path, ARMS, url))
    begin(tmp_path / "plain", PLAIN, 4)  # a shorter study than the one in the database
    assert rebuild(tmp_path / "plain", url) == 4
    assert len(fields(mirror(tmp_path, PLAIN, url))) == 4
    assert fields(mirror(tmp_path, ARMS, url)) == arms

    wider = replace(PLAIN, nuisance={"lr": Float(1e-6, 1.0, "log")})
    with pytest.raises(InputError, match=r"another study named plain \(different: nuisance\); give this one another"):
        OptunaMirror(tmp_path / "plain", wider, url)
    OptunaMirror(tmp_path / "plain", replace(PLAIN, goal="said better"), url)

    OptunaMirror(tmp_path / "plain", PLAIN)
    with pytest.raises(InputError, match=r"\(different: nuisance\); python scripts/rebuild_store\.py study_dir="):
        OptunaMirror(tmp_path / "plain", wider)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("optuna.db", r"storage=optuna\.db: allowed is the URL of a database"),
        ("oracle9://me@host/name", r"allowed are sqlite:///… and postgresql://…"),
        ("sqlite:////no/such/folder/optuna.db", r"unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:1/name", r"storage=postgresql://me:\*\*\*@127\.0\.0\.1:1/name: "),
    ],
)
def test_a_database_that_is_not_there_is_said_in_a_line(tmp_path, url, said):
    with pytest.raises(InputError, match=said) as raised:
        OptunaMirror(tmp_path, PLAIN, url)
    assert len(str(raised.value).splitlines()) == 1
    assert "secret" not in str(raised.value)


def test_the_script_rebuilds_a_study_that_is_not_running(tmp_path):
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 3)[:2])
    done = warm.run(SCRIPT, f"study_dir={tmp_path}", folder=tmp_path)
    address = database_url(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 trials; to look at them: optuna-dashboard {address}\n"
    assert len(fields(mirror(tmp_path, PLAIN))) == 2
    with locked(tmp_path, "it is free"):
        done = warm.run(SCRIPT, f"study_dir={tmp_path}", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: study_dir={tmp_path}: the study is running, and its store follows it\n"


def test_a_folder_without_a_study_is_not_rebuilt(tmp_path):
    with pytest.raises(InputError, match=r"there is no study\.yaml; give the folder of a study"):
        rebuild(tmp_path)
    assert not list(tmp_path.iterdir())


def test_values_that_optuna_takes_for_one_another_stay_apart():
    trial = Trial(0, "all", {"key": 1})
    for values in ((1, True), (1, 1.0), ([1], [1, 2]), (None, [1])):
        (each,) = parameters(Design(name="a", nuisance={"key": Choice(values)}), trial).values()
        assert isinstance(each.distribution, CategoricalDistribution)
        held = [each.distribution.to_internal_repr(each.value(value)) for value in values]
        assert held == list(range(len(values)))


def test_a_name_says_where_the_hyperparameter_exists():
    beta = Float(0.5, 0.999, "log_one_minus")
    assert Parameter("lr", Float(0.1, 1.0), {}).name == "lr"
    assert Parameter("lr", Int(1, 3), {"optimizer": ("adam", "nadam")}).name == "lr [optimizer=adam|nadam]"
    when = {"optimizer": ("adam",), "model.norm": (None,)}
    assert Parameter("beta1", beta, when).name == "1 - beta1 [optimizer=adam, model.norm=null]"


def test_nothing_is_said_on_the_terminal_and_optuna_is_as_talkative_as_before(tmp_path, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    OptunaMirror(tmp_path, PLAIN)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_a_list_of_trials_can_grow_and_not_change(tmp_path):
    settings = ({"lr": 0.1}, {"lr": 0.01}, {"lr": 0.001})
    short, long = (
        Design(name="list", listed_trials=settings[:count], overrides=words)
        for count, words in ((2, ()), (3, ("a=1",)))
    )
    OptunaMirror(tmp_path, short).add(end(tmp_path, short, short.trials(2)))
    OptunaMirror(tmp_path, long).add(end(tmp_path, long, long.trials(3)))
    assert [trial.params["lr"] for trial in mirror(tmp_path, long).get_trials()] == [0.1, 0.01, 0.001]
    assert len(mirror(tmp_path, long).user_attrs["design"]["trials"]) == 3
    with pytest.raises(InputError, match=r"\(different: trials\)"):
        OptunaMirror(tmp_path, replace(long, listed_trials=settings[::-1]))


@pytest.mark.parametrize("name", ["a?b", "a%20b", "{r}", "a\\b", "${oc.env:HOME}", "a#b", "a b=1,c"])
def test_the_database_lies_in_the_folder_of_the_study_whatever_its_name(tmp_path, name):
    folder = tmp_path / name
    ended = end(folder, PLAIN, begin(folder, PLAIN, 2))
    OptunaMirror(folder, PLAIN).add(ended)
    assert (folder / "optuna.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(mirror(folder, PLAIN).trials) == 2


def deleted(database):
    database.unlink()


def cut(database):
    os.truncate(database, database.stat().st_size // 2)


def overwritten(database):
    database.write_bytes(b"no database")


def changed(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE trial_values SET value = 0.0 WHERE value IS NOT NULL")


def with_another_setting(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE trial_params SET param_value = param_value * 1.5 WHERE trial_id = 3")


def with_a_trial_less(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM trials WHERE number = 3")


DAMAGES = (deleted, cut, overwritten, changed, with_another_setting, with_a_trial_less)


@pytest.mark.parametrize(("damage", "design"), [*((each, PLAIN) for each in DAMAGES), (with_another_setting, ARMS)])
def test_the_database_of_a_finished_study_is_made_again_from_its_files(tmp_path, damage, design, capsys):
    trials = begin(tmp_path / "study", design, 9)
    end(tmp_path / "study", design, trials, crashed={2: "the first time"})

    def ledger():
        found = Ledger(tmp_path / "study", design, trials, None)
        found.refresh()
        return found

    ledger().write()
    assert ledger().is_written()
    before = fields(mirror(tmp_path / "study", design))
    damage(tmp_path / "study" / "optuna.db")
    assert not ledger().is_written()
    ledger().write()
    assert ledger().is_written()
    assert fields(mirror(tmp_path / "study", design)) == before
    assert capsys.readouterr().err == ""


def test_what_a_hand_wrote_into_the_database_is_never_read(tmp_path):
    study = tmp_path / "study"
    ended = end(study, PLAIN, begin(study, PLAIN, 9))
    OptunaMirror(study, PLAIN).add(ended)
    told = [(finding.code, finding.message) for finding in load_study(study).findings()]
    trials = load_study(study).trials
    for damage in (changed, with_another_setting, with_a_trial_less):
        damage(study / "optuna.db")
    assert load_study(study).trials.equals(trials)
    assert [(finding.code, finding.message) for finding in load_study(study).findings()] == told
