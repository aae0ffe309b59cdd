"""Is the best point near the edge of the search space (B5, F1)?

A best trial in the outer tenth of a range is suspicious, and mostly chance where the hyperparameter hardly matters: of
five hyperparameters, two ends each, some end is that near to the best trial in two studies of three. So position
alone is not the verdict. It is whether the objective still improves *towards* that end:

- A quadratic in the distance from the end, beside one in each of the other hyperparameters where there are trials
  enough for it, is fitted to the regrets (those worse than typical count as typical). A t-test says whether its slope
  a tenth of the range inside still falls towards the end. An optimum well inside has the opposite slope there, and a
  hyperparameter that does not matter has none. What is no quadratic may deceive it, so the trials in the nearest three
  tenths of the range must not say the opposite. With the optimum of a valley a quarter inside, 1 of 100 synthetic
  studies came out as a problem; a fifth inside, 3; a tenth outside, 86 and more.
- Where one hyperparameter varies, the best trial may be the last one on that side and better than all others by more
  than the noise between neighbours. That is evidence too, and all that there is where every other trial failed alike.

Where the trials beyond the best one failed, widening does not help: that is `lr_at_stability_edge`. Where those beyond
are just as good, there is a plateau, and no more than advice to look beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.position import positions
from playbook.analysis.regret import Values, comparable, losses, regret
from playbook.analysis.remedies import End, widened
from playbook.analysis.repeats import averaged
from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import Tables
from playbook.study.space import Dimension


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on; lengths are shares of the range, from the end."""

    near: float = 0.10
    """A best trial so far from the end is near it."""
    nearish: float = 0.15
    """However clear the slope, no best trial further inside is a problem: a broad valley has a noisy best trial."""
    inner: float = 0.30
    """However clear the slope, no best trial further inside is worth advice."""
    inside: float = 0.10
    """Where the slope is taken: an optimum between there and the end is near the end by any reading."""
    local: float = 0.3
    """Up to where the trials must not contradict the slope."""
    contradicted: float = 0.5
    """The p-value of the slope of those trials alone, above which they do."""
    sure: float = 0.01
    """The slope's p-value times the number of hyperparameters, for a problem."""
    likely: float = 0.10
    """The same for advice."""
    clear_lead: float = 3.0
    """Of the last trial, in units of the noise between neighbours."""
    fewest_in_lead: int = 5
    """Values of a hyperparameter below which a lead cannot be told from noise."""
    tie: float = 0.02
    """The regret up to which a trial is as good as the best."""
    step: float = 0.1
    """The regret from which on a trial shows that a plateau ends."""
    unlikely: float = 0.3
    """A position that fewer trials than this share have is suspicious by itself where one hyperparameter varies."""
    failing: float = 0.5
    """Where so many of the trials at that end fail, widening does not help."""
    sparse: int = 5
    """With fewer trials than this for each hyperparameter nothing is called a problem."""
    fewest: int = 3
    """Feasible trials below which nothing is said."""
    spare: int = 6
    """Degrees of freedom that must be left for another hyperparameter to be fitted beside the one asked."""


ENDS: tuple[End, End] = ("lower", "upper")


@dataclass(frozen=True)
class Edge:
    """How the trials of an arm lie towards one end of a hyperparameter's range, in numbers.

    - `distance`: of the best trial from the end, as a share of the range; `near`: whether that is at the end;
      `chance`: the share of the trials that are as near to an end.
    - `p`: the slope's p-value times the number of hyperparameters, None where the trials are too few to fit;
      `local_p`: the p-value of the trials close by.
    - `lead`: how far the last trial on that side is ahead of all others, in units of the noise; None unless it is the
      best one and nothing else varies.
    - `beyond`: the trials between the best one and the end; `plateau`: whether they are all as good; `failing`: the
      share of them, and of the others in the last tenth, that are infeasible.
    - `few`: whether the trials are too few for so many hyperparameters to be sure of anything.
    """

    key: str
    end: End
    trial: int
    value: float
    distance: float
    near: bool
    chance: float
    p: float | None
    local_p: float | None
    lead: float | None
    beyond: int
    plateau: bool
    failing: float
    few: bool

    def slope(self, limits: Thresholds) -> Literal["sure", "contradicted", "likely", "none"]:
        """Whether the objective improves towards the end; `contradicted` is one that the trials close by deny."""
        if self.p is None or self.p >= limits.likely:
            return "none"
        if self.p >= limits.sure:
            return "likely"
        return "sure" if self.local_p is None or self.local_p <= limits.contradicted else "contradicted"

    def severity(self, limits: Thresholds = Thresholds()) -> Severity | None:
        """The verdict; None where the best trial is inside, or where widening would not help."""
        if self.failing >= limits.failing:
            return None
        slope = self.slope(limits)
        leads = self.lead is not None and self.lead >= limits.clear_lead
        close = self.near or self.distance <= limits.nearish
        if close and (slope == "sure" or leads) and not self.plateau and self.chance < 1:
            return "advice" if self.few else "problem"
        if self.near:
            suspicious = self.chance <= limits.unlikely and (self.plateau or self.lead is not None)
            return "advice" if slope != "none" or suspicious else "info"
        reach = {"sure": limits.inner, "contradicted": limits.nearish}.get(slope, 0.0)
        return "advice" if self.distance <= reach else None


