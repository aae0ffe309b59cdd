"""Optuna's tables: a study opened there, and a trial as its rows.

Optuna's own way to write a finished trial (`create_new_trial`) numbers trials in the order in which they end, and has
no way to replace one, or to write several in one transaction. So the rows are written here, with the models that Optuna
reads them with. These are private to it (tested with 5.0.0, which the lock pins), while its tables are not: other tools
read them, and a change comes with a migration, which opening checks for.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from playbook.errors import InputError, one_line
from playbook.study.design import Design
from playbook.study.study_files import DATABASE
from playbook.validation import show

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

SQLITE_TIMEOUT = 60
"""Seconds that a writer waits for the others; sqlite's own 5 are few where many trials end at once on a slow disk."""
_ATTEMPTS = 5
_IDENTITY = ("objective", "seed", "scientific", "nuisance", "conditional", "repeat", "fixed")
"""What makes two studies of one name the same one, besides a list of trials, which may grow."""


def database_url(folder: Path) -> str:
    """Where the mirror of the study in `folder` is, unless it is told otherwise."""
    return sqlite_url(folder / DATABASE)


def sqlite_url(path: Path) -> str:
    """The URL of a file, quoted: SQLAlchemy reads `?` and `%20` in one as its own, and Optuna `{…}`."""
    return f"sqlite:///{quote(str(path), safe='/=+,:@ ')}"


def shows(path: Path, results: Mapping[int, float | None], settings: Mapping[tuple[int, str], float]) -> bool:
    """Whether these, and no others, are the trials of the sqlite file that have ended: objectives by number, and
    settings by number and name, as `Parameter.stored` has them.

    The objective of a crashed or paused trial is None.
    Optuna is not asked, since it takes half a second to import.
    """
    ended = "WHERE state IN ('COMPLETE', 'PRUNED', 'FAIL')"
    rows = f"SELECT number, value, value_type FROM trials LEFT JOIN trial_values USING (trial_id) {ended}"
    params = f"SELECT number, param_name, param_value FROM trials JOIN trial_params USING (trial_id) {ended}"
    infinities = {"INF_POS": math.inf, "INF_NEG": -math.inf}
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=SQLITE_TIMEOUT)) as database:
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                return False
            found = {number: infinities.get(kind, value) for number, value, kind in database.execute(rows)}
            known = {(number, name): value for number, name, value in database.execute(params)}
    except sqlite3.Error:
        return False
    return found == dict(results) and known == dict(settings)


