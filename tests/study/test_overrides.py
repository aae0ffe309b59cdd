"""A sweep means what Hydra's own sweepers take it for; what we write, Hydra's parser reads back exactly."""

import datetime
import math
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hypothesis import assume, example, given
from hypothesis import strategies as st

from playbook.composition import CONFIG_DIR
from playbook.errors import InputError
from playbook.study.overrides import as_override, dimension_from_text, dimension_of, sweep_override
from playbook.study.space import Choice, Float, Int, identity

PARSER = OverridesParser.create()

TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="\\'\" a"),
    st.text(alphabet="aE1._-+/$%*@?|[]{}()=,:~ \t\n"),
    st.sampled_from(
        ["", "1", "1e-3", "-.5", "1_000", "True", "NULL", "null", "Inf", "nan", "${x}", "${oc.env:A}", "ü"]
    ),
)
WORDS = st.from_regex(r"(?!(null|true|false|inf|nan)$)[a-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
NAMES = st.one_of(WORDS, st.integers(), st.booleans())
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS.filter(lambda text: "\0" not in text)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
RANGES = st.one_of(
    st.builds(
        lambda low, width, scale: Float(low, low + width, scale),
        st.floats(1e-12, 1e12),
        st.floats(1e-3, 1e12),
        st.sampled_from(["linear", "log"]),
    ),
    st.builds(lambda low, width: Float(low, low + width), st.floats(-1e12, 0), st.floats(1, 1e13)),
    st.builds(Float, st.floats(0, 0.5), st.floats(0.6, 1, exclude_max=True), st.just("log_one_minus")),
    st.builds(lambda low, more: Int(low, low + more), st.integers(-(2**50), 2**50), st.integers(0, 2**50)),
    st.builds(lambda low, more: Int(low, low + more, "log"), st.integers(1, 2**50), st.integers(0, 2**50)),
)


def parse(word: str) -> Override:
    """As Hydra parses a word of its command line."""
    (override,) = PARSER.parse_overrides([word])
    return override


def swept(text: str) -> Float | Int | Choice:
    """The dimension of a sweep, as given on the command line and in a study file."""
    assert dimension_from_text(text, "x") == dimension_of(parse(f"x={text}"))
    return dimension_of(parse(f"x={text}"))


def refused(text: str) -> str:
    """What is said of a sweep, on the command line and in a study file; in both it stands first."""
    with pytest.raises(InputError) as on_the_command_line:
        dimension_of(parse(f"x={text}"))
    with pytest.raises(InputError) as in_a_file:
        dimension_from_text(text, "x")
    said = str(on_the_command_line.value).removeprefix(f"x={text}: ")
    assert str(in_a_file.value) == f"x: {text}: {said}"
    assert "\n" not in said
    return said


# Words.


@given(key=st.sampled_from(["lr", "optimizer.momentum", "db@pkg"]), value=VALUES)
@example(key="lr", value="a\\'\"\\")
@example(key="lr", value=1e-05)
@example(key="lr", value=-0.0)
@example(key="lr", value=math.inf)
@example(key="lr", value={"a": ["1", 1], 2: None})
def test_hydra_reads_a_word_as_the_value_that_was_meant(key, value):
    override = parse(as_override(key, value))
    assert not override.is_sweep_override()
    assert override.get_key_element() == key
    assert identity(override.value()) == identity(value)
    assert str(override.value()) == str(value)  # the sign of a zero, the order of a dict


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("adam", "x=adam"),
        ("adam-w_2", "x=adam-w_2"),
        ("data/digits.npz", "x=data/digits.npz"),
        (0.001, "x=0.001"),
        (1e-05, "x=1e-05"),
        (True, "x=true"),
        (None, "x=null"),
        ("null", "x='null'"),
        ("True", "x='True'"),
        ("1", "x='1'"),
        ("", "x=''"),
        ("a b", "x='a b'"),
        ([1, "two", [None]], "x=[1,two,[null]]"),
        ({"lr": 0.1, "name": "a b"}, "x={lr:0.1,name:'a b'}"),
    ],
)
def test_a_word_is_what_one_would_type(value, text):
    assert as_override("x", value) == text


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_key_that_a_sweep_adds_is_swept_like_any_other(prefix):
    assert dimension_of(parse(f"{prefix}a.b=1,2")) == Choice((1, 2))
    assert dimension_of(parse(f"{prefix}a.b=tag(log,interval(1,2))")) == Float(1.0, 2.0, "log")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (datetime.date(2020, 1, 2), "x=datetime.date(2020, 1, 2): a date cannot be written on a command line"),
        ([b"a"], "x=b'a': a bytes cannot be written on a command line"),
        ({"1": 2}, "x={'1': 2}: the name '1' in it cannot be written on a command line"),
        ({"a": {"b c": 2}}, "x={'b c': 2}: the name 'b c' in it cannot be written on a command line"),
    ],
)
def test_what_no_word_can_say_is_refused(value, said):
    for write in (lambda: as_override("x", value), lambda: sweep_override("x", Choice((1, value)))):
        with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
            write()


