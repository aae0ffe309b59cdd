"""Schedules against lists written out piece by piece, warmup prepended."""

from __future__ import annotations

import numpy as np
import pytest

from playbook.errors import InputError
from playbook.optim import WSD, Constant, Cosine, Linear, Schedule, learning_rate


def rates(schedule: Schedule, max_steps: int, warmup_steps: int, lr: float = 0.3) -> list[float]:
    return [
        learning_rate(step, lr=lr, schedule=schedule, max_steps=max_steps, warmup_steps=warmup_steps)
        for step in range(warmup_steps + max_steps)
    ]


def expected(shape: str, max_steps: int, decay_steps: int, final: float, warmup_steps: int) -> np.ndarray:
    """Warmup, plateau and decay laid end to end. The decay has decay_steps + 1 points, of which the last is not run."""
    warmup = np.linspace(0, 1, warmup_steps, endpoint=False)
    plateau = np.ones(max_steps - decay_steps)
    if shape == "constant":
        decay = np.ones(decay_steps)
    elif shape == "linear":
        decay = np.linspace(1, final, decay_steps + 1)[:-1]
    else:
        angle = np.linspace(0, np.pi / 2, decay_steps + 1)[:-1]  # cos² of half the angle: the cosine written otherwise
        decay = np.cos(angle) ** 2 + final * np.sin(angle) ** 2
    return 0.3 * np.concatenate([warmup, plateau, decay])


@pytest.mark.parametrize("warmup_steps", [0, 1, 7])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("decay_steps", [None, 1, 20, 50])
@pytest.mark.parametrize(("shape", "cls"), [("linear", Linear), ("cosine", Cosine)])
def test_rate_at_every_step(shape: str, cls: type, decay_steps: int | None, final: float, warmup_steps: int) -> None:
    given = rates(cls(decay_steps=decay_steps, final_fraction=final), 50, warmup_steps)
    np.testing.assert_allclose(given, expected(shape, 50, decay_steps or 50, final, warmup_steps), rtol=0, atol=1e-15)


@pytest.mark.parametrize("warmup_steps", [0, 7])
def test_constant_is_constant_after_warmup(warmup_steps: int) -> None:
    np.testing.assert_allclose(rates(Constant(), 50, warmup_steps), expected("constant", 50, 0, 1, warmup_steps))


@pytest.mark.parametrize("schedule", [Constant(), Linear(), Cosine(), Linear(decay_steps=2_000)])
def test_ten_thousand_steps_and_a_thousand_of_warmup_are_eleven_thousand(schedule: Constant | Linear | Cosine) -> None:
    with_warmup, without = rates(schedule, 10_000, 1_000), rates(schedule, 10_000, 0)
    assert len(with_warmup) == 11_000
    assert with_warmup[1_000:] == without
    assert with_warmup[0] == 0
    assert with_warmup[500] == pytest.approx(0.15)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Linear(final_fraction=0.2), Cosine(decay_steps=30)])
def test_the_end_is_reached_one_step_after_the_last_and_held(schedule: Linear | Cosine) -> None:
    assert schedule.factor(99, 100) > schedule.final_fraction
    assert schedule.factor(100, 100) == pytest.approx(schedule.final_fraction, abs=1e-15)
    assert schedule.factor(150, 100) == pytest.approx(schedule.final_fraction, abs=1e-15)


@pytest.mark.parametrize("schedule", [Linear(decay_steps=101), Cosine(decay_steps=101)])
def test_a_decay_longer_than_the_run_names_both(schedule: Linear | Cosine) -> None:
    with pytest.raises(InputError, match=r"schedule\.decay_steps=101 .*max_steps=100;"):
        schedule.factor(0, 100)
    assert schedule.factor(0, 101) == 1


@pytest.mark.parametrize("warmup_steps", [0, 7])
@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "square", "exponential"])
def test_wsd_at_every_step(shape: str, fraction: float, final: float, warmup_steps: int) -> None:
    if shape == "exponential" and final == 0:
        with pytest.raises(InputError, match=r"^schedule\.final_fraction=0\.0: .*never arrives"):
            WSD(shape="exponential", final_fraction=0.0)
        return
    given = rates(WSD(decay_fraction=fraction, shape=shape, final_fraction=final), 50, warmup_steps)  # type: ignore[arg-type]
    decay_steps = {0.01: 1, 0.2: 10, 0.5: 25, 1.0: 50}[fraction]
    if shape in ("linear", "cosine"):
        wanted = expected(shape, 50, decay_steps, final, warmup_steps)
    else:
        p = np.linspace(0, 1, decay_steps + 1)[:-1]
        decay = {
            "sqrt": 1 - (1 - final) * p**0.5,
            "square": 1 - (1 - final) * p * p,
            "exponential": np.geomspace(1, final or 1, decay_steps + 1)[:-1],
        }[shape]
        wanted = 0.3 * np.concatenate(
            [np.linspace(0, 1, warmup_steps, endpoint=False), np.ones(50 - decay_steps), decay]
        )
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-15)


def test_runs_of_wsd_share_their_beginning() -> None:
    schedule = WSD(decay_fraction=0.25)
    assert [schedule.factor(step, 100) for step in range(76)] == [schedule.factor(step, 1000) for step in range(76)]
    assert schedule.factor(76, 100) < 1
    assert schedule.factor(100, 100) == 0
