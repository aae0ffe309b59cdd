"""What a model says of the test examples as pictures: which classes it takes for which, or predictions over targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import QUIET, colour_of

WIDTH, HEIGHT = 560, 300
MOST_CLASSES = 30
"""Of a picture whose cells can be read."""
MOST_POINTS = 2000


def evaluate_charts(
    confusion: NDArray[np.int64] | None,
    classes: Sequence[str] | None,
    targets: Mapping[str, NDArray[Any]],
    predictions: Mapping[str, NDArray[Any]],
) -> list[Chart]:
    """Mistakes by class where there are classes (up to 30), and predictions over targets of real values."""
    if confusion is not None:
        names = list(classes or map(str, range(len(confusion))))
        return [_confusion(confusion, names)] if len(confusion) <= MOST_CLASSES else []
    target, prediction = targets.get("target"), predictions.get("prediction")
    if target is None or prediction is None or target.shape != prediction.shape or target.dtype.kind != "f":
        return []
    return [_scatter(target.reshape(len(target), -1)[:, 0], prediction.reshape(len(target), -1)[:, 0])]


def _confusion(confusion: NDArray[np.int64], names: Sequence[str]) -> Chart:
    rows = [
        {"is": names[row], "taken": names[column], "count": int(count), "mistake": row != column}
        for (row, column), count in np.ndenumerate(confusion)
        if count
    ]
    order, scale = list(names), alt.Scale(domain=list(names))
    x = alt.X(
        "taken:N", title="taken for", axis=alt.Axis(labelAngle=0 if len(names) <= 12 else -45), sort=order, scale=scale
    )
    y = alt.Y("is:N", title="is", sort=order, scale=scale)
    most = max((row["count"] for row in rows if row["mistake"]), default=1)
    shade = alt.Color(
        "count:Q",
        title="mistakes",
        scale=alt.Scale(range=["#fbe9d0", "#c2410c"], domain=[1, max(2, most)]),
        legend=None,
    )
    layers = [
        _layer("right").mark_rect(opacity=0.25, color=colour_of(0)).encode(x=x, y=y),
        _layer("wrong").mark_rect().encode(x=x, y=y, color=shade),
        _layer("right").mark_text(fontSize=11).encode(x=x, y=y, text="count:Q"),
        _layer("wrong").mark_text(fontSize=11).encode(x=x, y=y, text="count:Q"),
    ]
    data: dict[str, Rows] = {
        "right": [row for row in rows if not row["mistake"]],
        "wrong": [row for row in rows if row["mistake"]],
    }
    chart = alt.layer(*layers).properties(width=max(320, 34 * len(names)), height=max(220, 26 * len(names)))
    caption = "Test examples by what they are and what they are taken for; the diagonal is right."
    return Chart("confusion", "What is taken for what", "evaluate", chart.to_dict(), caption, data)


def _scatter(targets: NDArray[Any], predictions: NDArray[Any]) -> Chart:
    chosen = np.linspace(0, len(targets) - 1, min(len(targets), MOST_POINTS)).astype(int)
    rows = [{"target": float(targets[place]), "prediction": float(predictions[place])} for place in chosen]
    low = float(min(targets.min(), predictions.min()))
    high = float(max(targets.max(), predictions.max()))
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    x, y = (alt.X("target:Q", scale=scale), alt.Y("prediction:Q", scale=scale))
    layers = [
        _layer("perfect").mark_line(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5).encode(x=x, y=y),
        _layer("examples").mark_point(filled=True, size=30, opacity=0.6, color=colour_of(0)).encode(x=x, y=y),
    ]
    data: dict[str, Rows] = {"perfect": [{"target": e, "prediction": e} for e in (low, high)], "examples": rows}
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    caption = "A point a test example (of several targets the first); on the dashed line the prediction is right."
    return Chart("predictions", "Predictions over targets", "evaluate", chart.to_dict(), caption, data)


def _layer(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=name))
