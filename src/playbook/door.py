"""Between Hydra and the program: what every script does before and after its work.

A door is a `hydra.main` function run by `open_door`, which turns bad input into one line and exit code 2. Inside,
`trial_config` makes the checked `Config` of the trial from what Hydra composed. Nothing here imports torch, so that
`--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from playbook.config import NOT_OFFERED, Config, flatten, load_config
from playbook.errors import CrashError, InputError
from playbook.validation import show, unknown_key

CONFIG_DIR = str(Path(__file__).parents[2] / "conf")

OPEN_BLOCKS = ("task.metrics", "trainer.callbacks")
"""Blocks that are empty until a user adds something of a name of their own."""
_OPEN_BLOCK_OF_A_STUDY = r"^(?=study\.(roles|scientific|nuisance|repeat)[.=])"
"""Words for these get the ++ that Hydra asks for where a key is new."""
_NO_PLAIN_NAME = r"^(study\.name=)(\d[\d_.eE+-]*|[\w.-]+[+=][\w.+=-]*)$"
"""A study's name that Hydra would take for a number, as 2026_11_20 for 20261120, or not take: it gets quotes."""
INTERRUPTED = 130


def open_door(main: Callable[[], Any], config_name: str = "train") -> NoReturn:
    """Runs a `hydra.main` function and ends the process: 0 done, 1 crash, 2 bad input, 130 interrupted.

    `config_name` is that of the function, whose keys are named where one is mistyped.

    With HYDRA_FULL_ERROR=1 in the environment, bad input also shows where it was found out.
    """
    global _show_traceback, _config_name
    _config_name = config_name
    _show_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    try:
        with one_line_errors():
            if not Path(CONFIG_DIR).is_dir():
                raise InputError(f"{CONFIG_DIR} is missing: in the checkout, type pip install -e .")
            sys.argv[1:] = [re.sub(_OPEN_BLOCK_OF_A_STUDY, "++", word) for word in sys.argv[1:]]
            sys.argv[1:] = [re.sub(_NO_PLAIN_NAME, r"\1'\2'", word) for word in sys.argv[1:]]
            _refuse_dashes(sys.argv[1:])
            sys.argv[1:] = _flags_first(sys.argv[1:])
            _refuse_shared_folder(sys.argv[1:])
            _refuse_options_without_a_name(sys.argv[1:])
            main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


_show_traceback = False
_config_name = "train"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Bad input within ends the process with its lines and exit code 2, a `CrashError` with 1.

    `open_door` has one around everything, for what Hydra finds; a `hydra.main` function has one around its work, since
    Hydra prints the overrides before it hands on an exception. SystemExit passes it.
    """
    try:
        yield
    except (InputError, CrashError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        # In a sweep the other jobs go on, and the sweep ends with the error: the job fails, the process does not end.
        in_a_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        if _show_traceback or in_a_sweep:
            raise
        for line in _lines(error):
            print(f"error: {line}", file=sys.stderr)
        sys.exit(CrashError.exit_code if isinstance(error, CrashError) else InputError.exit_code)


def trial_config(cfg: DictConfig) -> Config:
    """The checked config of the trial that Hydra composed, with its folder named.

    Raises:
        InputError: a line for each fault. Nothing has been created.
    """
    hydra = cast(DictConfig, HydraConfig.get())
    if not in_a_study():
        _refuse_study_without_its_sweeper(hydra)
    config = load_config(plain_trial(cfg, hydra))
    if config.output_dir is None:
        if in_a_study():
            folder = Path(hydra.sweep.dir) / hydra.sweep.subdir
        else:
            folder = Path(config.output_root) / "runs" / f"{trial_name(hydra)}-{config.fingerprint()}"
        config = replace(config, output_dir=str(folder))
    return config


def in_a_study() -> bool:
    """Whether this is one of the trials that a sweeper runs, each in a folder that it names."""
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and hydra.sweep.subdir != "."


def trial_name(hydra: DictConfig, left_out: Sequence[str] = ()) -> str:
    """`digits-mlp-adam`: what the names of folders begin with; `hydra` is Hydra's own block."""
    groups = [group for group in ("data", "model", "optimizer") if group not in left_out]
    return "-".join(str(hydra.runtime.choices[group]).replace("/", "_") for group in groups)


