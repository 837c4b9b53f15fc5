"""From overrides to the checked configuration of one run: composed, filled in from its checkpoint, resolved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose
from ptft.config.overrides import override_keys, parse_overrides, quote, typed_values
from ptft.config.renamed import renamed
from ptft.config.validate import check
from ptft.errors import CheckpointError, ConfigError, suggest

FILLED = ("model", "dataset", "objective")
"""Groups that can be taken from a checkpoint."""

FREE_ON_RESUME = (
    "train.epochs",
    "train.steps",
    "train.minutes",
    "train.every",
    "train.workers",
    "train.cuda_graph",
    "train.checkpoint_activations",
    "device",
    "dataset.root",
    "objective.teacher",
    "dataset.cache",
    "trusted",
    "resume",
)
"""Keys (and what is below them) that may change when a run is continued."""


def prepare(overrides: list[str]) -> dict[str, Any]:
    """The plain configuration of the run that `overrides` ask for, checked. Raises ConfigError or CheckpointError."""
    typed = typed_values(overrides)
    if typed.get("resume") is not None:
        return _continued(str(typed["resume"]), overrides, typed)
    if "stage" not in typed:
        raise ConfigError(f"which stage? type stage=NAME, one of {', '.join(compose.options('stage'))}")
    groups = [text for text, key in zip(overrides, override_keys(overrides), strict=True) if key in compose.GROUPS]
    base = compose.compose(groups)
    later = {group for group in FILLED if base.names[group] == "from_ckpt" or typed.get("ckpt") is not None}
    here = [o for o in parse_overrides(overrides) if o.key_or_group.split(".")[0] not in later]
    if unknown := compose.unknown_key(here, base):
        raise unknown
    cfg = _filled(overrides, typed, base)
    config: dict[str, Any] = compose.plain(cfg)
    _absolute(config)
    if "compare" in config:  # whose runs are composed from what was typed
        config["compare"]["typed"] = overrides
    OmegaConf.set_struct(base, False)
    base.ckpt = None
    defaults = OmegaConf.to_container(base, resolve=False)
    assert isinstance(defaults, dict)
    check(config, {str(key): value for key, value in defaults.items() if key != "hydra"})
    return config


def again(overrides: list[str]) -> list[str]:
    """`resume=` of a comparison is its command once more, in its folder: the runs that are finished are not repeated.

    Anything else is returned as it is.
    """
    from ptft.runs.folder import read_json

    resume = typed_values(overrides).get("resume")
    folder = Path(os.path.expanduser(str(resume))).absolute()
    if resume is None or read_json(folder / "status.json").get("stage") != "compare":
        return overrides
    rest = [text for text, key in zip(overrides, override_keys(overrides), strict=True) if key != "resume"]
    stored = [str(text) for text in OmegaConf.load(folder / ".hydra" / "overrides.yaml")]
    ckpt = OmegaConf.load(folder / ".hydra" / "config.yaml").ckpt
    where = [f"hydra.run.dir={folder}", *([f"ckpt={ckpt}"] if ckpt else [])]
    return [*stored, *rest, *map(quote, where)]


def _filled(overrides: list[str], typed: dict[str, Any], base: DictConfig) -> DictConfig:
    """The composition with everything that comes from the checkpoint in its place."""
    wants = [group for group in FILLED if base.names[group] == "from_ckpt"]
    ckpt = typed.get("ckpt", None if OmegaConf.is_missing(base, "ckpt") else base.ckpt)
    if "ckpt" not in typed and OmegaConf.is_missing(base, "ckpt"):
        raise ConfigError(_example(base.names.stage))
    if ckpt is not None and "model" not in typed and "model" not in wants:
        wants.append("model")
    if ckpt is None:
        return _fresh(overrides, wants, base)
    return _from_checkpoint(str(ckpt), overrides, typed, wants, base)


def _fresh(overrides: list[str], wants: list[str], base: DictConfig) -> DictConfig:
    """`ckpt=null`: what would come from the checkpoint is the default instead."""
    stage = base.names.stage
    if "dataset" in wants or "objective" in wants:
        raise ConfigError(f"stage={stage}: needs a checkpoint, so ckpt=null can't be; {_example(stage)}")
    defaults = compose.compose([]).names
    return compose.compose([*overrides, *(f"{group}={defaults[group]}" for group in wants)])


def _from_checkpoint(
    ckpt: str, overrides: list[str], typed: dict[str, Any], wants: list[str], base: DictConfig
) -> DictConfig:
    from ptft.checkpoint import load

    path, said = load.resolve(ckpt, base.names.stage)
    found = load.load(path)
    keys = override_keys(overrides)
    held = [text for text, key in zip(overrides, keys, strict=True) if key.split(".")[0] in wants]
    cfg = compose.compose([text for text in overrides if text not in held])
    OmegaConf.set_struct(cfg, False)
    cfg.ckpt = found.path
    if said:
        cfg.names.ckpt = said
    if found.config is None:
        if "model" in wants:
            raise CheckpointError(
                f"ckpt={ckpt}: plain weights don't say which model they are of; "
                "add model=NAME, the one they were made with"
            )
        if wants:
            raise CheckpointError(f"ckpt={ckpt}: plain weights hold no {' and no '.join(wants)}; finetune them first")
        return cfg
    stored = renamed(found.config)
    if "model" not in wants:
        _same_model(stored, compose.plain(OmegaConf.create({"model": cfg.model}))["model"], cfg.names.model, found.path)
    for group in wants:
        if group not in stored:
            raise CheckpointError(f"ckpt={ckpt}: holds no {group}; type {group}=NAME")
        cfg[group] = OmegaConf.create(stored[group])
        cfg.names[group] = stored["names"][group]
        compose.apply(cfg, group, held)
    return cfg


def _same_model(stored: dict[str, Any], asked: dict[str, Any], name: str, path: str) -> None:
    there, here = stored["model"].get("name", stored["names"]["model"]), asked.get("name", name)
    if there != here and stored["model"] != asked:
        raise CheckpointError(
            f"{path}: the checkpoint holds {there}, model= asks for {here}; drop model={name} or choose another ckpt"
        )


def _example(stage: str) -> str:
    from ptft.runs.registry import TRAINING, latest

    try:
        newest = latest(TRAINING if stage != "finetune" else ("pretrain",))[0]
        shown = str(newest.relative_to(Path.cwd()) / "checkpoints" / "best.pt")
    except (CheckpointError, ValueError):
        shown = "outputs/…/checkpoints/best.pt"
    scratch = ", or ckpt=null to train from scratch" if stage == "finetune" else ""
    return f"stage={stage} starts from a checkpoint: type ckpt={shown}, or ckpt=latest for the newest one{scratch}"


def _absolute(config: dict[str, Any]) -> None:
    """Paths as they are meant where the user stands, so that a later run may start from elsewhere."""
    for group, key in (("dataset", "root"), ("objective", "teacher")):
        path = config.get(group, {}).get(key)
        if isinstance(path, str) and path:
            config[group][key] = str(Path(os.path.expanduser(path)).absolute())


def _continued(resume: str, overrides: list[str], typed: dict[str, Any]) -> dict[str, Any]:
    """The stored configuration of a run, with what may be typed on a resume."""
    from ptft.checkpoint import load

    if typed.get("ckpt") is not None:
        raise ConfigError("resume= continues a run and ckpt= starts a new one: type one of them")
    found = load.load(resume, "resume")
    if found.config is None or found.training is None:
        raise CheckpointError(
            f"resume={resume}: {found.path} holds weights only and can't be continued; "
            f"ckpt={resume} starts a new run from them"
        )
    if found.run is None:
        raise CheckpointError(f"resume={resume}: {found.path} is not in the folder of a run; resume=RUN names one")
    cfg = OmegaConf.create(renamed(found.config))
    for node in ("train", "finetune"):  # a ptft that wrote it may have known fewer keys; theirs win
        cfg[node] = OmegaConf.merge(compose.compose([])[node], cfg[node])
    differences = []
    for key, value in typed.items():
        old = cfg.names.get(key) if key in compose.GROUPS else OmegaConf.select(cfg, key, default=KeyError)
        if old is KeyError and key not in FREE_ON_RESUME:
            raise ConfigError(f"{key}: there is no such key{suggest(key, compose.flat_keys(cfg))}")
        if not any(key == free or key.startswith(f"{free}.") for free in FREE_ON_RESUME) and old != value:
            differences.append(f"{key}: the run has {old}, you typed {value}")
    if differences:
        raise ConfigError(
            "\n".join([*differences, "a run is continued as it is; start a new one with ckpt= to change these"])
        )
    if any(typed.get(f"train.{key}") is not None for key in ("epochs", "steps", "minutes")):
        cfg.train.update({"epochs": None, "steps": None, "minutes": None})
    for override in parse_overrides(overrides):
        if override.key_or_group not in compose.GROUPS:
            OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
    cfg.resume = found.path
    cfg.trusted = typed.get("trusted") or []
    config: dict[str, Any] = compose.plain(cfg)
    _absolute(config)
    check({**config, "ckpt": None}, {})
    return config


def complete(config: dict[str, Any], overrides: list[str]) -> str | None:
    """What to say of a finished run whose continuation has nothing to do; None where there is something."""
    from ptft.runs.folder import read_json

    folder, typed = Path(config["resume"]).parent.parent, typed_values(overrides)
    if read_json(folder / "status.json").get("status") != "finished":
        return None
    done = read_json(folder / "summary.json")
    limits = {"epochs": done["epochs"], "steps": done["steps"], "minutes": done["seconds"] / 60}
    raised = {key: typed[f"train.{key}"] for key in limits if typed.get(f"train.{key}") is not None}
    if raised and all(value > limits[key] for key, value in raised.items()):
        return None
    return f"{folder}: complete at step {done['steps']:,}, epoch {done['epochs']:,}; raise train.epochs to go on"
