"""Every option of every group, found by itself: composed, and one step taken with it."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
OPTIONS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml"))

GRAMMAR = ["dataset=grammar", "dataset.sentences=40", "dataset.held_out=10", "dataset.length=16"]
WRITES, READS = ["model=gpt_tiny", "objective=causal_lm"], ["model=bert_tiny", "objective=masked_lm"]

BERT = ["model=bert_tiny", "model.width=16", "model.depth=1", "dataset.vocabulary=300"]

NEEDS = {
    "dataset/image_folder": ["dataset.size=32"],
    "model/timm": ["model.name=test_vit"],
    "model/torchvision": ["model.name=mobilenet_v3_small"],
    "objective/mae": ["model=vit_tiny"],
    "experiment/mnist_survey_finetune": ["ckpt=null"],
    "stage/finetune": ["ckpt=null"],
    **{f"model/{name}": ["dataset=tones", "dataset.limit=12"] for name in ("audio_cnn", "audio_transformer")},
    "model/conformer_small": ["dataset=tones", "dataset.limit=12", "model.depth=2"],
    "objective/ctc": ["dataset=tones", "dataset.words=[1,2]", "dataset.limit=12", "model=audio_cnn"],
    "objective/simclr_audio": ["dataset=tones", "dataset.limit=12", "model=audio_cnn"],
    **{
        f"objective/{name}": ["dataset=tones", "dataset.limit=12", "model=audio_transformer"]
        for name in ("wav2vec2", "spectrogram_mae")
    },
    "dataset/tones": ["model=audio_cnn", "dataset.limit=12"],
    **{f"dataset/{name}": ["model=audio_cnn"] for name in ("audio_folder", "speech_commands")},
    "dataset/audio_strings": ["model=audio_cnn", "objective=ctc"],
    "dataset/audio_manifest": ["model=audio_cnn", "objective=ctc"],
    **{
        f"experiment/{name}": ["dataset.pattern=null", "dataset.test_rule=null", "dataset.val=val"]
        for name in ("fsdd", "fsdd_pretrain")
    },
    "experiment/fsdd_finetune": ["ckpt=null", "dataset.pattern=null", "dataset.test_rule=null"],
    "experiment/fsdd_strings": ["dataset.pattern=null", "dataset.test_rule=null", "dataset.val_rule=null"],
    "dataset/text": [*WRITES, "dataset.length=16"],
    "dataset/grammar": [*WRITES, *GRAMMAR[1:]],
    "model/gpt_tiny": [WRITES[1], *GRAMMAR],
    "model/gpt_small": [WRITES[1], *GRAMMAR],
    "model/bert_tiny": [READS[1], *GRAMMAR],
    "model/bert_small": [READS[1], *GRAMMAR],
    "objective/causal_lm": [WRITES[0], *GRAMMAR],
    "objective/masked_lm": [READS[0], *GRAMMAR],
    "objective/replaced_token": [READS[0], *GRAMMAR],
    "dataset/table": BERT,
    "dataset/huggingface": BERT,
    "dataset/conll": [*BERT, "objective=tag"],
    "dataset/squad": [*BERT, "objective=span", "dataset.length=40", "dataset.stride=8"],
    "objective/tag": [*BERT, "dataset=conll"],
    "objective/span": [*BERT, "dataset=squad", "dataset.length=40", "dataset.stride=8"],
    "objective/regress": [
        *BERT,
        "dataset=table",
        "dataset.target=number",
        "dataset.label=number",
    ],
}
"""What an option asks for beside its name; on twelve digits where that is no dataset."""

COMPOSED_ONLY = {"model/from_ckpt", "dataset/from_ckpt", "objective/from_ckpt", "stage/evaluate", "stage/predict"}
COMPOSED_ONLY |= {"objective/distill", "stage/compare", "model/huggingface"}
"""Options that need a checkpoint or a model's folder; tests/stages and tests/models run them."""

SMALL = ["train.batch_size=4", "train.steps=2", "device=cpu"]


