"""What is wrong with the user's data: rows of the table of faults, on image folders made here."""

import shutil
import socket
import time

import pytest
import torch
from PIL import Image

from ptft.checkpoint import file as checkpoint_file
from ptft.core import Spec
from ptft.data.image import cifar
from ptft.data.image import reader as image_reader
from ptft.data.image.torchvision import sample
from tests.conftest import contents, refused, rows, status, summary, transfer

RUN = ("hydra.run.dir=run", "train.steps=2", "train.every.log=1", "model.width=16", "model.channels=[4,8]")
TRAIN = ("stage=pretrain", "dataset=image_folder", "dataset.root=photos", *RUN)
CLASSES = ("cat", "dog")


def draw(path, size=(16, 16), mode="RGB"):
    """An image of its own grey value; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = sum(path.stem.encode()) % 200 + 20
    Image.new("L", size, value).convert(mode).save(path)
    return path


def photos(root, counts=None, classes=CLASSES, suffix=".png", **options):
    """`root/SPLIT/CLASS/N.png`, `counts` images of each class by split."""
    for split, count in (counts or {"train": 8, "val": 2}).items():
        for name in classes:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                draw(root / split / name / f"{i}{suffix}", **options)
    return root


def failed_cleanly(folder, code=3):
    """The run says how it ended, and what was written is whole."""
    assert status(folder)["exit_code"] == code
    if (folder / "metrics.jsonl").exists():
        rows(folder)
    for path in folder.glob("checkpoints/*.pt"):
        checkpoint_file.read(path)
    return True


ODD = "данные a,b (1)/epoch=3"


@pytest.mark.parametrize("odd", [ODD, '[x] {y} #1 it\'s "here" a\\b $HOME', "~x"])
def test_rows_6_and_7_paths_of_any_name_typed_as_they_are(ptft, tmp_path, odd):
    photos(tmp_path / odd / "photos")
    data, small = (f"dataset.root=./{odd}/photos", ("model.width=16", "model.channels=[4,8]", "train.steps=2"))
    made = ptft("stage=pretrain", "dataset=image_folder", data, *small, f"hydra.run.dir=./{odd}/run")
    assert made.code == 0, made.text
    run = tmp_path / odd / "run"
    assert summary(run)["status"] == "finished"
    shutil.copy(run / "checkpoints" / "last.pt", tmp_path / odd / "epoch=3.pt")
    found = ptft("stage=evaluate", f"ckpt=./{odd}/epoch=3.pt", "split=val", f"hydra.run.dir=./{odd}/measured")
    assert found.code == 0, found.text
    assert ptft("stage=predict", f"ckpt={run}", f"input=./{odd}/photos/val", f"output=./{odd}/a,b.csv").code == 0
    assert len((tmp_path / odd / "a,b.csv").read_text().splitlines()) == 5


def test_row_6_own_names_are_plain(ptft, tmp_path):
    photos(tmp_path / ODD)
    assert ptft("stage=pretrain", "dataset=image_folder", f"dataset.root={ODD}", *RUN[1:]).code == 0
    made = [str(path.relative_to(tmp_path)) for path in (tmp_path / "outputs").rglob("*")]
    assert len(made) > 8
    assert not set("".join(made)) & set("=,()#[]{} '\"")
    assert "".join(made).isascii()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "is empty"),
        (lambda root: draw(root / "a.png"), "holds images, but no folder for each class"),
        (lambda root: (root / "cat").mkdir(parents=True) or (root / "cat" / "a.txt").touch(), "no images in them"),
    ],
    ids=["missing", "empty", "flat", "without images"],
)
def test_row_8_a_root_that_holds_no_dataset(ptft, tmp_path, make, said):
    make(tmp_path / "photos")
    refused(ptft(*TRAIN), 3, said, str(tmp_path / "photos"), "dataset.root", "root/train/CLASS/image.jpg")
    assert failed_cleanly(tmp_path / "run")


@pytest.fixture
def dead_network(monkeypatch):
    """Every proxy is a port of this machine where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.mark.parametrize(
    ("name", "file"),
    [("mnist", "train-images-idx3-ubyte"), ("fashion_mnist", "train-images-idx3-ubyte"), ("cifar10", "data_batch_1")],
)
def test_row_9_not_downloaded_and_no_network(ptft, tmp_path, dead_network, name, file):
    began = time.perf_counter()
    result = ptft("stage=pretrain", f"dataset={name}", "dataset.root=none", *RUN)
    refused(result, 3, name, file, str(tmp_path / "none"), "dataset.root", "dataset.download")
    assert time.perf_counter() - began < 20
    assert failed_cleanly(tmp_path / "run")