@given(dimension=st.one_of(RANGES, st.lists(VALUES, min_size=1, unique_by=identity).map(lambda v: Choice(tuple(v)))))
def test_the_word_of_a_sweep_reads_back_as_its_dimension(dimension):
    assume(dimension != Choice((None,)))
    override = parse(sweep_override("x", dimension))
    assert override.is_sweep_override()
    assert dimension_of(override) == dimension
    assert dimension_from_text(sweep_override("x", dimension).removeprefix("x="), "x") == dimension


def test_a_single_null_is_no_sweep():
    with pytest.raises(InputError, match=r"^x: Hydra cannot sweep over a single null; type x=null$"):
        sweep_override("x", Choice((None,)))


def test_the_word_of_a_sweep_is_what_one_would_type():
    assert sweep_override("lr", Float(1e-5, 0.1, "log")) == "lr=tag(log,interval(1e-05,0.1))"
    assert sweep_override("beta", Float(0.9, 0.999, "log_one_minus")) == "beta=tag(log_one_minus,interval(0.9,0.999))"
    assert sweep_override("depth", Int(1, 8)) == "depth=int(interval(1,8))"
    assert sweep_override("width", Int(8, 512, "log")) == "width=tag(log,int(interval(8,512)))"
    assert sweep_override("act", Choice(("relu", "gelu", None))) == "act=relu,gelu,null"
    assert sweep_override("act", Choice(("relu",))) == "act=choice(relu)"


