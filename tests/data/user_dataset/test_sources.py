"""A user's own torch Dataset of (input, label) is trained on, measured, resumed; what is wrong with it is named."""

import csv
import importlib
from pathlib import Path

import pytest

from ptft.builders import datasets
from ptft.config.overrides import OWN
from ptft.config.rules import usual
from ptft.data.user_dataset.examples import SplitDatasets
from ptft.data.user_dataset.sources import OwnImages
from tests.conftest import refused, summary

DATA = """
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset


class Base(Dataset):
    count = 60

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.input(i), i % 3

    def pixels(self, i, dtype=torch.uint8):
        made = torch.full((3, 12, 10), 10 + i, dtype=dtype)
        made[i % 3] = 200
        return made


class Tensors(Base):
    def __init__(self, root=None, count=60):
        self.root, self.count = root, count

    def input(self, i):
        return self.pixels(i)


class Floats(Base):
    def input(self, i):
        return self.pixels(i, torch.float32) / 255


class Pictures(Base):
    classes = ["red", "green", "blue"]

    def input(self, i):
        return Image.fromarray(self.pixels(i).permute(1, 2, 0).numpy())


class Arrays(Base):
    def __getitem__(self, i):
        return self.pixels(i).permute(1, 2, 0).numpy(), np.int64(i % 3)


class Grey(Base):
    def __getitem__(self, i):
        return np.full((9, 9), i * 4, np.uint8), ["dark", "light"][i // 30]


class Split(Base):
    def __init__(self, split):
        assert split in ("train", "val", "test")
        self.first = {"train": 0, "val": 60, "test": 72}[split]
        self.count = {"train": 60, "val": 12, "test": 24}[split]

    def input(self, i):
        return self.pixels(self.first + i)


class NoVal(Split):
    def __init__(self, split):
        if split == "val":
            raise ValueError("no such part")
        super().__init__(split)


class Halves(Base):
    def __init__(self, root="x", train=True):
        self.first, self.count = (0, 60) if train else (60, 30)
        self.targets = [(self.first + i) % 3 for i in range(self.count)]
        self.reads = 0

    def input(self, i):
        return self.pixels(self.first + i)

    def __getitem__(self, i):
        return self.input(i), torch.tensor(self.targets[i])


class Groups(Tensors):
    def __init__(self, shift=0):
        super().__init__()
        self.patient = [f"p{i // 4}" for i in range(60)]


class Waves(Base):
    def __getitem__(self, i):
        time = torch.arange(400 + 10 * i) / 8000
        return 0.5 * torch.sin(6.3 * (200 + 300 * (i % 2)) * time), ["low", "high"][i % 2]


class Whole16(Waves):
    def __getitem__(self, i):
        wave, label = super().__getitem__(i)
        return (wave * 30000).to(torch.int16).numpy()[None], label


class Texts(Base):
    def __getitem__(self, i):
        return f"{['a fine day', 'a dull day'][i % 2]} number {i}", i % 2


class Noisy(Tensors):
    def input(self, i):
        return torch.randint(0, 255, (3, 8, 8)).to(torch.uint8)


class Sizes(Tensors):
    def input(self, i):
        return self.pixels(i)[:, : 12 - (i == 7)]


class Triples(Base):
    def __getitem__(self, i):
        return 1, 2, 3


class Fails(Tensors):
    def input(self, i):
        if i == 5:
            raise KeyError("five")
        return self.pixels(i)


class Beyond(Pictures):
    def __getitem__(self, i):
        return self.pixels(i), 3 if i == 4 else 0


class Told(Tensors):
    def __init__(self):
        super().__init__()
        self.targets = [i % 3 for i in range(60)]


class Mended(Told):
    def __getitem__(self, i):
        return self.pixels(i), (i + (i == 13)) % 3


class OftenMended(Told):
    def __getitem__(self, i):
        return self.pixels(i), (i + (i % 7 == 5)) % 3


class GreyFirst(Told):
    def input(self, i):
        return self.pixels(i)[: 1 if i == 0 else 3]


class RarelyColoured(Told):
    def input(self, i):
        return self.pixels(i)[: 3 if i == 13 else 1]


class Fractions(Tensors):
    def __getitem__(self, i):
        return self.pixels(i), 0.5


class Normalised(Tensors):
    def input(self, i):
        return self.pixels(i, torch.float32) - 100


class NoLength(Dataset):
    def __getitem__(self, i):
        return 1, 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


class Empty(Tensors):
    def __init__(self):
        super().__init__(count=0)


class Neither:
    pass
"""
RUN = ("stage=pretrain", "train.epochs=1", "train.batch_size=16", "precision=fp32", "train.workers=0")
CNN = ("objective=classify", "model.width=8", "model.channels=[4,8]")


