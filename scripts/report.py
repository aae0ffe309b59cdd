"""Reads a study, or trials from anywhere: `python scripts/report.py study_dir=outputs/studies/<study>`."""

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from playbook.door import CONFIG_DIR, compose_config, one_line_errors, open_door
from playbook.errors import InputError


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="report")
def main(cfg: DictConfig) -> None:
    """Writes index.html, findings.json and the charts, and says the same in the terminal."""
    with one_line_errors():
        given = [name for name in ("study_dir", "trials") if cfg[name] is not None]
        if len(given) != 1:
            raise InputError("what is to be read? type study_dir=outputs/studies/<study>, or trials=<file>.csv")
        if cfg.objective.by not in ("best", "final"):
            raise InputError(f"objective.by={cfg.objective.by}: allowed is one of best, final")
        if cfg.objective.mode not in (None, "min", "max"):
            raise InputError(f"objective.mode={cfg.objective.mode}: allowed is one of min, max")
        page = _study(cfg) if given == ["study_dir"] else _outside(cfg)
        print(page)


def _study(cfg: DictConfig) -> Path:
    from playbook.report.direction import direction
    from playbook.report.study_report import REPORT, contents_of, fingerprint, write_contents
    from playbook.report.summary import show
    from playbook.study.design import Objective
    from playbook.study.load import load_study

    for name in ("curves", "space"):
        if cfg[name] is not None:
            raise InputError(f"{name}={cfg[name]}: a study has its own; it goes with trials=<file>.csv")
    study = load_study(cfg.study_dir)
    own, objective = study.design.objective, None
    if cfg.objective.metric is not None or cfg.objective.mode is not None:
        metric = cfg.objective.metric or own.metric
        mode = cfg.objective.mode or (own.mode if metric == own.metric else direction(metric))
        objective = Objective(metric, mode)
    out_dir = Path(cfg.out_dir or study.path / REPORT)
    contents = contents_of(study, out_dir, objective if objective != own else None, cfg.objective.by)
    judged_anew = objective not in (None, own) or cfg.objective.by != "best"
    page = write_contents(contents, out_dir, "" if judged_anew else fingerprint(study))
    show(contents)
    return page


def _outside(cfg: DictConfig) -> Path:
    from playbook.report.direction import direction
    from playbook.report.outside_report import UNNAMED, name_of, outside_contents, outside_tables, write_outside
    from playbook.report.summary import show
    from playbook.study.design import Objective

    files = {name: Path(cfg[name]) for name in ("trials", "curves", "space") if cfg[name] is not None}
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{name}={path}: there is no such file")
    metric = cfg.objective.metric or UNNAMED
    if cfg.objective.metric is None and cfg.objective.mode is None:
        raise InputError("objective.mode: is less of the objective better, or more? add objective.mode=min or max")
    objective = Objective(metric, cfg.objective.mode or direction(metric))
    tables = outside_tables(files["trials"], files.get("curves"), files.get("space"), objective, cfg.objective.by)
    out_dir = Path(cfg.out_dir or files["trials"].parent / "report")
    contents = outside_contents(tables, name_of(files["trials"]), out_dir, _runs_here)
    page = write_outside(contents, list(files.values()), out_dir)
    show(contents)
    return page


def _runs_here(words: Sequence[str]) -> bool:
    """Whether this template has these keys."""
    try:
        compose_config("train", words)
    except (HydraException, OmegaConfBaseException):
        return False
    return True


if __name__ == "__main__":
    open_door(main, "report")
