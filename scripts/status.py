"""How far is what runs? `python scripts/status.py [study_dir=outputs/studies/<study>]`, from any shell."""

from pathlib import Path

from omegaconf import DictConfig

from playbook.cli import script


@script("status")
def main(cfg: DictConfig) -> None:
    """Prints how each study stands: done, running, left, its best, what died."""
    from playbook.errors import InputError
    from playbook.report.status import show_status

    if cfg.output not in ("text", "json"):
        raise InputError(f"output={cfg.output}: allowed is text, json")
    show_status(Path(str(cfg.studies_dir)), None if cfg.study_dir is None else Path(str(cfg.study_dir)), cfg.output)


if __name__ == "__main__":
    main()
