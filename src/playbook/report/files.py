"""The files of a report, into one folder:

    index.html      the page, one file that needs no network
    findings.json   the same findings for programs
    summary.txt     the same for a terminal of 80 columns
    *.svg           the charts
    study/*.yaml    new studies that a command line cannot say
    files.txt       what was written: what the next report does not write again, it removes

Files are replaced whole; all is made before anything is written, and the page comes last.
"""

from __future__ import annotations

import json
from pathlib import Path

from playbook.errors import InputError
from playbook.report.charts import report_charts
from playbook.report.content import Contents
from playbook.report.freshness import FINDINGS, PAGE, SUMMARY, WRITTEN, written
from playbook.report.page import render
from playbook.report.terminal import as_text
from playbook.run_files import replace_file


def write_report(contents: Contents, out_dir: Path, inputs: str = "") -> Path:
    """Write the files of a report; the path of the page. `inputs` names what it was made from (`freshness`).

    Raises:
        InputError: the folder cannot be written.
    """
    charts = report_charts(contents.tables, contents.conditions)
    texts = {
        **contents.studies,
        **{out_dir / name: svg for name, svg in charts.svg_files().items()},
        out_dir / FINDINGS: json.dumps(contents.findings_as_json(), indent=2, allow_nan=False) + "\n",
        out_dir / SUMMARY: as_text(contents),
    }
    names = [path.relative_to(out_dir).as_posix() for path in texts]
    texts |= {out_dir / WRITTEN: "\n".join(names) + "\n", out_dir / PAGE: render(contents, charts, inputs)}
    try:
        before = written(out_dir)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text)
        for path in before:
            if path not in texts:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"out_dir={out_dir}: the report cannot be written there ({error.strerror})") from None
    return out_dir / PAGE