def test_row_9_public_weights_and_no_network(ptft, tmp_path, dead_network):
    began = time.perf_counter()
    result = ptft("stage=finetune", "ckpt=torchvision:mobilenet_v3_small", *RUN[:2])
    refused(result, 4, "ckpt", "mobilenet_v3_small", str(tmp_path / "torch"), "https://download.pytorch.org")
    assert time.perf_counter() - began < 20
    assert not (tmp_path / "run").exists()


def test_row_18_a_last_batch_of_one_with_batch_norm(ptft, tmp_path):
    photos(tmp_path / "photos", {"train": 17, "val": 1})
    (tmp_path / "photos" / "train" / "dog" / "0.png").unlink()
    result = ptft(
        *TRAIN[:3],
        "model=convnet",
        "model.channels=[4,8]",
        "hydra.run.dir=run",
        "train.batch_size=32",
        "train.epochs=1",
    )
    assert result.code == 0, result.text
    assert result.out.count("the last example of an epoch joins the batch before it") == 1
    assert (summary(tmp_path / "run")["samples"], summary(tmp_path / "run")["steps"]) == (33, 1)


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_row_19_a_dataset_smaller_than_a_batch(ptft, tmp_path, cache):
    photos(tmp_path / "photos", {"train": 5, "val": 1})
    result = ptft(*TRAIN, "train.batch_size=32", f"dataset.cache={cache}", "train.workers=0")
    assert result.code == 0, result.text
    assert summary(tmp_path / "run")["steps"] == 2
    assert summary(tmp_path / "run")["samples"] == 20
    assert rows(tmp_path / "run")[0]["loss"] > 0


@pytest.mark.parametrize("split", ["train", "val"])
def test_row_20_an_empty_split(ptft, tmp_path, split):
    photos(tmp_path / "photos", {"train": 4, "val": 4, split: 0})
    hint = "root/train/CLASS/image.jpg" if split == "train" else "dataset.val=null"
    refused(ptft(*TRAIN), 3, "photos", f"the {split} split", "holds no images", hint)
    assert failed_cleanly(tmp_path / "run")
    without = ptft(*TRAIN, "hydra.run.dir=second", "dataset.val=null")
    assert without.code == (3 if split == "train" else 0), without.text


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WORKER = ("dataset.cache=off", "train.workers=1")


@pytest.mark.parametrize(
    ("damage", "said", "memory"),
    [
        (cut, "not readable as an image", ()),
        (cut, "not readable as an image", WORKER),
        (lambda path: path.write_text("no"), "not an image of a known kind", ()),
        (lambda path: path.write_bytes(b""), "the file is empty", ()),
    ],
    ids=["row 21 truncated", "row 21 truncated, in a worker", "row 22 text", "row 22 nothing"],
)
def test_rows_21_and_22_a_broken_image(ptft, tmp_path, damage, said, memory):
    photos(tmp_path / "photos", {"train": 12, "val": 2}, suffix=".jpg", size=(64, 64))
    bad = tmp_path / "photos" / "train" / "dog" / "3.jpg"
    damage(bad)
    typed = (*TRAIN, "dataset.size=16", "train.epochs=1", "train.steps=null", *memory)
    refused(ptft(*typed, "dataset.on_error=raise"), 3, str(bad), said, "(sample ", "dataset.on_error=skip")
    assert failed_cleanly(tmp_path / "run")
    skipped = ptft(*typed, "hydra.run.dir=second")
    assert skipped.code == 0, skipped.text
    assert skipped.out.count(f"train: 1 of 24 files is unreadable and left out, {bad} the first") == 1
    assert summary(tmp_path / "second")["unreadable"] == {"train": 1}
    assert summary(tmp_path / "second")["samples"] == 23


