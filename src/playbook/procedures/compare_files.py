"""The files of a comparison: `result.json`, `index.html`, and what the registry reads in the folder of its study."""

from __future__ import annotations

import json
from pathlib import Path

from playbook.procedures.compare_charts import compare_charts
from playbook.procedures.comparison import Comparison
from playbook.procedures.page import Page, page_html, write_files
from playbook.run_files import RESULT
from playbook.study.study_files import VERDICT
from playbook.text import number


def write_comparison(comparison: Comparison, out_dir: Path, study: Path | None = None) -> None:
    """Write the comparison into `out_dir`, and its verdict beside the trials in `study`.

    Raises:
        InputError: a folder cannot be written.
    """
    texts = {
        out_dir / RESULT: json.dumps(comparison.plain(), indent=2, allow_nan=False) + "\n",
        out_dir / "index.html": page_html(_page(comparison)),
    }
    if study is not None:
        record = {
            "verdict": comparison.verdict,
            "answer": comparison.answer,
            "adopted": list(comparison.candidate.overrides) if comparison.verdict == "adopt" else None,
            "command": comparison.command,
            "page": comparison.page,
        }
        texts[study / VERDICT] = json.dumps(record, indent=2) + "\n"
    write_files(texts, "the comparison")


def _page(comparison: Comparison) -> Page:
    last = comparison.last
    interval = "–" if last.low is None else f"{number(last.low)} to {number(last.high)}"
    numbers = [
        (comparison.verdict, "verdict"),
        (number(last.effect), f"better in {comparison.metric}"),
        (interval, f"{100 * (1 - comparison.alpha):.4g} % interval"),
        (number(last.p_better), "P(better)"),
        (number(last.detectable), "smallest detectable effect"),
        (str(min(last.repeats)), f"repeats of each, of at most {comparison.max_repeats}"),
    ]
    rows = [
        (
            str(place + 1),
            "–" if pair.seed is None else str(pair.seed),
            "–" if pair.split_seed is None else str(pair.split_seed),
            "infeasible" if pair.candidate is None else number(pair.candidate),
            "infeasible" if pair.incumbent is None else number(pair.incumbent),
        )
        for place, pair in enumerate(comparison.pairs)
    ]
    sides = [("candidate", comparison.candidate), ("incumbent", comparison.incumbent)]
    return Page(
        kicker="compare",
        title="Is the change real?",
        answer=comparison.answer,
        remarks=comparison.remarks,
        next=comparison.next,
        numbers=numbers,
        charts=compare_charts(comparison),
        table=(("repeat", "seed", "split", "candidate", "incumbent"), rows),
        facts=[
            *(
                (name, " ".join(side.overrides) or (side.given if not comparison.study else "the defaults"))
                for name, side in sides
            ),
            ("command", comparison.command),
            *([("trials", comparison.study)] if comparison.study else []),
        ],
    )
