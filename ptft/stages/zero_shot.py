"""A classifier of names alone: of a checkpoint that knows which texts belong to its input, without any training.

It is a checkpoint of `objective=classify` like others: measured, asked, explained, exported and finetuned as they are.
After Radford et al. 2021 (CLIP, section 3.1.4). Axes: n examples, K classes, D width of the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ptft.builders import components
from ptft.builders.restore import restored
from ptft.checkpoint import file as checkpoint_file
from ptft.checkpoint.load import Checkpoint
from ptft.checkpoint.transfer import PREFIX
from ptft.config.config import Config, model_name
from ptft.config.resolve import Job
from ptft.config.rules import usual
from ptft.core import Objective, Source, Spec
from ptft.data.splits import SPLITS
from ptft.errors import ConfigError, DataError, shortened
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import find_device, versions
from ptft.stages import messages
from ptft.stages.provenance import provenance

CLASSIFY = "ptft.objectives.supervised.classify.Classify"
PLACE = "{}"
"""Where in a template the name of a class comes."""
LOOKED_AT = 256
"""Examples, evenly spread, that tell how large features are; of their labels nothing is known to it."""
FORGOTTEN = ("captions",)
"""What of a Spec's shape a classifier has no use for."""


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Write the classifier into the run's folder. Raises ConfigError where there are no names, or nobody reads them."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    assert checkpoint.spec
    templates = _templates(cfg.zero_shot.template)
    device = find_device(cfg.device)
    objective = restored(cfg, checkpoint).to(device).eval()
    named: Callable[[list[list[str]], Tensor], tuple[Tensor, Tensor]] | None = getattr(objective, "named", None)
    if named is None:
        what = f"objective={cfg.names.objective} does not know which texts belong to its input"
        raise ConfigError(f"ckpt={cfg.ckpt}: {what}, as objective=siglip does")
    typed = cfg.zero_shot.names
    source = _source(job, checkpoint.spec)
    called = _called(typed if typed is not None else _classes(source, cfg))
    names = list(called)
    if len(names) < 2:
        raise ConfigError(f"zero_shot.names=[{','.join(names)}]: at least 2 names are needed, and none twice")
    said = [[template.replace(PLACE, name.replace("_", " ")) for template in templates] for name in called.values()]
    _check_apart(names, said)
    _header(job, out, folder, names, said)
    if folder is None:
        return {}
    weight, bias = named(said, _pooled(objective, source, device))
    content = _content(job, checkpoint, source, names, {"head.weight": weight.cpu(), "head.bias": bias.cpu()})
    best = folder.checkpoints / "best.pt"
    checkpoint_file.write(best, content)
    _close(job, out, folder, checkpoint, names, said)
    measured = _measures(source, names)
    then = following.evaluate(best, cfg.trusted) if measured else following.predict(best, cfg.trusted)
    messages.ending(out, folder.path, then)
    return {}


def _called(names: Any) -> dict[str, str]:
    """Class -> what it is called in a template: of a list its name. Raises ConfigError for a name that comes twice."""
    if isinstance(names, Mapping):
        return {str(name): str(called) for name, called in names.items()}
    if len({*map(str, names)}) < len(names):
        raise ConfigError(f"zero_shot.names=[{','.join(map(str, names))}]: at least 2 names are needed, and none twice")
    return {str(name): str(name) for name in names}


def _templates(typed: Any) -> list[str]:
    templates = [typed] if isinstance(typed, str) else list(typed)
    for template in templates:
        if PLACE not in template:
            raise ConfigError(f"zero_shot.template={template}: has no {PLACE}, where the name of a class comes")
    return templates


def _check_apart(names: Sequence[str], said: Sequence[Sequence[str]]) -> None:
    """Raises ConfigError where of two names the same is said, so that nothing tells them apart."""
    first: dict[tuple[str, ...], str] = {}
    for name, texts in zip(names, said, strict=True):
        if (other := first.setdefault(tuple(texts), name)) != name:
            raise ConfigError(f'zero_shot.names: of {other} and {name} the same is said ("{texts[0]}"); drop one')


def _source(job: Job, spec: Spec) -> Source:
    """Pictures to look at, and where no names are typed their classes. Raises ConfigError and DataError."""
    cfg, typed = job.config, job.config.zero_shot.names is not None
    try:
        source, _ = components.source_to_measure(
            cfg.dataset, spec, cfg.trusted, split=None, whole=None, labelled=not typed
        )
        return source
    except (ConfigError, DataError) as error:
        if not typed or "dataset" in job.overrides.typed:
            raise
        any_do = "of it pictures alone are looked at, and any do: dataset=image_folder dataset.root=FILES"
        raise type(error)(f"{error}; {any_do}") from error


