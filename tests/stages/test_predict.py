"""`ptft stage=predict ckpt=… input=…`."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "new photos, (1)"
    (folder / "deeper").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(70):
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(
            folder / "deeper" / f"{index}.png"
        )
    (folder / "broken.jpg").write_text("no image")
    return folder


def predictions(path: str) -> list[dict]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_a_csv(ptft, pretrained, photos):
    done = ptft("stage=predict", f"ckpt={pretrained}", f"input={photos}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    rows = predictions("run/predictions.csv")
    assert len(rows) == 71
    each = [f"p_{k}" for k in range(10)]
    assert list(rows[0]) == ["path", "class", "probability", *each]
    assert rows[0] == {"path": str(photos / "broken.jpg"), **dict.fromkeys(["class", "probability", *each], "")}
    assert all(row["class"] in "0123456789" and 0.1 <= float(row["probability"]) <= 1 for row in rows[1:])
    assert "left out" in done.out
    assert "broken.jpg" in done.out


def test_it_agrees_with_evaluate_and_needs_no_dataset(ptft, pretrained, tmp_path):
    """Real digits written to files are predicted as the evaluation of the same images counts them."""
    from ptft.data.image.digits import Digits

    examples = Digits().split("test")
    for index, image in enumerate(examples.base):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{index:03}.png")
    assert (
        ptft(
            "stage=predict", f"ckpt={pretrained}", f"input={tmp_path}/*.png", "output=out/p.csv", "precision=fp32"
        ).code
        == 0
    )
    rows = predictions("out/p.csv")
    hits = sum(row["class"] == str(int(label)) for row, label in zip(rows, examples.labels, strict=True))
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=digits", "precision=fp32")
    assert f"accuracy {100 * hits / 359:.2f} %" in " ".join(done.out.split())


def test_one_file_and_nothing_there(ptft, pretrained, photos):
    assert (
        ptft("stage=predict", f"ckpt={pretrained}", f"input={photos / 'deeper' / '3.png'}", "output=one.csv").code == 0
    )
    assert len(predictions("one.csv")) == 1
    done = ptft("stage=predict", f"ckpt={pretrained}", "input=nowhere")
    assert done.code == 3
    assert "input=nowhere" in done.err
