"""A transform of the user's own for each training image, through commands."""

import importlib.util
from pathlib import Path

import pytest
import torch

from ptft.builders.parts.own_transform import transformed
from ptft.checkpoint import file as checkpoint_file
from ptft.config.instantiate import look_here
from ptft.core import Spec
from ptft.data.examples import MemoryExamples
from ptft.data.image import folder
from tests.conftest import FEW, NET, refused, status, summary

RAIN = """
import numpy as np


class Rain:
    def __init__(self, most: int = 60):
        self.most = most

    def __call__(self, image):
        drops = np.random.randint(0, self.most, image.shape)
        return np.clip(image.astype(int) + drops, 0, 255).astype(np.uint8)


def turned(image, degrees):
    return image.rotate(degrees)


class Dry:
    pass
"""
BY_NAME = """
class HorizontalFlip:
    def __init__(self, p: float):
        self.p, self.seeds = p, []

    def set_random_seed(self, seed):
        self.seeds.append(seed)

    def __call__(self, *, image):
        assert self.seeds
        return {"image": image[:, ::-1]}
"""
RUN = ("stage=pretrain", "dataset=glyphs", *FEW, *NET, "precision=fp32", "train.layout=contiguous", "schedule=constant")


@pytest.fixture
def mine():
    """The name of a module in the working folder, and how it is trusted."""
    Path("my_rain.py").write_text(RAIN)
    return "my_rain"


def weights(run):
    return checkpoint_file.read(Path(run) / "checkpoints" / "last.pt")[0]["weights"]


def test_a_resumed_run_equals_the_whole_one_and_nothing_else_needs_the_class(mine, ptft):
    trusted = f"trusted=[{mine}]"
    own = (f"dataset.transform._target_={mine}.Rain", "dataset.transform.most=200", trusted)
    typed = (*RUN, "train.batch_size=16", "train.every.evaluate=3", "predictions=none", "train.workers=0")
    for name, steps, more in (("whole", 9, own), ("run", 6, own), ("without", 9, ())):
        done = ptft(*typed, *more, f"train.steps={steps}", f"hydra.run.dir={name}")
        assert done.code == 0, done.text
    refused(ptft("resume=run", "train.steps=9"), 2, f"dataset.transform._target_={mine}.Rain: refused", trusted)
    assert ptft("resume=run", "train.steps=9", trusted).code == 0
    whole, run, without = weights("whole"), weights("run"), weights("without")
    assert all(torch.equal(value, run[name]) for name, value in whole.items())
    assert not all(torch.equal(value, without[name]) for name, value in whole.items())
    assert ptft("stage=evaluate", "ckpt=whole", "hydra.run.dir=measured").code == 0
    assert summary(Path("measured"))["metrics"]["test"] == summary(Path("whole"))["metrics"]["test"]


def test_photos_are_changed_in_workers_after_they_are_read(mine, ptft):
    folder.sample(Path("photos"), 6)
    data = ("dataset=image_folder", "dataset.root=photos", "dataset.size=16", "dataset.cache=off", "train.workers=2")
    node = f"{{_target_: {mine}.turned, _given_: pil, degrees: 20}}"
    own = (f"dataset.transform={node}", f"trusted=[{mine}]", "train.steps=2", "hydra.run.dir=run")
    Path("photos/train/cat/broken.jpg").write_bytes(b"no image")
    done = ptft("stage=pretrain", *data, *NET, *own)
    assert done.code == 0, done.text
    assert status(Path("run"))["status"] == "finished"


def test_a_head_that_learns_from_changed_images_is_trained_in_steps(mine, ptft):
    own = (f"dataset.transform._target_={mine}.Rain", f"trusted=[{mine}]", "train.workers=0")
    typed = ("stage=finetune", "ckpt=null", *RUN[1:], "finetune.train=head", "train.steps=2")
    done = ptft(*typed, *own, "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "step 2/2" in done.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("dataset.transform._target_=MINE.Dry",), ("can't be called with an image",)),
        (("dataset.transform._target_=MINE.np",), ("no class or function of a package of yours",)),
        (("dataset.transform._target_=MINE.Rain", "dataset.transform.mots=3"), ("did you mean most",)),
        (("dataset.transform._target_=MINE.Rain", "dataset.transform._given_=jpg"), ("choose array, tensor, pil",)),
        (("dataset.transform._target_=MINE.turned", "train.steps=2"), ("fails on training image", "degrees")),
        (("dataset.transform=rain",), ("dataset.transform=rain: must be null, or a class of yours",)),
        (("dataset.transform._target_=os.system",), ("dataset.transform._target_=os.system: refused",)),
    ],
)
def test_what_can_not_be_is_said_in_one_line(typed, said, mine, ptft):
    arguments = [text.replace("MINE", mine) for text in typed]
    refused(ptft(*RUN, *arguments, f"trusted=[{mine}]", "train.workers=0"), 2, *said)


def test_transforms_of_torchvision_get_tensors_and_those_of_albumentations_images_by_name():
    """Where the latter is not installed, a package that calls and seeds as it does stands for it."""
    if importlib.util.find_spec("albumentations") is None:
        Path("albumentations").mkdir()
        Path("albumentations/__init__.py").write_text("from albumentations.core import HorizontalFlip\n")
        Path("albumentations/core.py").write_text(BY_NAME)
    images = MemoryExamples(torch.arange(48).to(torch.uint8).view(2, 1, 4, 6), torch.zeros(2, dtype=torch.long))
    spec = Spec("image", {"size": [4, 6], "channels": 1})
    look_here(("albumentations",))
    for target in ("torchvision.transforms.v2.RandomHorizontalFlip", "albumentations.HorizontalFlip"):
        node = {"_target_": target, "p": 1.0}
        made = transformed(images, node, spec, (target.partition(".")[0],))
        assert torch.equal(made.take(torch.arange(2))["input"], images.base.flip(3))
    assert transformed(images, None, spec, ()) is images


def test_only_images_whose_targets_stay_are_changed(mine, ptft):
    own = (f"dataset.transform._target_={mine}.Rain", f"trusted=[{mine}]", "stage=pretrain")
    shapes = ("dataset=shapes", "dataset.images=8", "dataset.held_out=8", "objective=detect")
    refused(ptft(*own, *shapes), 2, "boxes must move with the image")
    refused(ptft(*own, "dataset=tones", "model=audio_cnn"), 2, "dataset.transform._target_: there is no such key")
