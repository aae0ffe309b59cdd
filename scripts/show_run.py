"""Draws the curves of a run: `python scripts/show_run.py run_dir=outputs/runs/<name>`."""

from pathlib import Path

from omegaconf import DictConfig

from playbook.cli import script


@script("show_run")
def main(cfg: DictConfig) -> None:
    """Writes curves.svg and curves.html beside the run's files."""
    from playbook import load_run, plot_run

    chart = plot_run(load_run(cfg.run_dir))
    folder = Path(cfg.out_dir or cfg.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    chart.save(folder / "curves.svg")
    chart.save(folder / "curves.html", inline=True)
    print(folder / "curves.html")


if __name__ == "__main__":
    main()
