"""What the shell gave: paths of any name reach Hydra's own parser unharmed; names that don't exist get near ones."""

import random
import re

import pytest

from ptft.config import compose
from ptft.config.overrides import PATH_KEYS, Overrides, parse, quote
from ptft.errors import ConfigError, nearest, suggest

ODD = "ab/ .,=()[]{}#~'\"\\:;|&$@!?*+-<>%^`\tдのé1"
SPECIAL = ["null", "???", "${oc.env:HOME}", "'a b'", '"a b"', ""]


def odd_paths(count, seed, letters=ODD):
    """Random strings that have no meaning of their own to Hydra."""
    draw = random.Random(seed)
    made = ("".join(draw.choices(letters, k=draw.randint(1, 12))) for _ in range(count))
    return [
        path for path in made if "${" not in path and not (len(path) > 1 and path[0] in "'\"" and path[0] == path[-1])
    ]


def test_any_path_reaches_the_configuration_as_it_was_typed():
    for key in PATH_KEYS:
        for path in odd_paths(300, key):
            assert Overrides.parse([quote(f"{key}={path}")]).typed == {key: path}


def test_words_that_look_like_values_stay_text():
    for path in (
        "1",
        "1e3",
        "true",
        "nan",
        "~",
        "[a]",
        "{a: b}",
        "a,b",
        "range(1,3)",
        "glob(*)",
        " ",
        "\\",
        "\\'",
        "'",
    ):
        assert Overrides.parse([quote(f"ckpt={path}")]).typed == {"ckpt": path}


def test_paths_survive_the_whole_composition():
    for path in odd_paths(12, "whole"):
        composed = compose.compose(["stage=finetune", quote(f"ckpt={path}"), quote(f"dataset.root={path}")])
        plain = compose.plain(composed)
        assert (plain["ckpt"], plain["dataset"]["root"]) == (path, path)


def test_under_a_sweep_commas_separate_and_nothing_else_does():
    for first, second in zip(
        odd_paths(150, 1, ODD.replace(",", "")), odd_paths(150, 2, ODD.replace(",", "")), strict=False
    ):
        jobs = Overrides.parse([quote(f"ckpt={first},{second}", multirun=True)]).jobs()
        assert [job.typed["ckpt"] for job in jobs] == [first, second]


@pytest.mark.parametrize("value", SPECIAL)
def test_what_means_something_to_hydra_keeps_its_meaning(value):
    assert quote(f"ckpt={value}") == f"ckpt={value}"


@pytest.mark.parametrize("override", ["optimizer.lr=1e-3", "dataset.classes=[a,b]", "~train.ema", "seed=0,1"])
def test_other_keys_are_hydras_own(override):
    assert quote(override) == override


def test_a_path_key_that_is_added_is_a_path_too():
    assert Overrides.parse([quote("+dataset.root=a, b")]).typed == {"dataset.root": "a, b"}


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ('dataset.classes=["a","b (c"],d]', 'dataset.classes=["…","…"]'),
        ("dataset.label=a(b", 'dataset.label="…"'),
    ],
)
def test_what_can_not_be_read_is_shown_in_the_form_that_can(typed, remedy):
    with pytest.raises(ConfigError, match=re.escape(f"e.g. '{remedy}'")):
        Overrides.parse([typed])
    assert remedy.split("=")[0] in Overrides.parse([remedy.replace("…", "b (c")]).typed


def test_the_command_line_is_sorted():
    found = parse(["-m", "pretrain", "ckpt=a b", "~train.ema", "--cfg", "job", "--resolve"])
    assert found.multirun
    assert found.shows
    assert found.words == ["pretrain"]
    assert found.overrides == ["ckpt='a b'", "~train.ema"]
    assert found.flags == ["--cfg", "job", "--resolve"]
    assert not parse(["stage=pretrain"]).shows


def test_an_unknown_flag_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match=r"--multirn.*--multirun"):
        parse(["--multirn"])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("optimzer.lr", ["optimizer.lr"]),
        ("train.epoch", ["train.epochs"]),
        ("lr", ["optimizer.lr"]),
        ("optimizer.batch_size", ["train.batch_size"]),
        ("batchsize", ["train.batch_size"]),
        ("cnnn", ["cnn"]),
        ("zzz", []),
    ],
)
def test_the_nearest_names(typed, expected):
    choices = ["cnn", "optimizer.lr", "optimizer.eps", "train.batch_size", "train.epochs", "train.every.save", "seed"]
    assert nearest(typed, choices)[: len(expected) or 1] == expected


def test_a_suggestion_reads_well():
    assert suggest("cnnn", ["cnn", "vit"]) == "; did you mean cnn?"
    assert suggest("resnet51", ["resnet18", "resnet50"]) == "; did you mean resnet50 or resnet18?"
    assert suggest("zzz", ["cnn"]) == ""


@pytest.mark.parametrize(
    "name", ["Comment Text (EN)", "Größe", "#1 String", "Kommentar: lang", "it's", "50 % off", "a=b"]
)
@pytest.mark.parametrize("key", ["dataset.text", "+dataset.label", "dataset.group"])
def test_a_name_of_a_column_needs_no_quotes(key, name):
    assert Overrides.parse([quote(f"{key}={name}")]).typed == {key.lstrip("+"): name}
    assert Overrides.parse([quote(f"{key}=[{name},Body]")]).typed == {key.lstrip("+"): [name, "Body"]}
    swept = Overrides.parse([quote(f"{key}={name},Body (x)", multirun=True)])
    assert [job.typed for job in swept.jobs()] == [{key.lstrip("+"): name}, {key.lstrip("+"): "Body (x)"}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("null", None),
        ("auto", "auto"),
        ("[0,1]", [0, 1]),
        ("'x (y)'", "x (y)"),
        ('["a (b)","c"]', ["a (b)", "c"]),
        ("Preis, netto", "Preis, netto"),
        ("[[a,b],c]", [["a", "b"], "c"]),
        ("{0: a, 1: b}", {0: "a", 1: "b"}),
    ],
)
def test_what_was_read_of_a_column_is_read_as_before(text, value):
    assert Overrides.parse([quote(f"dataset.text={text}")]).typed == {"dataset.text": value}


def test_several_columns_are_a_sweep_as_before():
    for text, multirun in (("a,b", False), ("a,b", True), ("choice(a,b)", False), ("[a,b],[c,d]", True)):
        assert quote(f"dataset.text={text}", multirun=multirun) == f"dataset.text={text}"
        assert Overrides.parse([quote(f"dataset.text={text}", multirun=multirun)]).swept == ["dataset.text"]
