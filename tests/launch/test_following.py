"""What a run proposes to type next works as it is printed, but for the FILES in it; so do remedies that name data."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.config.resolve import resolve
from ptft.data.text import conll, squad
from tests.conftest import GLYPHS, NET, refused

TINY = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "dataset.vocabulary=300")
STEP = ("train.steps=1", "device=cpu", "precision=fp32")


def reviews(root: Path) -> str:
    """A table whose columns are no usual ones, in a folder whose name needs quotes."""
    file = root / "my reviews" / "r.csv"
    file.parent.mkdir()
    lines = [f"{word} number {i};{word}" for i in range(20) for word in ("good", "bad")]
    file.write_text("\n".join(["Text (EN);Note", *lines]))
    return f"dataset=table|dataset.root={file}|dataset.text=Text (EN)|dataset.label=Note"


def photos(root: Path) -> str:
    for name in ("cat", "dog"):
        (root / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (16, 16), (9 * i, 40, 200 if name == "dog" else 0)).save(
                root / "photos" / name / f"{i}.png"
            )
    return f"dataset=image_folder|dataset.root={root / 'photos'}|model.width=8|model.channels=[4,8]"


def proposed(done) -> list[str]:
    assert done.code == 0, done.text
    (line,) = re.findall(r"^next    ptft (.*)$", done.out, re.M)
    return shlex.split(line)


def trained(ptft, data: str, *typed: str):
    return ptft("stage=pretrain", *data.split("|"), *typed, *STEP, "hydra.run.dir=run")


def test_a_text_run_without_answers_is_finetuned_on_its_own_labels(ptft, tmp_path):
    following = proposed(trained(ptft, reviews(tmp_path), *TINY, "objective=masked_lm"))
    assert following[:3] == ["stage=finetune", "ckpt=run/checkpoints/best.pt", "dataset=table"]
    then = proposed(ptft(*following, *STEP))
    assert then[0] == "stage=predict"
    assert then[-1] == "input=FILES"


def test_so_are_photos(ptft, tmp_path):
    following = proposed(trained(ptft, photos(tmp_path), "objective=rotation"))
    assert following == ["stage=finetune", following[1], "dataset=image_folder", "dataset.root=photos"]
    assert ptft(*following, *STEP).code == 0


def test_what_answers_is_asked_and_what_has_no_labels_gets_some(ptft, tmp_path):
    following = proposed(trained(ptft, photos(tmp_path)))
    assert following == ["stage=predict", following[1], "input=FILES"]
    assert proposed(ptft("stage=evaluate", "ckpt=run", "device=cpu"))[0] == "stage=predict"
    (tmp_path / "t.txt").write_text("some words and more of them\n" * 200)
    texts = ("dataset=text", "dataset.root=t.txt", "dataset.length=16", *TINY, "objective=masked_lm")
    done = ptft("stage=pretrain", *texts, "dataset.tokenizer=bpe", *STEP, "hydra.run.dir=words")
    assert proposed(done) == ["stage=finetune", "ckpt=words/checkpoints/best.pt", "dataset=table", "dataset.root=FILES"]


def test_the_images_that_come_along_lead_to_those_of_a_finetune(ptft):
    done = ptft("stage=pretrain", *GLYPHS, *NET, *STEP)
    following = proposed(done)
    assert [word.split("=")[0] for word in following] == ["stage", "ckpt"]
    assert resolve(following).config.names.dataset == "digits"
    assert proposed(ptft(*following, *STEP, "dataset.limit=50"))[0] == "stage=predict"


OWN = """
import torch
from torch import nn
from torch.utils.data import Dataset

class Cells(Dataset):
    def __init__(self, count=40, kind="a"):
        self.images, self.kind = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), kind

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.kind + str(i % 2)

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The names of two modules of the working folder, one with a dataset and one with a model."""
    names = ["my_cells", "my_nets"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return names


def test_all_that_has_to_be_trusted_is_named_at_once_and_in_the_next_command(own, ptft):
    data, net = own
    typed = (f"dataset._target_={data}.Cells", f"model._target_={net}.Net", "+dataset.kind=b c", "objective=rotation")
    asked = f"type 'trusted=[{net},{data}]' if they are yours"
    refused(ptft("stage=pretrain", *typed, *STEP), 2, "refused", asked)
    trusted = f"trusted=[{net},{data}]"
    following = proposed(ptft("stage=pretrain", *typed, *STEP, trusted, "hydra.run.dir=run"))
    assert following[0] == "stage=finetune"
    assert following[-1] == trusted
    assert proposed(ptft(*following, *STEP, "hydra.run.dir=tuned"))[-2:] == ["input=FILES", trusted]
    assert torch.load("tuned/checkpoints/best.pt", weights_only=True)["spec"]["classes"] == ["b c0", "b c1"]
    refused(ptft("stage=evaluate", "ckpt=tuned", f"trusted=[{net}]"), 2, f"'trusted=[{net},{data}]' if it is yours")
    refused(ptft("resume=tuned", "train.steps=2"), 2, asked)
    assert proposed(ptft("stage=evaluate", "ckpt=tuned", trusted))[-1] == trusted


def test_a_dataset_of_another_kind_is_refused_with_the_one_to_type(ptft, tmp_path):
    assert trained(ptft, reviews(tmp_path), *TINY).code == 0
    remedies = set()
    for stage in ("finetune", "compare", "pretrain"):
        done = ptft(f"stage={stage}", "ckpt=run")
        refused(done, 2, "trained on text", "as none was typed, is one of images", "or another of text (chat,")
        remedies.add(re.search(r"; type (.*), or another", done.err)[1])
        refused(ptft(f"stage={stage}", "ckpt=run", "dataset.label=Note"), 2, "dataset.label", "; type dataset=table")
    (remedy,) = remedies
    assert ptft("stage=finetune", "ckpt=run", *shlex.split(remedy), *STEP).code == 0


@pytest.mark.parametrize(("objective", "dataset", "sample"), [("tag", "conll", conll), ("span", "squad", squad)])
def test_the_remedy_of_other_answers_names_their_objective(objective, dataset, sample, ptft, tmp_path):
    sample.sample(tmp_path / "data")
    more = ["dataset.length=40", "dataset.stride=8"] if objective == "span" else []
    data = "|".join([f"dataset={dataset}", "dataset.root=data", f"objective={objective}", *more])
    assert trained(ptft, data, *TINY).code == 0
    done = ptft("stage=finetune", "ckpt=run")
    words = shlex.split(re.search(r"; type (.*), or another", done.err)[1])
    assert f"objective={objective}" in words
    assert ptft("stage=finetune", "ckpt=run", *words, *STEP, "dry_run=true").code == 0


def test_a_dataset_that_nobody_chose_is_said_where_the_checkpoint_had_files(ptft, tmp_path):
    assert trained(ptft, photos(tmp_path)).code == 0
    note = "dataset=digits, as none was typed; the checkpoint was trained on image_folder (photos)"
    plan = ("ckpt=run", "dry_run=true", *STEP)
    for more in ((), ("finetune.train=head",)):
        done = ptft("stage=finetune", *plan, *more)
        assert note in done.out
    words = shlex.split(re.search(r"image_folder \(photos\); (.*) chooses it", done.out)[1])
    assert note in ptft("stage=compare", *plan, "compare.seeds=1", "compare.per_class=[1]").out
    chosen = ptft("stage=finetune", *plan, *words)
    assert chosen.code == 0
    assert "none was typed" not in chosen.out
