"""`ptft schema`: every key, as JSON."""

import json
import subprocess
import sys

from ptft.config import documented
from tests.conftest import refused

NO_DATA = ("key", "value", "default", "required", "doc", "options", "stages", "resume")


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


def test_what_a_key_must_be_is_there_as_data_too(ptft):
    rows = {}
    for row in json.loads(ptft("schema").out):
        rows.setdefault(row["key"], {key: value for key, value in row.items() if key not in NO_DATA})
    assert rows["train.clip"] == {"type": "number", "min": 0, "min_exclusive": True, "nullable": True}
    assert rows["train.every.log"] == {"type": "integer", "min": 1, "also": ["auto"]}
    assert rows["precision"] == {"type": None, "choices": ["auto", "fp32", "bf16", "fp16"]}
    assert rows["optimizer.betas"]["items"] == {"type": "number", "min": 0, "max": 1, "max_exclusive": True}
    assert rows["train.ema"]["max_exclusive"] is True
    assert rows["train.compile"] == {"type": "boolean"}
    assert rows["train.average_last"]["min"] == 2
    assert {"type": "integer", "min": 1} in rows["train.every.evaluate"]["any_of"]
    assert (
        len([row for row in rows.values() if row == {"type": None}]) < len(rows) / 4
    )  # nodes, and what may be anything


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
