"""An image, a text and a speech run: trained, exported in every format that applies, and read by other programs.

What they answer is what `ptft.load` answers. The code on each card is run as it stands there.
"""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
import yaml
from PIL import Image
from safetensors.torch import load_file

import ptft as package
from ptft.errors import CheckpointError, ConfigError
from tests.conftest import summary

pytestmark = pytest.mark.usefixtures("no_network")
WIDTH = ("model.width=8", "model.depth=1", "model.heads=2")
BRIEF = ("stage=pretrain", "train.steps=2", "train.batch_size=8", "device=cpu", "precision=fp32")


def _typed(usual: str, typed: tuple[str, ...]) -> bool:
    return any(text.startswith(usual.split("=")[0]) for text in typed)


class Run:
    """A trained run, and its exports, each made when it is first asked for."""

    def __init__(self, folder: Path, *typed: str):
        self.folder = folder / "run"
        self.summary = package.run(*BRIEF, *typed, f"hydra.run.dir={self.folder}")
        self.model = package.load(self.folder, device="cpu")

    def export(self, form: str, *typed: str) -> Path:
        target = self.folder.with_name(form)
        if not target.exists():
            where = (f"output={target}", f"hydra.run.dir={self.folder.with_name(f'exports-{form}')}")
            usual = [text for text in (f"ckpt={self.folder}", f"format={form}") if not _typed(text, typed)]
            package.run("stage=export", *usual, *typed, *where)
        return target


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    data = ("dataset=digits", "dataset.limit=60")
    return Run(tmp_path_factory.mktemp("image"), "model=vit_tiny", "model.patch=7", *WIDTH, *data)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    root = tmp_path_factory.mktemp("text")
    for split, count in (("train", 16), ("val", 8)):
        rows = [f"{('a fine day', 'what a bore')[i % 2]} number {i},{('good', 'bad')[i % 2]}" for i in range(count)]
        (root / "data").mkdir(exist_ok=True)
        (root / "data" / f"{split}.csv").write_text("\n".join(["text,label", *rows]))
    data = ("dataset=table", f"dataset.root={root / 'data'}", "dataset.tokenizer=bytes", "dataset.length=48")
    return Run(root, "model=gpt_tiny", *WIDTH, "objective=classify", *data)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    data = ("dataset=tones", "dataset.count=16", "dataset.held_out=8")
    return Run(tmp_path_factory.mktemp("speech"), "model=audio_cnn", "model.width=8", "model.channels=[4,4]", *data)


TEXTS = ["a fine day", "what a bore, all in all", "fine"]


def raw(run) -> tuple[list, dict[str, np.ndarray], list[list[float]]]:
    """Three inputs as people give them, the same as a raw batch, and the probabilities of `ptft.load`."""
    noise, spec = np.random.default_rng(0), run.model.spec
    if spec.modality == "image":
        inputs = list(noise.integers(0, 256, (3, 28, 28), dtype=np.uint8))
        batch = {"input": np.stack(inputs)[:, None]}
    elif spec.modality == "text":
        inputs, rows = TEXTS, [[258, *text.encode(), 259] for text in TEXTS]
        batch = {
            "input": np.array([row + [256] * (25 - len(row)) for row in rows]),
            "mask": np.array([[i < len(row) for i in range(25)] for row in rows]),
        }
    else:
        sound = noise.integers(-9000, 9000, (3, 4000)).astype(np.int16)
        lengths = np.array([4000, 2500, 3999])
        inputs = [torch.from_numpy(row[:length].copy()) for row, length in zip(sound, lengths, strict=True)]
        batch = {"input": sound * (np.arange(4000) < lengths[:, None]), "length": lengths}
    columns = [f"p_{name}" for name in run.model.classes]
    return inputs, batch, [[answer[column] for column in columns] for answer in run.model(inputs)]


@pytest.fixture(params=["image", "text", "speech"])
def run(request):
    return request.getfixturevalue(request.param)


def test_onnx_answers_as_ptft_does_to_raw_input(run):
    folder = run.export("onnx", *(["quantize=dynamic"] if run.model.spec.modality == "text" else []))
    _, batch, expected = raw(run)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert session.run(["probabilities"], batch)[0] == pytest.approx(np.array(expected), abs=1e-5)
    for name, values in batch.items():
        free = {"image": "batch", "text": "length", "audio": "samples"}[run.model.spec.modality]
        named = [str(given.shape) for given in session.get_inputs() if given.name == name]
        assert "batch" in named[0]
        assert free in named[0] or values.ndim == 1
    said = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(said["classes"]) == list(run.model.classes)
    assert json.loads(said["spec"]) == json.loads(json.dumps(run.model.spec.to_dict()))
    assert said["sha256"] == run.model.checkpoint.sha256


