"""Resuming: what a run, a comparison or a sweep holds of its command, and what may be typed anew.

What it holds is data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose, mistakes, yaml_files
from ptft.config.overrides import Overrides, quote
from ptft.config.validate import check_shape
from ptft.errors import CheckpointError, ConfigError
from ptft.runs import registry
from ptft.runs.folder import read_json
from ptft.runs.registry import sweep_command
from ptft.runtime.terminal import say
from ptft.validators import is_number

if TYPE_CHECKING:
    from ptft.config.resolve import Job

MOVED = ("dataset.ignore", "dataset.annotations", "dataset.folders", "objective.lm")
"""Keys that name what a run read and reads again, which may lie elsewhere by now; what it holds must be the same."""

FREE_ON_RESUME = (
    *MOVED,
    "train.epochs",
    "train.steps",
    "train.minutes",
    "train.pause",
    "train.patience",
    "train.every",
    "train.workers",
    "train.processes",
    "train.parallel",
    "train.save",
    "train.cuda_graph",
    "train.accumulate",
    "train.safetensors",
    "train.replay",
    "train.panel",
    "train.checkpoint_activations",
    "device",
    "dataset.root",
    "objective.teacher",
    "dataset.cache",
    "trusted",
    "resume",
    "logger",
    "quiet",
    "report",
)
"""Keys (and what is below them) that may change when a run is continued."""

_FREE = tuple(key for key in FREE_ON_RESUME if key not in MOVED)

FREE_ON_REPEAT = ("ckpt", "device", "dry_run", "overwrite", "quiet", "train.processes", "trusted")
"""Keys that may be typed where a command is given once more, as it was, to go on."""

PLACES = ("hydra.run.dir", "hydra.sweep.dir")

BUDGET = ("epochs", "steps", "minutes")


def again(overrides: Overrides) -> tuple[Overrides, str]:
    """`resume=` of a comparison, a cross-validation, a prediction or a sweep is its command once more, in its folder:
    what is finished is not repeated.

    And which it was, "repeated" or "sweep"; anything else is returned as it is, with "". The folder may be a
    stranger's: it does not say what is trusted, where Hydra writes, or what an environment holds. Raises ConfigError
    naming what has to be typed again.
    """
    resume = overrides.typed.get("resume")
    if resume is None:
        return overrides, ""
    overrides = _named_folder(overrides, str(resume))
    folder = Path(os.path.expanduser(str(overrides.typed["resume"]))).absolute()
    overrides = _in_its_folder(overrides, folder)
    if command := sweep_command(folder):
        return _sweep(folder, command.get("overrides"), overrides.where(lambda key: key != "resume")), "sweep"
    stored = folder / ".hydra" / "config.yaml"
    config = yaml_files.read(stored) if os.path.isfile(stored) else None
    if not isinstance(config, dict) or not ("reuses" in _node(config, "stage") or _is_folded(config)):
        return overrides, ""
    (before, stored_texts), ckpt = _command(folder, overrides.typed), config.get("ckpt")
    if ckpt is not None and (not isinstance(ckpt, str) or "${" in ckpt):
        raise ConfigError(f"{stored}: ckpt={ckpt}: can't be used; type ckpt=… again")
    stage = before.typed.get("stage")
    if not isinstance(stage, str) or stage != _node(config, "names").get("stage"):
        raise ConfigError(f"{folder / '.hydra' / 'overrides.yaml'}: stage={stage}: is not the stage of this run")
    if not (_is_folded(config) or "reuses" in compose.compose([f"stage={stage}"]).stage):
        raise ConfigError(f"{stored}: stage={stage}: does not go on where it was cut")
    rest = overrides.where(lambda key: key != "resume")
    if _node(config, "stage").get("reuses", False) is False:
        _confirm(rest, stored_texts, FREE_ON_REPEAT, f"resume={folder} goes on as it was typed")
    where = [f"hydra.run.dir={folder}", *([f"ckpt={ckpt}"] if ckpt and "ckpt" not in overrides.typed else [])]
    return before.with_(*rest.texts, *map(quote, where)), "repeated"


def _is_folded(config: Mapping[str, Any]) -> bool:
    """Whether it is that of a cross-validation, which goes on as it was typed."""
    return _node(config, "train").get("folds") is not None


def _named_folder(overrides: Overrides, resume: str) -> Overrides:
    """With the folder that `resume=latest` or a short name means in its place, and that said."""
    if not registry.is_name(resume):
        return overrides
    folder = registry.cut() if resume == "latest" else registry.named(resume, "resume")
    if folder is None:
        return overrides
    say(f"resume={resume} is {folder}")
    return overrides.where(lambda key: key != "resume").with_(quote(f"resume={folder}"))


def _in_its_folder(overrides: Overrides, folder: Path) -> Overrides:
    """Without `hydra.run.dir` or `hydra.sweep.dir` that is its own. Raises ConfigError for another one.

    folder: what is continued; a file is the checkpoint of one.
    """
    folder = folder.parent.parent if folder.suffix == ".pt" else folder
    if not os.path.isdir(folder):  # which is said where it is opened
        return overrides
    for key in PLACES:
        if (value := overrides.typed.get(key)) is not None and Path(
            os.path.expanduser(str(value))
        ).absolute() != folder:
            raise ConfigError(f"{key}={value}: what is continued stays in its folder, {folder}; drop it")
    return overrides.where(lambda key: key not in PLACES)


def _sweep(folder: Path, texts: Any, typed: Overrides) -> Overrides:
    """The command of the sweep in that folder; what is typed beside it can only confirm a part of it, or plan it."""
    if not isinstance(texts, list):
        raise ConfigError(f"{folder}: does not say what its sweep was; the sweep can't be continued")
    stored = Overrides.parse(str(text) for text in texts)
    plans = typed.where(lambda key: key == "dry_run").texts
    _confirm(typed, stored.texts, ("dry_run",), f"resume={folder} finishes its sweep as it was typed")
    for text in typed_again(stored):
        if text not in typed.texts:
            raise ConfigError(f"resume={folder}: a folder can't ask for this itself; type '{text}' again to go on")
    return stored.with_(*plans, quote(f"hydra.sweep.dir={folder}"))


def _confirm(typed: Overrides, stored: Sequence[str], free: Sequence[str], said: str) -> None:
    """Raises ConfigError for what is typed beside `resume=` and was not when it began, but for keys that are free."""
    for text, key in zip(typed.texts, typed.keys, strict=True):
        if text not in stored and key not in free:
            raise ConfigError(f"{text}: {said}; drop it, or start a new one")


def typed_again(stored: Overrides) -> list[str]:
    """Those that only a command line may say, so that they have to be typed with the resume= of their sweep."""
    return [
        text
        for text, key in zip(stored.texts, stored.keys, strict=True)
        if (re.match(r"hydra[./]|trusted\b", key) and key not in ("hydra.sweep.subdir", "hydra.run.dir"))
        or re.search(r"\$\{[^}]*:", text)
    ]


def _command(folder: Path, typed: Mapping[str, Any]) -> tuple[Overrides, tuple[str, ...]]:
    """What was typed, without what only a command line may say; and all of it."""
    file = folder / ".hydra" / "overrides.yaml"
    texts = yaml_files.read(file) if os.path.isfile(file) else None
    if not isinstance(texts, list):
        raise ConfigError(f"{file}: is missing or no list; this can't be continued")
    stored = Overrides.parse(str(text) for text in texts)
    kept = stored.where(lambda key: key not in typed and not re.match(r"hydra[./]|trusted\b|overwrite$|resume$", key))
    for key, what in (("trusted", "what is trusted"), ("output", "where else to write")):
        if stored.typed.get(key) and key not in typed:
            again = next(text for text, other in zip(stored.texts, stored.keys, strict=True) if other == key)
            again = again if key == "trusted" else f"{key}={stored.typed[key]}"
            raise ConfigError(f"resume={folder}: a folder can't say {what}; type '{again}' again to continue it")
    for text, key in zip(kept.texts, kept.keys, strict=True):
        if re.search(r"\$\{[^}]*:", text):
            raise ConfigError(f"{file}: {text}: a folder can't ask for what lies outside of it; type {key}=… again")
    return kept, tuple(stored.texts)


def _node(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    node = config.get(key)
    return node if isinstance(node, Mapping) else {}


def stored_run(config: dict[str, Any], path: str) -> DictConfig:
    """A run's configuration; a ptft that wrote it may have known fewer keys, and its values win.

    Raises CheckpointError, naming the file at `path`, for what is no configuration.
    """
    defaults = compose.own()
    # A version without `finetune.probe` trained every head in steps.
    defaults["finetune"] = {**defaults["finetune"], "probe": "steps"}
    nodes = {node: {**defaults[node], **_node(config, node)} for node in ("train", "finetune")}
    merged = {**defaults, **config, **nodes}
    for node, key in (("train", "every"), ("train", "budget"), ("finetune", "lora")):
        merged[node][key] = {**defaults[node][key], **_node(merged[node], key)}
    try:
        check_shape(merged, defaults)
    except ConfigError as error:
        raise CheckpointError(f"{path}: its configuration can't be used: {error}") from error
    for group in compose.NEEDED:
        if not _node(config, group).get("_target_"):
            raise CheckpointError(f"{path}: its configuration can't be used: it has no {group}")
    merged["stage"] = {key: value for key, value in config["stage"].items() if key != "next"}  # ptft's own is proposed
    return compose.with_stage_defaults(compose.data(merged))


def same_run(cfg: DictConfig, overrides: Overrides) -> None:
    """Raises one ConfigError for all that was typed and does not exist or would make it another run, a line each."""
    deleted = [o.key_or_group for o in overrides.parsed if o.is_delete() and o.key_or_group not in compose.GROUPS]
    differences = [f"~{key}: takes away a key of the run; type {key}=null" for key in deleted]
    keys = compose.flat_keys(cfg)
    unknown = [line for override in overrides.parsed for line in mistakes.within(override, keys)]
    for key, value in overrides.typed.items():
        old = cfg.names.get(key) if key in compose.GROUPS else OmegaConf.select(cfg, key, default=KeyError)
        if old is KeyError and (key in MOVED or key not in FREE_ON_RESUME):
            unknown.append(mistakes.unknown(key, keys))
        elif f"{key}.".startswith(tuple(f"{moved}." for moved in MOVED)) and old is not None and value is not None:
            continue
        elif not any(key == free or key.startswith(f"{free}.") for free in _FREE) and old != value:
            differences.append(f"{key}: the run has {old}, you typed {value}")
    if differences:
        differences.append("a run is continued as it is; start a new one with ckpt= to change these")
    if unknown or differences:
        raise ConfigError("\n".join([*unknown, *differences]))


def budget(cfg: DictConfig, typed: Mapping[str, Any], progress: Mapping[str, Any]) -> tuple[str, ...]:
    """Takes out of a run's configuration the limits that a typed one takes the place of; what to say of the others.

    Those that are reached would end it at once; the stage's own (`train.budget`) counts where there is no other.
    """
    keys = [f"train.{key}" for key in BUDGET if typed.get(f"train.{key}") is not None]
    raised = ", ".join(f"{key}={typed[key]}" for key in keys)
    if not raised:
        return ()
    limits = {key: cfg.train[key] for key in BUDGET if is_number(cfg.train[key])}
    others = {key: value for key, value in limits.items() if f"train.{key}" not in typed}
    reached = {key: value for key, value in others.items() if value <= spent(progress)[key]}
    cfg.train.update(dict.fromkeys(reached))
    gone, stays = "is reached, so it gives way to {}", "counts beside {}; train.{}=null takes it away"
    notes = [
        f"train.{key}={value} of the run {(gone if key in reached else stays).format(raised, key)}"
        for key, value in others.items()
    ]
    return tuple(notes if limits else [f"{raised} takes the place of the stage's own budget (train.budget)"])


def spent(progress: Mapping[str, Any]) -> dict[str, float]:
    """How much of each limit a run has used."""
    step, epoch, seconds = (progress.get(key) or 0 for key in ("step", "epoch", "seconds"))
    return {"epochs": epoch, "steps": step, "minutes": seconds / 60}


def complete(job: Job) -> str | None:
    """What to say of a finished run whose continuation has nothing to do; None where there is something."""
    checkpoint, train = job.checkpoint, job.config.train
    assert checkpoint
    folder = Path(job.config.resume).parent.parent
    if read_json(folder / "status.json").get("status") != "finished":
        return None
    step, epoch, worse = (checkpoint.progress.get(key) or 0 for key in ("step", "epoch", "worse"))
    limits = spent(checkpoint.progress)
    if job.config.finetune.probe == "exact":
        return f"{folder}: complete; its head is fitted to convergence, so there is nothing to go on with"
    if train.patience is not None and worse >= train.patience:
        return (
            f"{folder}: train.patience={train.patience} ended it at step {step:,}, after {worse} evaluations "
            "without a better one; type a larger train.patience, or null, to go on"
        )
    before = (checkpoint.config or {}).get("train", {}).get("patience")
    ended_by_patience = before is not None and worse >= before
    typed = job.overrides.typed
    raised = {key: typed[f"train.{key}"] for key in limits if typed.get(f"train.{key}") is not None}
    budget = raised or {key: train[key] for key in limits if train[key] is not None}
    if all(value > limits[key] for key, value in budget.items()) and (raised or ended_by_patience):
        return None
    ended = [key for key, value in budget.items() if value <= limits[key]]
    key = next(iter([*ended, *budget]), "epochs")
    return f"{folder}: complete at step {step:,}, epoch {epoch:,}; raise train.{key} to go on"
