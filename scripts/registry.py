"""Lists every study with its best trial: `python scripts/registry.py [studies_dir=outputs/studies]`."""

from pathlib import Path

from omegaconf import DictConfig

from playbook.cli import script


@script("registry")
def main(cfg: DictConfig) -> None:
    """Prints the table, and writes registry.csv and registry.html."""
    from playbook.report.registry import list_studies

    list_studies(Path(str(cfg.studies_dir)), None if cfg.out_dir is None else Path(str(cfg.out_dir)))


if __name__ == "__main__":
    main()
