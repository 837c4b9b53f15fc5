"""Right on the device: what a GPU computes beside the CPU, and that nothing waits, is lost or is drawn anew.

A check is a function of a setting and a case: it returns what was seen as a sentence, and raises AssertionError where
that is wrong, or Skipped.
"""

from __future__ import annotations

import copy
import gc
import json
import warnings
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ptft.builders.run import Run
from ptft.core import Batch
from ptft.errors import NotFiniteError
from ptft.runtime.prefetch import on_device
from ptft.runtime.rng import seed_everything
from ptft.runtime.together.alone import current
from ptft.train.cuda_graph import live_in_tensors
from ptft.train.loop import fit, train_step
from ptft.train.watch import FiniteCheck
from tests.gpu.setting import Setting, Skipped, batches, built, distance, grouped, in_process, moved, ptft, weights

CPU = torch.device("cpu")
GLYPHS = ("stage=pretrain", "dataset.images=2000", "dataset.held_out=200", "precision=fp32")
TEXT = ("stage=pretrain", "dataset=grammar", "dataset.sentences=400", "dataset.held_out=40", "dataset.length=64")
SCENES = ("stage=pretrain", "dataset.images=200", "dataset.held_out=50", "train.batch_size=16")
SOUND = ("stage=pretrain", "dataset=tones", "dataset.count=64", "dataset.held_out=16")
MODELS = {
    "cnn": (*GLYPHS, "model=cnn"),
    "resnet18": (*GLYPHS, "model=resnet18"),
    "vit_tiny, mae": (*GLYPHS, "model=vit_tiny", "objective=mae"),
    "convnet, simclr": (*GLYPHS, "model=convnet", "objective=simclr"),
    "convnet, rotation": (*GLYPHS, "model=convnet", "objective=rotation"),
    "gpt_tiny": (*TEXT, "model=gpt_tiny", "objective=causal_lm", "model.dropout=0.1"),
    "bert_tiny, masked_lm": (*TEXT, "model=bert_tiny", "objective=masked_lm"),
    "audio_cnn": (*SOUND, "model=audio_cnn"),
    "conformer_small, ctc": (*SOUND, "dataset.words=[2,3]", "model=conformer_small", "objective=ctc"),
    "audio_transformer, wav2vec2": (*SOUND, "model=audio_transformer", "objective=wav2vec2"),
}
"""A model of each modality, and of each way in which a loss is computed."""
STEPPED = MODELS | {
    "convnet, dino": (*GLYPHS, "model=convnet", "objective=dino"),
    "convnet, vicreg": (*GLYPHS, "model=convnet", "objective=vicreg"),
    "vit_tiny, dinov2": (*GLYPHS, "model=vit_tiny", "objective=dinov2"),
    "convnet, siglip": (*SCENES, "dataset=scenes", "objective=siglip"),
    "convnet, segment": (*SCENES, "dataset=shapes", "dataset.target=masks", "objective=segment"),
    "convnet, detect": (*SCENES, "dataset=shapes", "objective=detect"),
    "audio_transformer, hubert": (*SOUND, "model=audio_transformer", "objective=hubert"),
}
"""Of those whose steps may wait, more."""
DRAWN = ("vit_tiny, mae", "convnet, simclr", "convnet, rotation", "audio_transformer, wav2vec2")
"""What draws at random in an evaluation too, other numbers on another device; their backbones are compared instead."""
SAME = {name: typed for name, typed in MODELS.items() if name not in DRAWN} | {
    "vit_tiny": (*GLYPHS, "model=vit_tiny"),
    "convnet": (*GLYPHS, "model=convnet"),
    "audio_transformer": (*SOUND, "model=audio_transformer"),
}
WAITS = {
    "bert_tiny, masked_lm": "for how many tokens are hidden, as only those are multiplied with the vocabulary",
    "conformer_small, ctc": "for lengths, which torch's ctc_loss reads on the CPU",
    "convnet, detect": "for which boxes overlap, as torchvision's generalized_box_iou_loss indexes by a mask",
}
"""Models whose step waits for the device, and what for."""
RECORDED = ("cnn", "resnet18", "vit_tiny, mae", "convnet, simclr", "convnet, rotation", "gpt_tiny")
STEPS = 30


