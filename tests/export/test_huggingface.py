"""`format=huggingface`: which of ptft's own models and of transformers' are expressed, and what is refused by name.

That logits are equal is tried by the export itself; here it is tried which architecture it is, that pipelines read it,
and that an export that answers otherwise is not left behind.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import ptft as package
from ptft.export.huggingface import task
from tests.conftest import refused, summary
from tests.helpers import untrained

pytestmark = pytest.mark.usefixtures("no_network")
NET = ("model.width=8", "model.depth=2", "model.heads=2", "dataset.length=16")
GRAMMAR = ("dataset=grammar", "dataset.sentences=30", "dataset.held_out=10", *NET)
PICTURES = ("dataset=digits", "dataset.limit=8", "model=vit_tiny", "model.patch=7", *NET[:3])
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "day", "what", "joy", "dull", "bore", "##s", "made"]


def table(root: Path, *typed: str) -> tuple[str, ...]:
    """Rows with a class, a number and tags, and what reads them."""
    root.mkdir(exist_ok=True)
    for split in ("train", "val"):
        rows = [f"{('a fine day', 'what a bore')[i % 2]} {i},{('good', 'bad')[i % 2]},{i}" for i in range(6)]
        (root / f"{split}.csv").write_text("\n".join(["text,label,number", *rows]))
    return ("dataset=table", f"dataset.root={root}", *typed)


def exported(ptft, checkpoint, *typed):
    done = ptft("stage=export", f"ckpt={checkpoint}", "format=huggingface", "output=out", "hydra.run.dir=run", *typed)
    assert done.code == 0, done.text
    found = summary(Path("run"))
    assert found["largest_difference"] <= task.EXACT
    return found["architecture"]


@pytest.mark.parametrize(
    ("typed", "architecture"),
    [
        (("model=bert_tiny", "objective=masked_lm"), "EsmForMaskedLM"),
        (("model=bert_tiny", "objective=masked_lm", "model.positions=learned"), "EsmForMaskedLM"),
        (("model=gpt_tiny", "objective=causal_lm"), "GPTNeoXForCausalLM"),
        (("model=gpt_tiny", "objective=causal_lm", "model.activation=swiglu"), "StableLmForCausalLM"),
        (("model=gpt_tiny", "objective=causal_lm", "model.positions=learned"), "GPT2LMHeadModel"),
    ],
)
def test_language_models(typed, architecture, ptft, tmp_path):
    checkpoint = untrained.write(tmp_path / "best.pt", *GRAMMAR, *typed)
    assert exported(ptft, checkpoint) == architecture
    kind = "fill-mask" if "masked" in typed[1] else "text-generation"
    pipe = transformers.pipeline(kind, "out")
    if kind == "fill-mask":
        assert len(pipe(f"a dog {pipe.tokenizer.mask_token}")) == 5
        return
    text = pipe("a dog", max_new_tokens=4, do_sample=False, return_full_text=False)[0]["generated_text"]
    answer = package.load(checkpoint, device="cpu")("a dog", length=4, temperature=0)
    assert text == answer["continuation"]


@pytest.mark.parametrize(
    ("typed", "architecture"),
    [
        (("model=bert_tiny", "model.pool=cls", "model.positions=learned"), "EsmForSequenceClassification"),
        (("model=gpt_tiny",), "GPTNeoXForSequenceClassification"),
        (("model=gpt_tiny", "model.activation=swiglu"), "StableLmForSequenceClassification"),
        (("model=gpt_tiny", "model.positions=learned"), "GPT2ForSequenceClassification"),
    ],
)
def test_classes_and_numbers_of_texts(typed, architecture, ptft, tmp_path):
    data = table(tmp_path / "data", "dataset.tokenizer=bytes", *NET)
    checkpoint = untrained.write(tmp_path / "best.pt", *data, "objective=classify", *typed)
    assert exported(ptft, checkpoint) == architecture
    texts = ["a fine day", "what"]
    answers = transformers.pipeline("text-classification", "out")(texts)
    expected = package.load(checkpoint, device="cpu")(texts)
    assert [answer["label"] for answer in answers] == [answer["class"] for answer in expected]
    assert [answer["score"] for answer in answers] == pytest.approx([row["probability"] for row in expected], abs=1e-5)
    number = ("dataset.target=number", "dataset.label=number", "objective=regress")
    checkpoint = untrained.write(tmp_path / "number.pt", *data, *number, *typed)
    assert exported(ptft, checkpoint, "overwrite=true", "hydra.run.dir=numbers") == architecture
    answers = transformers.pipeline("text-classification", "out", function_to_apply="none")(texts)
    expected = [row["value"] for row in package.load(checkpoint, device="cpu")(texts)]
    assert [answer["score"] for answer in answers] == pytest.approx(expected, abs=1e-4)


def test_words_are_tagged(ptft, tmp_path):
    from ptft.data.text import conll

    conll.sample(tmp_path / "data")
    data = ("dataset=conll", f"dataset.root={tmp_path / 'data'}", "dataset.tokenizer=bytes", "objective=tag", *NET)
    checkpoint = untrained.write(tmp_path / "best.pt", *data, "model=bert_tiny")
    assert exported(ptft, checkpoint) == "EsmForTokenClassification"
    labels = json.loads(Path("out/config.json").read_text())["id2label"]
    assert list(labels.values()) == list(package.load(checkpoint, device="cpu").classes)


@pytest.mark.parametrize(
    ("typed", "architecture"),
    [
        (("objective=classify",), "IJepaForImageClassification"),
        (("objective=classify", "model.pool=cls", "dataset.channels=3"), "ViTForImageClassification"),
        (("objective=simclr",), "IJepaModel"),
    ],
)
def test_vision_transformers(typed, architecture, ptft, tmp_path):
    checkpoint = untrained.write(tmp_path / "best.pt", *PICTURES, *typed)
    assert exported(ptft, checkpoint) == architecture


@pytest.mark.parametrize(
    ("typed", "size", "said"),
    [
        (("dataset.fit=letterbox",), {"height": 14, "width": 14}, "stretched by transformers, where ptft pads them"),
        (("dataset.fit=stretch",), {"height": 14, "width": 14}, "rounds some pixels otherwise"),
        (("dataset.fit=stretch", "dataset.crop_pct=0.7"), {"height": 20, "width": 20}, "rounds some pixels otherwise"),
        (("dataset.fit=crop", "dataset.crop_pct=0.56"), {"shortest_edge": 25}, "rounds some pixels otherwise"),
        (
            ("dataset.fit=crop", "dataset.crop_pct=0.7", "dataset.size=[14,28]"),
            {"height": 14, "width": 28},
            "where ptft cuts off what stands out, and keeps 0.7 of each side in the middle",
        ),
        (("objective.tta=flip",), {"shortest_edge": 14}, "(objective.tta=flip); transformers looks once"),
    ],
)
def test_how_pictures_are_fitted_is_written_or_it_is_said_what_is_not(typed, size, said, ptft, tmp_path):
    """14 of 0.56 are 25 pixels, though their quotient is a little less as floats have it."""
    for i in range(8):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30), (20 * i, 0, 0)).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
    data = ("dataset=image_folder", f"dataset.root={tmp_path / 'photos'}", "dataset.size=14", *PICTURES[2:])
    checkpoint = untrained.write(tmp_path / "best.pt", *data, "objective=classify", *typed)
    exported(ptft, checkpoint)
    processor = json.loads(Path("out/preprocessor_config.json").read_text())
    assert {key: processor["size"][key] for key in size} == size
    card = Path("out/README.md").read_text()
    assert said in card


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("model=bert_tiny",), "model=bert_tiny: no head of transformers takes what model.pool=mean makes"),
        (("model=bert_tiny", "model.activation=swiglu"), "has model.activation=swiglu"),
        (("model=gpt_tiny", "model.pool=mean"), "not model.pool=mean"),
        (("model=gpt_tiny", "model.activation=swiglu", "model.positions=learned"), "with model.positions=learned"),
    ],
)
def test_what_no_architecture_has_is_refused(typed, said, ptft, tmp_path):
    data = table(tmp_path / "data", "dataset.tokenizer=bytes", *NET)
    checkpoint = untrained.write(tmp_path / "best.pt", *data, "objective=classify", *typed)
    done = ptft("stage=export", f"ckpt={checkpoint}", "format=huggingface", "output=out")
    refused(done, 2, said, "format=onnx, torch or safetensors work")
    assert not Path("out").exists()


def test_what_answers_otherwise_is_not_left_behind(ptft, tmp_path, monkeypatch):
    checkpoint = untrained.write(tmp_path / "best.pt", *PICTURES, "objective=classify")
    monkeypatch.setattr(task, "EXACT", -1.0)
    done = ptft("stage=export", f"ckpt={checkpoint}", "format=huggingface", "output=out")
    refused(done, 2, "format=huggingface: model=vit_tiny: IJepaForImageClassification answers otherwise, by")
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name and path.name != "outputs"]


KINDS = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "roberta": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
}


def hub(root: Path, kind: str) -> Path:
    """What save_pretrained writes of a tiny model of texts and its tokenizer."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(WORDS), max_position_embeddings=40, **KINDS[kind])
    transformers.AutoModel.from_config(config).save_pretrained(root)
    transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(root)
    return root


