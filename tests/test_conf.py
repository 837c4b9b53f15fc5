"""Every option of every group, found by itself: composed, and one step taken with one of each class."""

import importlib

import pytest
import yaml

from tests.helpers import options
from tests.helpers.options import CONF, OPTIONS

SMALL = ["train.batch_size=4", "train.steps=2", "device=cpu"]

KNOWN = {
    "dataset": """audio_folder audio_manifest audio_strings captions chat cifar10 cifar100 coco conll digits
        fashion_mnist from_ckpt glyphs grammar huggingface huggingface_audio huggingface_images image_folder imagenet
        mask_folder mnist scenes shapes speech_commands squad table text tones torch_dataset""",
    "experiment": """cifar10_fast fsdd fsdd_finetune fsdd_pretrain fsdd_strings mnist_fast mnist_mae mnist_simclr
        mnist_survey mnist_survey_finetune shakespeare wikiann_ner""",
    "model": """airbench audio_cnn audio_transformer bert_small bert_tiny cnn conformer_small convnet convnext_tiny
        efficientnet_b0 from_ckpt gpt_small gpt_tiny huggingface mobilenet_v3_small resnet18 resnet50 timm torchvision
        vit_b_16 vit_small vit_tiny""",
    "logger": "mlflow tensorboard trackio wandb",
    "objective": """best_rq byol causal_lm classify ctc detect dino dinov2 distill feature_distill from_ckpt hubert
        mae masked_lm multilabel regress replaced_token rotation segment siglip simclr simclr_audio span
        spectrogram_mae tag vicreg wav2vec2""",
    "optimizer": "adam adamw muon sgd",
    "schedule": "constant cosine linear onecycle step wsd",
    "stage": "compare embed evaluate explain export finetune inspect predict pretrain tune zero_shot",
    "tune": "default head light pretrain regularisation",
}
"""What users can type at this version. More may come; one that vanishes breaks their commands."""


def overrides(option, root):
    """What to type for a step with this option on a handful of examples."""
    group, name = option.split("/")
    stage = (
        []
        if group == "stage"
        else ["stage=tune"]
        if group == "tune"
        else ["stage=finetune"]
        if name.endswith("_finetune")
        else ["stage=pretrain"]
    )
    typed = [*stage, f"{group}={name}", *options.typed(option), *SMALL]
    data = dataset_of(group, name) or options.typed_dataset(option)
    if data is None:
        return [*typed, "dataset=digits", "dataset.limit=12"]
    importlib.import_module(options.node(f"dataset/{data}")["_target_"].rpartition(".")[0]).sample(root)
    return [*typed, f"dataset.root={root}"] if root.exists() else typed  # what is embedded writes nothing


def dataset_of(group, name):
    """The dataset that an option brings along."""
    if group == "dataset":
        return name
    defaults = yaml.safe_load((CONF / group / f"{name}.yaml").read_text()).get("defaults", [])
    found = [entry["override /dataset"] for entry in defaults if "override /dataset" in entry]
    return found[0] if found and found[0] != "from_ckpt" else None


def one_of_each_class():
    """Options that a step is taken with: of several of a class the first that is not large; of experiments all."""
    found = {}
    for option in [each for each in OPTIONS if not {"composed_only", "large"} & options.note(each).keys()]:
        whole = option.startswith(("experiment/", "stage/"))  # which differ in what they set together
        found.setdefault(option if whole else options.node(option)["_target_"], option)
    return sorted(found.values())


@pytest.mark.parametrize("option", one_of_each_class())
def test_a_step_with_an_option_of_every_class(option, ptft, tmp_path):
    dry = not option.startswith("logger/")  # which hears of real steps only
    typed = overrides(option, tmp_path / "data")
    assert chosen(option, typed)
    done = ptft(*typed, *(["dry_run=true"] if dry else ["hydra.run.dir=run"]))
    assert done.code == 0, done.text
    assert "the run goes on without it" not in done.text  # which is said of a logger that fails
    assert not dry or "cost, from one step" in done.out or option.startswith("stage/")  # which may do something else


def chosen(option, typed):
    """Whether what is typed composes to a configuration with this option."""
    from ptft.config.compose import compose

    group, name = option.split("/")
    return compose(typed).names[group] in (name, [name])  # of some groups several may be chosen


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in one_of_each_class()])
def test_every_other_option_composes(option):
    stage = ["stage=tune"] if option.startswith("tune/") else []  # the one that has this group
    assert chosen(option, [*stage, option.replace("/", "=")])


@pytest.mark.parametrize("group", KNOWN)
def test_no_option_vanishes_and_the_command_lists_what_is_tested(group, ptft):
    listed = [line.split()[0] for line in ptft("ls", group).out.splitlines() if line[0] != " "]
    assert set(KNOWN[group].split()) <= set(listed)
    assert {f"{group}/{name}" for name in listed} == {option for option in OPTIONS if option.startswith(f"{group}/")}


def test_every_class_is_stepped_or_says_why_not():
    stepped = {options.node(option).get("_target_") for option in one_of_each_class()}
    left = [option for option in OPTIONS if not options.note(option).get("composed_only")]
    assert {options.node(option).get("_target_") for option in left} <= stepped


@pytest.mark.parametrize("option", [option for option in OPTIONS if options.note(option)])
def test_what_is_noted_for_tests_is_understood_and_stands_last(option):
    assert options.note(option).keys() <= {"typed", "composed_only", "large", "width", "learns"}
    assert list(yaml.safe_load((CONF / f"{option}.yaml").read_text()))[-1] == "_test_"


def test_typed_wins_over_experiment_wins_over_stage_wins_over_config():
    from ptft.config.compose import compose

    assert compose(["stage=pretrain"]).optimizer.lr == 1e-3
    assert compose(["stage=finetune"]).optimizer.lr == "auto"
    assert compose(["stage=finetune", "experiment=mnist_survey_finetune"]).optimizer.lr == 1e-4
    assert compose(["stage=finetune", "experiment=mnist_survey_finetune", "optimizer.lr=7"]).optimizer.lr == 7
    assert compose(["stage=finetune", "dataset=mnist"]).names.dataset == "mnist"
