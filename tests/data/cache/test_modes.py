"""Runs are the same wherever decoded images are kept, say where that is, and may change it when they are continued."""

import random
import shutil

import pytest
import torch
from PIL import Image

from ptft.builders import inputs
from ptft.checkpoint import file as checkpoint_file
from ptft.data.audio import folder as audio_folder
from ptft.data.audio.folder import AudioFolder
from ptft.data.cache import policy
from ptft.data.image.boxes import coco
from ptft.data.image.boxes.coco import Coco
from ptft.data.image.captions import folder as captions
from ptft.data.image.captions.folder import CaptionFolder
from ptft.data.image.masks import folder as masks
from ptft.data.image.masks.folder import MaskFolder
from ptft.data.loader import Loader
from ptft.runtime.paths import cache_dir
from tests.conftest import ROOT, refused, rows, summary

RUN = (
    "stage=pretrain",
    "dataset=image_folder",
    "dataset.root=photos",
    "dataset.size=12",
    "dataset.val=0.25",
    "objective._target_=tests.helpers.self_killing.SelfKilling",
    "trusted=[tests.helpers.self_killing]",
    "model.channels=[4,6]",
    "model.width=12",
    "train.batch_size=8",
    "train.epochs=2",
    "train.every.evaluate=4",
    "train.workers=1",
    "device=cpu",
)
"""12 steps in two epochs of 48 images."""


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    """32 noisy JPEG files of each of two classes, which train and val share."""
    monkeypatch.syspath_prepend(ROOT)
    noise = random.Random(0)
    for name, base in (("dark", 40), ("light", 160)):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for i in range(32):
            values = bytes(base + noise.randrange(90) for _ in range(14 * 14 * 3))
            Image.frombytes("RGB", (14, 14), values).save(tmp_path / "photos" / "train" / name / f"{i:02}.jpg")
    return tmp_path / "photos"


def trained(folder):
    """All that a run came to: weights, fingerprint, losses."""
    content, _ = checkpoint_file.read(folder / "checkpoints" / "last.pt")
    weights = {name: value.tolist() for name, value in content["weights"].items()}
    found = [(row["split"], row["step"], row["loss"]) for row in rows(folder) if row["split"] == "val"]
    assert found
    return weights, content["fingerprint"], found


def test_every_mode_trains_the_same_and_is_changed_on_resume(ptft, tmp_path, monkeypatch):
    said = {
        "memory": "64 examples are read once and kept in memory",
        "disk": f"of examples are mapped from {cache_dir()}",
        "off": "64 examples are read again in every epoch (dataset.cache=off)",
    }
    for mode, sentence in said.items():
        done = ptft(*RUN, f"dataset.cache={mode}", f"hydra.run.dir={mode}")
        assert done.code == 0, done.text
        assert done.out.count(sentence) == 1
        assert len(list(cache_dir().glob("*.examples"))) == (mode != "memory"), "train and val share one"
    assert trained(tmp_path / "memory") == trained(tmp_path / "disk") == trained(tmp_path / "off")
    monkeypatch.setenv("KILL_AT", "SIGTERM step 5")
    assert ptft(*RUN, "dataset.cache=off", "hydra.run.dir=run").code == 143
    monkeypatch.setenv("KILL_AT", "SIGTERM step 8")
    assert ptft("resume=run", "trusted=[tests.helpers.self_killing]", "dataset.cache=disk").code == 143
    done = ptft("resume=run", "trusted=[tests.helpers.self_killing]", "dataset.cache=memory")
    assert done.code == 0, done.text
    assert trained(tmp_path / "run") == trained(tmp_path / "off")