def _measures(source: Source, names: Sequence[str]) -> bool:
    """Whether the dataset's examples have classes, and all of those are among the names."""
    return source.spec.target == "class" and bool(source.spec.classes) and {*source.spec.classes} <= {*names}


def _classes(source: Source, cfg: Config) -> list[str]:
    """The names of the dataset's classes. Raises ConfigError where it has none, or an example several."""
    spec = source.spec
    if spec.target != "class" or not spec.classes:
        what = f"dataset={cfg.names.dataset} has no class an example"
        raise ConfigError(f"zero_shot.names=null: {what}; type 'zero_shot.names=[…]', or a dataset that has")
    return list(spec.classes)


@torch.inference_mode()
def _pooled(objective: Objective, source: Source, device: torch.device) -> Tensor:
    """What the backbone makes of some examples, float32 [n, D]."""
    examples = next(each for split in SPLITS if (each := source.split(split)) is not None)
    places = torch.linspace(0, len(examples) - 1, min(LOOKED_AT, len(examples)), dtype=torch.float64).round().long()
    pooled = []
    for part in torch.split(places, 32):
        batch = {key: value.to(device) for key, value in examples.take(part.to(examples.device)).items()}
        pooled.append(objective.backbone.pool(objective.backbone(objective.backbone.inputs(batch))).float())
    return torch.cat(pooled)


def _content(
    job: Job, checkpoint: Checkpoint, source: Source, names: Sequence[str], head: dict[str, Tensor]
) -> dict[str, Any]:
    """What the classifier's checkpoint holds, which descends from the one that it is made of."""
    assert checkpoint.config
    assert checkpoint.spec
    cfg, stored = job.config, checkpoint.config
    shape = {key: value for key, value in checkpoint.spec.shape.items() if key not in FORGOTTEN}
    spec = Spec(checkpoint.spec.modality, shape, "class", tuple(names))
    spec = replace(spec, mean=checkpoint.spec.mean, std=checkpoint.spec.std)
    other = "dataset" in job.overrides.typed
    dataset = {"dataset": cfg.dataset.plain()} if other else {}
    called = {**stored["names"], "objective": "classify", **({"dataset": cfg.names.dataset} if other else {})}
    known: dict[str, Any] = {key: checkpoint.meta[key] for key in ("progress", "trained_on") if key in checkpoint.meta}
    return {
        "config": {
            **stored,
            **dataset,
            "objective": {"_target_": CLASSIFY, **usual("objective", "classify"), "views": None},
            "names": called,
        },
        "spec": spec.to_dict(),
        "weights": {**{n: v for n, v in checkpoint.weights.items() if n.startswith(PREFIX)}, **head},
        "fingerprint": source.fingerprint(),
        "parent": checkpoint.parent,
        "versions": versions(),
        **({} if _measures(source, names) else {following.UNMEASURED: True}),
        **known,
    }


def _header(
    job: Job, out: Console, folder: RunFolder | None, names: Sequence[str], said: Sequence[Sequence[str]]
) -> None:
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    first = "; ".join(f'{name}: "{texts[0]}"' for name, texts in list(zip(names, said, strict=True))[:2])
    rows = {
        "model": f"{model_name(cfg)}, {cfg.names.objective}",
        "classes": f"{len(names)} ({shortened(names, 8)})",
        "prompts": f"{first}{f'; {len(said[0])} templates, of which the mean counts' if len(said[0]) > 1 else ''}",
        "start": checkpoint.path,
        "folder": str(folder.path) if folder else "none, this is a dry run",
    }
    place = folder.path if folder else None
    out.plan("ptft zero_shot", rows, list(filter(None, [checkpoint.latest])), **messages.plan_details(cfg, place))


def _close(
    job: Job, out: Console, folder: RunFolder, checkpoint: Checkpoint, names: Sequence[str], said: list[list[str]]
) -> None:
    """The summary, and the last lines."""
    cfg = job.config
    summary = {
        "stage": cfg.names.stage,
        "status": "finished",
        "model": model_name(cfg),
        "dataset": cfg.names.dataset,
        "objective": "classify",
        "classes": dict(zip(names, said, strict=True)),
        "checkpoints": {"best": "checkpoints/best.pt"},
        "parent": checkpoint.parent,
        **provenance(job, folder.path),
    }
    write_json(folder.path / "summary.json", summary)
    out.block(
        "zero_shot done", {"classifier": f"{len(names)} classes, untrained", "written": "checkpoints/best.pt"}, "green"
    )
