"""Which hyperparameters matter, with the method named."""

from __future__ import annotations

import altair as alt

from playbook.analysis.rules.importance import METHOD, importance
from playbook.analysis.tables import Tables
from playbook.report.charts.arms import arm_colour, drawn, of_how_many
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import colour_of

MOST_ARMS = 6
WIDTH = 460


def importance_plot(tables: Tables) -> list[Chart]:
    """Bars, an arm's in its colour; nothing where no arm has the trials to tell."""
    found = [each for arm in drawn(tables, MOST_ARMS) for each in importance(tables, arm)]
    rows = [
        {"arm": each.arm, "key": each.key, "share": round(each.share, 4), "p": each.p, "certain": each.certain}
        for each in found
    ]
    if not rows:
        return []
    keys = list(dict.fromkeys(each.key for each in sorted(found, key=lambda each: -each.share)))
    names = tuple(dict.fromkeys(each.arm for each in found))
    arms = len(names)
    y = alt.Y("key:N", title=None, sort=keys, axis=alt.Axis(labelLimit=180))
    bars = alt.Chart(alt.NamedData(name="importance")).mark_bar(cornerRadiusEnd=2, size=12 if arms == 1 else 9)
    encoded = bars.encode(
        y=y,
        x=alt.X(
            "share:Q", title="share explained", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)
        ),
        color=arm_colour(tables, names, orient="top", columns=1) if arms > 1 else alt.value(colour_of(0)),
        opacity=alt.condition("datum.certain", alt.value(0.9), alt.value(0.25)),
        tooltip=[
            "arm:N",
            "key:N",
            alt.Tooltip("share:Q", format=".0%"),
            alt.Tooltip("p:Q", title="p by chance", format=".2~g"),
        ],
        **({"yOffset": alt.YOffset("arm:N")} if arms > 1 else {}),
    )
    height = max(80, len(keys) * (14 * arms + 8))
    caption = (
        f"Method: {METHOD}, the share of the order of the trials that one hyperparameter explains alone."
        " Pale: not to be told from chance. What hyperparameters do only together is in none."
        f"{of_how_many(tables, MOST_ARMS)}"
    )
    specification = encoded.properties(width=WIDTH, height=height).to_dict()
    data = {"importance": rows}
    return [Chart("importance", "Importance of hyperparameters", "steps", specification, caption, data, wide=True)]
