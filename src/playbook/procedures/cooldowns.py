"""How long is worth training? Decays branched off one run at a constant rate, each exactly continued (G1).

The run goes on at the base rate, and keeps commits (keep_commits=[400,800]); from each a decay is trained. A branch is,
bit for bit, the run of its length that was trained from step 0 with schedule=wsd, at the cost of its decay alone.

  python scripts/cooldowns.py                                 trains the run too
  python scripts/cooldowns.py run_dir=outputs/runs/<name>     branches off a run that is there
  python scripts/cooldowns.py model=cnn max_steps=4000 decay=0.1 hydra/launcher=joblib
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.study import Study
from playbook.config import Config, difference, read_config
from playbook.errors import InputError
from playbook.procedures.call import Answer, Call, begin
from playbook.procedures.cooldowns_answer import CooldownsOptions, Trunk, answer_of, default_commits, evidence_of
from playbook.procedures.cooldowns_charts import Branch
from playbook.procedures.lengths import Length, read_lengths
from playbook.procedures.run_overrides import overrides_of
from playbook.run_files import CONFIG, RESULT, Result, kept_commits, read_result
from playbook.study.overrides import as_override, override_key, shell_line
from playbook.study.study_files import Outcome
from playbook.trial_config import compose
from playbook.validation import validate

SHORTEST_DECAY = 1
"""Steps."""
DEFAULTS = validate(CooldownsOptions, {})


def cooldowns(*words: str, options: CooldownsOptions = DEFAULTS, quiet: bool = False) -> Answer:
    """Train decays off a run and say how long is worth it; `words` are those of `train.py`.

    Raises:
        InputError: one line: the run kept no commits, has no constant rate there, or is another one than the words say.
        CrashError: trials crashed; the same call runs them again.
    """
    for word in words:
        if override_key(word).partition(".")[0] in ("schedule", "keep_commits", "continue_from"):
            raise InputError(f"{word}: the rate is constant and then decays; decay=, shape= and steps= say how")
    if options.run_dir is None:
        return _with_own_trunk(words, options, quiet)
    trunk = _read_trunk(Path(options.run_dir), words)
    steps = options.steps or trunk.commits
    for step in steps:
        if step not in trunk.commits:
            shown = ", ".join(map(str, trunk.commits))
            raise InputError(f"steps={options.steps}: {trunk.folder} kept no commit at step {step}; it kept {shown}")
    if not steps:
        raise InputError(
            f"run_dir={trunk.folder}: it kept no commits to branch off; "
            + shell_line("python", "train.py", *trunk.words, *_kept(trunk.config), "overwrite=true")
        )
    given = options.model_copy(update={"steps": sorted(set(steps))})
    return _branch(begin("cooldowns", trunk.words, given, quiet=quiet), trunk)


def _with_own_trunk(words: Sequence[str], options: CooldownsOptions, quiet: bool) -> Answer:
    config = compose(*words)
    steps = sorted(set(options.steps)) or default_commits(config)
    call = begin("cooldowns", words, options.model_copy(update={"steps": steps}), quiet=quiet)
    kept = as_override("keep_commits", steps)
    trained = call.run_study(
        "run", "a run at a constant rate", {"trials": [{"max_steps": config.max_steps}]}, "schedule=constant", kept
    )
    folder = trained.folder(0)
    result = read_result(folder)
    assert result is not None, "a study whose trials crashed says so"
    return _branch(call, Trunk(folder, config, tuple(words), kept_commits(folder), result))


def _read_trunk(folder: Path, words: Sequence[str]) -> Trunk:
    shown = f"run_dir={folder}"
    if not (folder / CONFIG).is_file():
        raise InputError(f"{shown}: there is no run here ({CONFIG} is missing)")
    result = read_result(folder)
    if result is None:
        raise InputError(f"{shown}: the run has not ended ({RESULT} is missing); the command that began it goes on")
    plain = read_config(folder / CONFIG)
    own = [word for word in overrides_of(plain, shown) if not word.lstrip("+~").startswith("schedule")]
    theirs, ours = compose(*own), compose(*own, *words)
    if lines := difference(theirs.identity(), ours.identity()):
        raise InputError(f"{shown}: the words say another run ({'; '.join(lines)}); leave them out, or run_dir")
    # What sums depend on in their last bits has to be as it was, whatever the machine has now.
    threads = (result.environment or {}).get("num_threads", "auto")
    return Trunk(
        folder, theirs, (*own, *words, as_override("trainer.num_threads", threads)), kept_commits(folder), result
    )


def _kept(config: Config) -> list[str]:
    return ["schedule=constant", as_override("keep_commits", default_commits(config))]


def length_of(stable: int, decay: float) -> int:
    """The shortest `max_steps` whose last share `decay`, which decays as in schedule=wsd, leaves `stable` steps."""
    length = max(stable + SHORTEST_DECAY, math.floor((stable - 1) / (1 - decay)))  # a half is rounded down, or up
    while length - max(SHORTEST_DECAY, round(decay * length)) < stable:
        length += 1
    return length


def _branch(call: Call[CooldownsOptions], trunk: Trunk) -> Answer:
    options, warmup = call.options, trunk.config.warmup_steps
    if early := [step for step in options.steps if step <= warmup]:
        raise InputError(f"steps={options.steps}: {early[0]} is within warmup_steps={warmup}; leave it out")
    # A run that became infeasible kept the commits before that.
    lengths = {length_of(step - warmup, options.decay): step for step in options.steps if step in trunk.commits}
    decay = [
        "schedule=wsd",
        as_override("schedule.decay_fraction", options.decay),
        as_override("schedule.shape", options.shape),
    ]
    if not lengths:
        raise InputError(
            f"{trunk.folder}: the run at a constant rate {trunk.result.status} before its first kept commit"
        )
    study = call.run_study(
        "decays",
        "how long is worth training?",
        {"trials": [{"max_steps": length} for length in sorted(lengths)]},
        *decay,
        as_override("continue_from", str(trunk.folder)),
    )
    branches = [_read_branch(study, outcome, lengths, trunk) for outcome in study.outcomes]
    reading = read_lengths([each.length for each in branches], options.margin)
    answer = answer_of(call, trunk, branches, reading, decay)
    return call.finish(answer, evidence_of(call, trunk, branches, reading))


def _read_branch(study: Study, outcome: Outcome, lengths: dict[int, int], trunk: Trunk) -> Branch:
    result, steps = outcome.result, int(str(outcome.trial.settings["max_steps"]))
    folder, sign = study.folder(outcome.trial.number), 1 if study.design.objective.mode == "min" else -1
    if result is None or result.objective is None:
        return Branch(folder, lengths[steps], trunk.config.warmup_steps, Length(steps, None), result)
    examples = _at_best(study, outcome.trial.number, result)
    return Branch(
        folder, lengths[steps], trunk.config.warmup_steps, Length(steps, sign * result.objective, examples), result
    )


def _at_best(study: Study, trial: int, result: Result) -> NDArray[np.float64] | None:
    """What the examples had to say when the objective was best, where it is the mean of that."""
    recorded = study.examples.get(trial)
    values = None if recorded is None or result.best_step is None else recorded.at(result.best_step)
    if values is None or result.objective is None:
        return None
    mean = result.objective if result.objective_mode == "min" else 1 - result.objective
    is_mean = math.isclose(float(values.mean(dtype=np.float64)), mean, rel_tol=1e-3, abs_tol=1e-6)
    return values.astype(np.float64) if is_mean else None
