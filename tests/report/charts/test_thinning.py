"""A thinned curve looks like the curve."""

import math

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from playbook.report.charts.thinning import thin

values = st.lists(st.one_of(st.floats(-1e17, 1e17), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=400)


def table(lists):
    rows = [(trial, step, value) for trial, values in enumerate(lists) for step, value in enumerate(values)]
    return pl.DataFrame(rows, schema={"trial": pl.Int64, "step": pl.Int64, "value": pl.Float64}, orient="row")


@given(st.lists(values, min_size=1, max_size=3), st.integers(8, 60))
def test_ends_extremes_order_and_size(lists, most):
    given_rows = table(lists)
    kept = thin(given_rows, ["trial"], "value", most)
    for trial, own in enumerate(lists):
        rows = kept.filter(trial=trial)
        steps = rows["step"].to_list()
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (0, len(own) - 1)
        assert all(str(own[step]) == str(value) for step, value in zip(steps, rows["value"], strict=True))
        assert len(steps) <= max(most, 2)
        finite = [value for value in own if math.isfinite(value)]
        if finite:
            shown = [value for value in rows["value"] if math.isfinite(value)]
            assert min(shown) == min(finite)
            assert max(shown) == max(finite)
        if len(own) <= most:
            assert steps == list(range(len(own)))


def test_a_spike_survives_and_a_plateau_does_not():
    flat = [0.5] * 10_000
    flat[4321] = 9.0
    kept = thin(table([flat]), ["trial"], "value", 100)
    assert 9.0 in kept["value"].to_list()
    assert len(kept) <= 100
