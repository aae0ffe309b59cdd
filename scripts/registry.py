"""Lists every study with its best trial: `python scripts/registry.py [studies_dir=outputs/studies]`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from playbook.cli import one_line_errors, run_cli
from playbook.composition import CONFIG_DIR
from playbook.errors import InputError


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="registry")
def main(cfg: DictConfig) -> None:
    """Prints the table, and writes registry.csv and registry.html."""
    with one_line_errors():
        studies_dir = Path(str(cfg.studies_dir))
        out_dir = studies_dir.parent if cfg.out_dir is None else Path(str(cfg.out_dir))
        from rich.console import Console

        from playbook.report.registry_page import registry_listing, registry_page
        from playbook.run_files import replace_file
        from playbook.study.registry import read_registry

        registry = read_registry(studies_dir)
        console = Console(highlight=False, soft_wrap=True)
        for line in registry.troubles:
            console.print(line, style="red", markup=False)
        if not registry.entries:
            print(f"{studies_dir}: no study yet; python train.py -m study=learning_rate makes one")
            return
        console.print(registry_listing(registry), soft_wrap=False)
        try:
            out_dir.mkdir(parents=True, exist_ok=True)
            replace_file(out_dir / "registry.csv", registry.table.write_csv())
            replace_file(out_dir / "registry.html", registry_page(registry, out_dir))
        except OSError as error:
            raise InputError(f"out_dir={out_dir}: the registry cannot be written there ({error.strerror})") from None
        print(out_dir / "registry.html")


if __name__ == "__main__":
    run_cli(main, "registry")
