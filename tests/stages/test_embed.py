"""`stage=embed`: features of new files in their order, as NumPy and others read them."""

import csv

import numpy as np
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

import ptft as package
from tests.conftest import refused, summary


@pytest.fixture
def photos(tmp_path):
    """70 pictures, of which the fourth is broken, and a table of three of them with a column beside."""
    noise = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(70):
        Image.fromarray(noise.integers(0, 256, (20, 24), dtype=np.uint8)).save(tmp_path / "photos" / f"{i:02}.png")
    (tmp_path / "photos" / "03.png").write_text("no image")
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "place"], *([f"photos/{i:02}.png", f"shelf {i}"] for i in (5, 3, 4))])


def embedded(ptft, pretrained, *typed):
    done = ptft("stage=embed", f"ckpt={pretrained}", "device=cpu", *typed)
    assert done.code == 0, done.text
    return done


def test_features_are_in_order_and_those_of_python(photos, ptft, pretrained, tmp_path):
    done = embedded(ptft, pretrained, "input=photos", "hydra.run.dir=run")
    with np.load(tmp_path / "run" / "features.npz", allow_pickle=False) as file:
        paths, features = file["path"].tolist(), file["features"]
    assert paths == [f"photos/{i:02}.png" for i in range(70)]
    assert features.dtype == np.float32
    assert features.shape == (70, 16)
    assert np.isnan(features).all(1).nonzero()[0].tolist() == [3]
    assert "left out, its row is empty: photos/03.png" in done.out
    expected = package.load(pretrained, device="cpu").features(["photos/00.png", "photos/69.png"])
    assert np.allclose(features[[0, 69]], expected.numpy(), atol=1e-5)
    found = summary(tmp_path / "run")
    assert (found["files"], found["unreadable"], found["width"], found["status"]) == (69, 1, 16, "finished")


def test_parquet_has_the_columns_of_the_list(photos, ptft, pretrained, tmp_path):
    embedded(ptft, pretrained, "input=list.csv", "output=out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert [path.rpartition("/")[2] for path in table["path"]] == ["05.png", "03.png", "04.png"]
    assert table["place"] == ["shelf 5", "shelf 3", "shelf 4"]
    assert np.isnan(table["features"][1]).all()
    done = embedded(ptft, pretrained, "input=list.csv", "output=list.npz")
    assert "place of the input: only output=NAME.parquet has a place for them" in done.out
    embedded(ptft, pretrained, "input=photos/05.png", "output=one.npz")
    with np.load(tmp_path / "one.npz") as file:
        assert np.allclose(file["features"][0], table["features"][0], atol=1e-5)


def test_a_recording_whose_channels_cancel_each_other_is_said(ptft, tmp_path):
    data = ("dataset=tones", "dataset.count=24", "dataset.held_out=12", "model=audio_cnn", "model.width=12")
    assert ptft("stage=pretrain", *data, "model.channels=[4,8]", "train.steps=1", "hydra.run.dir=run").code == 0
    wave = np.sin(np.arange(4000) / 9).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], 1), 8000)
    done = embedded(ptft, "run", "input=a.wav")
    assert "of 1 of 1 items the channels cancel each other" in done.out


def test_a_dry_run_writes_nothing(photos, ptft, pretrained, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert "70 items" in embedded(ptft, pretrained, "input=photos", "output=out.npz", "dry_run=true").out
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (
            ["input=photos", "output=out.csv"],
            2,
            "output=out.csv: features are written by the name's ending: .npz, .parquet",
        ),
        (["input=photos/03.png"], 3, "input=photos/03.png: none of the 1 item can be read"),
        (["input=nowhere"], 3, "input=nowhere: no files there"),
        ([], 2, "stage=embed: type one of input=FILES"),
        (["input=photos", "predict.top=3"], 2, "predict.top: for stage=predict, not for stage=embed"),
        (["input=photos/05.png", "output=photos/05.png"], 2, "output="),
    ],
)
def test_what_can_not_be_done_is_refused(typed, code, said, photos, ptft, pretrained):
    refused(ptft("stage=embed", f"ckpt={pretrained}", "device=cpu", *typed), code, said)