def finetuned(ptft, root, kind, *typed):
    data = table(
        root / "data", "train.steps=2", "train.batch_size=4", "device=cpu", "precision=fp32", "hydra.run.dir=trained"
    )
    return ptft("stage=finetune", f"ckpt=huggingface:{hub(root / 'hub', kind)}", *data, *typed)


@pytest.mark.parametrize(
    ("kind", "typed", "architecture"),
    [
        ("bert", (), "BertForSequenceClassification"),
        ("roberta", ("model.pooling=cls",), "RobertaForSequenceClassification"),
        ("gpt2", ("model.pooling=last",), "GPT2ForSequenceClassification"),
    ],
)
def test_models_of_transformers_keep_their_architecture(kind, typed, architecture, ptft, tmp_path):
    done = finetuned(ptft, tmp_path, kind, *typed)
    assert done.code == 0, done.text
    assert exported(ptft, "trained") == architecture
    texts = ["a fine day", "what joy"]
    answers = transformers.pipeline("text-classification", "out")(texts)
    expected = package.load("trained", device="cpu")(texts)
    assert [answer["label"] for answer in answers] == [answer["class"] for answer in expected]
    assert [answer["score"] for answer in answers] == pytest.approx([row["probability"] for row in expected], abs=1e-5)


def test_a_head_that_transformers_does_not_have_is_refused(ptft, tmp_path):
    done = finetuned(ptft, tmp_path, "distilbert")
    assert done.code == 0, done.text
    done = ptft("stage=export", "ckpt=trained", "format=huggingface", "output=out")
    refused(done, 2, "format=huggingface: model=hub: ", "format=onnx, torch or safetensors work")