def test_row_21_too_many_broken_images_are_not_skipped(ptft, tmp_path):
    photos(tmp_path / "photos", {"train": 12, "val": 2})
    for i in range(11):
        cut(tmp_path / "photos" / "train" / "cat" / f"{i}.png")
    refused(ptft(*TRAIN), 3, "11 of 24 files are unreadable", "cat", "dataset.on_error=skip", "at most 10")
    assert failed_cleanly(tmp_path / "run")


def test_row_22_hidden_companions_of_images_are_no_images(ptft, tmp_path):
    photos(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "cat" / "._0.png").write_bytes(b"\0\5\26\7")
    assert ptft(*TRAIN, "train.epochs=1", "train.steps=null").code == 0
    assert summary(tmp_path / "run")["samples"] == 16


def test_row_23_mixed_sizes_are_brought_to_one(ptft, tmp_path):
    photos(tmp_path / "photos", size=(32, 32))
    draw(tmp_path / "photos" / "train" / "dog" / "5.png", (32, 48))
    done = ptft(*TRAIN)
    assert done.code == 0, done.text
    assert "32×32×" in done.out
    assert "dataset.size" in done.out
    assert ptft(*TRAIN, "dataset.size=24", "hydra.run.dir=second").code == 0


def deep(path, value):
    """A grey image of 16 bit."""
    Image.new("I;16", (16, 16), value).save(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_row_24_every_mode_becomes_the_configured_channels(ptft, tmp_path, channels):
    photos(tmp_path / "photos", {"val": 1})
    for number, mode in enumerate(("1", "L", "LA", "P", "RGBA", "CMYK")):
        for name in CLASSES:
            draw(tmp_path / "photos" / "train" / name / f"{number}{'.jpg' if mode == 'CMYK' else '.png'}", mode=mode)
    for name in CLASSES:
        deep(tmp_path / "photos" / "train" / name / "deep.png", 32768)
    result = ptft(*TRAIN, f"dataset.channels={channels}", "train.epochs=1", "train.steps=null")
    assert result.code == 0, result.text
    assert summary(tmp_path / "run")["samples"] == 14
    content, _ = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "best.pt")
    assert content["weights"]["backbone.conv1.weight"].shape[1] == channels
    spec = Spec.from_dict(content["spec"])
    assert image_reader.read(tmp_path / "photos" / "train" / "cat" / "deep.png", spec).unique().tolist() == [128]


@pytest.fixture
def grey_and_colour(ptft, tmp_path):
    """A run on colour images, and grey ones beside it."""
    photos(tmp_path / "photos")
    photos(tmp_path / "grey", mode="L")
    assert ptft(*TRAIN, "hydra.run.dir=colour").code == 0
    return tmp_path


def test_row_25_grey_data_on_a_colour_backbone(ptft, grey_and_colour):
    digits = ptft("stage=finetune", "ckpt=colour", "dataset=digits", "dataset.limit=50", *RUN[:3])
    assert digits.code == 0, digits.text
    assert "grey images become three channels" in digits.out
    tune = ("stage=finetune", "ckpt=colour", "dataset=image_folder", "dataset.root=grey")
    assert ptft(*tune, "train.steps=2").code == 0


def test_row_25_a_colour_backbone_is_measured_on_its_own_channels_only(ptft, grey_and_colour):
    before = contents(grey_and_colour / "colour")
    data = ("dataset=image_folder", "dataset.root=grey", "dataset.channels=1")
    refused(ptft("stage=evaluate", "ckpt=colour", *data), 2, "dataset.channels=1", "3")
    assert contents(grey_and_colour / "colour") == before


