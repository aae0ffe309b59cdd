"""Between the shell and a `hydra.main` function: what is typed, as Hydra takes it, and how the process ends.

Nothing here imports torch, so that `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from playbook.composition import CONFIG_DIR, SCRIPT_CONFIG_DIR, explain, refuse_group_without_option
from playbook.errors import CrashError, InputError, exit_with, short_traceback

_OPEN_BLOCK_OF_A_STUDY = r"^(?=study\.(roles|scientific|cases|nuisance|repeat)[.=])"
"""Overrides of these get the ++ that Hydra asks for where a key is new."""
_NO_PLAIN_NAME = r"^(study\.name=)(\d[\d_.eE+-]*|[\w.-]+[+=][\w.+=-]*)$"
"""A study's name that Hydra would take for a number, as 2026_11_20 for 20261120, or not take: it gets quotes."""
INTERRUPTED = 130
_OUTPUT_GAVE_UP = (errno.ENOSPC, errno.EPIPE, errno.EIO)


class _CommandLine:
    """What `run_cli` was called with: state of the process, as `sys.argv` is."""

    typed: tuple[str, ...] | None = None
    config_name = "train"
    config_dir = CONFIG_DIR
    show_traceback = False


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

    `config_name` is that of the function, in `config_dir`, whose keys are named where one is mistyped. With
    HYDRA_FULL_ERROR=1 in the environment, bad input also shows where it was found out.
    """
    _CommandLine.typed = tuple(sys.argv[1:])
    _CommandLine.config_name, _CommandLine.config_dir = config_name, config_dir
    _CommandLine.show_traceback = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal of ASCII shows ? for what it does not have
    try:
        sys.exit(_exit_code(main))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        _CommandLine.typed = None


def typed_arguments() -> list[str]:
    """What was typed after the name of the script; `sys.argv` holds what Hydra was given instead."""
    return sys.argv[1:] if _CommandLine.typed is None else list(_CommandLine.typed)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Bad input within ends the process with its lines and exit code 2, a `CrashError` or any other error with 1.

    `run_cli` has one around everything, for what Hydra finds; a `hydra.main` function has one around its work, since
    Hydra prints the overrides before it hands on an exception. SystemExit passes it.
    """
    try:
        yield
    except (InputError, CrashError, HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if _CommandLine.show_traceback or _in_a_sweep():
            raise
        if not isinstance(error, (InputError, CrashError)):
            error = explain(error, _CommandLine.config_name, sys.argv[1:], _CommandLine.config_dir)
        exit_with(error)
    except Exception as error:
        if _CommandLine.show_traceback or _in_a_sweep() or _is_of_the_output(error):
            raise
        print(short_traceback(error), file=sys.stderr)
        sys.exit(CrashError.exit_code)


def _in_a_sweep() -> bool:
    """There the other jobs go on, and the sweep ends with the error: the job fails, the process does not end."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _is_of_the_output(error: Exception) -> bool:
    """Whether what is printed could not be."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_GAVE_UP


def _exit_code(main: Callable[[], Any]) -> Any:
    try:
        try:
            with one_line_errors():
                if not Path(_CommandLine.config_dir).is_dir():
                    raise InputError(f"{_CommandLine.config_dir} is missing: in the checkout, type pip install -e .")
                sys.argv[1:] = hydra_arguments(typed_arguments())
                with _hydras_trouble_with_files(), _one_copy_of_the_configs():
                    main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        return code
    except OSError as error:
        if not _is_of_the_output(error) or _CommandLine.show_traceback:
            raise
        # Nobody reads what is printed, or the disk that it goes to is full; Python would try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return CrashError.exit_code


@contextmanager
def _hydras_trouble_with_files() -> Iterator[None]:
    """A folder that Hydra cannot make, and an option whose name is longer than that of a file can be."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and error.filename is not None:
            raise InputError(f"{error.filename}: {error.strerror}") from error
        for word in sys.argv[1:]:
            folder = re.match(r"\+{0,2}hydra\.(?:run|sweep)\.dir=(.*)", word)
            if folder and error.filename and Path(error.filename) in (Path(folder[1]), *Path(folder[1]).parents):
                raise InputError(f"{word}: it cannot be made ({error.strerror}); leave it out") from error
        raise


@contextmanager
def _one_copy_of_the_configs() -> Iterator[None]:
    """`--help` asks Hydra 94 times for the options of a group, and each time it copies all configs first, for changes
    of the search path that are not among the arguments then: more than half of the time that `--help` took."""
    asked = ConfigLoaderImpl.get_group_options

    def get_group_options(
        self: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        if config_name is None and not overrides:
            return self.repository.get_group_options(group_name, results_filter)
        return asked(self, group_name, results_filter, config_name, overrides)

    ConfigLoaderImpl.get_group_options = get_group_options  # type: ignore[method-assign]
    try:
        yield
    finally:
        ConfigLoaderImpl.get_group_options = asked  # type: ignore[method-assign]


def hydra_arguments(typed: Sequence[str]) -> list[str]:
    """What Hydra is given: the flags, then the overrides, with what it would misread spelled as it asks for.

    Raises:
        InputError: what Hydra, or argparse before it, would answer with a page or a traceback.
    """
    _refuse_what_is_no_text(typed)
    parser = get_args_parser()
    parser.error = _refuse_flag  # type: ignore[method-assign]
    flags, rest = parser.parse_known_args(list(typed))  # it takes the overrides on one side of a flag alone
    for word in rest:
        if word.startswith("-"):
            raise InputError(f"{word}: there is no such flag; type key=value without dashes, such as lr=0.1")
    _refuse_flags_together(flags)
    overrides = [*flags.overrides, *rest]
    _refuse_overrides(overrides, multirun=flags.multirun)
    mended = [re.sub(_NO_PLAIN_NAME, r"\1'\2'", re.sub(_OPEN_BLOCK_OF_A_STUDY, "++", word)) for word in overrides]
    return [*(word for word in typed if word not in overrides), *mended]


def _refuse_what_is_no_text(typed: Sequence[str]) -> None:
    """Bytes that Python could not read stand for themselves in a word; no file of a run could hold them."""
    for word in typed:
        shown = word.encode("utf-8", "replace").decode()
        if shown != word:
            raise InputError(
                f"{shown}: the locale of this shell ({sys.getfilesystemencoding()}) lacks some of these characters;"
                " put LC_ALL=C.UTF-8 before the command"
            )


def _refuse_flag(message: str) -> NoReturn:
    raise InputError(f"{message}; --help shows what can be typed")


def _refuse_flags_together(flags: argparse.Namespace) -> None:
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(flags, name)]
    if len(modes) > 1:
        raise InputError(f"{' '.join(modes)}: allowed is one of them at a time")
    if flags.resolve and not (flags.cfg or flags.help):
        raise InputError("--resolve: it goes with --cfg job --resolve")
    if flags.experimental_rerun is not None:
        raise InputError("--experimental-rerun: it reads a file that can run code; type the run's overrides again")
    if flags.config_dir is not None and not Path(flags.config_dir).is_dir():
        raise InputError(f"--config-dir={flags.config_dir}: there is no such folder")


def _refuse_overrides(overrides: Sequence[str], multirun: bool) -> None:
    for word in overrides:
        if multirun and re.match(r"\+{0,2}output_dir=(?!null$)", word):
            raise InputError(f"{word}: with -m each trial has a folder of its own; remove it, or set output_root")
        if plugin := re.match(r"\+{0,2}hydra\.(sweeper|launcher)\._target_=", word):
            raise InputError(f"{word}: choose one by its name, with hydra/{plugin.group(1)}=<option>")
        refuse_group_without_option(word)
