"""One call of a procedure: the trials that it is about, its options, the studies that it runs, what it writes.

    call = begin("find_max_steps", words, options)
    study = call.run_study("sweep", "which lr is the fastest?", {"trials": [{"lr": 0.1}, {"lr": 0.3}]})
    return call.finish(Answer(...), Evidence(...))

The words are those of `train.py`, so that a procedure is about any trial that can be trained. Its studies are named
after what it was asked, so that the same call finds them again and goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from playbook.analysis.study import Study
from playbook.config import Config
from playbook.procedures.page import Page, page_html, write_files
from playbook.report.charts import Chart
from playbook.run_files import RESULT
from playbook.studies import run_study
from playbook.study.overrides import as_override, override_key, shell_line
from playbook.study.study_files import VERDICT
from playbook.trial_config import compose
from playbook.validation import STRICT

PAGE = "index.html"


class Options(BaseModel):
    """The keys of a procedure's command line beside those of `train.py`; a subclass a procedure.

    Each field has a default and a description, which `--help` shows. `EXTENDS` names those that make a procedure longer
    without making it another one: more repeats, more trials.
    """

    model_config = STRICT | ConfigDict(coerce_numbers_to_str=True)  # a folder may be called 3

    EXTENDS: ClassVar[frozenset[str]] = frozenset()

    out_dir: str | None = Field(
        default=None, description="of result.json and index.html; null: <output_root>/<procedure>/<hash>"
    )

    def typed(self) -> list[str]:
        """The overrides of what differs from the defaults."""
        return [as_override(key, value) for key, value in self.model_dump(exclude_defaults=True).items()]


Given = TypeVar("Given", bound=Options)


@dataclass(frozen=True)
class Answer:
    """What a procedure found, in words.

    `verdict` is a word or two for programs, `cannot tell` where it is none; `answer` a sentence with its uncertainty,
    or why it cannot tell; `next` the command to type. `overrides` are those to train with from now on, None where
    nothing was found. `evidence` are the numbers, as plain containers.
    """

    verdict: str
    answer: str
    next: str
    remarks: tuple[str, ...] = ()
    overrides: tuple[str, ...] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    page: str = ""


@dataclass(frozen=True)
class Evidence:
    """What the page shows: see `Page`."""

    title: str
    numbers: Sequence[tuple[str, str]]
    charts: Sequence[Chart]
    table_title: str
    table: tuple[Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Call(Generic[Given]):
    """A procedure with checked words and options. `config` is that of the words alone, `console` where it speaks."""

    procedure: str
    words: tuple[str, ...]
    options: Given
    config: Config
    console: Console
    _studies: list[Path] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits: the same question about the same trials has the same, whatever its paths."""
        left_out = {"out_dir", *self.options.EXTENDS}
        asked = {"trial": self.config.identity(), "options": self.options.model_dump(mode="json", exclude=left_out)}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def out_dir(self) -> Path:
        """The folder of `result.json` and the page."""
        named = Path(self.config.output_root) / self.procedure / self.fingerprint
        return named if self.options.out_dir is None else Path(self.options.out_dir)

    @property
    def command(self) -> str:
        """What was typed, or what would be."""
        return self.command_with()

    def command_with(self, *more: str) -> str:
        """The command with these words, in the place of those of the same key."""
        new = {override_key(word) for word in more}
        kept = [word for word in (*self.words, *self.options.typed()) if override_key(word) not in new]
        return shell_line("python", f"scripts/{self.procedure}.py", *kept, *more)

    def train_command(self, *more: str) -> str:
        """`python train.py` with the words, and these in the place of those of the same key."""
        new = {override_key(word) for word in more}
        kept = [
            word for word in self.words if override_key(word) not in new and not override_key(word).startswith("hydra")
        ]
        return shell_line("python", "train.py", *kept, *more)

    def study_dir(self, part: str) -> Path:
        """The folder of the study `part` of this procedure."""
        return Path(self.config.output_root) / "studies" / self._study_name(part)

    def _study_name(self, part: str) -> str:
        return f"{self.procedure}-{self.fingerprint}-{part}"

    def run_study(self, part: str, goal: str, study: Mapping[str, Any], *words: str) -> Study:
        """Run a study of this procedure, or find it again, and read it: see `playbook.run_study`.

        `study` is what a file in `conf/study/` holds, such as `{"trials": [{"lr": 0.1}, …]}`; `words` come after those
        of the procedure. Where trials crash, the others are done.

        Raises:
            InputError: one line, and nothing has been trained.
            CrashError: trials crashed; the same call runs them again.
        """
        design = {"name": self._study_name(part), "goal": goal, **study}
        self.console.print(f"{part}: {goal}", highlight=False)
        of_logger = [f"logger.job_type={self.procedure}"] if "job_type" in self.config.logger.arguments else []
        ran = run_study(
            *self.words, *words, *of_logger, study=design, quiet=True, report=False, progress=not self.console.quiet
        )
        self._studies.append(ran.path)
        return ran

    def finish(self, answer: Answer, evidence: Evidence) -> Answer:
        """Write `result.json`, the page, and the verdict into the folder of each study; print the answer; it, with its
        page.

        Raises:
            InputError: a folder cannot be written.
        """
        page_path = self.out_dir / PAGE
        facts = [("command", self.command), *(("trials", str(folder)) for folder in self._studies)]
        if answer.overrides:
            facts.insert(0, ("overrides", shell_line(*answer.overrides)))
        page = Page(
            kicker=self.procedure.replace("_", " "),
            title=evidence.title,
            answer=answer.answer,
            remarks=answer.remarks,
            next=answer.next,
            numbers=evidence.numbers,
            charts=evidence.charts,
            table=evidence.table,
            table_title=evidence.table_title,
            facts=facts,
        )
        own = {
            "procedure": self.procedure,
            "verdict": answer.verdict,
            "answer": answer.answer,
            "remarks": list(answer.remarks),
            "next": answer.next,
            "overrides": None if answer.overrides is None else list(answer.overrides),
            "command": self.command,
            "page": str(page_path),
        }
        result = {**own, "studies": [str(folder) for folder in self._studies], **answer.evidence}
        texts = {self.out_dir / RESULT: _json(result), page_path: page_html(page)}
        verdict = {key: own[key] for key in ("verdict", "answer", "command", "page")} | {"adopted": None}
        texts |= {folder / VERDICT: _json(verdict) for folder in self._studies}
        write_files(texts)
        self.console.print()
        for line in (answer.answer, *answer.remarks):
            self.console.print(line, highlight=False)
        self.console.print(f"next: {answer.next}", soft_wrap=True, highlight=False)
        self.console.print(f"page: {page_path}", soft_wrap=True, highlight=False)
        return Answer(**{**vars(answer), "page": str(page_path)})


def begin(procedure: str, words: Sequence[str], options: Given, *, quiet: bool = False) -> Call[Given]:
    """The call of a procedure with these overrides of `train.py`.

    Raises:
        InputError: a line for each fault of the words. Nothing has been written.
    """
    return Call(procedure, tuple(words), options, compose(*words), Console(quiet=quiet))


def _json(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=2, allow_nan=False) + "\n"
