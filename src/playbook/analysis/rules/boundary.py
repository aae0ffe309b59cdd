"""Do the best settings lie at the edge of the search space, and would a wider one hold better ones (B5, F1)?

Where the best *trial* lies is mostly chance: of five hyperparameters, two ends each, some end is within a tenth of the
range of it in two studies of three. So the verdict is about the set of settings that cannot be told from the best, and
about whether the objective still improves *towards* the end from where they lie:

- A quadratic in the distance from the end, beside one in each of the other hyperparameters where there are trials
  enough for it, is fitted to the regrets (no matter how much worse than typical) of the trials from the end to
  where the set reaches. A t-test says whether its slope a tenth of the range inside still falls towards the end. An
  optimum well inside has the opposite slope there, and a hyperparameter that does not matter has none. A few unlucky
  seeds do not decide (Huber). Where so few trials lie there that nothing can be fitted, all are.
- A plateau that reaches the end has a slope too, where it ends inside. So a plateau with a slope behind it is fitted
  as well, and where it is much more likely than the quadratic, nothing improves towards the end.
- Where one hyperparameter varies, the best trial may be the last one on that side and better than all others by more
  than the noise between neighbours. That is evidence too, and all that there is where every other trial failed alike.

Where the trials beyond the best ones failed, widening does not help: that is `lr_at_stability_edge`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.noise_of_trials import Noise, noise_of
from playbook.analysis.position import positions
from playbook.analysis.regret import Values, comparable, losses, regret
from playbook.analysis.remedies import End, widened
from playbook.analysis.repeats import averaged
from playbook.analysis.robust_regression import robust_coefficient
from playbook.analysis.rules.best import best
from playbook.analysis.rules.infeasible import infeasible_trials
from playbook.analysis.tables import Tables, computed_once
from playbook.study.space import Dimension


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on; lengths are shares of the range, from the end."""

    near: float = 0.10
    """A set that comes so near to the end is at it."""
    inner: float = 0.30
    """However clear the slope, no set that stays further inside is worth advice."""
    inside: float = 0.10
    """Where the slope is taken: an optimum between there and the end is near the end by any reading."""
    local: float = 0.3
    """Up to where trials are fitted at least, however narrow the set."""
    wide: float = 0.5
    """The same where the slope is clearer from farther away: up to the typical trial, from which on regrets are cut."""
    worst: float = 1.5
    """The regret that counts for all that is worse. At 1 the worse half of the trials would say nothing of the slope:
    where three hyperparameters have valleys of their own, .84 in place of .98 of clear edges were told."""
    sure: float = 0.01
    """The slope's p-value times the number of hyperparameters, for a problem."""
    likely: float = 0.05
    """The same for advice."""
    plateau: float = 5.0
    """The logarithm of how much more likely than the quadratic a plateau must be: e⁵, decisive evidence (Jeffreys)."""
    knees: int = 9
    """Places where a plateau may end, evenly among what is fitted."""
    material: float = 0.75
    """The improvement over `local` of the range, in standard deviations of one trial's noise, that is worth a study."""
    clear_lead: float = 3.0
    """Of the last trial, in units of the noise between neighbours."""
    fewest_in_lead: int = 5
    """Values of a hyperparameter below which a lead cannot be told from noise."""
    tie: float = 0.02
    """The regret up to which a trial is as good as the best."""
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
    """How the best settings of an arm lie towards one end of a hyperparameter's range.

    - `value`, `distance`: of the best trial, the latter from the end, as a share of the range. The set's nearest
      setting is `nearest` away, its farthest `reach`; `near`: whether the nearest is at the end; `is_last`: whether the
      best trial is.
    - `slope`: of the regrets of the trials that are fitted, towards the inside.
    - `lead`: how far the last trial on that side is ahead of all others, in units of the noise; None unless it is the
      best one and nothing else varies.
    - `failing`: the share of the trials beyond the best one, and of the others in the last tenth, that are infeasible.
    - `few`: whether the trials are too few for so many hyperparameters to be sure of anything, or were proposed from
      others: then they lie at an end because those near it were good.
    """

    key: str
    end: End
    trial: int
    value: float
    distance: float
    nearest: float
    reach: float
    near: bool
    is_last: bool
    slope: Slope | None
    lead: float | None
    failing: float
    few: bool

    def severity(self, limits: Thresholds = Thresholds()) -> Severity | None:
        """The verdict; None where the set is inside, or where widening would not help."""
        if self.failing >= limits.failing:
            return None
        leads = self.lead is not None and self.lead >= limits.clear_lead
        p = 1.0 if self.slope is None or self.slope.is_flat(limits) else self.slope.p
        if self.near and (p < limits.sure or leads):
            return "advice" if self.few else "problem"
        if self.near:
            return "advice" if p < limits.likely else "info" if self.is_last else None
        return "advice" if p < limits.sure and self.nearest <= limits.inner else None


