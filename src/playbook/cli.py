"""Between Hydra and the program: what every script does before and after its work.

A script is a `hydra.main` function run by `run_cli`, which turns bad input into one line and exit code 2; `script`
makes one of a function. Nothing here imports torch, so that `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from playbook.compose import CONFIG_DIR, SCRIPT_CONFIG_DIR, compose_config
from playbook.config import NOT_OFFERED, flatten
from playbook.errors import CrashError, InputError
from playbook.validation import unknown_key

OPEN_BLOCKS = ("task.metrics", "trainer.callbacks")
"""Blocks that are empty until a user adds something of a name of their own."""
_OPEN_BLOCK_OF_A_STUDY = r"^(?=study\.(roles|scientific|nuisance|repeat)[.=])"
"""Words for these get the ++ that Hydra asks for where a key is new."""
_NO_PLAIN_NAME = r"^(study\.name=)(\d[\d_.eE+-]*|[\w.-]+[+=][\w.+=-]*)$"
"""A study's name that Hydra would take for a number, as 2026_11_20 for 20261120, or not take: it gets quotes."""
INTERRUPTED = 130


def script(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], NoReturn]]:
    """Makes a script of a function of the config `src/playbook/conf/<config_name>.yaml`: see `run_cli`."""

    def as_script(work: Callable[[DictConfig], None]) -> Callable[[], NoReturn]:
        @hydra.main(version_base="1.3", config_path=SCRIPT_CONFIG_DIR, config_name=config_name)
        def main(cfg: DictConfig) -> None:
            with one_line_errors():
                work(cfg)

        return lambda: run_cli(main, config_name, SCRIPT_CONFIG_DIR)

    return as_script


def run_cli(main: Callable[[], Any], config_name: str = "train", config_dir: str = CONFIG_DIR) -> NoReturn:
    """Runs a `hydra.main` function and ends the process: 0 done, 1 crash, 2 bad input, 130 interrupted.

    `config_name` is that of the function, in `config_dir`, whose keys are named where one is mistyped.

    With HYDRA_FULL_ERROR=1 in the environment, bad input also shows where it was found out.
    """
    global _show_traceback, _config
    _config = config_name, config_dir
    _show_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    try:
        with one_line_errors():
            if not Path(config_dir).is_dir():
                raise InputError(f"{config_dir} is missing: in the checkout, type pip install -e .")
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
_config = "train", CONFIG_DIR


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Bad input within ends the process with its lines and exit code 2, a `CrashError` with 1.

    `run_cli` has one around everything, for what Hydra finds; a `hydra.main` function has one around its work, since
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
        plain = OmegaConf.to_container(compose_config(_config[0], choices, _config[1]), resolve=False)
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
