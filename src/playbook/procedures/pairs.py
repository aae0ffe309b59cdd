"""Two configurations as a study of pairs: trial 2k is the candidate's repeat k, trial 2k + 1 the incumbent's.

Both repeats of a pair have the same fresh seed, so that what seeds do to both is no part of the difference. Seeds come
in an order that does not depend on who is compared: a configuration that is compared twice is trained once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser

from playbook.config import difference
from playbook.errors import InputError
from playbook.procedures.sides import NOISE, Side
from playbook.study.overrides import as_override, dimension_from_text
from playbook.study.space import Choice, Value
from playbook.trial_config import compose

Vary = Literal["seed", "split", "both"]
FIRST_SEED = 1_000_000
"""Fresh: nobody types such seeds, and those that a study tried are passed over besides."""
_VARIED = {"seed": ("seed",), "split": ("data.split_seed",), "both": NOISE}
_MAY_DIFFER = ("data.in_memory", "data.num_workers", "data.flip", "data.crop_padding", "data.augment")
"""Of the data: what training does with them, and where they are kept."""


@dataclass(frozen=True)
class Pairs:
    """What both sides have in common (`words`), and the settings that each has for itself."""

    words: tuple[str, ...]
    candidate: Mapping[str, Value]
    incumbent: Mapping[str, Value]
    vary: Vary
    used: Mapping[str, frozenset[int]]
    fingerprint: str

    def trials(self, num: int) -> list[dict[str, Value]]:
        """The settings of the first `num` pairs."""
        noise = list(itertools.islice(self._noise(), num))
        return [{**side, **of_pair} for of_pair in noise for side in (self.candidate, self.incumbent)]

    def _noise(self) -> Iterator[dict[str, Value]]:
        """What the repeats of each pair share: a seed, a split of the data, or both."""
        taken = frozenset().union(*self.used.values())
        fresh = (seed for seed in itertools.count(FIRST_SEED) if seed not in taken)
        first = next(fresh)
        for seed in itertools.chain([first], fresh):
            varied: dict[str, Value] = dict.fromkeys(_VARIED[self.vary], seed)
            yield varied if self.vary != "split" else {"seed": first, **varied}


def pair_up(candidate: Side, incumbent: Side, both: Sequence[str], vary: Vary) -> Pairs:
    """The study of two sides.

    Raises:
        InputError: one line: they are the same, judged by other objectives, trained on other data, or no list of trials
            can say in what they differ.
    """
    _refuse_what_cannot_be_compared(candidate, incumbent, vary)
    ours, theirs, shared = _by_key(candidate.words), _by_key(incumbent.words), _by_key(both)
    common = {key: word for key, word in ours.items() if theirs.get(key) == word} | shared
    words = dict(common)
    settings: dict[str, dict[str, Value]] = {"candidate": {}, "incumbent": {}}
    for name, own, other in (("candidate", ours, theirs), ("incumbent", theirs, ours)):
        for key, word in own.items():
            if key in common:
                continue
            prefix = word[: len(word) - len(word.lstrip("+~"))]
            if prefix and (prefix == "~" or key not in other):
                there = "incumbent" if name == "candidate" else "candidate"
                what = (
                    f"the {there} has no such key; type {there}='[…,\"+{key}=VALUE\"]' too, with what it does without,"
                    " the default of its class"
                    if prefix == "+"
                    else f"give {key} a value, such as null, where it is taken away"
                )
                raise InputError(f"{name}: {word}: trials of one study have the same keys: {what}")
            if prefix:
                words.setdefault(key, word)  # so that the key is there; each trial sets it
            settings[name][key] = _value(word.lstrip("+"), key)
    told_apart = {"candidate": candidate.identity, "incumbent": incumbent.identity, "vary": vary}
    text = json.dumps(told_apart, sort_keys=True, default=str)
    used = {key: candidate.used.get(key, frozenset()) | incumbent.used.get(key, frozenset()) for key in NOISE}
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    pairs = Pairs(tuple(words.values()), settings["candidate"], settings["incumbent"], vary, used, digest)
    _refuse_other_than_given(pairs, candidate, incumbent)
    return pairs


def _by_key(words: Sequence[str]) -> dict[str, str]:
    """Each override by its key, the last one of a key."""
    found: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.is_sweep_override():
            raise InputError(f"{override.input_line}: a configuration has one value of each key")
        key = override.get_key_element().lstrip("+~")
        if key not in NOISE:
            found[key] = str(override.input_line)
    return found


def _value(word: str, key: str) -> Value:
    only = dimension_from_text(f"choice({word.partition('=')[2]})", key)
    assert isinstance(only, Choice)
    return only.values[0]


def _refuse_what_cannot_be_compared(candidate: Side, incumbent: Side, vary: Vary) -> None:
    ours, theirs = candidate.identity, incumbent.identity
    if ours == theirs:
        raise InputError(
            f"candidate={candidate.given}: it is the incumbent but for its seed; there is nothing to compare"
        )
    judges = [(each.config.objective.metric, each.config.objective.mode) for each in (candidate, incumbent)]
    if judges[0] != judges[1]:
        raise InputError(
            f"candidate: judged by {judges[0][0]} ({judges[0][1]}), the incumbent by {judges[1][0]} ({judges[1][1]});"
            " set one for both, such as 'both=[\"objective.metric=val/error\"]'"
        )
    of_data = [
        {key: value for key, value in each.items() if key.startswith("data.") and key not in _MAY_DIFFER}
        for each in (theirs, ours)
    ]
    splits = [dict(each.config.identity()).get("data.split_seed") for each in (incumbent, candidate)]
    if vary == "seed":
        of_data = [{**each, "data.split_seed": split} for each, split in zip(of_data, splits, strict=True)]
    elif None in splits:
        raise InputError(f"vary={vary}: these data have no data.split_seed; allowed here is vary=seed")
    if lines := difference(*of_data):
        raise InputError(
            f"candidate: trained or judged on other data than the incumbent ({_sides(lines)});"
            " their objectives cannot be compared"
        )


def _refuse_other_than_given(pairs: Pairs, candidate: Side, incumbent: Side) -> None:
    """The trials are composed from other words than the sides were: they must come to the same."""
    for name, side, settings in (("candidate", candidate, pairs.candidate), ("incumbent", incumbent, pairs.incumbent)):
        words = [*pairs.words, *(as_override(key, value) for key, value in settings.items())]
        composed = Side("", (), compose(*words)).identity
        if lines := difference(side.identity, composed):
            raise InputError(
                f"{name}={side.given}: as a trial beside the other it would be another configuration ({_sides(lines)});"
                " say with both=[…] what both have"
            )


def _sides(lines: Sequence[str]) -> str:
    return "; ".join(lines[:3]) + ("; …" if len(lines) > 3 else "")


def caveats(candidate: Side, incumbent: Side) -> list[str]:
    """What makes the comparison less fair than it looks."""
    found: list[str] = []
    ours: Mapping[str, Any] = candidate.identity
    theirs = incumbent.identity
    if ours.get("max_steps") != theirs.get("max_steps") or ours.get("warmup_steps") != theirs.get("warmup_steps"):
        found.append("The two train for different numbers of steps: what is longer is nearly always better (C1).")
    if ours.get("eval_every") != theirs.get("eval_every"):
        found.append("The two are evaluated at different intervals: the best of more evaluations is better (D2).")
    return found
