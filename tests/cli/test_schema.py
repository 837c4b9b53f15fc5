"""`ptft schema`: every key, as JSON."""

import json
import subprocess
import sys

from ptft.config import documented
from tests.conftest import refused


def test_every_key_is_there_with_what_it_must_be(ptft):
    rows = json.loads(ptft("schema").out)
    assert {row["key"] for row in rows} == set(documented.keys())
    (clip,) = [row for row in rows if row["key"] == "train.clip"]
    assert clip["value"] == "a number greater than 0, or null"
    assert (clip["default"], clip["required"], clip["options"]) == (1.0, False, [])
    assert {"pretrain", "finetune"} <= set(clip["stages"])
    assert not {"predict", "embed"} & set(clip["stages"])
    needed = {(row["key"], *row["options"]) for row in rows if row["required"]}
    assert any(key[0] == "dataset.root" and "mnist" not in key and "table" in key for key in needed)
    assert all(row["doc"] for row in rows if row["key"].startswith("train.every"))


def test_those_of_an_option(ptft):
    rows = {row["key"]: row for row in json.loads(ptft("schema", "optimizer/adamw").out)}
    assert rows["optimizer.betas"]["default"] == [0.9, 0.999]
    assert all(key.startswith("optimizer.") for key in rows)
    stage = {row["key"] for row in json.loads(ptft("schema", "stage/predict").out)}
    assert {"input", "generate.length", "ckpt"} <= stage
    refused(ptft("schema", "optimizer/adamv"), 2, "optimizer/adamv: there is no such option; did you mean adam")
    refused(ptft("schema", "a/b", "c/d"), 2, "ptft schema [GROUP/NAME]")


def test_it_imports_no_torch():
    code = "import sys\nfrom ptft.cli.main import run\nrun(['schema', 'model/cnn'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