def edges(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> list[Edge]:
    """Both ends of each ordered hyperparameter that varies in an arm, where widening is possible.

    Where settings are repeated, each counts as one trial with its mean.
    """
    tables = averaged(tables)
    trials = comparable(tables.of_arm(arm))
    loss = losses(trials, tables.sign)
    if int(np.isfinite(loss).sum()) < limits.fewest:
        return []
    lost, best = regret(loss), int(np.argmin(loss))
    failed = trials["trial"].is_in(causes(tables).filter(pl.col("cause").is_not_null())["trial"].implode()).to_numpy()
    varied = {
        key: each
        for key, each in tables.space.get(arm, {}).items()
        if key in trials.columns and trials[key].n_unique() > 1
    }
    at = {key: positions(trials[key], each) for key, each in varied.items() if each.is_ordered}
    at = {key: where for key, where in at.items() if np.isfinite(where).all()}
    found = []
    for key, where in at.items():
        others = [each for name, each in at.items() if name != key]
        for end in ENDS:
            near = max(limits.near, 1 / len(where) if len(varied) == 1 else 0.0, _of_the_end(varied[key], end))
            far = where if end == "lower" else 1 - where
            beyond = far < far[best]
            p, local_p = slope_p(far, lost, others, limits), slope_p(far, lost, others, limits, limits.local)
            found.append(
                Edge(
                    key,
                    end,
                    trial=int(trials["trial"][best]),
                    value=float(trials[key][best]),
                    distance=float(far[best]),
                    near=bool(far[best] <= near),
                    chance=float(np.mean(np.minimum(where, 1 - where) <= far[best] + 1e-9)),
                    p=None if p is None else min(1.0, p * len(at)),
                    local_p=local_p,
                    lead=lead(far, lost, limits) if len(varied) == 1 and not beyond.any() else None,
                    beyond=int(beyond.sum()),
                    plateau=_is_plateau(far, lost, best, limits),
                    failing=_share(failed[beyond | ((far <= limits.near) & (far != far[best]))]),
                    few=len(trials) < limits.sparse * len(varied),
                )
            )
    return [each for each in found if widened(varied[each.key], each.end) is not None]


def slope_p(
    far: Values, lost: Values, others: Sequence[Values], limits: Thresholds = Thresholds(), window: float = 1.0
) -> float | None:
    """The chance of a regret that rises as steeply inwards, `limits.inside` from the end, if it does not rise there.

    `far` is each trial's distance from the end in [0, 1], `lost` its regret, `others` its positions in the other
    hyperparameters; the trials within `window` are fitted. None where they are too few.
    """
    from scipy.stats import t as student

    kept = far <= window
    x, y = far[kept], np.minimum(lost[kept], 1.0)
    if len(x) < 4:
        return None
    curved = len(np.unique(x)) > 3
    inwards = x - limits.inside
    terms = [np.ones(len(x)), inwards, *([inwards**2] if curved else [])]
    for other in sorted((each[kept] - 0.5 for each in others), key=lambda each: -_explained(each, y)):
        if len(x) - len(terms) - 2 >= limits.spare:
            terms += [other, other**2]
    fitted = np.stack(terms, axis=1)
    spare = len(x) - fitted.shape[1]
    if spare < 2 or np.linalg.matrix_rank(fitted) < fitted.shape[1]:
        return None
    beta = np.linalg.lstsq(fitted, y, rcond=None)[0]
    left = y - fitted @ beta
    variance = abs(np.linalg.inv(fitted.T @ fitted)[1, 1]) * (left @ left) / spare  # rounding may leave it below 0
    return float(student.sf(beta[1] / np.sqrt(variance + 1e-18), spare))


def lead(far: Values, lost: Values, limits: Thresholds = Thresholds()) -> float:
    """How far the trial nearest to the end is ahead of the best of the others, in units of the noise.

    The noise is how far a trial lies off the line between its two neighbours, robustly over all others: a curve that
    bends counts as noise, so the answer errs on the low side. Trials of one value count as their median. 0 where it
    is not ahead, or where too few values leave nothing to compare.
    """
    x = np.unique(far)
    y = np.array([np.median(lost[far == each]) for each in x])
    if len(x) < limits.fewest_in_lead or y[0] >= y[1:].min():
        return 0.0
    share = (x[2:-1] - x[1:-2]) / (x[3:] - x[1:-2])
    off = y[2:-1] - (y[1:-2] * (1 - share) + y[3:] * share)
    noise = 1.4826 * np.median(np.abs(off) / np.sqrt(1 + share**2 + (1 - share) ** 2))
    return float((y[1:].min() - y[0]) / max(noise, limits.tie / limits.clear_lead))


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`space_boundary` for each arm, hyperparameter and end where the best trial is suspiciously near."""
    return [
        _finding(tables, arm, edge, severity)
        for arm in tables.arms
        for edge in edges(tables, arm, limits)
        if (severity := edge.severity(limits)) is not None
    ]


def _finding(tables: Tables, arm: str, edge: Edge, severity: Severity) -> Finding:
    dimension = tables.space[arm][edge.key]
    wider = widened(dimension, edge.end)
    assert wider is not None
    where = (
        f"The best {edge.key}, {edge.value:.4g}, lies {edge.distance:.0%} of the way into its range"
        f" ({dimension.low:.4g} to {dimension.high:.4g}) from the {edge.end} end"
    )
    if severity == "problem":
        why = ", and the objective still improves towards it."
    elif edge.plateau:
        why = f"; the {edge.beyond} trials beyond it are as good, so a plateau may go on outside."
    elif severity == "advice":
        why = ", and the trials suggest that the objective improves towards it."
    else:
        why = f". Chance would do that too ({edge.chance:.0%} of the trials are as near to an end): it cannot be told."
    evidence = {
        "end": edge.end,
        "best": edge.value,
        "distance": edge.distance,
        "chance": edge.chance,
        "p": edge.p,
        "local_p": edge.local_p,
        "lead": edge.lead,
        "beyond": edge.beyond,
        "failing": edge.failing,
        "range": dimension.plain(),
        "widened": wider.plain(),
    }
    return Finding(
        "space_boundary",
        severity,
        "B5",
        where + why,
        arm=arm,
        parameter=edge.key,
        trials=(edge.trial,),
        evidence=evidence,
        next=(Remedy({edge.key: wider}),),
    )


def _is_plateau(far: Values, lost: Values, best: int, limits: Thresholds) -> bool:
    """Whether all trials from the end to beyond the best one are as good, and those as far inwards again are not."""
    worse = far[lost > limits.tie].min(initial=np.inf)
    flat = far < worse
    several = len(np.unique(far[flat & (far < far[best])])) > 1
    reach = 2 * far[flat].max(initial=0.0)
    return several and bool(flat[best]) and bool(lost[~flat & (far <= reach)].max(initial=0.0) >= limits.step)


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _of_the_end(dimension: Dimension, end: End) -> float:
    """How far the last value itself lies from the end: of a list or of whole numbers it is half of what it owns."""
    where = dimension.position(dimension.low) if end == "lower" else 1 - dimension.position(dimension.high)
    return where + 1e-9


def _explained(position: Values, lost: Values) -> float:
    """How much of the regret a quadratic in a position explains: which hyperparameters to fit beside the one asked."""
    fitted = np.stack([np.ones(len(position)), position, position**2], axis=1)
    return float(np.var(fitted @ np.linalg.lstsq(fitted, lost, rcond=None)[0]))
