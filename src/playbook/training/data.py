"""The data of a trial: loaded, checked, and told apart from other data under the same name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from playbook.components import Component, errors_of
from playbook.config import Config
from playbook.data import Source, Split, StreamSplit, fingerprint_of_splits
from playbook.errors import InputError, one_line
from playbook.run_files import Result

DATA = "data"
"""The entry of a result's and a checkpoint's environment that holds the fingerprint of the data."""


@dataclass(frozen=True)
class LoadedData:
    """What a trial is trained and judged on, on the CPU."""

    source: Source
    train: Split
    validation: Split
    fingerprint: str


_last: tuple[Component, str, LoadedData] | None = None
"""The data of the last trial: the trials of a study in one process read their files once."""


def load_data(data: Component, reuse: bool = False, *, fold_validation: bool = False) -> LoadedData:
    """The training and the validation split that a config names; with `fold_validation` training has the other too.

    With `reuse`, those of this process's last trial serve again, where the config is the same and the source's own
    fingerprint says that the files are too. A source that has none is loaded anew: its files may have been replaced.

    Raises:
        InputError: the files are missing or broken, or `num_workers` is more than a machine can start.
    """
    loaded = _load(data, reuse)
    if not fold_validation:
        return loaded
    with errors_of("data", f"load_folded() of {type(loaded.source).__name__}"):
        return replace(loaded, train=loaded.source.load_folded())


def _load(data: Component, reuse: bool) -> LoadedData:
    global _last
    source: Source = data.build()
    _refuse_too_many_workers(source)
    own = source.fingerprint()
    if reuse and own is not None and _last is not None and _last[:2] == (data, own):
        return _last[2]
    train, validation = source.load("train"), source.load("val")
    if isinstance(validation, StreamSplit):
        raise InputError(
            f"{_place(data)}: the validation split is a stream, which has no end; only training may have none"
        )
    loaded = LoadedData(source, train, validation, own or fingerprint_of_splits(train, validation))
    _last = (data, own, loaded) if reuse and own is not None else None
    return loaded


def refuse_other_data(folder: Path, config: Config, result: Result) -> str:
    """`refuse_another_source` of the data."""
    return refuse_another_source(
        folder,
        config,
        then=(result.environment or {}).get(DATA),
        now=lambda: load_data(config.data).fingerprint,
        what="data",
        given=_place(config.data),
    )


def refuse_another_source(
    folder: Path, config: Config, *, then: str | None, now: Callable[[], str], what: str, given: str
) -> str:
    """What is to be known of what the finished run in `folder` was made from: nothing where it is the same still.

    `then` is the fingerprint that the run recorded, None where it did not, `now` reads today's; `what` it is of, and
    the `given` key and value that name it.

    Raises:
        InputError: it is another one; `resume=force` is told so and gets the result.
    """
    if then is None:
        return ""
    try:
        found = now()
    except (InputError, OSError) as error:
        return f"its {what} cannot be read now, so whether they are still the same is not known ({one_line(error)})"
    if found == then:
        return ""
    if config.resume == "force":
        return f"the {what} have changed since ({then} then, {found} now): this is the result of the old ones"
    raise InputError(
        f"output_dir={folder} holds the result of other {what} ({given}: fingerprint {then}, now {found});"
        " overwrite=true trains anew, output_dir=<another folder> keeps both, resume=force shows the old result"
    )


def without_unknown_data(there: Mapping[str, object], here: Mapping[str, object]) -> dict[str, object]:
    """`here` to be compared with `there`: a run of before data had a fingerprint goes on without that comparison."""
    return {key: value for key, value in here.items() if key != DATA or key in there}


def _place(data: Component) -> str:
    return (
        ", ".join(
            f"data.{key}={data.arguments[key]}" for key in ("root", "path") if data.arguments.get(key) is not None
        )
        or f"data._target_={data.target}"
    )


def _refuse_too_many_workers(source: Source) -> None:
    cores = os.cpu_count() or 1
    most = max(32, 4 * cores)
    if source.num_workers != "auto" and not 0 <= source.num_workers <= most:
        raise InputError(
            f"data.num_workers={source.num_workers}: each is a process, and this machine has {cores} cores;"
            f" allowed is 0 to {most}"
        )
