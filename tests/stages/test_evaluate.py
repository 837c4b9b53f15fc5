"""`ptft stage=evaluate ckpt=…`."""

import json
from pathlib import Path

import pytest


def metrics(folder: str) -> dict:
    return json.loads((Path(folder) / "summary.json").read_text())["metrics"]


def test_it_measures_the_checkpoint_on_its_own_test_split(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    trained = json.loads((pretrained / "summary.json").read_text())["metrics"]["test"]
    assert metrics("run") == {"test": pytest.approx(trained)}
    table = json.loads(Path("run/confusion_test.json").read_text())
    assert sum(map(sum, table["values"])) == 2000
    hits = sum(row[i] for i, row in enumerate(table["values"]))
    assert hits / 2000 == pytest.approx(trained["accuracy"])


def test_another_split_or_dataset_with_the_same_classes(ptft, pretrained):
    assert ptft("stage=evaluate", f"ckpt={pretrained}", "split=val", "hydra.run.dir=val").code == 0
    assert set(metrics("val")) == {"val"}
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=digits", "hydra.run.dir=digits")
    assert done.code == 0, done.text
    assert "359 test" in done.out


def test_other_classes_are_an_error_that_names_them(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=digits", "dataset.classes=['1','2']")
    assert done.code == 3
    assert "only in the checkpoint ['0', '3'" in done.err
