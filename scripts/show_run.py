"""Draws the curves of a run: `python scripts/show_run.py run_dir=outputs/runs/<name>`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from playbook.cli import one_line_errors, run_cli
from playbook.composition import CONFIG_DIR


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="show_run")
def main(cfg: DictConfig) -> None:
    """Writes curves.svg and curves.html beside the run's files."""
    with one_line_errors():
        run_dir, out_dir = cfg.run_dir, cfg.out_dir
        from playbook.report.charts.run_curves import run_curves
        from playbook.training.load import load_run

        run = load_run(run_dir)
        result = run.result
        chart = run_curves(
            run.steps,
            run.evals,
            title=run.path.name,
            best_step=result.best_step if result else None,
            chance=result.chance if result else None,
            clip_norm=run.config.clip_norm,
        )
        folder = Path(out_dir or run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        chart.save(folder / "curves.svg")
        chart.save(folder / "curves.html", inline=True)
        print(folder / "curves.html")


if __name__ == "__main__":
    run_cli(main, "show_run")