def shown_url(url: str) -> str:
    """The URL without its password.

    Raises:
        InputError: it is not a URL.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise InputError(
            f"storage={show(url)}: allowed is the URL of a database: sqlite:///optuna.db or"
            " postgresql://user:password@host/name"
        ) from None


def open_study(url: str, design: Design, folder: Path) -> tuple[RDBStorage, int]:
    """The database and the id of the study there, both made where they are missing.

    Raises:
        InputError: there is no such database, or it has another study of this name.
    """
    from optuna.exceptions import OptunaError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    shown = shown_url(url)
    mends = f"python scripts/rebuild_store.py study_dir={folder}"
    own = url == database_url(folder) and (folder / DATABASE).exists()
    # A connection a transaction: they are minutes apart, servers and networks drop idle ones, and sqlite keeps to a
    # file that `rebuild` has replaced.
    settings: dict[str, Any] = {"poolclass": NullPool}
    if url.startswith("sqlite"):
        settings["connect_args"] = {"timeout": SQLITE_TIMEOUT}
    for attempt in range(_ATTEMPTS):
        try:
            with _quiet():
                storage = RDBStorage(url, engine_kwargs=settings)
                study_id, differs = _study_id(storage, design, folder)
            break
        except (DBAPIError, OptunaError) as error:
            at_once = isinstance(error, IntegrityError) or "already exists" in str(error)
            if at_once and attempt + 1 < _ATTEMPTS:  # another process is making the tables
                time.sleep(0.2)
                continue
            said = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())
            raise InputError(f"storage={shown}: {said}{f'; {mends}' if own else ''}") from None
        except NoSuchModuleError:
            raise InputError(f"storage={shown}: allowed are sqlite:///… and postgresql://…") from None
        except ImportError:
            raise InputError(f"storage={shown}: its driver is missing; pip install -e '.[postgresql]'") from None
        except (SQLAlchemyError, RuntimeError) as error:
            raise InputError(f"storage={shown}: {one_line(error)}") from None
    if differs:
        raise InputError(
            f"storage={shown}: it has another study named {design.name} (different: {', '.join(differs)});"
            f" {mends if own else 'give this one another study.name, or another storage'}"
        )
    return storage, study_id


def trial_row(trial: FrozenTrial, number: int, study_id: int) -> Any:
    """A trial as Optuna's tables hold it."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models

    row = models.TrialModel(study_id=study_id, number=number, state=trial.state)
    row.datetime_start, row.datetime_complete = trial.datetime_start, trial.datetime_complete
    row.params = [
        models.TrialParamModel(
            param_name=name,
            param_value=trial.distributions[name].to_internal_repr(value),
            distribution_json=distribution_to_json(trial.distributions[name]),
        )
        for name, value in trial.params.items()
    ]
    if trial.value is not None:
        value, value_type = models.TrialValueModel.value_to_stored_repr(trial.value)
        row.values = [models.TrialValueModel(objective=0, value=value, value_type=value_type)]
    for step, evaluated in trial.intermediate_values.items():
        value, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(evaluated)
        row.intermediate_values.append(
            models.TrialIntermediateValueModel(step=step, intermediate_value=value, intermediate_value_type=kind)
        )
    row.user_attributes = [
        models.TrialUserAttributeModel(key=key, value_json=json.dumps(value)) for key, value in trial.user_attrs.items()
    ]
    row.system_attributes = [
        models.TrialSystemAttributeModel(key=key, value_json=json.dumps(value))
        for key, value in trial.system_attrs.items()
    ]
    return row


def content(row: Any) -> Sequence[Any]:
    """What a row says of its trial, but for when it ran: a copied folder has other times and the same trial."""
    return (
        row.state,
        {each.param_name: (each.param_value, each.distribution_json) for each in row.params},
        {each.objective: (each.value, each.value_type) for each in row.values},
        {each.step: (each.intermediate_value, each.intermediate_value_type) for each in row.intermediate_values},
        {each.key: each.value_json for each in row.user_attributes},
        {each.key: each.value_json for each in row.system_attributes},
    )


def _study_id(storage: RDBStorage, design: Design, folder: Path) -> tuple[int, list[str]]:
    """The study of this name, and in what it is another study."""
    import optuna
    from optuna.study import StudyDirection

    direction = StudyDirection.MINIMIZE if design.objective.mode == "min" else StudyDirection.MAXIMIZE
    study = optuna.create_study(storage=storage, study_name=design.name, direction=direction, load_if_exists=True)
    plain = json.loads(json.dumps(design.plain()))
    there = study.user_attrs.get("design")
    if there is None:
        # `set_metric_names` does this and warns; a filter of warnings is the whole process's, and a thread runs this.
        storage.set_study_system_attr(study._study_id, "study:metric_names", [design.objective.metric])
        study.set_user_attr("goal", design.goal)
        study.set_user_attr("folder", str(folder.resolve()))
        study.set_user_attr("design", plain)
        there = plain
    differs = [key for key in _IDENTITY if there.get(key) != plain[key]]
    both = min(len(there.get("trials", [])), len(plain["trials"]))
    if there.get("trials", [])[:both] != plain["trials"][:both]:
        differs.append("trials")
    if not differs and there != plain:
        study.set_user_attr("design", plain)
    return study._study_id, differs


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces each study on the terminal."""
    from optuna import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
