"""Speech encoders of transformers: tiny random ones, against what transformers makes of each recording alone."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from ptft.core import Spec
from ptft.data.audio import reader as audio_reader
from ptft.models.hub.huggingface import HuggingFace, public_options, public_weights
from tests.conftest import refused, transfer

pytestmark = pytest.mark.usefixtures("no_network")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
WAVES = {
    **SIZES,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 8),
    "conv_stride": (5, 64),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
CONFIGS = {
    "group": transformers.Wav2Vec2Config(**WAVES),
    "layer": transformers.Wav2Vec2Config(**WAVES, **STABLE),
    "hubert": transformers.HubertConfig(**WAVES),
    "wavlm": transformers.WavLMConfig(**WAVES, num_buckets=8),
    "unispeech": transformers.UniSpeechConfig(**WAVES),
    "unispeech-sat": transformers.UniSpeechSatConfig(**WAVES, **STABLE),
    "whisper": transformers.WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=80, max_source_positions=100, max_target_positions=16,
        vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    ),
}  # fmt: skip
LENGTHS = (16_000, 5000, 9003, 100)


def extractor(name: str):
    if name == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=name != "wavlm")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """What save_pretrained writes of every kind of model, with what prepares its recordings."""
    root = tmp_path_factory.mktemp("hub")
    for name, config in CONFIGS.items():
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(root / name)
        extractor(name).save_pretrained(root / name)
    return {name: root / name for name in CONFIGS}


def loaded(folder: Path) -> HuggingFace:
    weights, spec = public_weights(str(folder))
    model = HuggingFace(spec, **public_options(str(folder)))
    model.load_state_dict(weights)
    return model


def sounds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(-9000, 9000, (n,), generator=generator).to(torch.int16) for n in LENGTHS]


def batch(items: list[torch.Tensor], extra: int = 0) -> dict[str, torch.Tensor]:
    found = audio_reader.collate(items, Spec("audio", audio_reader.shape(16_000, None)))
    return {**found, "input": torch.nn.functional.pad(found["input"], (0, extra))}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recording_in_a_batch_is_what_transformers_makes_of_it_alone(name, folders):
    model = loaded(folders[name]).eval()
    own = transformers.AutoModel.from_pretrained(folders[name]).eval()
    own = own.get_encoder() if name == "whisper" else own
    items = sounds()[:3]
    with torch.no_grad():
        together = model(model.inputs(batch(items, extra=3000)))
        for row, item in enumerate(items):
            given = extractor(name)((item / 32768).numpy(), sampling_rate=16_000, return_tensors="pt")
            wanted = own(next(iter(given.values()))).last_hidden_state[0]
            count = int(together.mask[row].sum())
            assert count == (len(wanted) if name != "whisper" else min(100, math.ceil((len(item) + 200) / 320)))
            torch.testing.assert_close(together.tokens[row][together.mask[row]], wanted[:count], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_changes_no_gradient_and_every_parameter_is_in_a_layer_and_learns(name, folders):
    model = loaded(folders[name]).eval()
    gradients = []
    for extra in (0, 2500):
        model.zero_grad()
        model.pool(model(model.inputs(batch(sounds(), extra)))).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.isfinite(g).all() for g in gradients[1])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)
    layers = model.layers()
    inside = [{p for module in layer for p in module.parameters()} for layer in layers]
    assert len(layers) == 3
    assert set.union(*inside) == set(model.parameters())
    assert sum(map(len, inside)) == len(set.union(*inside))
    late = model.net.layer_norm if name == "whisper" else model.net.encoder.layer_norm
    assert (late.weight in inside[-1]) == (name in ("layer", "unispeech-sat", "whisper"))
    assert model.no_weight_decay <= {name for name, _ in model.named_parameters()}


def test_training_draws_from_torch_alone(folders):
    """SpecAugment within the model draws from numpy; layers and values are left out as its configuration says."""
    model = loaded(folders["layer"]).train()
    tokens = []
    for _ in range(2):
        torch.manual_seed(3)
        tokens.append(model(model.inputs(batch(sounds()))).tokens)
    assert torch.equal(*tokens)
    torch.manual_seed(4)
    assert not torch.equal(tokens[0], model(model.inputs(batch(sounds()))).tokens)


def test_a_frame_at_least(folders):
    for name in ("group", "layer", "whisper"):
        model = loaded(folders[name]).eval()
        found = model(model.inputs({"input": torch.zeros(2, 1, dtype=torch.int16), "length": torch.tensor([1, 1])}))
        assert torch.isfinite(model.pool(found)).all()
        assert found.mask.sum(1).min() == 1


def test_recordings_are_normalised_as_the_preprocessor_says(folders):
    assert public_options(str(folders["group"]))["normalize"]
    assert not public_options(str(folders["wavlm"]))["normalize"]
    model = loaded(folders["group"])
    x = model.inputs(batch(sounds()))
    one = x[1][~x[1].isnan()]
    assert len(one) == LENGTHS[1]
    assert abs(float(one.mean())) < 1e-4
    assert abs(float(one.std()) - 1) < 1e-3


TONES = ("dataset=tones", "dataset.count=32", "dataset.held_out=8", "train.batch_size=8", "train.steps=2", "device=cpu")


@pytest.mark.parametrize(("name", "objective"), [("group", "classify"), ("layer", "ctc"), ("whisper", "ctc")])
def test_a_model_by_folder_has_fresh_weights(name, objective, folders, ptft):
    words = ["dataset.words=[1,2]"] if objective == "ctc" else []
    model = ("stage=pretrain", "model=huggingface", f"model.name={folders[name]}", f"objective={objective}", *TONES)
    done = ptft(*model, *words, "dataset.rate=16000", "dataset.seconds=2", "hydra.run.dir=run")
    assert done.code == 0, done.text
    content = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert json.loads(content["config"]["model"]["config"])["model_type"] == CONFIGS[name].model_type


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_public_weights_are_finetuned_at_their_rate_and_the_checkpoint_needs_the_folder_no_more(name, folders, ptft):
    shutil.copytree(folders[name], "gone")
    done = ptft("stage=finetune", "ckpt=huggingface:gone", *TONES, "finetune.layer_decay=0.9", "hydra.run.dir=run")
    assert done.code == 0, done.text
    moved = transfer(Path("run"))
    assert len(moved["loaded"]["tensors"]) == len(loaded(folders[name]).state_dict())
    assert moved["reinitialised"]["tensors"].keys() == {"head.weight", "head.bias"}
    assert moved["ignored"]["tensors"] == {}
    assert torch.load("run/checkpoints/last.pt", weights_only=True)["spec"]["shape"]["rate"] == 16_000
    shutil.rmtree("gone")
    done = ptft("stage=evaluate", "ckpt=run", "device=cpu", "hydra.run.dir=seen")
    assert done.code == 0, done.text
    assert "accuracy" in done.text


def test_what_can_not_be_heard_is_refused_in_a_line(folders, ptft):
    typed = ("stage=pretrain", "model=huggingface", *TONES)
    group, whisper = f"model.name={folders['group']}", f"model.name={folders['whisper']}"
    refused(ptft(*typed, group), 2, "dataset.rate=8000", "dataset.rate=16000")
    refused(ptft(*typed, whisper, "dataset.rate=16000"), 2, "dataset.seconds=null", "hears 2 s at most")
    refused(
        ptft(*typed, whisper, "dataset.rate=16000", "dataset.seconds=3"), 2, "dataset.seconds=3", "dataset.seconds=2"
    )
    options = ("dataset.rate=16000", "dataset.seconds=2", "model.normalize=true")
    refused(ptft(*typed, whisper, *options), 2, "model.normalize=True", "hear samples")
    text = ("dataset=grammar", "dataset.sentences=40", "dataset.held_out=10", "objective=causal_lm", "device=cpu")
    refused(ptft("stage=pretrain", "model=huggingface", group, *text), 2, "wav2vec2 hears audio", "yields text")
    refused(ptft("stage=pretrain", "model=huggingface", group, "dataset=digits"), 2, "wav2vec2 hears", "yields image")


def test_public_weights_embed_recordings_without_a_task(folders, ptft, tmp_path):
    for i, sound in enumerate(sounds()[:2]):
        soundfile.write(tmp_path / f"{i}.wav", sound.numpy(), 16_000)
    done = ptft("stage=embed", f"ckpt=huggingface:{folders['layer']}", "input=*.wav", "output=out.npz")
    assert done.code == 0, done.text
    own = transformers.Wav2Vec2Model.from_pretrained(folders["layer"]).eval()
    with np.load("out.npz") as file, torch.no_grad():
        for found, sound in zip(file["features"], sounds()[:2], strict=True):
            raw = extractor("layer")((sound.float() / 32768).numpy(), sampling_rate=16_000, return_tensors="pt")
            wanted = own(raw["input_values"]).last_hidden_state.mean(1)[0]
            torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-4)