SIGHT = {"image_size": 32, "patch_size": 8, **KINDS["bert"]}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2}
SOUND = {
    **KINDS["bert"],
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 64),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
PHOTOS = ("dataset=digits", "dataset.limit=12", "dataset.channels=3")
TONES = ("dataset=tones", "dataset.count=12", "dataset.held_out=8", "dataset.rate=16000")


def wrapped(ptft, root, kind, config, data):
    """Two steps of a tiny model of transformers, without public weights."""
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **config)).save_pretrained(root / "hub")
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(root / "hub")
    net = ("model=huggingface", f"model.name={root / 'hub'}", "objective=classify")
    return untrained.write(root / "best.pt", *data, *net)


@pytest.mark.parametrize(
    ("kind", "config", "architecture"),
    [
        ("vit", SIGHT, "ViTForImageClassification"),
        ("dinov2", SIGHT, "Dinov2ForImageClassification"),
        ("swin", WINDOWS, "SwinForImageClassification"),
    ],
)
def test_image_transformers_of_transformers(kind, config, architecture, ptft, tmp_path):
    checkpoint = wrapped(ptft, tmp_path, kind, config, (*PHOTOS, "dataset.size=[32,32]"))
    assert exported(ptft, checkpoint) == architecture
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    answer = transformers.pipeline("image-classification", "out")(Image.fromarray(picture))[0]
    expected = package.load(checkpoint, device="cpu")(Image.fromarray(picture))
    assert (answer["label"], answer["score"]) == (expected["class"], pytest.approx(expected["probability"], abs=1e-5))


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_speech_encoders_of_transformers(norm, ptft, tmp_path):
    config = {**SOUND, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
    checkpoint = wrapped(ptft, tmp_path, "wav2vec2", config, TONES)
    assert exported(ptft, checkpoint) == "Wav2Vec2ForSequenceClassification"
    sound = (0.2 * np.random.default_rng(0).normal(size=8000)).astype(np.float32)
    answer = transformers.pipeline("audio-classification", "out")(sound)[0]
    expected = package.load(checkpoint, device="cpu")((sound, 16_000))
    assert (answer["label"], answer["score"]) == (expected["class"], pytest.approx(expected["probability"], abs=1e-4))


def test_a_head_that_pools_otherwise_is_refused(ptft, tmp_path):
    checkpoint = wrapped(ptft, tmp_path, "beit", SIGHT, (*PHOTOS, "dataset.size=[32,32]"))
    done = ptft("stage=export", f"ckpt={checkpoint}", "format=huggingface", "output=out")
    refused(done, 2, "BeitForImageClassification answers otherwise", "format=onnx, torch or safetensors work")
    assert not Path("out").exists()
