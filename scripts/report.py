"""Reads a study, or trials from anywhere: `python scripts/report.py study_dir=outputs/studies/<study>`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict

from playbook.cli import one_line_errors, run_cli
from playbook.composition import CONFIG_DIR, compose_config
from playbook.errors import InputError
from playbook.validation import STRICT, validate

_CHECKED = STRICT | ConfigDict(coerce_numbers_to_str=True)  # a folder may be called 3


class JudgedBy(BaseModel):
    """`objective` on the command line."""

    model_config = _CHECKED

    metric: str | None
    mode: Literal["min", "max"] | None
    by: Literal["best", "final"]


class Settings(BaseModel):
    """The command line."""

    model_config = _CHECKED

    study_dir: str | None
    trials: str | None
    curves: str | None
    space: str | None
    objective: JudgedBy
    out_dir: str | None


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="report")
def main(cfg: DictConfig) -> None:
    """Writes index.html, findings.json and the charts, and says the same in the terminal."""
    with one_line_errors():
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        settings = validate(Settings, {str(key): value for key, value in plain.items()})
        if (settings.study_dir is None) == (settings.trials is None):
            raise InputError("what is to be read? type study_dir=outputs/studies/<study>, or trials=<file>.csv")
        print(_study(settings, settings.study_dir) if settings.study_dir is not None else _outside(settings))


def _study(settings: Settings, study_dir: str) -> Path:
    from playbook.analysis.metrics import direction
    from playbook.report.freshness import REPORT, fingerprint
    from playbook.report.study_report import contents_of, write_contents
    from playbook.report.terminal import show
    from playbook.study.design import Objective
    from playbook.study.load import load_study

    for name, given in (("curves", settings.curves), ("space", settings.space)):
        if given is not None:
            raise InputError(f"{name}={given}: a study has its own; it goes with trials=<file>.csv")
    study, judged_by = load_study(study_dir), settings.objective
    own, objective = study.design.objective, None
    if judged_by.metric is not None or judged_by.mode is not None:
        metric = judged_by.metric or own.metric
        mode = judged_by.mode or (own.mode if metric == own.metric else direction(metric))
        objective = Objective(metric, mode)
    out_dir = Path(settings.out_dir or study.path / REPORT)
    contents = contents_of(study, out_dir, objective if objective != own else None, judged_by.by)
    judged_anew = objective not in (None, own) or judged_by.by != "best"
    page = write_contents(contents, out_dir, "" if judged_anew else fingerprint(study))
    show(contents)
    return page


def _outside(settings: Settings) -> Path:
    from playbook.analysis.metrics import direction
    from playbook.report.external_report import UNNAMED, name_of, outside_contents, outside_tables, write_outside
    from playbook.report.terminal import show
    from playbook.study.design import Objective

    named = {"trials": settings.trials, "curves": settings.curves, "space": settings.space}
    files = {name: Path(given) for name, given in named.items() if given is not None}
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{name}={path}: there is no such file")
    judged_by = settings.objective
    metric = judged_by.metric or UNNAMED
    if judged_by.metric is None and judged_by.mode is None:
        raise InputError("objective.mode: is less of the objective better, or more? add objective.mode=min or max")
    objective = Objective(metric, judged_by.mode or direction(metric))
    tables = outside_tables(files["trials"], files.get("curves"), files.get("space"), objective, judged_by.by)
    out_dir = Path(settings.out_dir or files["trials"].parent / "report")
    contents = outside_contents(tables, name_of(files["trials"]), out_dir, _runs_here)
    page = write_outside(contents, list(files.values()), out_dir)
    show(contents)
    return page


def _runs_here(words: Sequence[str]) -> bool:
    """Whether this template has these keys. Hydra looks for a file of each, of whatever length its name is."""
    try:
        compose_config("train", words)
    except (HydraException, OmegaConfBaseException, OSError):
        return False
    return True


if __name__ == "__main__":
    run_cli(main, "report")
