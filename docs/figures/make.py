"""The playbook's figures from runs on scikit-learn's digits: `make figures`, or some of them:

    python docs/figures/make.py f5

Each trains its runs as a study under `outputs/` (those that are there already are found again) and writes
`docs/figures/<name>.svg`. `docs/figures/README.md` says what is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import altair as alt
import polars as pl
import vl_convert

import playbook
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import SERIES
from playbook.report.charts.ticks import STEPS

HERE = Path(__file__).parent
FIXED = ("data=digits", "logger=none", "trainer.device=cpu", "trainer.num_threads=1")
WIDTH, HEIGHT = 460, 240


def f5() -> Chart:
    """The validation loss of one run, looked at every step and every 100 steps."""
    words = ("model=mlp", "model.depth=4", "max_steps=500", "eval_every=1")
    study = playbook.run_study(*FIXED, *words, study={"name": "figure_5", "trials": [{"lr": 0.1}]}, report=False)
    losses = study.curves().filter(metric="val/loss")
    rare = losses.filter(pl.col("step") % 100 == 0)
    names = ["every step", "every 100 steps"]
    rows = [
        {"step": step, "loss": loss, "evaluated": name}
        for name, table in zip(names, (losses, rare), strict=True)
        for step, loss in table.select("step", "value").iter_rows()
    ]
    x = alt.X("step:Q", title="step", axis=alt.Axis(**STEPS))
    scale = alt.Scale(type="log", nice=False)
    y = alt.Y("loss:Q", title="validation loss", scale=scale, axis=alt.Axis(tickCount=5))
    colour = alt.Color("evaluated:N", scale=alt.Scale(domain=names, range=[SERIES[0], SERIES[1]]))
    base = alt.Chart(alt.NamedData(name="losses")).encode(x=x, y=y, color=colour)
    is_rare = alt.datum.evaluated == names[1]
    points = base.transform_filter(is_rare).mark_point(filled=True, size=70, opacity=1)
    chart = alt.layer(base.mark_line(strokeWidth=1.2), points).properties(width=WIDTH, height=HEIGHT)
    return Chart("f5", "Early instability, and who sees it", "figures", chart.to_dict(), data={"losses": rows})


FIGURES: dict[str, Callable[[], Chart]] = {"f5": f5}


def main(names: Sequence[str]) -> None:
    """Make the figures that are named, or all."""
    for name in names or FIGURES:
        if name not in FIGURES:
            sys.exit(f"{name}: there are {', '.join(FIGURES)}")
        chart = FIGURES[name]()
        path = HERE / f"{name}.svg"
        path.write_text(vl_convert.vegalite_to_svg(chart.with_data(chart.data)), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
