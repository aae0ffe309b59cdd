"""A study mirrored to a real PostgreSQL server is the one that is mirrored to sqlite.

Where Debian's `postgresql` is installed (`apt-get install postgresql`) the tests start a server of their own, as a user
that is not root and with a socket in a folder of its own; elsewhere they are skipped.
"""

import math
import multiprocessing
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest
from ended_study import ARMS, PLAIN, begin, end

from playbook.study.design import Design
from playbook.study.optuna_mirror.database import database_url
from playbook.study.optuna_mirror.mirror import OptunaMirror, rebuild

pytestmark = pytest.mark.integration
pytest.importorskip("psycopg", reason="psycopg is missing: pip install -e '.[postgresql]'")


def binary(name: str) -> str | None:
    """One of the server's programs; Debian keeps them off the PATH, one folder a version."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name) or next(map(str, debian), None)


@pytest.fixture(scope="module")
def server():
    """The URL of a server that lives as long as the tests of this file."""
    initdb, pg_ctl = binary("initdb"), binary("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip("there is no PostgreSQL server here: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    home = Path(tempfile.mkdtemp(prefix="pg"))  # pytest's own folders are closed to other users

    def run(*command: object) -> None:
        words = [*as_user, *map(str, command)]
        done = subprocess.run(words, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout

    try:
        shutil.chown(home, user)
        data, options = home / "data", f"-F -k {home} -c listen_addresses=''"
        run(initdb, "-D", data, "-A", "trust", "-U", "me")
        run(pg_ctl, "-D", data, "-l", home / "log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://me@/postgres?host={home}"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home)


def fields(design: Design, url: str) -> list[tuple[object, ...]]:
    """What a reader sees of each trial; NaN as a word, since it does not equal itself."""
    study = optuna.load_study(study_name=design.name, storage=url)
    return [
        (
            *(trial.number, trial.state, trial.values, trial.params, trial.distributions, trial.user_attrs),
            *(trial.constraints, trial.datetime_start, trial.datetime_complete),
            {step: "nan" if math.isnan(value) else value for step, value in trial.intermediate_values.items()},
        )
        for trial in study.get_trials()
    ]


@pytest.mark.parametrize("design", [PLAIN, ARMS], ids=["plain", "arms"])
def test_it_has_the_trials_that_sqlite_has(server, tmp_path, design):
    trials = begin(tmp_path, design, 16)
    ended = end(tmp_path, design, trials, crashed={3: "the first time", 5: "for good"})
    for url in (None, server):
        store = OptunaMirror(tmp_path, design, url)
        store.add([ended[15], ended[3]])
        store.add(ended)
    again = end(tmp_path, design, [trials[3]])
    for url in (None, server):
        OptunaMirror(tmp_path, design, url).add(again)
    there = fields(design, server)
    assert len(there) == 16
    assert there == fields(design, database_url(tmp_path))
    assert rebuild(tmp_path, server) == 16
    assert fields(design, server) == there


SHARED = Design(name="shared", nuisance=PLAIN.nuisance)


def add_some(folder: str, url: str, numbers: list[int]) -> None:
    """What a process of its own does."""
    trials = SHARED.trials(max(numbers) + 1)
    store = OptunaMirror(Path(folder), SHARED, url)
    for number in numbers:
        store.add(end(Path(folder), SHARED, [trials[number]]))


def test_two_processes_at_once_lose_nothing(server, tmp_path):
    """Both open a store where there is none, and one of the trials is added by both."""
    begin(tmp_path, SHARED, 40)
    spawn = multiprocessing.get_context("spawn")
    shares = [list(range(0, 40, 2)), [0, *range(1, 40, 2)]]
    processes = [spawn.Process(target=add_some, args=(str(tmp_path), server, share)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    there = fields(SHARED, server)
    assert [number for number, *_ in there] == list(range(40))
    assert rebuild(tmp_path) == 40
    assert fields(SHARED, database_url(tmp_path)) == there
