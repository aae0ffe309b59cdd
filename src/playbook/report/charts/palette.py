"""Colours that people with any colour vision tell apart, on paper and on a dark screen, and the shapes beside them.

A thing is never told by its colour alone: the best are stars, infeasible trials crosses, trials beyond an axis arrows.
"""

from __future__ import annotations

from typing import Any

SERIES = ("#3b82c4", "#e08e0b", "#2a9d78", "#c25b9d", "#7d6bd0", "#8c7853", "#46b1d8", "#9aa32b")
"""For arms and trials; after Okabe and Ito, darkened or lightened to stand on white and on near-black."""
INFEASIBLE = "#d9472b"
BEST = "#f2a900"
QUIET = "#9aa5b1"
INK = "__ink__"
"""What stands out most; the page and the SVG files put their own black or white here."""

STAR = "M0,-1L0.22,-0.31L0.95,-0.31L0.36,0.12L0.59,0.81L0,0.38L-0.59,0.81L-0.36,0.12L-0.95,-0.31L-0.22,-0.31Z"
CROSS = "M-0.7,-0.7L0.7,0.7M0.7,-0.7L-0.7,0.7"


def colour_of(place: int) -> str:
    """The colour of an arm or a trial by its place; they begin again after the last."""
    return SERIES[place % len(SERIES)]


def theme(dark: bool) -> dict[str, Any]:
    """Vega's `config` for a page or a file."""
    text, grid = ("#c9d1d9", "#2b323b") if dark else ("#3c4650", "#e8ebee")
    axis = {"gridColor": grid, "domainColor": grid, "tickColor": grid, "labelColor": text, "titleColor": text}
    font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
    return {
        "background": "transparent" if dark else "white",
        "font": font,
        "axis": axis | {"titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12},
        "legend": {"labelColor": text, "titleColor": text, "symbolType": "circle", "labelLimit": 240},
        "title": {"color": text, "subtitleColor": text, "anchor": "start", "fontSize": 13},
        "view": {"stroke": None},
    }
