"""The report from a command line: `python -m playbook.report study_dir=…`; `scripts/report.py` is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict

from playbook.cli import script
from playbook.composition import compose_config
from playbook.errors import InputError
from playbook.validation import STRICT, validate

_CHECKED = STRICT | ConfigDict(coerce_numbers_to_str=True)  # a folder may be called 3


class JudgedBy(BaseModel):
    """`objective` on the command line."""

    model_config = _CHECKED

    metric: str | None
    mode: Literal["min", "max"] | None
    by: Literal["best", "final"]
    n_examples: int | None


class Settings(BaseModel):
    """The command line."""

    model_config = _CHECKED

    study_dir: str | None
    trials: str | None
    curves: str | None
    space: str | None
    objective: JudgedBy
    out_dir: str | None


@script("report")
def main(cfg: DictConfig) -> None:
    """Writes index.html, findings.json and the charts, and says the same in the terminal."""
    from playbook.report import external_report, report

    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    given = validate(Settings, {str(key): value for key, value in plain.items()})
    if (given.study_dir is None) == (given.trials is None):
        raise InputError("what is to be read? type study_dir=outputs/studies/<study>, or trials=<file>.csv")
    metric, mode, by = given.objective.metric, given.objective.mode, given.objective.by
    if given.trials is not None:
        page = external_report(
            given.trials,
            curves=given.curves,
            space=given.space,
            metric=metric,
            mode=mode,
            by=by,
            n_examples=given.objective.n_examples,
            out_dir=given.out_dir,
            runs_here=_runs_here,
        )
        print(page)
        return
    assert given.study_dir is not None
    own = {"curves": given.curves, "space": given.space, "objective.n_examples": given.objective.n_examples}
    for name, value in own.items():
        if value is not None:
            raise InputError(f"{name}={value}: a study has its own; it goes with trials=<file>.csv")
    print(report(given.study_dir, metric=metric, mode=mode, by=by, out_dir=given.out_dir))


def _runs_here(overrides: Sequence[str]) -> bool:
    """Whether this template has these keys. Hydra looks for a file of each, of whatever length its name is."""
    own = get_gh_backup()  # which composes the configs of scripts
    GlobalHydra.instance().clear()
    try:
        compose_config("train", overrides)
    except (HydraException, OmegaConfBaseException, OSError):
        return False
    finally:
        restore_gh_from_backup(own)
    return True


if __name__ == "__main__":
    main()