# Meanings.


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("interval(0,1)", Float(0.0, 1.0)),
        ("interval(-.5, 1e3)", Float(-0.5, 1000.0)),
        ("float(interval(1,2))", Float(1.0, 2.0)),
        ("int(interval(1,8))", Int(1, 8)),
        ("int(interval(3,3))", Int(3, 3)),
        ("tag(log,interval(1e-4,1e-1))", Float(1e-4, 0.1, "log")),
        ("tag('log', sweep=interval(start=1, end=2))", Float(1.0, 2.0, "log")),
        ("tag(log,int(interval(1,64)))", Int(1, 64, "log")),
        ("int(tag(log,interval(1,64)))", Int(1, 64, "log")),
        ("tag(log_one_minus,interval(0.9,0.999))", Float(0.9, 0.999, "log_one_minus")),
        ("tag(interval(0,1))", Float(0.0, 1.0)),
    ],
)
def test_intervals(text, dimension):
    assert swept(text) == dimension


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2.0,1e-3,true,null", (1, 2.0, 1e-3, True, None)),
        ("1,'1',\"1.0\",'null','true',''", (1, "1", "1.0", "null", "true", "")),
        ("adam,sgd", ("adam", "sgd")),
        ("choice(adam)", ("adam",)),
        ("choice('1',1,\"a b\")", ("1", 1, "a b")),
        ("[1,'2'],[],{a:1,b:'x y'}", ([1, "2"], [], {"a": 1, "b": "x y"})),
        ("range(5)", (0, 1, 2, 3, 4)),
        ("range(1,8,3)", (1, 4, 7)),
        ("range(5,0,-2)", (5, 3, 1)),
        ("range(start=1,stop=4)", (1, 2, 3)),
        ("range(1,3,1.0)", (1.0, 2.0)),
        ("range(0,1,0.25)", (0.0, 0.25, 0.5, 0.75)),
        ("range(0.3,0,-0.1)", (0.3, 0.2, 0.1)),
        ("range(0.1,1.1,0.1)", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),  # Hydra 1.3 has a 1.1 too
        ("sort(range(0.7,0.1,-0.2))", (0.3, 0.5, 0.7)),  # and 0.30000000000000004 here
        ("sort(3,1,2)", (1, 2, 3)),
        ("sort(choice(b,a),reverse=true)", ("b", "a")),
        ("shuffle(3,1,2)", (3, 1, 2)),
        ("shuffle(range(4))", (0, 1, 2, 3)),
        ("int(1.7,'2')", (1, 2)),
        ("float(range(1,3))", (1.0, 2.0)),
        ("str(1,null_,true)", ("1", "null_", "true")),
        ("bool(0,1)", (False, True)),
    ],
)
def test_lists(text, values):
    assert swept(text) == Choice(values)


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5,null,true,'1',a,[1,'2'],{a:'1',b:[2]}",
        "choice(1,a,'b c',1.0,[x])",
        "range(7)",
        "range(2,9,3)",
        "range(9,2,-3)",
        "range(0,2,0.25)",
        "sort(range(9,0,-1))",
        "sort(3,2.5,1)",
        "int(choice('1',2.5))",
        "float(1,2)",
        "str(1,1.5)",
        "float(range(3))",
    ],
)
def test_a_list_has_the_values_that_hydra_enumerates(text):
    def unquoted(value):
        if isinstance(value, QuotedString):
            return value.text
        if isinstance(value, dict):
            return {key: unquoted(each) for key, each in value.items()}
        return [unquoted(each) for each in value] if isinstance(value, list) else value

    assert swept(text) == Choice(tuple(unquoted(each) for each in parse(f"x={text}").sweep_iterator()))


@given(start=st.integers(-300, 300), stop=st.integers(-300, 300), step=st.integers(-40, 40).filter(bool))
def test_a_range_has_no_drift(start, stop, step):
    whole = list(range(start, stop, step))
    assume(whole)
    assert swept(f"range({start},{stop},{step})") == Choice(tuple(whole))
    ends = ",".join(f"{Decimal(end) / 100:.2f}" for end in (start, stop, step))
    assert swept(f"range({ends})") == Choice(tuple(float(Decimal(value) / 100) for value in whole))


