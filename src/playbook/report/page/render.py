"""The report as one HTML file that needs no network: what it says as HTML, its charts and trials as data for `page.js`.

Whatever a study's names hold, nothing of it becomes markup or code: the template escapes, data is JSON in an element
that no browser runs, and the page's own policy runs only the scripts whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from playbook.analysis.external import NAME
from playbook.analysis.tables import Tables
from playbook.report.charts import ReportCharts
from playbook.report.charts.arms import colours
from playbook.report.charts.palette import BEST, INFEASIBLE, QUIET, theme
from playbook.report.charts.repeated import repeated
from playbook.report.charts.standing import counts, standing
from playbook.report.charts.trial_rows import has_intervals
from playbook.report.content import Contents
from playbook.report.page.arms_table import arms_table
from playbook.report.page.cards import cards, screen, what_is_more
from playbook.study.design import ONLY_ARM
from playbook.text import brief, duration

_HERE = Path(__file__).parent
MOST_NEXT = 5
SECTIONS = {
    "axes": (
        "Axis plots",
        "Every trial against every hyperparameter.",
    ),
    "isolation": (
        "Isolation plots",
        "The best over all nuisance hyperparameters, for each value of a scientific one; for a continuous one"
        " the best of each bucket, with a dot at its trial, and a faint line at the median. Grey: where all of these"
        " bests would lie in nine studies of ten if the hyperparameter did nothing.",
    ),
    "enough": ("Have we tried enough?", "What a study of n trials would have found, from the trials of this one."),
    "curves": (
        "Training curves",
        "The best trials, and faintly others. Click a trial in a plot, or its number in the table, for its curves.",
    ),
    "rungs": (
        "Rungs",
        "What each trial had reached where the others rest. Hollow: paused; what it would reach at its end is unknown.",
    ),
    "gradients": ("Gradient norms", "Of the best trial, before clipping."),
    "steps": (
        "Best step, importance",
        "Where in each trial retrospective selection found its best value; and which hyperparameters mattered over the"
        " ranges searched.",
    ),
}
"""The sections with charts, in order; those of `Chart.section`."""


def render(contents: Contents, charts: ReportCharts, made_from: str) -> str:
    """The page. `made_from` names its inputs; it can be read from the first lines of the file."""
    vega, js = _vega(), (_HERE / "page.js").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["shell"] = _shell
    template = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    return template.render(
        page=_page(contents, charts),
        policy=_policy(vega, js),
        made_from=made_from,
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        vega=Markup(vega),
        js=Markup(js),
        data=Markup(_json(_data(contents, charts))),
    )


def _page(contents: Contents, charts: ReportCharts) -> dict[str, Any]:
    """What the template shows."""
    shown: list[dict[str, Any]] = [
        {
            "id": name,
            "title": title,
            "text": text,
            "wide": any(chart.wide for chart in charts.charts if chart.section == name),
            "charts": [
                (
                    place,
                    {
                        "title": chart.title.partition("  ")[0],
                        "where": chart.title.partition("  ")[2],
                        "caption": chart.caption,
                        "height": chart.specification.get("height", 200) + 60,
                    },
                )
                for place, chart in enumerate(charts.charts)
                if chart.section == name
            ],
        }
        for name, (title, text) in SECTIONS.items()
        if any(chart.section == name for chart in charts.charts)
    ]
    first, more = screen(cards(contents))
    colour = colours(contents.tables)
    has_trials = len(contents.tables.trials) > 0
    following = _next(contents)
    sections = [("answer", "Answer"), ("findings", "Findings")]
    sections += [("next", "Next")] if following else []
    sections += [(section["id"], section["title"]) for section in shown]
    sections += [("trials", "Trials")] if has_trials else []
    return {
        "name": contents.name,
        "goal": contents.goal,
        "when": contents.when,
        "numbers": _numbers(contents),
        "sections": [*sections, ("design", "Design")],
        "answer": contents.answer,
        "notes": contents.notes,
        "arms_table": arms_table(contents.tables, contents.findings),
        "cards": first,
        "more_cards": more,
        "what_is_more": what_is_more(more),
        "next": following,
        "charts": shown,
        "has_trials": has_trials,
        "arms": [(arm, each) for arm, each in colour.items() if each != QUIET],
        "num_other_arms": sum(each == QUIET for each in colour.values()),
        "quiet": QUIET,
        "symbols": _symbols(contents.tables, charts),
        "caveats": contents.caveats,
        "plan": contents.plan,
        "provenance": contents.provenance,
    }


def _symbols(tables: Tables, charts: ReportCharts) -> list[tuple[str, str, str]]:
    """`(symbol, colour, meaning)` of what is drawn in axis plots."""
    kinds = {row["kind"] for row in charts.trials}
    known = [
        ("best", "★", BEST, "best" if len(standing(tables).best) == 1 else "the best few"),
        ("member", "☆", BEST if len(tables.arms) == 1 else QUIET, "cannot be told from the best"),
        ("infeasible", "×", INFEASIBLE, "infeasible: diverged, or no better than the start or chance"),
    ]
    found = [(symbol, colour, meaning) for kind, symbol, colour, meaning in known if kind in kinds]
    if any(row["beyond"] for row in charts.trials):
        found.append(("▲", QUIET, "beyond the axis"))
    if repeated(tables):
        found.append(("┿", QUIET, "mean of the repeats of a setting, ± one standard error"))
    elif has_intervals(tables):
        found.append(("│", QUIET, "± one standard error over the validation examples"))
    return found


def _next(contents: Contents) -> list[tuple[str, str, str]]:
    """Each command once, with the code of its finding and what that is about, the gravest first."""
    found: dict[str, tuple[str, str]] = {}
    for finding, commands in zip(contents.findings, contents.next, strict=True):
        if finding.severity != "info":
            what = " · ".join(each for each in (finding.parameter, finding.arm) if each and each != ONLY_ARM)
            for command in commands:
                found.setdefault(command, (finding.code, what))
    return [(command, *why) for command, why in found.items()][:MOST_NEXT]


def _numbers(contents: Contents) -> list[tuple[str, str, str]]:
    """`(number, noun, kind)` for the head of the page."""
    tables = contents.tables
    counted, stands, total = counts(tables), standing(tables), len(tables.trials)
    found = [(str(total), "trial" if total == 1 else "trials", "")]
    repeats = counted.tried < total - counted.crashed
    if repeats:
        found.append((str(counted.tried), "settings" if counted.tried != 1 else "setting", ""))
    if counted.failed:
        found.append((str(counted.failed), "settings infeasible" if repeats else "infeasible", "bad"))
    if counted.crashed:
        found.append((str(counted.crashed), "crashed", "bad"))
    works = tables.ranked().filter(~pl.col("trial").is_in(list(stands.failed)))
    if len(works):
        best = works.row(0, named=True)
        value, se = best["objective"], best.get("objective_se")
        for each in repeated(tables):
            if each.trial == best["trial"]:
                value, se = each.mean, each.se
        error = f" ± {brief(se, digits=2)}" if se is not None and math.isfinite(se) else ""
        found.append((brief(value), f"best {tables.objective.metric}{error}", ""))
        found.append((str(best["trial"]), "best trial", ""))
    if tables.chance is not None:
        found.append((brief(tables.chance), f"{tables.objective.metric} at chance", ""))
    if "seconds" in tables.trials.columns and (seconds := tables.trials["seconds"].drop_nulls()).len():
        found.append((duration(float(seconds.sum())), "of training", ""))
    return found


def _data(contents: Contents, charts: ReportCharts) -> dict[str, Any]:
    """What `page.js` draws and lists: its `data`, whose keys are these."""
    tables = contents.tables
    return {
        "objective": tables.objective.metric,
        "arms": list(tables.arms),
        "shown": list(charts.names.items()),
        "ascending": tables.objective.mode == "min",
        "trials": _trials(contents, charts),
        "curves": _curves(charts.curves),
        "families": [
            {"dataset": f"curves_{place}", "measured_on": dict(family.measured_on)}
            for place, family in enumerate(charts.families)
        ],
        "charts": [
            {
                "specification": chart.specification,
                "datasets": chart.datasets,
                "height": chart.specification.get("height", 200) + 60,
                "trials_at": chart.trials_at,
            }
            for chart in charts.charts
        ],
        "datasets": charts.datasets,
        "themes": {"light": theme(dark=False) | {"background": "transparent"}, "dark": theme(dark=True)},
    }


def _trials(contents: Contents, charts: ReportCharts) -> dict[str, Any]:
    """The trials as columns, so that a name is there once and not ten thousand times."""
    tables = contents.tables
    trials = tables.trials
    arm = {name: place for place, name in enumerate(tables.arms)}
    fields: dict[str, list[Any]] = {}
    for name in charts.trials[0] if charts.trials else ("trial",):
        if name != "tip":
            fields[name] = [row[name] for row in charts.trials]
    fields["arm"] = [arm[name] for name in trials["arm"]]
    if "objective_se" in trials.columns and trials["objective_se"].drop_nulls().len():
        fields["objective_se"] = [None if se is None else float(f"{se:.2g}") for se in trials["objective_se"]]
    if "reason" in trials.columns and trials["reason"].drop_nulls().len():
        fields["reason"] = trials["reason"].to_list()
    keys = list(dict.fromkeys(key for space in tables.space.values() for key in space))
    names = [NAME] if NAME in trials.columns else []
    settings = [
        {"key": key, "values": [None if value is None else _number(brief(value)) for value in trials[key]]}
        for key in [*names, *keys]
        if key in trials.columns
    ]
    lines = [contents.commands.get(trial) for trial in trials["trial"]]
    commands = None
    if lines and all(line is not None for line in lines):
        known = [line for line in lines if line is not None]
        head = _common_start(known)
        commands = {"head": head, "tails": [line[len(head) :] for line in known]}
    return {"fields": fields, "settings": settings, "commands": commands}


def _common_start(lines: Sequence[str]) -> str:
    """What all of the lines begin with."""
    pairs = enumerate(zip(min(lines), max(lines), strict=False))
    return min(lines)[: next((place for place, (one, other) in pairs if one != other), len(min(lines)))]


def _curves(curves: pl.DataFrame) -> dict[str, Any]:
    """Thinned curves, short: `[trial, metric, places in the grid of steps, values of four digits]`."""
    metrics = sorted(curves["metric"].unique().to_list())
    grid = curves["step"].unique().sort().to_list()
    place_of = {step: place for place, step in enumerate(grid)}
    lines = [
        [
            trial,
            metrics.index(metric),
            [place_of[step] for step in steps],
            [float(f"{value:.4g}") if value is not None and math.isfinite(value) else None for value in values],
        ]
        for trial, metric, steps, values in curves.group_by(["trial", "metric"], maintain_order=True)
        .agg("step", "value")
        .iter_rows()
    ]
    return {"metrics": metrics, "grid": grid, "lines": lines}


def _shell(command: str) -> Markup:
    """A command with a button that copies it."""
    return Markup('<div class="shell"><code>{}</code><button type="button">Copy</button></div>').format(command)


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for what has a default
    return bundle.replace("</script", "<\\/script")


def _policy(*scripts: str) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _number(text: str) -> float | str:
    """A number where it is one, so that a table sorts by it."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