class Check(NamedTuple):
    about: str
    cases: Sequence[str]
    of: Callable[[Setting, str], str]


def agreement(setting: Setting, name: str) -> str:
    typed = (*SAME[name], "precision=fp32", "train.tf32=false", "train.batch_size=16")
    runs = {"CPU": built(CPU, *typed), "device": built(setting.device, *typed)}
    batch = runs["CPU"].training.loader.first()
    runs["device"].objective.load_state_dict(runs["CPU"].objective.state_dict())
    found = {where: _computed(run.objective, moved(batch, run.device)) for where, run in runs.items()}
    twice = copy.deepcopy(runs["CPU"].objective).double()
    twice.zero_grad()
    wanted = _computed(twice, batch)
    loss = {where: abs(value / wanted[0] - 1) for where, (value, _) in found.items()}
    apart = {where: distance(grads, wanted[1]) for where, (_, grads) in found.items()}
    said = ", ".join(f"{where} loss {loss[where]:.0e} gradients {apart[where]:.0e}" for where in found)
    assert loss["device"] < max(1e-5, 100 * loss["CPU"]), said
    assert apart["device"] < max(1e-5, 100 * apart["CPU"]), said
    return said


def _computed(objective: nn.Module, batch: Batch) -> tuple[float, list[Tensor]]:
    """The mean loss and all gradients, without dropout and random views."""
    objective.eval()
    seed_everything(1)
    step = objective(batch)
    step.total.backward()
    grads = [p.grad for p in objective.parameters() if p.grad is not None]
    assert grads, "no gradients"
    return float(step.total.detach()) / float(step.count), grads


PRECISIONS = {
    "fp32": ("precision=fp32", "train.tf32=false"),
    "TF32": ("precision=fp32",),
    "bf16": ("precision=bf16",),
    "fp16": ("precision=fp16",),
}


def precisions(setting: Setting, name: str) -> str:
    if name in ("TF32", "fp16") and not setting.gpu:
        raise Skipped("needs a GPU")
    steps, images, least = (300, 20_000, 0.6) if setting.gpu else (40, 1_000, 0.3)
    typed = (*GLYPHS, f"dataset.images={images}", f"train.steps={steps}", *PRECISIONS[name])
    run = built(setting.device, *typed)
    trained(run, steps)
    measured = run.training.running.metrics(run.objective)["accuracy"]
    scale = f", scale {run.training.scaler.get_scale():g}" if run.training.scaler else ""
    assert measured > least, f"accuracy {measured:.3f}"
    return f"accuracy over {steps} steps of training {measured:.3f}{scale}"


def trained(run: Run, steps: int, seed: int = 3) -> None:
    seed_everything(seed)
    finite = FiniteCheck(run.training)
    for batch in islice(batches(run), steps):
        train_step(run.training, batch, finite)
    finite.check()


def graphs(setting: Setting, name: str) -> str:
    if not setting.gpu:
        raise Skipped("needs a GPU")
    exact = ("precision=fp32", "train.tf32=false", "optimizer.lr=1e-4")
    typed, moves = (*MODELS[name], *exact, "train.batch_size=16", f"train.steps={STEPS}"), {}
    for side, flag in {"steps": "false", "again": "false", "replayed": "true"}.items():
        run = built(setting.device, *typed, f"train.cuda_graph={flag}")
        if flag == "false":  # the arithmetic of the optimizer's step is then the same
            live_in_tensors(run.training.optimizer, setting.device)
        start = weights(run)
        trained(run, STEPS)
        moves[side] = [value - start[key] for key, value in weights(run).items() if value.is_floating_point()]
    recorded = run.training.graph
    assert recorded is not None
    assert recorded.graph is not None, "nothing was recorded"
    apart, wobble = (distance(moves[side], moves["steps"]) for side in ("replayed", "again"))
    return compared(apart, max(wobble, 0.01), f"of what {STEPS} steps moved, twice the same {wobble:.0e}")


def compared(apart: float, wobble: float, said: str) -> str:
    """A GPU may add in another order each time: no further apart than about what the same is, done twice."""
    found = f"{'bit-equal' if apart == 0 else f'{apart:.0e} apart'}, {said}"
    assert apart <= 3 * wobble, found
    return found