def test_int8_weights_say_what_they_cost(text):
    folder = text.export("onnx", "quantize=dynamic")
    found = summary(folder.with_name("exports-onnx"))
    assert found["float32_accuracy"] == text.summary["metrics"]["val"]["accuracy"]
    assert 0 <= found["int8_accuracy"] <= 1
    assert found["int8_bytes"] == (folder / "model.int8.onnx").stat().st_size
    types = {tensor.data_type for tensor in onnx.load(folder / "model.int8.onnx").graph.initializer}
    assert onnx.TensorProto.UINT8 in types
    _, batch, expected = raw(text)
    answers = onnxruntime.InferenceSession(folder / "model.int8.onnx").run(None, batch)[0]
    assert answers == pytest.approx(np.array(expected), abs=0.05)
    assert "int8 weights (model.int8.onnx)" in (folder / "README.md").read_text()


def test_a_torch_program_answers_as_ptft_does_to_raw_input(image):
    _, batch, expected = raw(image)
    program = torch.export.load(image.export("torch") / "model.pt2").module()
    answers = program(**{name: torch.from_numpy(values) for name, values in batch.items()})
    assert answers.numpy() == pytest.approx(np.array(expected), abs=1e-5)


def test_safetensors_are_the_weights_and_the_folder_the_model(run):
    inputs, _, _ = raw(run)
    folder = run.export("safetensors")
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in run.model.checkpoint.weights.items())
    again = package.load(folder, device="cpu")
    assert again(inputs) == run.model(inputs)
    assert torch.equal(again.features(inputs), run.model.features(inputs))


def test_pipelines_of_transformers_answer_as_ptft_does(image, text):
    inputs, _, expected = raw(image)
    answer = transformers.pipeline("image-classification", str(image.export("huggingface")), top_k=10)
    for picture, wanted in zip(inputs, expected, strict=True):
        scores = {row["label"]: row["score"] for row in answer(Image.fromarray(picture))}
        assert [scores[name] for name in image.model.classes] == pytest.approx(wanted, abs=1e-5)
    inputs, batch, expected = raw(text)
    answer = transformers.pipeline("text-classification", str(text.export("huggingface")), top_k=None)
    for rows, wanted in zip(answer(inputs, batch_size=3), expected, strict=True):
        scores = {row["label"]: row["score"] for row in rows}
        assert [scores[name] for name in text.model.classes] == pytest.approx(wanted, abs=1e-5)
    ids = answer.tokenizer(TEXTS, padding=True)
    assert ids["input_ids"] == batch["input"].tolist()
    assert set(ids) == {"input_ids", "attention_mask"}
    longer = answer.tokenizer("a" * 100, truncation=True)["input_ids"]
    assert longer == [258, *[97] * 46, 259], "dataset.length=48"


def test_what_other_programs_read_alone_is_not_opened_as_a_checkpoint(image):
    said = f"is an export for other programs .* made of, {image.folder / 'checkpoints' / 'best.pt'}"
    with pytest.raises(CheckpointError, match=said):
        package.load(image.export("onnx"))


def test_an_export_is_exported_again(image):
    again = image.export("again", f"ckpt={image.export('safetensors')}", "format=torch")
    said = json.loads((again / "ptft.json").read_text())["checkpoint"]
    assert said == {"path": str(image.folder / "checkpoints" / "best.pt"), "sha256": image.model.checkpoint.sha256} | {
        "run": str(image.folder)
    }


def test_what_transformers_has_no_place_for_is_refused_by_name(speech):
    said = "format=huggingface: model=audio_cnn: .* format=onnx, torch or safetensors work"
    with pytest.raises(ConfigError, match=said):
        speech.export("huggingface")
    assert not speech.folder.with_name("huggingface").exists()
    with pytest.raises(ConfigError, match="quantize=dynamic: is for format=onnx"):
        speech.export("int8", "quantize=dynamic", "format=torch")


@pytest.mark.parametrize("form", ["onnx", "torch", "safetensors", "huggingface"])
def test_the_card_says_what_it_is_and_its_code_runs(form, image, text, speech, monkeypatch):
    for run in (image, text, speech):
        if (form == "huggingface" and run is speech) or (form == "torch" and run is not image):
            continue
        folder = run.export(form, *(["quantize=dynamic"] if form == "onnx" and run is text else []))
        card = (folder / "README.md").read_text()
        _, front, body = card.split("---\n", 2)
        said, found = yaml.safe_load(front), summary(run.folder)
        assert said["pipeline_tag"] == f"{run.model.spec.modality}-classification"
        values = {entry["type"]: entry["value"] for entry in said["model-index"][0]["results"][0]["metrics"]}
        split = said["model-index"][0]["results"][0]["dataset"]["split"]
        assert values["accuracy"] == pytest.approx(found["metrics"][split]["accuracy"])
        for part in (
            found["data"]["fingerprint"],
            run.model.checkpoint.sha256,
            "2 steps, 16 examples",
            "95 % interval",
        ):
            assert part in body, part
        assert all(name in body for name in run.model.classes)
        code = re.search(r"```python\n(.*?)```", body, re.DOTALL)[1]
        monkeypatch.chdir(folder)
        lines = code.rstrip().splitlines()
        assert len([line for line in lines if line and not line.startswith("#")]) <= 5
        exec(code, {})
