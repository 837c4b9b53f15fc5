"""Every objective on the device, as whole commands: trained, cut and continued, and measured there and on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ptft.data.text import conll, squad, table
from tests.gpu.setting import Setting, distance, in_process
from tests.helpers import options

DIGITS = ("dataset=digits", "dataset.size=16", "dataset.limit=320")
CONVNET = ("model=convnet", "model.channels=[8,16,32]")
WRITES = {"conll": conll.sample, "squad": squad.sample, "table": table.sample}
"""What writes the files of a dataset that is not embedded."""
LARGER = ("dataset.images=64", "dataset.held_out=16")
MORE = {
    "multilabel": ("dataset=shapes", "dataset.target=labels", *LARGER, *CONVNET),
    **dict.fromkeys(("detect", "segment", "siglip"), LARGER),
    "byol": ("objective.momentum=1",),
    **dict.fromkeys(("dino", "dinov2"), ("objective.momentum=1", "objective.warmup=0")),
}
"""What else to type: what a run of twice the steps does not do otherwise from the start is off."""
TAUGHT = ("distill", "feature_distill")
DRAWN = {
    "best_rq", "byol", "dino", "dinov2", "hubert", "mae", "masked_lm", "replaced_token", "rotation", "simclr",
    "simclr_audio", "spectrogram_mae", "vicreg", "wav2vec2", "feature_distill",
}  # fmt: skip
"""What draws in an evaluation too, other numbers on another device, or is not measured without its teacher."""
OTHERWISE = ("ctc",)
"""Objectives with a kernel on CUDA that does not give the same bits each time."""
OWN = ("objective.views._target_=torchvision.transforms.v2.RandomHorizontalFlip", "trusted=[torchvision]")
TASKS = [*options.of("objective"), *TAUGHT, "simclr, views of one's own"]


def trained(setting: Setting, name: str) -> str:
    objective, _, own = name.partition(", ")
    typed = ["stage=pretrain", f"objective={objective}", *_typed(setting, objective), f"device={setting.device}"]
    typed += OWN if own else ()
    typed += ["train.deterministic=true"] if setting.gpu and objective not in OTHERWISE else []
    rest, ends = ("schedule=constant", "train.every.evaluate=8", "train.every.save=4", "train.batch_size=16"), {}
    folders = {side: setting.work / f"task-{objective}{own[:1]}-{side}" for side in ("whole", "again", "cut")}
    for side, folder in folders.items():
        steps = 8 if side == "cut" else 16
        in_process(*typed, *rest, f"train.steps={steps}", f"hydra.run.dir={folder}")
        if side == "cut":
            in_process(f"resume={folder}", "train.steps=16", *(OWN[1:] if own else ()))
        state = torch.load(folder / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)
        ends[side] = [value for value in state["weights"].values() if value.is_floating_point()]
    apart, wobble = (distance(ends[side], ends["whole"]) for side in ("cut", "again"))
    said = f"cut and continued {'bit-equal' if apart == 0 else f'{apart:.0e} apart'}, twice the same {wobble:.0e}"
    assert apart <= (max(3 * wobble, 1e-4) if objective in OTHERWISE else 0), said
    return said if objective in DRAWN else f"{said}; {_measured_twice(setting, folders['whole'])}"


def _measured_twice(setting: Setting, run: Path) -> str:
    """The loss of the best checkpoint on the device and, in fp32, on the CPU."""
    losses = []
    for where, precision in ((setting.device, "auto"), ("cpu", "fp32")):
        folder = run.with_name(f"{run.name}-{len(losses)}")
        typed = (f"device={where}", f"precision={precision}", f"hydra.run.dir={folder}")
        in_process("stage=evaluate", f"ckpt={run}", *typed)
        metrics = json.loads((folder / "summary.json").read_text())["metrics"]
        losses.append(next(iter(metrics.values()))["loss"])
    said = f"loss {losses[0]:.4f}, on the CPU in fp32 {losses[1]:.4f}"
    assert abs(losses[0] - losses[1]) < 0.03 * max(abs(losses[1]), 0.1), said
    return said


def _typed(setting: Setting, name: str) -> list[str]:
    """The data and the model of a task, with the files and the teacher that it needs."""
    if name in TAUGHT:
        teacher = setting.work / "teacher"
        if not teacher.exists():
            few = ("train.steps=10", f"device={setting.device}", f"hydra.run.dir={teacher}")
            in_process("stage=pretrain", "objective=classify", *DIGITS, *CONVNET, *few)
        return [*DIGITS, *CONVNET, f"objective.teacher={teacher}"]
    typed = [*options.typed(f"objective/{name}"), *MORE.get(name, ())]
    dataset = options.typed_dataset(f"objective/{name}")
    if dataset in WRITES:
        root = setting.work / f"files-{dataset}"
        if not root.exists():
            WRITES[dataset](root)
        typed.append(f"dataset.root={root}")
    if not any(word.startswith("dataset=") for word in typed):
        typed = [*DIGITS, *typed]
    return typed if any(word.startswith(("model=", "dataset=s")) for word in typed) else [*CONVNET, *typed]


READS = {
    "explain": (),
    "embed": (),
    "predict": (),
    "inspect": ("dataset=digits", "dataset.limit=320"),
    "compare": ("dataset=digits", "compare.per_class=[1,5]", "compare.seeds=2", "train.steps=5", "compare.tune=null"),
}
"""Stages that start from a classifier of digits, and what to type for them."""


def read(setting: Setting, name: str) -> str:
    """That the stage ends well with its model on the device; what an embedding says there and on the CPU."""
    run, pictures = setting.work / "read", setting.work / "pictures"
    if not run.exists():
        few = ("train.steps=50", f"device={setting.device}", f"hydra.run.dir={run}")
        in_process("stage=pretrain", "objective=classify", *DIGITS, *CONVNET, *few)
        pictures.mkdir()
        for number, image in enumerate(load_digits().images[:8]):
            Image.fromarray((image * 15).astype("uint8")).resize((16, 16)).save(pictures / f"{number}.png")
    typed = [f"stage={name}", f"ckpt={run}", *READS[name]]
    typed += [] if READS[name] else [f"input={pictures}"]
    found = []
    for where in (setting.device, "cpu") if name == "embed" else (setting.device,):
        folder = setting.work / f"read-{name}-{len(found)}"
        in_process(*typed, f"device={where}", f"hydra.run.dir={folder}")
        found.append(folder)
    if name != "embed":
        return "ended well"
    here, there = (np.load(folder / "features.npz")["features"] for folder in found)
    apart = float(np.linalg.norm(here - there) / np.linalg.norm(there))
    assert apart < 0.02, f"features {apart:.0e} apart"
    return f"features {apart:.0e} apart"
