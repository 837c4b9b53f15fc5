"""Every key has a type and a range, and everything wrong is said at once."""

import copy

import pytest

from ptft.config import compose
from ptft.config.validate import RULES, check
from ptft.errors import ConfigError
from tests.conftest import refused


@pytest.fixture(scope="module")
def composed():
    """A composition of each of two stages, and one of recordings, together with keys of every kind."""
    configs = {}
    finetune = ["ckpt=x", "model=vit_tiny", "optimizer.lr=5e-4"]  # which is auto until the checkpoint is known
    for stage, typed in (("pretrain", ["optimizer=sgd"]), ("finetune", finetune)):
        configs[stage] = compose.plain(compose.compose([f"stage={stage}", *typed]))
    recordings = ["stage=pretrain", "dataset=audio_manifest", "dataset.root=x", "optimizer=sgd"]
    return {**configs, "recordings": compose.plain(compose.compose(recordings))}


def changed(config, **values):
    """The configuration with `a__b=value` set at a.b."""
    config = copy.deepcopy(config)
    for key, value in values.items():
        *path, leaf = key.split("__")
        node = config
        for part in path:
            node = node[part]
        node[leaf] = value
    return config


def test_what_is_composed_passes(composed):
    for config in composed.values():
        check(config, config)


INF, NAN = float("inf"), float("nan")
HEAD, ALL = {"until": 0.2, "train": "head"}, {"until": 1.0, "train": "all"}


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("optimizer__lr", [1e-9, 1, 3.5], [0, -1, NAN, INF, "1e", None, True, [1]]),
        ("optimizer__weight_decay", [0, 0.1], [-0.1, NAN, "x", None]),
        ("optimizer__momentum", [0, 0.99], [1, -0.1, "x"]),
        ("train__epochs", [None, 1, 100], [0, -1, 1.5, "3", True, NAN]),
        ("train__minutes", [None, 0.5, 3], [0, -1, INF, "3"]),
        ("train__batch_size", [1, 512], [0, 2.0, "64", None]),
        ("train__clip", [None, 0.5], [0, -1, NAN]),
        ("train__ema", [None, 0.999], [0, 1, 1.5]),
        ("train__pause", [None, 1, 500, 0.5], [0, 1.5, -1, "half", True]),
        ("train__average_last", [None, 2, 5], [0, 1, 2.5, "3", True]),
        ("train__workers", ["auto", 0, 4], [-1, 0.5, None, "many"]),
        ("dataset__cache", ["auto", "memory", "disk", "off", False], ["ram", True, None, 0]),
        ("train__every__log", ["auto", 1], [0, "never"]),
        ("train__compile", [True, False], ["yes", 1, None]),
        (
            "train__monitor",
            [None, {"metric": "val/loss", "mode": "min"}],
            ["val/loss", {"metric": "val/loss"}, {"mode": "min"}],
        ),
        ("dataset__size", [None, 28, [32, 48]], [0, -3, 2.5, [32], [1, 2, 3], "28"]),
        ("dataset__channels", [None, 1, 3], [2, 4, True, "3"]),
        ("dataset__val", [None, "val", 0.1], [0, 1, 1.5, ""]),
        ("dataset__fraction", [None, 0.5, 1], [0, 1.1]),
        ("dataset__units", ["characters", "words", "bpe"], ["letters", None, 3]),
        ("dataset__vocabulary", [1, 300], [0, 2.5, None, "many"]),
        ("dataset__symbols", [None, ["a", " "]], ["ab", 3]),
        ("dataset__limit", [None, 10], [0, 0.5]),
        ("dataset__classes", [None, ["a"]], ["a", 3]),
        ("dataset__on_error", ["raise", "skip"], ["ignore", None]),
        ("dataset__download", [True, False], ["no", None]),
        ("objective__label_smoothing", [0, 0.1], [1, -0.1, None]),
        (
            "finetune__train",
            ["all", "head", "last:2", "norm", "bias", [HEAD, ALL], [{**HEAD, "layer_decay": 0.5}, ALL]],
            [
                *("last:", "tail", "last:-1", None, 2, [], ["all"], [HEAD], [ALL, HEAD], [HEAD, HEAD, ALL]),
                *([{"until": 1}], [{"until": 1, "train": "tail"}], [{**ALL, "lr": 1}], [{**ALL, "layer_decay": 2}]),
                *([{"until": "1", "train": "all"}], [{"until": 0, "train": "head"}, ALL]),
            ],
        ),
        ("finetune__head_init", ["random", "zero", "probe"], ["ones", None]),
        ("train__replay", [None, "ckpt", "outputs/run"], ["", 3]),
        ("train__panel", [None], [3, []]),
        ("train__replay_share", [0.1, 0.9], [0, 1, None, "x"]),
        ("finetune__l2sp", [None, 0.01], [0, -1, NAN, "x"]),
        ("finetune__lora__rank", [None, 8], [0, 1.5, "8"]),
        ("finetune__lora__alpha", [16, 0.5], [0, None]),
        ("finetune__lora__targets", ["attention", r"blocks\.\d", ["qkv"]], ["", "(", None, [], [3], 2]),
        ("finetune__lora__dropout", [0, 0.1], [1, -0.1]),
        ("finetune__head", ["auto", "new", "keep"], ["old", None]),
        ("finetune__layer_decay", [None, 0.75, 1], [0, 1.1]),
        ("device", ["auto", "cpu", "cuda", "cuda:1", "mps"], ["gpu", "cuda:", "cuda:x", None, 0]),
        ("precision", ["auto", "fp32", "bf16", "fp16"], ["fp8", 16]),
        ("seed", [0, 7], [-1, 0.5, "x", None]),
        ("dry_run", [True], ["yes", 1]),
        ("trusted", [[], ["mypkg"]], ["mypkg", None]),
        ("schedule__warmup", [0, 0.1, 500], [-1, "x"]),
    ],
)
def test_values_in_and_out_of_range(composed, key, good, bad):
    of_recordings = key in ("dataset__units", "dataset__vocabulary", "dataset__symbols")
    config = composed["finetune" if key.startswith("finetune") else "recordings" if of_recordings else "pretrain"]
    name = key.replace("__", ".")
    for value in good:
        check(changed(config, **{key: value}), config)
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            check(changed(config, **{key: value}), config)
        lines = str(caught.value).splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"{name}={'null' if value is None else value}: must be "), lines


