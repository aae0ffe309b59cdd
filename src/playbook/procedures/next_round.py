"""The next, longer round of a study: its best settings, with the schedule extended as the playbook says (C4).

  python scripts/next_round.py study_dir=outputs/studies/demo
  python scripts/next_round.py study_dir=outputs/studies/demo k=2 max_steps=40000 run=true

The first round is short, the second few and long. It writes a study file with the best k settings (of repeats, one
each), prints the command that trains them and what it costs, and says of each part of the configuration how surely it
holds for longer runs. With run=true it trains them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import Field, PositiveInt
from rich.console import Console

from playbook.analysis.repeats import Setting, trained_settings
from playbook.analysis.rules.best import best, is_level
from playbook.analysis.study import Study, load_study
from playbook.config import Config, load_config, read_config
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, Evidence, Options
from playbook.procedures.next_round_charts import charts
from playbook.procedures.next_round_plan import CarriedOver, carried_over, longer_schedule
from playbook.run_files import CONFIG, replace_file
from playbook.study.overrides import as_override, override_key, shell_line
from playbook.study.space import Value
from playbook.text import brief, count, duration
from playbook.trial_config import compose

FACTOR = 10.0
"""How many times as long as the first round the next is: that was about 10 % of the production length (C4)."""


class NextRoundOptions(Options):
    """The keys of `scripts/next_round.py`."""

    EXTENDS: ClassVar[frozenset[str]] = frozenset({"run"})

    study_dir: str | None = Field(default=None, description="the folder of the study, finished")
    k: PositiveInt = Field(default=4, description="how many of its best settings")
    factor: Annotated[float, Field(gt=1)] | None = Field(
        default=None, description="times the steps that each had; null: 10, unless max_steps is given"
    )
    max_steps: PositiveInt | None = Field(default=None, description="steps of the new round, instead of a factor")
    run: bool = Field(default=False, description="true: train the round")


def next_round(
    *words: str,
    options: NextRoundOptions = NextRoundOptions(),  # noqa: B008
    quiet: bool = False,
) -> Answer:
    """Make the next round's runs from a study's best settings, as `scripts/next_round.py` does.

    `words` are overrides of `train.py` that come after those of the study, such as `logger=none`.

    Raises:
        InputError: one line: the study has not ended, has no winner, or says already what a word says.
        CrashError: trials crashed; the same call runs them again.
    """
    if options.study_dir is None:
        raise InputError("study_dir: a value is needed; type study_dir=outputs/studies/<name>")
    if options.factor is not None and options.max_steps is not None:
        raise InputError(
            f"factor={options.factor:g} max_steps={options.max_steps}: one of them says how long; leave one out"
        )
    study = load_study(options.study_dir)
    _refuse_unfinished(study)
    _refuse_words(study, words)
    carried = [_carried(study, each, options) for each in _best(study, options.k)]
    base = _with_root(study, _merged(study.design.overrides, words))
    call = Call("next_round", tuple(words), options, compose(*base), Console(quiet=quiet))
    plan = Plan(call, study, tuple(carried), tuple(base))
    return plan.trained() if options.run else plan.written()


def _refuse_unfinished(study: Study) -> None:
    ended = sum(each.status != "crashed" for each in study.outcomes)
    if ended < study.file.n_trials:
        raise InputError(
            f"study_dir={study.path}: {ended} of its {study.file.n_trials} trials have ended; finish it first:"
            f" {study.file.command}"
        )
    if not any((study.path / each.trial.folder / CONFIG).exists() for each in study.outcomes):
        raise InputError(f"study_dir={study.path}: its trials are not train.py's, so that none can be made longer here")


def _refuse_words(study: Study, words: Sequence[str]) -> None:
    for word in words:
        key = override_key(word)
        if key in study.design.parameters:
            raise InputError(f"{word}: the study's best settings say what {key} is; leave it out")
        if key.partition(".")[0] == "schedule":
            raise InputError(f"{word}: the schedule is the study's own, extended; leave it out, or run another study")


@dataclass(frozen=True)
class Carried:
    """A setting of the study: the trial that stands for it, its loss there, and what it is in the new round."""

    setting: Setting
    config: Config
    settings: dict[str, Value]
    max_steps: int
    schedule: str
    seconds: float

    @property
    def trial(self) -> int:
        """Its number in the study."""
        return self.setting.trial


def _best(study: Study, k: int) -> list[Setting]:
    tables = study.tables()
    tried = trained_settings(tables)
    if not tried:
        raise InputError(f"study_dir={study.path}: none of its trials trained, so there is nothing to make longer")
    if is_level(tables):
        raise InputError(
            f"study_dir={study.path}: all of its {len(tried)} settings have the same {study.design.objective.metric}:"
            " there is no winner; run a study that tells them apart"
        )
    return list(tried[:k])


def _carried(study: Study, setting: Setting, options: NextRoundOptions) -> Carried:
    trial = study.design.trials(study.file.n_trials)[setting.trial]
    config = load_config(read_config(study.folder(setting.trial) / CONFIG))
    max_steps = options.max_steps or round((options.factor or FACTOR) * config.max_steps)
    if max_steps <= config.max_steps:
        given = f"factor={options.factor:g}" if options.max_steps is None else f"max_steps={options.max_steps}"
        raise InputError(f"{given}: trial {setting.trial} had max_steps={config.max_steps} already; give more")
    longer = longer_schedule(config, max_steps)
    result = next(each.result for each in study.outcomes if each.trial.number == setting.trial)
    assert result is not None, "it has an objective"
    seconds = result.seconds * (config.warmup_steps + max_steps) / config.total_steps
    settings = {**trial.settings, "max_steps": max_steps, **longer.settings}
    return Carried(setting, config, settings, max_steps, longer.words, seconds)


@dataclass(frozen=True)
class Plan:
    """The next round. `base` are the study's overrides with the words that were typed."""

    call: Call[NextRoundOptions]
    study: Study
    carried: tuple[Carried, ...]
    base: tuple[str, ...]

    @property
    def name(self) -> str:
        """`demo-round-2`, and `demo-round-3` after it."""
        of_a_round = re.fullmatch(r"(.+)-round-(\d+)", self.study.design.name)
        stem, number = (of_a_round[1], int(of_a_round[2])) if of_a_round else (self.study.design.name, 1)
        return f"{stem}-round-{number + 1}"

    @property
    def goal(self) -> str:
        """Of the study."""
        return f"Which of the best of {self.study.design.name} is best when trained longer?"

    @property
    def common(self) -> dict[str, Value]:
        """What of length and schedule is the same in all of the runs: words, and not what the study varies."""
        first = self.carried[0].settings
        keys = [key for key in first if key == "max_steps" or key.startswith("schedule.")]
        keys = [key for key in keys if key not in self.study.design.parameters]
        return {key: first[key] for key in keys if all(each.settings.get(key) == first[key] for each in self.carried)}

    @property
    def trials(self) -> list[dict[str, Value]]:
        """The list of the new study."""
        common = self.common
        return [{key: value for key, value in each.settings.items() if key not in common} for each in self.carried]

    @property
    def words(self) -> list[str]:
        """The overrides of all of its trials."""
        own = {key for each in self.trials for key in each}
        kept = [word for word in self.base if override_key(word) not in own]
        return _merged(kept, [as_override(key, value) for key, value in self.common.items()])

    @property
    def seconds(self) -> float:
        """Of compute, by what the first round took."""
        return sum(each.seconds for each in self.carried)

    def written(self) -> Answer:
        """Write the study file; the answer says how to train it."""
        return self._finish("planned", self._planned(), self._write(), None)

    def trained(self) -> Answer:
        """Train the round; the answer says which is best now."""
        self._write()
        more = [word for word in self.words if word not in self.call.words]
        block = {"name": self.name, "follows": self.study.design.name, "trials": self.trials}
        trained = self.call.run_study("round", self.goal, block, *more)
        found, metric = best(trained.tables()), self.study.design.objective.metric
        if found is None:
            return self._finish(
                "cannot tell", "Cannot tell, because no run of the round trained.", self._line(), trained
            )
        of = self.carried[found.trial]
        before = self._objective(of)
        told = (
            "which is told from the others"
            if not found.is_tie
            else (f"from which {len(found.members) - 1} of the other {found.tried - 1} cannot be told")
        )
        if found.expected is None:
            told = "the noise of another seed is unknown, so that the order is no verdict"
        said = (
            f"Trained for {of.max_steps:,} steps, trial {of.trial} of {self.study.design.name} is best: {metric}"
            f" {brief(found.value)} instead of {brief(before)}, {told}."
        )
        overrides = tuple(
            _merged(self.words, [as_override(key, value) for key, value in self.trials[found.trial].items()])
        )
        line = shell_line("python", "scripts/report.py", f"study_dir={trained.path}")
        return self._finish("trained", said, line, trained, overrides)

    def _planned(self) -> str:
        steps = sorted({each.max_steps for each in self.carried})
        before = sorted({each.config.max_steps for each in self.carried})
        lengths, were = (" or ".join(f"{each:,}" for each in some) for some in (steps, before))
        return (
            f"The next round of {self.study.design.name} is {self.name}:"
            f" its best {count(len(self.carried), 'setting')}, {lengths} steps each instead of {were},"
            f" about {duration(self.seconds)} of compute."
        )

    def _write(self) -> str:
        """The study file; the command that runs it."""
        block = {"goal": self.goal, "follows": self.study.design.name, "trials": self.trials}
        text = yaml.safe_dump(
            {"defaults": ["_base_", "_self_"], **block}, sort_keys=False, allow_unicode=True, width=120
        )
        path = self.call.out_dir / "study" / f"{self._stem}.yaml"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, f"# The best of study {self.study.design.name}, longer.\n#   {self._line()}\n{text}")
        except OSError as error:
            raise InputError(f"out_dir={self.call.out_dir}: it cannot be written there ({error.strerror})") from None
        return self._line()

    @property
    def _stem(self) -> str:
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.name)

    def _line(self) -> str:
        words = ["-m", "--config-dir", str(self.call.out_dir), f"study={self._stem}", f"study.name={self.name}"]
        return shell_line("python", "train.py", *words, *self.words)

    def _objective(self, carried: Carried) -> float:
        return carried.setting.loss * self.study.tables().sign + 0.0

    def _finish(
        self, verdict: str, said: str, line: str, trained: Study | None, overrides: tuple[str, ...] | None = None
    ) -> Answer:
        parts = carried_over(
            self.carried[0].config, [each.settings for each in self.carried], "; ".join(self._schedules())
        )
        self._print(parts)
        answer = Answer(
            verdict,
            said,
            line,
            remarks=tuple(self._remarks()),
            overrides=overrides,
            evidence=self._evidence(parts, trained),
        )
        return self.call.finish(answer, self._page(parts, trained))

    def _schedules(self) -> list[str]:
        return list(dict.fromkeys(each.schedule for each in self.carried))

    def _print(self, parts: Sequence[CarriedOver]) -> None:
        say, width = self.call.console.print, max(len(part.what) for part in parts)
        say("carried over, from what is likely to hold to what is least (C4):")
        for part in parts:
            say(f"  {part.what:{width}}  {part.surely:6}  {part.value}", highlight=False)

    def _remarks(self) -> list[str]:
        said, found = [], best(self.study.tables())
        if found is not None and found.expected is None:
            said.append("The first round's noise is unknown: that these are its best is no verdict.")
        elif found is not None and len(found.members) > len(self.carried):
            said.append(
                f"{len(found.members)} of its {found.tried} settings cannot be told from the best:"
                f" {len(self.carried)} of them are taken; k=… takes more."
            )
        findings = {each.code for each in self.study.findings()}
        if "space_boundary" in findings:
            said.append("The first round's best lies at the edge of a range: look beyond it before long runs (B5).")
        return said

    def _evidence(self, parts: Sequence[CarriedOver], trained: Study | None) -> dict[str, Any]:
        after = _after(trained)
        return {
            "follows": self.study.design.name,
            "study": self.name,
            "trials": [
                {
                    "trial": each.trial,
                    "settings": each.settings,
                    "objective": self._objective(each),
                    "objective_of_the_round": after.get(place),
                }
                for place, each in enumerate(self.carried)
            ],
            "carried_over": [vars(part) for part in parts],
            "compute_seconds": self.seconds,
        }

    def _page(self, parts: Sequence[CarriedOver], trained: Study | None) -> Evidence:
        numbers = [
            (str(len(self.carried)), "settings"),
            (f"{self.carried[0].max_steps:,}", "steps of the best"),
            (f"{self.carried[0].config.max_steps:,}", "steps it had"),
            (duration(self.seconds), "of compute, by the first round's"),
        ]
        before = [self._objective(each) for each in self.carried]
        after = _after(trained)
        pictures = charts(
            self.carried[0].config,
            compose(*self.words, *(as_override(key, value) for key, value in self.trials[0].items())),
            [
                (each.trial, value, after.get(place))
                for place, (each, value) in enumerate(zip(self.carried, before, strict=True))
            ],
            self.study.design.objective.metric,
        )
        table = (("part", "how surely", "in the new round"), [(part.what, part.surely, part.value) for part in parts])
        return Evidence(f"After {self.study.design.name}", numbers, pictures, "What is carried over", table)


def _after(trained: Study | None) -> dict[int, float]:
    """The objectives of the new round by trial."""
    if trained is None:
        return {}
    rows = trained.trials.select("trial", "objective").drop_nulls().iter_rows()
    return {int(trial): float(value) for trial, value in rows}


def _merged(words: Sequence[str], others: Sequence[str]) -> list[str]:
    """Both; a later word takes the place of an earlier one of its key, and its `+`."""
    found = {override_key(word): word for word in words}
    for word in others:
        before = found.get(override_key(word), "")
        prefix = before[: len(before) - len(before.lstrip("+"))]
        found[override_key(word)] = prefix + word.lstrip("+") if before else word
    return list(found.values())


def _with_root(study: Study, words: list[str]) -> list[str]:
    """The round goes where the study is."""
    folder = Path(study.path)
    if any(override_key(word) == "output_root" for word in words) or folder.parent.name != "studies":
        return words
    return [*words, as_override("output_root", str(folder.parent.parent))]
