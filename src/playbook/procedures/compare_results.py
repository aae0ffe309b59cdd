"""Two configurations compared by results that are there already, of runs that this template may not have made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from rich.console import Console

from playbook.errors import InputError, one_line
from playbook.procedures.compare_files import write_comparison
from playbook.procedures.comparison import Compared, Comparison, Pair
from playbook.procedures.sequential_test import THRESHOLDS, Look, look, looks
from playbook.study.overrides import shell_line

COLUMNS = ("candidate", "incumbent")


def compare_results(
    path: str | Path,
    *,
    mode: Literal["min", "max"] = "min",
    paired: bool = False,
    margin: float = 0.0,
    alpha: float = 0.05,
    noise_sd: float | None = None,
    out_dir: str | Path | None = None,
) -> Comparison:
    """Compare the columns `candidate` and `incumbent` of a CSV file, a row a repeat: nothing is trained.

    `paired`: the repeats of a row share their seed or their split; else the columns may have different lengths. A NaN
    is an infeasible repeat, an empty cell none. `noise_sd` is the standard deviation of one repeat, where it is known.

    Raises:
        InputError: one line: the file cannot be read, or says too little.
    """
    path = Path(path)
    values = _read(path, paired)
    ours, theirs = values["candidate"], values["incumbent"]
    every: list[Look] = []
    if paired:
        every = looks(ours, theirs, mode=mode, margin=margin, alpha=alpha, noise_sd=noise_sd)
    else:
        every = [look(ours, theirs, mode=mode, margin=margin, alpha=alpha, paired=False, noise_sd=noise_sd)]
    folder = path.with_name(f"{path.stem}-compare") if out_dir is None else Path(out_dir)
    num = max(len(ours), len(theirs))
    padded = [each + [None] * (num - len(each)) for each in (ours, theirs)]
    comparison = Comparison(
        name=path.stem,
        metric="objective",
        mode=mode,
        margin=margin,
        alpha=alpha,
        vary="seed",
        max_repeats=num,
        candidate=Compared("column candidate"),
        incumbent=Compared("column incumbent"),
        pairs=tuple(Pair(one, other) for one, other in zip(*padded, strict=True)),
        looks=tuple(every),
        next=_next(every[-1]),
        command=shell_line("python", "scripts/compare.py", f"results={path}", f"mode={mode}"),
        page=str(folder / "index.html"),
    )
    write_comparison(comparison, folder)
    console = Console(highlight=False)
    for line in (comparison.answer, f"next: {comparison.next}"):
        console.print(line, soft_wrap=True)
    return comparison


def _next(last: Look) -> str:
    if last.verdict == "adopt":
        return "use the candidate"
    if last.verdict == "keep" or last.needed is None:
        return "keep the incumbent"
    return f"{last.needed} repeats of each"


def _read(path: Path, paired: bool) -> dict[str, list[float | None]]:
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"results={path}: it cannot be read as CSV ({one_line(error)[:200]})") from None
    found: dict[str, list[float | None]] = {}
    for name in COLUMNS:
        if name not in table.columns:
            raise InputError(f"results={path}: the column {name} is missing; allowed are {' and '.join(COLUMNS)}")
        cells = table[name] if paired else table[name].drop_nulls()
        numbers = cells.str.strip_chars().cast(pl.Float64, strict=False)
        if (wrong := cells.filter(cells.is_not_null() & numbers.is_null())).len():
            raise InputError(f"results={path}: {name}={wrong[0]}: a number is needed, NaN for an infeasible repeat")
        found[name] = numbers.to_list()
        num = len(found[name])
        if num < THRESHOLDS.fewest:
            raise InputError(f"results={path}: {num} repeats of the {name}; needed are {THRESHOLDS.fewest} or more")
    return found