def test_every_central_rule_is_of_a_key_of_config_yaml_or_of_a_stage():
    stages = [f"stage={name}" for name in compose.options("stage")]
    keys = {key for stage in stages for key in compose.flat_keys(compose.compose([stage]))}
    assert set(RULES) <= keys
    assert not [key for key in RULES if key.split(".")[0] in compose.GROUPS]


def test_a_key_without_a_rule_keeps_the_type_of_its_default(composed):
    config = composed["pretrain"]
    for key, bad in (("dataset__views__rotate", "far"), ("optimizer__nesterov", 3), ("dataset__held_out", None)):
        with pytest.raises(ConfigError, match=key.replace("__", ".")):
            check(changed(config, **{key: bad}), config)


def test_of_another_class_as_a_checkpoint_may_be_types_are_its_own(composed):
    chosen = changed(composed["pretrain"], model___target_="ptft.models.audio.cnn.AudioCNN", model__channels=[32, 64])
    taken = changed(composed["pretrain"], model___target_="ptft.models.audio.conformer.Conformer", model__channels=32)
    check(taken, chosen)
    with pytest.raises(ConfigError, match=r"model\.channels=32: must be a list of whole numbers"):
        check(changed(chosen, model__channels=32), chosen)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("model.channels=4", "model.channels=4: must be a list of whole numbers, e.g. [32, 64]"),
        ("model.channels=[4,a]", "model.channels=[4, 'a']: must be a list of whole numbers"),
        ("model.channels=null", "model.channels=null: must be a list of whole numbers"),
        ("model.width=1.5", "model.width=1.5: must be a whole number"),
        ("objective.num_classes=ten", "objective.num_classes=ten: must be a whole number of at least 1, or null"),
    ],
)
def test_an_option_of_another_kind_than_its_class_takes_is_one_line(ptft, typed, said):
    done = ptft("stage=pretrain", "dataset=digits", "model=cnn", "train.steps=1", typed)
    refused(done, 2, said)


def test_everything_wrong_is_said_at_once(composed):
    wrong = {
        "optimizer__lr": -1,
        "train__batch_size": 4,
        "train__accumulate": 8,
        "seed": "x",
        "dataset__limit": 5,
        "dataset__fraction": 0.5,
        "ckpt": "a",
        "resume": "b",
    }
    with pytest.raises(ConfigError) as caught:
        check(changed(composed["pretrain"], **wrong), composed["pretrain"])
    lines = str(caught.value).splitlines()
    starts = [
        "optimizer.lr=-1",
        "seed=x",
        "resume= continues",
        "dataset.limit and dataset.fraction",
        "train.accumulate=8",
    ]
    assert len(lines) == len(starts)
    for start in starts:
        assert any(line.startswith(start) for line in lines), (start, lines)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train__minutes": 5}, "train.minutes=5: .*in epochs or steps"),
        ({"train__every__evaluate": "5min"}, "train.every.evaluate=5min: .*number of steps, or epoch"),
    ],
)
def test_what_is_deterministic_asks_no_clock(composed, values, said):
    config = composed["pretrain"]
    check(changed(config, train__deterministic=True, train__every__evaluate="epoch"), config)
    check(changed(config, **values), config)
    with pytest.raises(ConfigError, match=f"^train.deterministic=true and {said}$"):
        check(changed(config, train__deterministic=True, **values), config)


def test_a_cross_validation_does_not_pause(composed):
    config = composed["pretrain"]
    with pytest.raises(ConfigError, match=r"^train\.folds=3 and train\.pause=5: "):
        check(changed(config, train__folds=3, train__pause=5), config)