def test_a_glob_selects_options_of_a_config_group():
    options = sorted(path.stem for path in (Path(CONFIG_DIR) / "optimizer").glob("*.yaml"))
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        every, some, of_no_group, nothing = parser.parse_overrides(
            ["optimizer=glob(*)", "optimizer=glob([*adam*,sgd],exclude=nadam)", "lr=glob(*)", "optimizer=glob(x*)"]
        )
        assert dimension_of(every) == Choice(tuple(options))
        assert dimension_of(some) == Choice(("adam", "adamw", "schedule_free_adamw", "sgd"))
        with pytest.raises(InputError, match=r"^lr=glob\(\*\): no option of a config group lr matches \*$"):
            dimension_of(of_no_group)
        with pytest.raises(InputError, match=r"no option of a config group optimizer matches x\*$"):
            dimension_of(nothing)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval(1,0)", "1.0 to 0.0: the lower end must be below the upper one"),
        ("interval(0,inf)", "0.0 to inf: both ends must be finite"),
        ("int(interval(2,1))", "2 to 1: the lower end must not be above the upper one"),
        ("tag(log,interval(0,1))", "0.0 to 1.0 on a log scale: the lower end must be above 0"),
        ("tag(log,int(interval(0,9)))", "0 to 9 on a log scale: the lower end must be 1 or more"),
        (
            "tag(log_one_minus,interval(0.9,1))",
            "0.9 to 1.0 on a log_one_minus scale: both ends must be in [0, 1)",
        ),
        (
            "int(tag(log_one_minus,interval(0,1)))",
            "log_one_minus is for real numbers below 1; allowed for whole ones are log, or none",
        ),
        (
            "tag(loog,interval(1,2))",
            "there is no tag loog; allowed are log, log_one_minus, or none for a linear scale",
        ),
        ("tag(log,log_one_minus,interval(0.1,0.2))", "two scales, log and log_one_minus; allowed is one"),
        ("tag(log,tag(log_one_minus,interval(0.1,0.2)))", "two scales, log and log_one_minus; allowed is one"),
        ("tag(log,choice(1,2))", "tag(log, …) is for an interval(…); a list of values has no scale"),
        ("tag(log,range(1,9))", "tag(log, …) is for an interval(…); a list of values has no scale"),
        ("int(tag(log,choice(1,2)))", "tag(log, …) is for an interval(…); a list of values has no scale"),
        ("float(tag(log,range(1,9)))", "tag(log, …) is for an interval(…); a list of values has no scale"),
        ("range(0,20001,2)", "a list of more than 10000 numbers; type int(interval(0,20000)) instead"),
        ("range(20000,0,-1)", "a list of more than 10000 numbers; type int(interval(1,20000)) instead"),
        ("range(0,1,1e-9)", "a list of more than 10000 numbers; type interval(0,1) instead"),
        ("range(0,inf)", "allowed are finite numbers and a step that is not 0"),
        ("range(0,nan)", "allowed are finite numbers and a step that is not 0"),
        ("range(0,9,0)", "allowed are finite numbers and a step that is not 0"),
        ("range(0,1.5,0)", "allowed are finite numbers and a step that is not 0"),
        (
            "range(5,1)",
            "there is no number in it; a negative step goes from a larger number to a smaller one",
        ),
        ("1,2,1", "the choice 1 is there twice"),
        ("1,interval(0,1)", "a sweep within a list of choices; allowed there are values"),
        ("a,[1,range(3)]", "a sweep within a list of choices; allowed there are values"),
        ("glob(*)", "glob(…) selects options of a config group on the command line; here, list them"),
    ],
)
def test_a_sweep_that_means_nothing_is_one_line(text, said):
    assert refused(text) == said


def test_a_range_of_as_many_numbers_as_are_allowed():
    assert swept("range(10000)") == Choice(tuple(range(10_000)))


def test_a_key_is_not_taken_away_in_a_sweep():
    with pytest.raises(InputError, match=r"^~x=1,2: a sweep gives a key several values; it cannot take the key away$"):
        dimension_of(parse("~x=1,2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adam", "lr: adam: one value is nothing to search; allowed is a [list, of, choices] or a text as tag(log,"),
        ("interval(1,2", "lr: interval(1,2: Hydra cannot read it (no viable alternative at input"),
        ("interval(1,\n 2", "lr: interval(1, 2: Hydra cannot read it ("),
        ("intervall(1,2)", "lr: intervall(1,2): Hydra cannot read it ("),
        ("bool(interval(0,1))", "lr: bool(interval(0,1)): Hydra cannot read it ("),
    ],
)
def test_a_text_in_a_study_file_that_is_no_sweep_is_one_line(text, said):
    with pytest.raises(InputError) as error:
        dimension_from_text(text, "lr")
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_text_in_a_study_file_may_have_space_around_it():
    assert dimension_from_text(" tag( log , interval(1e-4, 1e-1) )\n", "lr") == Float(1e-4, 0.1, "log")
