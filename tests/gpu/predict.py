"""What a loaded model answers on the device beside what it answers on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

import ptft
from tests.gpu.setting import Setting, in_process

INPUTS: dict[str, Any] = {
    "image": [np.random.default_rng(seed).integers(0, 256, (40, 30), np.uint8) for seed in range(5)],
    "text": ["the cat sees a dog", "a bird", "some dogs that see the cat sleep"],
    "sound": [(np.sin(np.arange(4000 + 500 * i) * 0.05 * (i + 1)).astype(np.float32), 8000) for i in range(4)],
}
EXACT = ("precision=fp32", "train.tf32=false", "device=cpu", "stage=pretrain")
TEXT = (*EXACT, "dataset=grammar", "dataset.sentences=400", "dataset.held_out=40", "train.steps=10")
SOUND = (*EXACT, "dataset=tones", "dataset.count=64", "dataset.held_out=16", "train.steps=10")
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "cnn": ("image", (*EXACT, "dataset.images=600", "dataset.held_out=60", "train.steps=30")),
    "bert_tiny, features": ("text", (*TEXT, "model=bert_tiny", "objective=masked_lm")),
    "gpt_tiny, written on": ("text", (*TEXT, "model=gpt_tiny", "objective=causal_lm", "dataset.length=64")),
    "audio_cnn": ("sound", (*SOUND, "model=audio_cnn")),
    "conformer_small, ctc": ("sound", (*SOUND, "dataset.words=[2,3]", "model=conformer_small", "objective=ctc")),
}


def answers(setting: Setting, name: str) -> str:
    kind, typed = MODELS[name]
    folder = setting.work / f"predict-{name}".replace(", ", "-").replace(" ", "-")
    in_process(*typed, f"hydra.run.dir={folder}")
    options = {"temperature": 0, "length": 8} if "written" in name else {}
    found = {}
    for where in ("cpu", str(setting.device)):
        model = ptft.load(folder, device=where)
        found[where] = [] if "features" in name else model(INPUTS[kind], **options), model.features(INPUTS[kind])
    (wanted, features), (answered, on_device) = found["cpu"], found[str(setting.device)]
    apart = float(np.linalg.norm(on_device - features) / np.linalg.norm(features))
    worst = 0.0
    for one, other in zip(answered, wanted, strict=True):
        assert one.keys() == other.keys(), f"{one} and {other}"
        numbers = [key for key in one if isinstance(one[key], float)]
        worst = max([worst, *(abs(one[key] - other[key]) for key in numbers)])
        words = {key: one[key] for key in one if key not in numbers}
        assert words == {key: other[key] for key in words}, f"{one} and {other}"
    said = f"features {apart:.0e} apart, numbers of the answers {worst:.0e}"
    assert apart < 1e-3, said
    assert worst < 1e-3, said
    return said