def test_row_25_a_finetune_fits_the_first_convolution_to_the_channels_typed(ptft, grey_and_colour):
    data = ("dataset=image_folder", "dataset.root=grey", "dataset.channels=1", "train.steps=2")
    tuned = ptft("stage=finetune", "ckpt=colour", *data, "hydra.run.dir=grey_run", "optimizer.lr=1e-12")
    assert tuned.code == 0, tuned.text
    assert transfer(grey_and_colour / "grey_run")["resized"]["tensors"] == {"backbone.conv1.weight": 36}
    weights = [
        checkpoint_file.read(grey_and_colour / run / "checkpoints" / "best.pt")[0]["weights"]["backbone.conv1.weight"]
        for run in ("colour", "grey_run")
    ]
    assert torch.allclose(weights[0].sum(1, keepdim=True), weights[1], atol=1e-6)


OWN = '''
"""A dataset of the user's own, with a label that `WRONG` sets."""
import torch
from ptft.core import Source, Spec
from ptft.data.examples import MemoryExamples

class Mine(Source):
    def __init__(self, wrong: int = 0) -> None:
        self.wrong = wrong
        self.spec = Spec("image", {"size": [16, 16], "channels": 1, "fit": "none"}, "class", ("a", "b"), (0.5,), (0.5,))

    def split(self, name):
        labels = torch.arange(20) % 2
        labels[7] = self.wrong
        return MemoryExamples(torch.zeros(20, 1, 16, 16, dtype=torch.uint8), labels)

    def fingerprint(self):
        return "mine"
'''


@pytest.fixture
def own_dataset(tmp_path):
    """What is typed for a dataset of the user's own package, in the folder they stand in."""
    (tmp_path / "mydata").mkdir()
    (tmp_path / "mydata" / "__init__.py").write_text(OWN)
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "mine.yaml").write_text("_target_: mydata.Mine\nwrong: 0\nviews: null\n")
    return "stage=pretrain", "dataset=mine", "trusted=[mydata]", *RUN


@pytest.mark.parametrize(("label", "ours"), [(10, True), (-1, True), (2, False), (-1, False)])
def test_row_26_a_label_out_of_range(ptft, tmp_path, own_dataset, label, ours):
    if ours:
        sample(tmp_path)
        images, labels = torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.arange(20) % 10
        labels[7] = label
        cifar.write("cifar10", tmp_path / "cifar-10-batches-py", "train", images, labels)
        typed = ("stage=pretrain", "dataset=cifar10", f"dataset.root={tmp_path}", *RUN)
    else:
        typed = (*own_dataset, f"dataset.wrong={label}")
    refused(ptft(*typed), 3, "sample 7", "train", f"label {label}", "10 classes" if ours else "2 classes")
    assert failed_cleanly(tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_row_27_a_label_of_minus_100(ptft, tmp_path, own_dataset):
    """cross_entropy would leave it out without a word; this task declares no index to ignore."""
    refused(ptft(*own_dataset, "dataset.wrong=-100"), 3, "sample 7", "label -100", "2 classes")
    assert failed_cleanly(tmp_path / "run")
    assert ptft(*own_dataset, "hydra.run.dir=good").code == 0


def test_row_28_a_class_only_in_val(ptft, tmp_path):
    photos(tmp_path / "photos")
    draw(tmp_path / "photos" / "val" / "horse" / "0.png")
    shutil.rmtree(tmp_path / "photos" / "val" / "cat")
    refused(ptft(*TRAIN), 3, "no example of horse is in train", "photos")
    assert failed_cleanly(tmp_path / "run")


def test_row_29_a_hidden_folder_is_no_class(ptft, tmp_path):
    photos(tmp_path / "photos")
    draw(tmp_path / "photos" / "train" / ".ipynb_checkpoints" / "0.png")
    assert ptft(*TRAIN).code == 0
    assert checkpoint_file.read(tmp_path / "run" / "checkpoints" / "best.pt")[0]["spec"]["classes"] == list(CLASSES)
