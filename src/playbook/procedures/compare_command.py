"""`scripts/compare.py`: its keys, checked, and which of its two ways they ask for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from playbook.errors import InputError
from playbook.procedures.compare import Options, compare
from playbook.procedures.compare_results import compare_results
from playbook.validation import STRICT, validate


class Settings(Options):
    """The command line."""

    model_config = STRICT | ConfigDict(coerce_numbers_to_str=True)  # a folder may be called 3

    candidate: str | list[str] | None
    incumbent: str | list[str] | None
    results: str | None
    mode: Literal["min", "max"]
    paired: bool
    noise_sd: float | None


def compare_command(plain: Any) -> str:
    """Compare as the config of the script says; the path of the page.

    Raises:
        InputError: one line. Nothing has been written.
    """
    given = validate(Settings, {str(key): value for key, value in plain.items()})
    if given.results is not None:
        for name in ("candidate", "incumbent", "launcher"):
            if (value := getattr(given, name)) is not None:
                raise InputError(f"{name}={value}: results=<file>.csv has both sides; nothing is trained")
        comparison = compare_results(
            given.results,
            mode=given.mode,
            paired=given.paired,
            margin=given.margin,
            alpha=given.alpha,
            noise_sd=given.noise_sd,
            out_dir=given.out_dir,
        )
        return comparison.page
    if given.noise_sd is not None:
        raise InputError(f"noise_sd={given.noise_sd}: it goes with results=<file>.csv; retraining measures it")
    if given.candidate is None or given.incumbent is None:
        missing = "candidate" if given.candidate is None else "incumbent"
        raise InputError(
            f"{missing}: what is compared? type {missing}=<a run's or a study's folder>, or overrides such as"
            f" '{missing}=[\"lr=0.1\"]'; [] is the defaults"
        )
    comparison = compare(
        given.candidate,
        given.incumbent,
        max_repeats=given.max_repeats,
        margin=given.margin,
        alpha=given.alpha,
        vary=given.vary,
        pairs_at_once=given.pairs_at_once,
        both=given.both,
        launcher=given.launcher,
        output_root=given.output_root,
        out_dir=given.out_dir,
    )
    return comparison.page