def overrides(option: str, root: Path) -> list[str]:
    """What to type for a step with this option on a handful of examples."""
    group, name = option.split("/")
    stage = [] if group == "stage" else ["stage=finetune"] if name.endswith("_finetune") else ["stage=pretrain"]
    typed = [*stage, f"{group}={name}", *NEEDS.get(option, []), *SMALL]
    typed_data = [word.removeprefix("dataset=") for word in typed if word.startswith("dataset=")]
    data = dataset_of(group, name) or next(iter(typed_data), None)
    if data is None:
        return [*typed, "dataset=digits", "dataset.limit=12"]
    module = importlib.import_module(
        yaml.safe_load((CONF / "dataset" / f"{data}.yaml").read_text())["_target_"].rpartition(".")[0]
    )
    module.sample(root)
    return [*typed, f"dataset.root={root}"]


def dataset_of(group: str, name: str) -> str | None:
    """The dataset that an option brings along."""
    if group == "dataset":
        return name
    defaults = yaml.safe_load((CONF / group / f"{name}.yaml").read_text()).get("defaults", [])
    found = [entry["override /dataset"] for entry in defaults if "override /dataset" in entry]
    return found[0] if found and found[0] != "from_ckpt" else None


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in COMPOSED_ONLY])
def test_a_step_with_every_option(option, ptft, tmp_path):
    done = ptft(*overrides(option, tmp_path / "data"), "dry_run=true")
    assert done.code == 0, done.text
    assert "cost, from one step" in done.out


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option):
    from ptft.config.compose import compose

    group, name = option.split("/")
    cfg = compose([f"{group}={name}"])
    assert cfg.names[group] == name


def test_no_option_is_left_out():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups == {"dataset", "experiment", "model", "objective", "optimizer", "schedule", "stage"}
    assert len(OPTIONS) == sum(len(list((CONF / group).glob("*.yaml"))) for group in groups)
    assert COMPOSED_ONLY | NEEDS.keys() <= set(OPTIONS)


def test_typed_wins_over_experiment_wins_over_stage_wins_over_config():
    from ptft.config.compose import compose

    assert compose(["stage=pretrain"]).optimizer.lr == 1e-3
    assert compose(["stage=finetune"]).optimizer.lr == 5e-4
    assert compose(["stage=finetune", "experiment=mnist_survey_finetune"]).optimizer.lr == 1e-4
    assert compose(["stage=finetune", "experiment=mnist_survey_finetune", "optimizer.lr=7"]).optimizer.lr == 7
    assert compose(["stage=finetune", "dataset=mnist"]).names.dataset == "mnist"


NEW_MODEL = '''
from ptft.core import Features
from ptft.models.image.base import ImageBackbone
from torch import nn


class Line(ImageBackbone):
    """One matrix."""

    def __init__(self, spec, width=8):
        super().__init__(spec)
        self.width = width
        self.project = nn.Linear(self.size[0] * self.size[1] * self.channels, width)

    def forward(self, x, mask=None):
        return Features(self.project(x.flatten(1)).unsqueeze(1))

    def layers(self):
        return [[self.project]]
'''


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_a_new_model_of_one_file_and_one_yaml_is_picked_up_unasked(tmp_path, works):
    copy = tmp_path / "copy"
    for name in ("ptft", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests").mkdir()
    for name in ("conftest.py", "test_conf.py"):
        shutil.copy(ROOT / "tests" / name, copy / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "ptft" / "models" / "line.py").write_text(
        NEW_MODEL if works else NEW_MODEL.replace("flatten(1)", "flatten(0)")
    )
    (copy / "conf" / "model" / "line.yaml").write_text("_target_: ptft.models.line.Line\nwidth: 8\n")
    arguments = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_conf.py",
        "-k",
        "line and not linear and option",
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True, timeout=300)
    assert ("2 passed" in done.stdout) == works, done.stdout
    assert ("1 failed, 1 passed" in done.stdout) != works, done.stdout