@computed_once
def edges(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> list[Edge]:
    """Both ends of each ordered hyperparameter that varies in an arm, where widening is possible.

    Where settings are repeated, each counts as one trial with its mean.
    """
    answer, noise = best(tables, arm), noise_of(tables)
    tables = averaged(tables)
    trials = comparable(tables.of_arm(arm))
    loss = losses(trials, tables.sign)
    if int(np.isfinite(loss).sum()) < limits.fewest:
        return []
    lost, first = regret(loss if noise.relative is None else np.log(loss)), int(np.argmin(loss))
    one = _noise_of_regret(loss, lost, noise)
    members = () if answer is None or math.isnan(one) else answer.members
    is_best = trials["trial"].is_in(members).to_numpy() | (np.arange(len(loss)) == first)
    failed = trials["trial"].is_in(infeasible_trials(tables)).to_numpy()
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
            if widened(varied[key], end) is None:
                continue
            near = max(limits.near, 1 / len(where) if len(varied) == 1 else 0.0, _of_the_end(varied[key], end))
            far = where if end == "lower" else 1 - where
            beyond, reach = far < far[first], float(far[is_best].max())
            slope = _clearest(far, lost, others, limits, 1.0 if math.isnan(one) else reach)
            found.append(
                Edge(
                    key,
                    end,
                    trial=int(trials["trial"][first]),
                    value=float(trials[key][first]),
                    distance=float(far[first]),
                    nearest=float(far[is_best].min()),
                    reach=reach,
                    near=bool(far[is_best].min() <= near),
                    is_last=bool(far[first] <= near),
                    slope=None if slope is None else slope.among(len(at), one),
                    lead=lead(far, lost, limits) if len(varied) == 1 and not beyond.any() else None,
                    failing=_share(failed[beyond | ((far <= limits.near) & (far != far[first]))]),
                    few=tables.adaptive or len(trials) < limits.sparse * len(varied),
                )
            )
    return found


@dataclass(frozen=True)
class Slope:
    """How the regret rises from an end inwards.

    `rise` is per range, `p` the chance of as steep a rise if there is none, times the hyperparameters asked. `plateau`
    is the logarithm of how much more likely a plateau at the end is than a curve, `noise` the regret of one standard
    deviation of one trial's noise, NaN where it is unknown.
    """

    p: float
    rise: float
    plateau: float
    noise: float = math.nan

    def among(self, hyperparameters: int, noise: float) -> Slope:
        """One of the slopes of so many hyperparameters."""
        return replace(self, p=min(1.0, self.p * hyperparameters), noise=noise)

    def is_flat(self, limits: Thresholds) -> bool:
        """Whether nothing worth a study improves towards the end."""
        return self.plateau > limits.plateau or self.rise * limits.local < limits.material * self.noise


def slope_towards(
    far: Values, lost: Values, others: Sequence[Values], limits: Thresholds = Thresholds(), window: float = 1.0
) -> Slope | None:
    """The slope `limits.inside` from the end.

    `far` is each trial's distance from the end in [0, 1], `lost` its regret, `others` its positions in the other
    hyperparameters; the trials within `window` are fitted. None where they are too few.
    """
    from scipy.special import stdtr

    kept = far <= window + 1e-9
    x, y = far[kept], np.minimum(lost[kept], limits.worst)
    if len(x) < 4:
        return None
    distinct = len(np.unique(x))
    inwards = x - limits.inside
    ours = [inwards, *([inwards**2] if distinct > 3 else [])]
    terms = [np.ones(len(x))]
    for other in sorted((each[kept] - 0.5 for each in others), key=lambda each: -_explained(each, y)):
        if len(x) - len(terms) - len(ours) - 1 >= limits.spare + 1:
            terms += [other, other**2]
    fitted = np.stack([*terms, *ours], axis=1)
    spare = len(x) - fitted.shape[1]
    if spare < 2 or np.linalg.matrix_rank(fitted) < fitted.shape[1]:
        return None
    slope, error = robust_coefficient(fitted, y, len(terms))
    t = slope / np.hypot(error, 1e-9)
    y = np.minimum(y, 1.0)  # whether it is flat is asked of what is no worse than typical
    residual = y - fitted @ np.linalg.lstsq(fitted, y, rcond=None)[0]
    left = float(residual @ residual)
    more_likely = len(x) / 2 * np.log((left + 1e-12) / (_least_left_by_plateaus(terms, x, y, limits.knees) + 1e-12))
    return Slope(float(stdtr(spare, -t)), slope, float(more_likely))


def _clearest(far: Values, lost: Values, others: Sequence[Values], limits: Thresholds, reach: float) -> Slope | None:
    """The clearer of the slopes near the end and from farther; that of all trials where neither can be fitted."""
    windows = dict.fromkeys((max(reach, limits.local), max(reach, limits.wide)))
    fitted = [slope for window in windows if (slope := slope_towards(far, lost, others, limits, window)) is not None]
    if not fitted:
        return slope_towards(far, lost, others, limits)
    clearest = min(fitted, key=lambda each: each.p)
    return replace(clearest, p=clearest.p * len(fitted), plateau=max(each.plateau for each in fitted))


def _least_left_by_plateaus(terms: Sequence[Values], x: Values, y: Values, knees: int) -> float:
    """The least sum of squares that a plateau at the end leaves, beside the terms: a slope or a step is behind it."""
    values = np.unique(x)
    places = [each for each in np.quantile(values, np.linspace(0, 1, knees + 2)[1:-1]) if (values <= each).sum() > 1]
    if not places:
        return float(y @ y) + 1.0  # none can be fitted: more than any curve leaves
    basis = np.linalg.qr(np.stack(terms, axis=1))[0]
    behind = np.stack([part for each in places for part in (np.maximum(x - each, 0), (x > each) * 1.0)], axis=1)
    rest, behind = y - basis @ (basis.T @ y), behind - basis @ (basis.T @ behind)
    explained = (behind.T @ rest) ** 2 / np.maximum((behind**2).sum(axis=0), 1e-12)
    return float(max(rest @ rest - explained.max(), 0.0))


def _noise_of_regret(loss: Values, lost: Values, noise: Noise) -> float:
    """The regret of one standard deviation of one trial's noise; NaN where it is unknown.

    As it is where it is over 1: noise alone, of 2 trials or more, takes the best farther than that from the typical.
    """
    between = (lost > 0) & (lost < 1)
    if noise.of_one is None or not between.any():
        return math.nan
    place = int(np.argmax(np.where(between, lost, 0.0)))
    best = loss.min()
    with np.errstate(over="ignore"):
        way = loss[place] - best if noise.relative is None else np.log(loss[place] / best)
        found = float(lost[place] * ((noise.of_one if noise.relative is None else noise.relative) / way))
    return found if found <= 1 else math.nan


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
    range_ = f"its range ({dimension.low:.4g} to {dimension.high:.4g})"
    where = f"The best settings lie {edge.nearest:.0%} to {edge.reach:.0%} of the way into {range_} of {edge.key}"
    if edge.reach == edge.nearest:
        where = f"The best {edge.key}, {edge.value:.4g}, lies {edge.distance:.0%} of the way into {range_}"
    where += f" from the {edge.end} end"
    if severity == "problem":
        why = ", and the objective still improves towards it."
    elif severity == "advice":
        why = ", and the trials suggest that the objective improves towards it."
    else:
        why = "; nothing says that it improves towards it."
    slope = edge.slope
    evidence = {
        "end": edge.end,
        "best": edge.value,
        "distance": edge.distance,
        "set": [edge.nearest, edge.reach],
        "p": None if slope is None else slope.p,
        "plateau": None if slope is None else slope.plateau,
        "lead": edge.lead,
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
        next=(Remedy({edge.key: wider}),) if severity != "info" else (),
    )


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