def unrecordable(setting: Setting, name: str) -> str:
    """What can't be recorded is left as it is by `train.cuda_graph=auto`."""
    if not setting.gpu:
        raise Skipped("needs a GPU")
    run = built(setting.device, *MODELS[name], f"train.steps={STEPS}", "train.cuda_graph=auto", "objective.dropout=0.1")
    graph = run.training.graph
    assert graph is not None, "auto did not mean to record"
    gradients = graph.gradients

    def waiting(batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        sums, norm = gradients(batch)
        float(norm)
        return sums, norm

    graph.gradients = waiting
    trained(run, STEPS)
    assert graph.off, "it was recorded all the same"
    assert _finite(run.objective), "weights that are not finite"
    return f"{STEPS} steps, none recorded"


def waits(setting: Setting, name: str) -> str:
    if not setting.gpu:
        raise Skipped("needs a GPU")
    typed = (*STEPPED[name], "precision=bf16", "train.steps=100", "train.ema=0.99", "train.cuda_graph=false")
    run = built(setting.device, *typed)
    taken, finite = batches(run), FiniteCheck(run.training)
    for batch in islice(taken, 5):
        train_step(run.training, batch, finite)
    resident = [next(taken) for _ in range(2)]
    elsewhere = [moved(batch, CPU) for batch in resident]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this mode of torch's is a prototype
            torch.cuda.set_sync_debug_mode("error")
        for batch in (*resident, *on_device(iter(elsewhere), setting.device)):
            train_step(run.training, batch, finite)
    except RuntimeError as error:
        if name in WAITS and "synchronizing" in str(error):
            return f"waits {WAITS[name]}"
        raise
    finally:
        torch.cuda.set_sync_debug_mode("default")
    finite.check()
    return "no wait in 4 steps"


def prefetch(setting: Setting, name: str) -> str:
    sent = [{"input": torch.full((64, 3, 64, 64), float(i)), "index": torch.arange(64) + i} for i in range(40)]
    side = 2048 if setting.gpu else 64
    busy = torch.randn(side, side, device=setting.device)
    for number, batch in enumerate(on_device(iter(sent), setting.device)):
        for _ in range(4):
            busy = torch.tanh(busy @ busy)
        assert bool((batch["input"] == number).all()), f"batch {number} holds other values"
        assert batch["index"].tolist() == (torch.arange(64) + number).tolist(), f"batch {number} holds other values"
    return f"{len(sent)} batches beside other work, none overwritten"


def not_finite(setting: Setting, name: str) -> str:
    typed = ("train.every.evaluate=10", "train.every.save=10", "train.cuda_graph=false")
    small = (
        () if setting.gpu else ("dataset.images=300", "dataset.held_out=20", "model.width=16", "model.channels=[4,8]")
    )
    run = built(setting.device, *GLYPHS, f"train.steps={STEPS}", *typed, *small)
    t, spoiled_at, saved = run.training, 14, []

    def spoil(gradient: Tensor) -> Tensor:
        return gradient * torch.inf if t.progress.step == spoiled_at else gradient

    next(iter(run.objective.parameters())).register_hook(spoil)
    with pytest.raises(NotFiniteError, match=f"at step {spoiled_at + 1},"):
        fit(t, Silent(), lambda better: saved.append((t.progress.step, _finite(run.objective))))
    assert saved, "nothing was saved before"
    assert all(good for _, good in saved), f"saved with spoiled weights: {saved}"
    return f"infinite at step {spoiled_at + 1}, last saved at {saved[-1][0]}"


def _finite(module: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in module.parameters())


def cut(setting: Setting, name: str) -> str:
    """FSDP in one process: all that it does to a model and its steps, and nothing to be exchanged."""
    typed = (*MODELS[name], "precision=fp32", "train.tf32=false", "train.layout=contiguous", "optimizer.lr=1e-4")
    small = () if setting.gpu else ("model.width=16", "model.depth=1", "model.heads=2")
    moves, peaks = {}, {}
    for side, way in {"whole": "ddp", "again": "ddp", "cut": "fsdp"}.items():
        with grouped():
            run = built(setting.device, *typed, *small, "train.cuda_graph=false", f"train.parallel={way}")
            start = whole(run)
            if setting.gpu:
                torch.cuda.reset_peak_memory_stats()
            trained(run, STEPS if setting.gpu else 5)
            peaks[side] = torch.cuda.max_memory_allocated() if setting.gpu else 0
            ends = whole(run)
            moves[side] = [ends[key] - start[key] for key in ends if ends[key].is_floating_point()]
            assert current().cut == (way == "fsdp")
        del run
        gc.collect()
    apart, wobble = (distance(moves[side], moves["whole"]) for side in ("cut", "again"))
    memory = f"; {peaks['cut'] / 2**20:,.0f} MiB at most, whole {peaks['whole'] / 2**20:,.0f}" if setting.gpu else ""
    return compared(apart, max(wobble, 0.01), f"of what the steps moved, twice the same {wobble:.0e}{memory}")


def whole(run: Run) -> dict[str, Tensor]:
    """Its weights, also where they are cut, on the CPU."""
    state = run.objective.state_dict()
    return {name: current().whole(value).detach().to("cpu", copy=True) for name, value in state.items()}


class Silent:
    """A logger that hears everything and says nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: None


def resume(setting: Setting, name: str) -> str:
    model, _, recorded = name.partition(", ")
    if recorded and not setting.gpu:
        raise Skipped("needs a GPU")
    graph = "auto" if recorded == "auto" else str(bool(recorded)).lower()
    rest = ("schedule=constant", "train.every.evaluate=10", "train.every.save=5", "train.batch_size=16")
    same = f"train.deterministic={str(recorded != 'auto').lower()}"  # which leaves auto at false
    flags = same, f"train.cuda_graph={graph}", f"precision={'bf16' if setting.gpu else 'fp32'}"
    typed, ends = (*MODELS[model], *rest, *flags, f"device={setting.device}"), {}
    for side in ("whole", "again", "cut"):
        folder = setting.work / f"resume-{name}-{side}".replace(", ", "-").replace(" ", "-")
        in_process(*typed, f"train.steps={10 if side == 'cut' else 20}", f"hydra.run.dir={folder}")
        if side == "cut":
            ptft(setting, f"resume={folder}", "train.steps=20")
        state = torch.load(folder / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)
        ends[side] = [value for value in state["weights"].values() if value.is_floating_point()]
    apart, wobble = (distance(ends[side], ends["whole"]) for side in ("cut", "again"))
    return compared(apart, 0.0 if recorded != "auto" else max(wobble, 1e-4), f"twice the same {wobble:.0e}")


FINETUNES = {
    "whole": ("train.ema=0.9",),
    "head": ("finetune.train=head", "finetune.head_init=probe"),
    "last block": ("finetune.train=last:1", "finetune.layer_decay=0.7"),
    "phases": ("finetune.train=[{until: 0.5, train: head}, {until: 1.0, train: all}]",),
    "low rank": ("finetune.lora.rank=4", "finetune.lora.targets=all"),
    "anchored": ("finetune.l2sp=0.01", "train.average_last=2", "train.accumulate=2"),
}


def stages(setting: Setting, name: str) -> str:
    """A pretraining with everything as it comes, then a finetune, which is measured and predicts with."""
    small, device = ("dataset.images=2000", "dataset.held_out=200"), f"device={setting.device}"
    start, folder = setting.work / "stages-start", setting.work / f"stages-{name.replace(' ', '-')}"
    if not start.exists():
        in_process("stage=pretrain", *small, "train.epochs=3", device, f"hydra.run.dir={start}")
    target = ("stage=finetune", f"ckpt={start}", "dataset=digits", "train.steps=200", "optimizer.lr=1e-3")
    in_process(*target, *FINETUNES[name], device, f"hydra.run.dir={folder}")
    in_process("stage=evaluate", f"ckpt={folder}", device, f"hydra.run.dir={folder}-evaluated")
    finished, measured = (
        json.loads((where / "summary.json").read_text())["metrics"]["test"]["accuracy"]
        for where in (folder, folder.with_name(f"{folder.name}-evaluated"))
    )
    assert abs(finished - measured) < 0.005, f"accuracy {finished:.3f} in the run, {measured:.3f} of its checkpoint"
    assert measured > 0.8, f"accuracy {measured:.3f}"
    return f"accuracy on digits {measured:.3f}"


def memory(setting: Setting, name: str) -> str:
    if not setting.gpu:
        raise Skipped("torch counts the memory of GPUs alone")
    typed = (*TEXT, "dataset.length=512", "dataset.sentences=4000", "model=gpt_small", "objective=causal_lm")
    peaks = {}
    for side, more in {"ptft": (), "computed again": ("train.checkpoint_activations=true",)}.items():
        run = built(setting.device, *typed, "precision=bf16", "train.batch_size=16", "train.steps=100", *more)
        torch.cuda.reset_peak_memory_stats()
        trained(run, 8)
        peaks[side] = torch.cuda.max_memory_allocated()
        if side == "ptft":
            peaks["by hand"] = _by_hand(run.objective, [moved(b, setting.device) for b in islice(batches(run), 2)])
        del run
        gc.collect()  # its optimizer and hooks refer to each other
        torch.cuda.empty_cache()
    said = ", ".join(f"{side} {peak / 2**20:,.0f} MiB" for side, peak in peaks.items())
    assert peaks["ptft"] < 1.1 * peaks["by hand"], said
    assert peaks["computed again"] < 0.8 * peaks["ptft"], said
    return said


def parts(setting: Setting, name: str) -> str:
    if not setting.gpu:
        raise Skipped("what does not fit is refused by GPUs alone")
    typed = (*TEXT, "dataset.length=512", "dataset.sentences=4000", "model=gpt_small", "objective=causal_lm")
    typed = (*typed, "precision=bf16", "train.batch_size=32", "train.steps=100", "train.cuda_graph=false")
    free, total = torch.cuda.mem_get_info(setting.device)
    torch.cuda.set_per_process_memory_fraction(min(1.0, 3 * 2**30 / total), setting.device)
    try:
        run = built(setting.device, *typed, "train.accumulate=auto")
        found = run.training.accumulate
        trained(run, 8)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        torch.cuda.empty_cache()
    assert 32 % found == 0, f"{found} parts of 32"
    assert found > 1, f"32 texts of 512 tokens as a whole in 3 GiB, of {free / 2**30:.0f} GiB that are free"
    return f"{found} parts in 3 GiB, which then trained"


def _by_hand(objective: nn.Module, taken: list[Batch]) -> int:
    """The peak of forward, backward, AdamW, in as many lines."""
    model = copy.deepcopy(objective)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    torch.cuda.reset_peak_memory_stats()
    for batch in taken * 2:
        with torch.autocast("cuda", torch.bfloat16):
            step = model(batch)
            loss = step.total / step.count
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return torch.cuda.max_memory_allocated()


CHECKS = {
    "agreement": Check("loss and gradients in float32, their distance to float64's on the CPU", list(SAME), agreement),
    "precisions": Check("the same training in each precision learns", list(PRECISIONS), precisions),
    "graphs": Check("steps replayed from a CUDA graph are the steps", RECORDED, graphs),
    "unrecordable": Check("a step that can't be recorded is taken as it is", ["cnn"], unrecordable),
    "waits": Check("no step makes the CPU wait for the device", list(STEPPED), waits),
    "prefetch": Check("batches arrive through pinned memory as they were sent", ["cpu to device"], prefetch),
    "not_finite": Check("an infinite gradient ends the run before anything is saved", ["cnn"], not_finite),
    "cut": Check("FSDP in one process takes the steps of the whole", ["gpt_tiny", "vit_tiny, mae"], cut),
    "resume": Check(
        "a run cut and continued in another process is the run",
        ["cnn", "gpt_tiny", "cnn, CUDA graph", "gpt_tiny, auto"],
        resume,
    ),
    "stages": Check("a pretraining and a finetune, as they come", list(FINETUNES), stages),
    "memory": Check("the most memory, beside the same steps by hand", ["gpt_small, 16 x 512"], memory),
    "parts": Check("the largest parts of a batch that fit are found", ["gpt_small, 32 x 512 in 3 GiB"], parts),
}
