"""`format=peft`: what LoRA learned, put by peft on the model that it started from."""

import json
from pathlib import Path

import peft
import pytest
import torch
import transformers

import ptft as package
from tests.conftest import refused, summary
from tests.export.test_huggingface import hub, table
from tests.helpers import untrained

pytestmark = [
    pytest.mark.usefixtures("no_network"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # of peft itself
]
NET = ("model.width=8", "model.depth=2", "model.heads=2", "dataset.length=32", "dataset.tokenizer=bytes")
BRIEF = (
    "train.steps=6",
    "train.batch_size=4",
    "optimizer.lr=1e-2",
    "device=cpu",
    "precision=fp32",
    "hydra.run.dir=trained",
)
TEXTS = ["a fine day", "what joy"]


def logits(model, classes):
    """Of TEXTS, one by one, as peft and transformers make them of the tokenizer in the export."""
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    with torch.no_grad():
        rows = [model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(0) for text in TEXTS]
    return [dict(zip(classes, row.tolist(), strict=True)) for row in rows]


def same(found, answers):
    for row, answer in zip(found, answers, strict=True):
        assert max(row, key=row.get) == answer["class"]
        assert row[answer["class"]] == pytest.approx(answer["probability"], abs=1e-5)


@pytest.mark.parametrize(
    "typed", [("model=bert_tiny", "model.pool=cls"), ("model=gpt_tiny", "model.positions=learned")]
)
def test_the_adapter_of_an_own_model(typed, ptft, tmp_path):
    data = table(tmp_path / "data")
    before = untrained.write(tmp_path / "before.pt", *data, "objective=classify", *NET, *typed)
    lora = ("finetune.lora.rank=2", "finetune.lora.targets=linear")
    done = ptft("stage=finetune", f"ckpt={before}", *data, *BRIEF, *lora)
    assert done.code == 0, done.text
    done = ptft("stage=export", "ckpt=trained", "format=peft", "output=out", "hydra.run.dir=run")
    assert done.code == 0, done.text
    assert summary(Path("run"))["rank"] == 2
    base = transformers.AutoModelForSequenceClassification.from_pretrained("out/base")
    answers = package.load("trained", device="cpu")
    assert answers.checkpoint.meta["parent"]["sha256"] == package.load(before, device="cpu").checkpoint.sha256
    same(logits(peft.PeftModel.from_pretrained(base, "out").eval(), answers.classes), answers(TEXTS))


def test_the_adapter_of_a_model_of_transformers_is_put_on_that(ptft, tmp_path):
    folder, data = hub(tmp_path / "hub", "bert"), table(tmp_path / "data")
    done = ptft("stage=finetune", f"ckpt=huggingface:{folder}", *data, *BRIEF, "finetune.lora.rank=2")
    assert done.code == 0, done.text
    done = ptft("stage=export", "ckpt=trained", "format=peft", "output=out")
    assert done.code == 0, done.text
    assert not Path("out/base").exists()
    said = json.loads(Path("out/adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(folder)
    assert sorted({name.rpartition(".")[2] for name in said["target_modules"]}) == ["dense", "key", "query", "value"]
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    answers = package.load("trained", device="cpu")
    same(logits(peft.PeftModel.from_pretrained(base, "out").eval(), answers.classes), answers(TEXTS))


def test_what_has_no_adapter_is_refused(ptft, tmp_path):
    data = table(tmp_path / "data")
    before = untrained.write(tmp_path / "before.pt", *data, "objective=classify", *NET, "model=gpt_tiny")
    done = ptft("stage=export", f"ckpt={before}", "format=peft", "output=out")
    why = "was trained without LoRA (finetune.lora.rank); format=onnx, torch or safetensors work"
    refused(done, 2, f"format=peft: model=gpt_tiny: {why}")
    assert ptft("stage=finetune", f"ckpt={before}", *data, *BRIEF, "finetune.lora.rank=2").code == 0
    before.unlink()
    done = ptft("stage=export", "ckpt=trained", "format=peft", "output=out")
    refused(done, 4, "format=peft: needs the checkpoint that it started from", "before.pt")
    assert not Path("out").exists()