def plain_trial(cfg: DictConfig, hydra: DictConfig) -> dict[str, Any]:
    """The config of a trial as plain containers, without Hydra's block and the study's.

    Raises:
        InputError: a line for each value that is missing, does not resolve, or was found for another optimizer.
    """
    trial = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in ("hydra", "study")])
    _refuse_what_does_not_resolve(trial)
    if missing := OmegaConf.missing_keys(trial):
        raise InputError("\n".join(f"{key}: a value is needed; add {key}=<value>" for key in sorted(missing)))
    _refuse_lr_of_another_optimizer(trial, hydra)
    plain = OmegaConf.to_container(trial, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def compose_trial(*overrides: str) -> Config:
    """The checked config of `python train.py <overrides>` for use from Python; without an `output_dir` it has none.

    Raises:
        InputError: a line for each fault in a value. Hydra's own errors pass.
    """
    cfg = compose_config("train", overrides)
    with open_dict(cfg):
        del cfg["hydra"], cfg["study"]
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return load_config({str(key): value for key, value in plain.items()})


def compose_config(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """What Hydra would compose for these command-line words, with its own `hydra` block; inside a door or outside."""
    inside = GlobalHydra.instance().is_initialized()
    context = nullcontext() if inside else initialize_config_dir(CONFIG_DIR, version_base="1.3")
    with context:
        return compose(config_name, overrides=list(overrides), return_hydra_config=True)


def _refuse_what_does_not_resolve(cfg: DictConfig) -> None:
    """OmegaConf's error of an interpolation names what was not found, not where it stands."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    for key, value in flatten({str(name): block for name, block in raw.items()}):
        try:
            OmegaConf.select(cfg, key)
        except OmegaConfBaseException as error:
            words = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
            raise InputError(f"{key}={show(value)}: {words}") from None


def _overrides(hydra: DictConfig) -> list[str]:
    """What was typed, also where it is an interpolation."""
    words = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _refuse_study_without_its_sweeper(hydra: DictConfig) -> None:
    """`python train.py study=learning_rate`, or with another sweeper, would train one trial and no study."""
    given = [word for word in _overrides(hydra) if re.match(r"\+{0,2}study[.=]", word)]
    if given and hydra.mode == RunMode.RUN:
        raise InputError(f"{given[0]}: a study is run with -m: python train.py -m {given[0]}")
    if given:
        raise InputError(
            f"{given[0]}: hydra/sweeper={hydra.runtime.choices['hydra/sweeper']} runs no studies; leave it out"
        )


def _refuse_lr_of_another_optimizer(cfg: DictConfig, hydra: DictConfig) -> None:
    """An experiment's lr was found for its own optimizer: another one on the command line needs its own."""
    overrides, choices = _overrides(hydra), dict(hydra.runtime.choices)

    def without(group: str) -> list[str]:
        return [word for word in overrides if not re.match(rf"\+?{group}=", word)]

    names_optimizer, names_lr = without("optimizer") != overrides, without("lr") != overrides
    if choices.get("experiment") is None or not names_optimizer or names_lr:
        return
    config_name = str(hydra.job.config_name)
    brought = OmegaConf.select(compose_config(config_name, without("experiment")), "lr")  # None where it brings none
    designed_for = compose_config(config_name, without("optimizer")).hydra.runtime.choices.optimizer
    if choices["optimizer"] != designed_for and cfg.lr != brought:
        raise InputError(
            f"optimizer={choices['optimizer']}: experiment={choices['experiment']} sets lr={cfg.lr} for {designed_for},"
            f" while {choices['optimizer']} itself brings lr={show(brought)}; say which with lr=<value>"
        )


def _refuse_shared_folder(words: Sequence[str]) -> None:
    """`output_dir` for many trials, which would all write there."""
    given = [word for word in words if re.match(r"\+{0,2}output_dir=(?!null$)", word)]
    if given and {"-m", "--multirun"}.intersection(words):
        raise InputError(f"{given[0]}: with -m each trial has a folder of its own; remove it, or set output_root")


def _refuse_dashes(words: Sequence[str]) -> None:
    """`--lr=0.1`: argparse would answer with a page on Hydra's own flags."""
    known, unknown = get_args_parser().parse_known_args(list(words))
    for word in unknown:
        if word.startswith("-"):
            raise InputError(f"{word}: there is no such flag; type key=value without dashes, such as lr=0.1")
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(known, name)]
    if len(modes) > 1:
        raise InputError(f"{' '.join(modes)}: allowed is one of them at a time")


def _flags_first(words: list[str]) -> list[str]:
    """`optimizer=adam -m seed=0,1`: argparse takes the words on one side of a flag, and for the rest shows a page."""
    known, rest = get_args_parser().parse_known_args(words)
    overrides = [*known.overrides, *rest]
    return [*(word for word in words if word not in overrides), *overrides] if rest else words


def _refuse_options_without_a_name(words: Sequence[str]) -> None:
    """`model=null`: Hydra raises a plain ValueError that does not say which word it means."""
    parser = OverridesParser.create()
    for word in words:
        if re.match(r"[\w/]*=", word):
            (override,) = parser.parse_overrides([word])
            if override.is_sweep_override():  # model=mlp,cnn with -m
                continue
            group = override.key_or_group
            if (Path(CONFIG_DIR) / group).is_dir() and not isinstance(override.value(), (str, list)):
                raise InputError(f"{word}: type key=value, for a group the name of an option, or leave it out")


def _lines(error: Exception) -> list[str]:
    """What the user reads: our own lines, and of Hydra's the key, the value and what is allowed."""
    text = str(error)
    if isinstance(error, InputError | CrashError):
        return text.splitlines()
    if isinstance(error, OverrideParseException):
        return [f"{error.override}: type key=value, and quote a value with spaces or special characters: key=\"'a b'\""]
    missing = re.search(r"Could not find '([^']*)/([^'/]*)'", text)
    if isinstance(error, MissingConfigException) and missing:
        group, option = missing.groups()
        return [unknown_key(f"{group}={option}", [f"{group}={name}" for name in error.options or []], "option")]
    if key := re.search(r"Missing mandatory value: (\S+)", text):
        return [f"{key.group(1)}: a value is needed; add {key.group(1)}=<value>"]
    if key := re.search(r"Could not override '([^']*)'", text):
        return [_unknown_override(key.group(1), sys.argv[1:])]
    if word := re.search(r"Error merging override (.*)", text):
        return [f"{word.group(1)}: of another kind than what the config has there; --cfg job shows it"]
    return [" ".join(text.split())]


def _unknown_override(key: str, words: Sequence[str]) -> str:
    """Hydra refuses a key that the config does not have without saying which it has: say it, for these options."""
    block, _, name = key.rpartition(".")
    given = next((word for word in words if word.startswith(f"{key}=")), key)
    if name in NOT_OFFERED:
        return f"{given}: {NOT_OFFERED[name]}"
    try:
        choices = [word for word in words if re.match(r"[\w/]+=", word) and not word.startswith((f"{key}=", "study="))]
        parsed = OverridesParser.create().parse_overrides(choices)
        choices = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
        plain = OmegaConf.to_container(compose_config(_config_name, choices), resolve=False)
    except (HydraException, OmegaConfBaseException):
        return f"{given}: there is no such key; --cfg job shows those there are"
    assert isinstance(plain, dict)
    del plain["hydra"]
    for open_block in OPEN_BLOCKS:
        if key == open_block:
            return f"{given}: name each one: '+{open_block}.<name>={{_target_: <class>}}'"
        if key.startswith(f"{open_block}."):
            return f"{given}: this is new in {open_block}; put a + before it: '+{given}'"
    known = [leaf for leaf, _ in flatten({str(k): v for k, v in plain.items()}) if leaf.startswith(f"{block}.")]
    if block == "study" and key in known:
        return f"{given}: the file of this study does not have it; let it begin with defaults: [_base_, _self_]"
    return unknown_key(key, known if block and known else [str(top) for top in plain], given=given)