def test_files_that_can_not_be_read_are_counted_and_change_nothing_else_wherever_images_are_kept(
    ptft, photos, tmp_path, monkeypatch
):
    """Of train and val, and of test, which a training reads once, at its end; also in workers and after a stop."""
    for broken in ("train/dark/06.jpg", "train/dark/21.jpg", "train/light/11.jpg"):
        (photos / broken).write_text("no")
    (photos / "test").mkdir()
    for name in ("dark", "light"):
        shutil.copytree(photos / "train" / name, photos / "test" / name)
    sentence = f"test: 3 of 64 files are unreadable and left out, {photos / 'test' / 'dark' / '06.jpg'}"
    runs = {"memory": (), "disk": (), "off": (), "off2": ("train.workers=2",)}
    for folder, more in runs.items():
        done = ptft(*RUN, f"dataset.cache={folder[:3] if more else folder}", f"hydra.run.dir={folder}", *more)
        assert done.code == 0, done.text
        assert done.out.count(sentence) == 1
        for split, count in summary(tmp_path / folder)["unreadable"].items():
            assert done.out.count(f"{split}: {count} of ") == 1
        assert trained(tmp_path / folder) == trained(tmp_path / "memory")
        found = summary(tmp_path / folder)
        assert found["unreadable"] == summary(tmp_path / "memory")["unreadable"]
        assert found["unreadable"]["test"] == 3 == sum(found["unreadable"].values()) - 3
        assert found["metrics"] == summary(tmp_path / "memory")["metrics"]
        lost = (tmp_path / folder / "split.csv").read_text().count("can't be read")
        assert lost == 6
    go_on, ends = ("resume=run", "trusted=[tests.helpers.self_killing]"), (("off", 5), ("disk", 8), ("off", None))
    for cache, step in ends:
        monkeypatch.setenv("KILL_AT", f"SIGTERM step {step or 999}")
        begin = (*RUN, "hydra.run.dir=run") if step == 5 else go_on
        assert ptft(*begin, f"dataset.cache={cache}").code == (143 if step else 0)
    assert trained(tmp_path / "run") == trained(tmp_path / "memory")
    measured = []
    for cache in ("memory", "off"):
        done = ptft("stage=evaluate", "ckpt=off", f"dataset.cache={cache}", f"hydra.run.dir=of_{cache}", go_on[1])
        assert done.code == 0, done.text
        assert done.out.count(sentence) == 1
        assert " new" not in done.out
        measured.append({key: summary(tmp_path / f"of_{cache}")[key] for key in ("metrics", "samples", "unreadable")})
    assert measured[0] == measured[1]
    assert (measured[0]["samples"], measured[0]["unreadable"]) == (61, {"test": 3})


KINDS = {
    "boxes": (coco, lambda root: Coco(root=root, size=16, on_error="skip"), "train2017/4.png"),
    "masks": (masks, lambda root: MaskFolder(root=root, size=16, on_error="skip"), "images/train/4.png"),
    "captions": (captions, lambda root: CaptionFolder(root=root, size=16, on_error="skip"), "4.jpg"),
    "recordings": (audio_folder, lambda root: AudioFolder(root=root, on_error="skip"), "train/low/4.wav"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_has_the_same_batches_wherever_it_is_kept(tmp_path, kind):
    module, source, broken = KINDS[kind]
    module.sample(tmp_path / "data")
    train = source(tmp_path / "data").split("train")
    (tmp_path / "data" / broken).write_text("no")  # later than boxes and masks were looked through
    modes = ("memory", "off") if train.uneven else ("memory", "disk", "off")
    found = [list(Loader(policy.keep(train, mode), 3, seed=1, shuffle=True).epoch(2)) for mode in modes]
    assert train.unreadable
    assert sum(len(batch["index"]) for batch in found[0]) == len(train) - len(train.unreadable)
    for same in zip(*found, strict=True):
        for batch in same:
            assert batch.keys() == same[-1].keys()
            assert all(torch.equal(value, same[-1][name]) for name, value in batch.items())


def test_a_dry_run_writes_nothing(ptft, tmp_path):
    done = ptft(*RUN, "dataset.cache=disk", "dry_run=true")
    assert done.code == 0, done.text
    assert not list(cache_dir().rglob("*.examples*"))


def test_a_dry_run_of_many_files_says_that_it_does_not_read_them_all(ptft, photos, monkeypatch):
    for file in sorted((photos / "train" / "dark").iterdir())[:30]:
        file.write_text("no")
    plan = (*RUN, "dataset.on_error=skip", "dry_run=true")
    refused(ptft(*plan), 3, "unreadable", "too many")
    monkeypatch.setattr(inputs, "DRY", 50)
    done = ptft(*plan)
    assert done.code == 0, done.text
    assert "a dry run reads those of its step alone, so it can't say which of the others are unreadable" in done.out
    for file in (photos / "train").rglob("*.jpg"):
        file.write_text("no")
    for epochs in (2, 40):  # which takes long enough for a first batch to be tried with
        done = ptft(*plan, f"train.epochs={epochs}")
        refused(done, 3, "none of the 8 files of a batch is readable; see dataset.on_error")


def test_a_disk_without_room_is_refused_before_anything_is_decoded(ptft, photos, tmp_path):
    refused(
        ptft(*RUN, "dataset.cache=disk", "dataset.size=400000", "hydra.run.dir=run"),
        5,
        str(cache_dir()),
        f"{64 * 3 * 400_000**2:,} bytes",
        "are free",
        "PTFT_CACHE",
        "dataset.cache=off",
    )


def test_evaluate_says_it_too(ptft, tmp_path):
    assert ptft(*RUN, "train.epochs=1", "hydra.run.dir=run").code == 0
    done = ptft("stage=evaluate", "ckpt=run", "split=val", "trusted=[tests.helpers.self_killing]", "dataset.cache=disk")
    assert done.code == 0, done.text
    assert "are mapped from" in done.out
    assert summary(next((tmp_path / "outputs").glob("*/*")))["metrics"]["val"]["accuracy"] >= 0