@pytest.fixture
def own():
    """`own(NAME)` are the overrides that choose a class of a module in the working folder."""
    Path("my_data.py").write_text(DATA)
    return lambda cls: (f"dataset._target_=my_data.{cls}", "trusted=[my_data]")


def splits(folder):
    with open(folder / "split.csv", newline="") as file:
        return {row["name"]: row["split"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", ["Tensors", "Floats", "Pictures", "Arrays", "Grey", "Split", "NoVal", "Halves"])
def test_an_epoch_of_images_in_any_form(name, own, ptft):
    done = ptft(*RUN, *CNN, *own(name), "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert summary(Path("run"))["dataset"] == name
    assert "test/accuracy" in done.out or "test" in summary(Path("run"))["metrics"]
    assert set(splits(Path("run")).values()) == {"train", "val", "test"}
    again = ptft("stage=evaluate", "ckpt=run", own(name)[1], "hydra.run.dir=measured")
    assert again.code == 0, again.text
    assert summary(Path("measured"))["metrics"]["test"] == summary(Path("run"))["metrics"]["test"]


@pytest.mark.parametrize("name", ["Waves", "Whole16"])
def test_waveforms(name, own, ptft):
    audio = ("model=audio_cnn", "objective=classify", "model.width=16", "model.channels=[4,8]")
    refused(ptft(*RUN, *audio, *own(name)), 2, "dataset.rate", "type it")
    done = ptft(*RUN, *audio, *own(name), "dataset.rate=8000", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert ptft("resume=run", "train.epochs=2", own(name)[1]).code == 0


def test_texts(own, ptft):
    small = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.vocabulary=300", "objective=classify")
    done = ptft(*RUN, *small, *own("Texts"), "dataset.names=[good,bad]", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "bad" in (Path("run") / "predictions_test.csv").read_text()
    done = ptft("stage=predict", "ckpt=run", "text=a fine day", own("Texts")[1])
    assert done.code == 0, done.text


def test_it_reads_the_same_from_worker_processes_and_from_memory(own, ptft):
    metrics = []
    for cache, workers in (("off", 0), ("off", 2), ("memory", 0)):
        typed = (f"dataset.cache={cache}", f"train.workers={workers}", f"hydra.run.dir={cache}{workers}")
        done = ptft(*RUN[:-1], *CNN, *own("Pictures"), *typed)
        assert done.code == 0, done.text
        metrics.append(summary(Path(f"{cache}{workers}"))["metrics"])
    assert metrics[0] == metrics[1] == metrics[2]


def test_its_constructor_gets_what_is_typed_and_a_run_goes_on_where_it_is_trusted(own, ptft, tmp_path):
    chosen, trusted = own("Tensors")
    (tmp_path / "my data").mkdir()
    run = (*RUN, *CNN, chosen, trusted, "+dataset.count=45", "schedule=constant")
    done = ptft(*run, "dataset.root=my data", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert len(splits(Path("run"))) == 45
    refused(ptft("resume=run", "train.epochs=2"), 2, "refused", f"type '{trusted}'")
    refused(ptft("stage=evaluate", "ckpt=run"), 2, "refused", f"type '{trusted}'")
    done = ptft("resume=run", "train.epochs=2", trusted)
    assert done.code == 0, done.text
    whole = ptft(*run, "train.epochs=2", "hydra.run.dir=whole")
    assert whole.code == 0, whole.text
    assert summary(Path("run"))["metrics"]["test"] == summary(Path("whole"))["metrics"]["test"]
    refused(ptft(*RUN, *CNN, chosen, trusted, "dataset.cuont=45"), 2, "dataset.cuont", "did you mean count")


def test_more_items_move_none_and_groups_stay_together(own, ptft):
    places = []
    for count in (50, 60):
        typed = (f"dataset.count={count}", "dry_run=false", "train.steps=1", f"hydra.run.dir=run{count}")
        assert ptft("stage=pretrain", *CNN, *own("Tensors"), *typed).code == 0
        places.append(splits(Path(f"run{count}")))
    assert places[0].items() <= places[1].items()
    done = ptft(*RUN, *CNN, *own("Groups"), "dataset.group=patient", "hydra.run.dir=groups")
    assert done.code == 0, done.text
    with open("groups/split.csv", newline="") as file:
        found = {(row["group"], row["split"]) for row in csv.DictReader(file)}
    assert len(found) == 15
    refused(ptft(*RUN, *CNN, *own("Groups"), "dataset.group=doctor"), 2, "dataset.group=doctor", "no attribute doctor")


def test_what_is_random_or_has_no_val_is_told(own, ptft):
    done = ptft(*RUN, *CNN, *own("Noisy"), "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert "an item other values each time it is read" in " ".join(done.out.split())
    done = ptft(*RUN, *CNN, *own("NoVal"), "hydra.run.dir=second")
    assert "there is no val split: no such part" in " ".join(done.out.split())
    refused(ptft(*RUN, *CNN, *own("NoVal"), "dataset.test=exam"), 2, "NoVal(split='exam') fails", "AssertionError")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("Sizes", 3, ("Sizes: item 7 is 11\N{MULTIPLICATION SIGN}10", "item 0 is 12", "dataset.size=10 resizes")),
        ("Triples", 3, ("Triples: item 0 is a tuple of 3", "(input, label)")),
        ("Fails", 3, ("Fails: item 5 can't be read (KeyError: 'five')",)),
        ("Beyond", 3, ("Beyond: item 4 has the label 3", "3 (0 to 2)")),
        ("Mended", 3, ("Mended: item 13 has the label 2, the attribute targets says 1; mend targets, or leave",)),
        ("RarelyColoured", 3, ("RarelyColoured: item 13 has colours", "dataset.channels=3 keeps them")),
        ("Fractions", 3, ("Fractions: item 0 has the label 0.5", "a whole number or a name")),
        ("Normalised", 3, ("Normalised: item 0 has values from", "dataset.mean")),
        ("NoLength", 2, ("NoLength", "lacks __len__")),
        ("Stream", 2, ("Stream", "IterableDataset")),
        ("Empty", 3, ("Empty: holds no items",)),
        ("Neither", 2, ("Neither", "lacks __getitem__ and __len__")),
        ("Absent", 2, ("there is no such class", "Absent")),
    ],
)
def test_what_is_wrong_is_named_in_a_line(name, code, said, own, ptft):
    refused(ptft(*RUN, *CNN, *own(name)), code, *said)


def test_labels_and_colours_are_those_of_the_items_where_an_attribute_says_labels(own, ptft):
    done = ptft(*RUN, *CNN, *own("GreyFirst"), "dry_run=true")
    assert "12\N{MULTIPLICATION SIGN}10\N{MULTIPLICATION SIGN}3" in done.out, done.text
    assert ptft(*RUN, *CNN, *own("RarelyColoured"), "dataset.channels=1", "dry_run=true").code == 0
    exec(DATA, made := {"__name__": "my_data"})
    source = OwnImages(SplitDatasets("OftenMended", {"train": made["OftenMended"]()}), val=None)
    assert source.split("train").labels.tolist() == [(i + (i % 7 == 5)) % 3 for i in range(60)]


def test_different_sizes_are_resized_and_keys_of_other_inputs_refused(own, ptft):
    done = ptft(*RUN, *CNN, *own("Sizes"), "dataset.size=16", "dataset.channels=1")
    assert done.code == 0, done.text
    refused(ptft(*RUN, *CNN, *own("Tensors"), "dataset.length=16"), 2, "dataset.length=16: is for text")
    refused(ptft(*RUN, *CNN, *own("Tensors"), "dataset.limit=0"), 2, "dataset.limit=0")
    refused(ptft(*RUN, *CNN, own("Tensors")[0]), 2, "refused", "trusted=[")


def test_a_source_of_ones_own_goes_on_working(own, ptft, tmp_path):
    name = own("x")[1][9:-1]
    Path(f"{name}.py").write_text(
        "from ptft.data.image.digits import Digits\n\n\nclass Mine(Digits):\n    pass\n\n\n"
        "from ptft.core import Source\n\n\nclass Bare(Source):\n    def __init__(self, root=None):\n"
        "        self.inner = Digits()\n        self.spec = self.inner.spec\n\n    def split(self, name):\n"
        "        return self.inner.split(name)\n\n    def fingerprint(self):\n        return 'x'\n"
    )
    for cls in ("Mine", "Bare"):
        done = ptft(*RUN, *CNN, f"dataset._target_={name}.{cls}", f"trusted=[{name}]", "dry_run=true")
        assert done.code == 0, done.text
    done = ptft(*RUN, *CNN, f"dataset._target_={name}.Bare", f"trusted=[{name}]", "dataset.limit=20")
    refused(done, 2, "dataset.limit", "Bare has no such option")
    module = importlib.import_module(name)
    before = {
        key: value for key, value in usual("dataset", OWN).items() if key != "group_as"
    }  # a run's that has it not
    node = {**before, "_target_": f"{name}.Bare"}
    assert isinstance(datasets.source(node, None, (name,), whole=False), module.Bare)


def test_a_sweep_of_keys_that_only_the_class_knows(own, ptft):
    typed = ("dataset.count=30,45", "train.steps=1", "hydra.sweep.dir=sweep")
    done = ptft("-m", "stage=pretrain", *CNN, *own("Tensors"), *typed)
    assert done.code == 0, done.text
    counts = [len(splits(Path("sweep") / str(job))) for job in (0, 1)]
    assert counts == [30, 45]
