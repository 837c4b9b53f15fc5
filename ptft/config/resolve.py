"""Resolving: from overrides to a job, whose configuration is complete, checked, and does not change any more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose, documented, mistakes, reads, validate, yaml_files
from ptft.config.config import Config
from ptft.config.overrides import PATH_KEYS, Overrides
from ptft.config.renamed import renamed
from ptft.config.resume import budget, same_run, stored_run
from ptft.config.settled import batch, dataset, folds, idle, rate, start, strange, trusted
from ptft.config.validate import check
from ptft.errors import CheckpointError, ConfigError
from ptft.runs import registry

if TYPE_CHECKING:
    from ptft.checkpoint.load import Checkpoint

FROM_CHECKPOINT = ("model", "dataset", "objective")
"""Groups that can be taken from a checkpoint."""

LIBRARIES = ("torchvision:", "timm:", "huggingface:")  # what begins the names of public weights, which are no paths

Opened = dict[tuple[str, str], "Checkpoint"]
"""Checkpoints by what names them and the key that does, so that several jobs read one once."""


@dataclass(frozen=True)
class Job:
    """One thing to do: the configuration, what was typed for it, and the checkpoint it starts from or continues.

    folder: what `hydra.run.dir` means, where it was said. notes: sentences about values that were settled for the user.
    """

    config: Config
    overrides: Overrides
    checkpoint: Checkpoint | None = None
    folder: str | None = None
    notes: tuple[str, ...] = ()
    of_many: bool = False  # one of a command's runs: what counts in others of them may be without effect in it


@yaml_files.unchanging()
def resolve(overrides: Overrides | list[str], opened: Opened | None = None) -> Job:
    """The job that `overrides` ask for. Raises ConfigError or CheckpointError."""
    overrides, opened = Overrides.of(overrides).with_own(), {} if opened is None else opened
    typed = overrides.typed
    if typed.get("resume") is not None:
        return _continued(overrides, opened)
    if "stage" not in typed:
        raise ConfigError(f"which stage? type stage=NAME, one of {', '.join(compose.options('stage'))}")
    unfit = compose.unfit_choices(overrides)
    if "stage" not in unfit:
        unfit |= reads.misplaced(typed)
    if "stage" in unfit:
        raise ConfigError("\n".join(unfit.values()))
    composable = overrides.where(lambda key: key.split(".")[0] not in unfit)
    base = compose.with_stage_defaults(compose.compose(composable.where(lambda key: key in compose.GROUPS)))
    later = {group for group in FROM_CHECKPOINT if base.names[group] == "from_ckpt" or typed.get("ckpt") is not None}
    counting, problems = reads.sort(composable, base, later)
    problems = [*unfit.values(), *problems]
    if not problems:
        mistakes.check_input(typed.get("input"))
    cfg, checkpoint = _composed(counting, base, opened, problems)
    notes = (*rate.settle(cfg, checkpoint), *batch.settle(cfg, base, typed))
    config = _checked(compose.with_stage_defaults(cfg), base, problems, typed)
    notes += idle.noted(config, typed)
    trusted.check(config, typed)
    folds.check(config)
    own = "hydra.run.dir" in typed or compose.raw(cfg, "hydra.run") != compose.RUNS
    return Job(Config(config), overrides, checkpoint, compose.place(cfg, "hydra.run.dir") if own else None, notes)


def _composed(
    counting: Overrides, base: DictConfig, opened: Opened, problems: list[str]
) -> tuple[DictConfig, Checkpoint | None]:
    """As `_filled`; where that fails what else is wrong is said with it. Adds to `problems` what can't be set."""
    try:
        return _filled(counting, base, opened, problems)
    except (ConfigError, CheckpointError) as error:
        others = [*problems, *_wrong_without_checkpoint(counting, base)]
        if others:
            raise ConfigError("\n".join(dict.fromkeys([*others, *str(error).splitlines()]))) from error
        raise


def _wrong_without_checkpoint(counting: Overrides, base: DictConfig) -> list[str]:
    """What can't be right, whatever a checkpoint would bring along."""
    with contextlib.suppress(ConfigError):
        cfg = compose.compose(counting.where(lambda key: key.split(".")[0] not in (*FROM_CHECKPOINT, "ckpt")))
        problems: list[str] = []
        OmegaConf.set_struct(cfg, False)
        cfg.ckpt = None
        rate.settle(cfg, None)
        for group in FROM_CHECKPOINT:
            cfg.pop(group)
        missing = _without_values(cfg)
        config = compose.plain(cfg)
        return [*problems, *missing.values(), *validate.problems(config, _defaults(base), missing)]
    return []


def _checked(cfg: DictConfig, base: DictConfig, problems: list[str], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as plain values. Raises one ConfigError with `problems` and all else that is wrong with it."""
    missing = _without_values(cfg)
    config = _absolute(compose.plain(cfg))
    strange_keys = strange.keys(config, typed)
    if wrong := [*problems, *strange_keys, *missing.values(), *validate.problems(config, _defaults(base), missing)]:
        raise ConfigError("\n".join(dict.fromkeys(wrong)))
    if without_effect := idle.refused(config, typed):
        raise ConfigError("\n".join(without_effect))
    return config


def _without_values(cfg: DictConfig) -> dict[str, str]:
    """Key -> what to say of it, for those that must be given a value and have none; they become null, in place."""
    sentences = {}
    OmegaConf.set_struct(cfg, False)
    for key in compose.without_value(cfg):
        group, names = key.split(".")[0], cfg.names
        who = f"{group}={names[group]}" if group in compose.NEEDED else f"stage={names.stage}"
        meaning = documented.meaning(key, names)
        sentences[key] = f"{key}: {who} needs it{f' ({meaning})' if meaning else ''}; type {key}=…"
        OmegaConf.update(cfg, key, None)
    OmegaConf.set_struct(cfg, True)
    return sentences


def _defaults(base: DictConfig) -> dict[str, Any]:
    """The same composition without typed values, unresolved: their types count where a key has no rule."""
    OmegaConf.set_struct(base, False)
    base.ckpt = None
    rate.settle(base, None)
    return compose.raw_tree(base)


def _filled(
    overrides: Overrides, base: DictConfig, opened: Opened, problems: list[str]
) -> tuple[DictConfig, Checkpoint | None]:
    """The composition with everything that comes from the checkpoint in its place, and the checkpoint."""
    typed = overrides.typed
    groups = [group for group in FROM_CHECKPOINT if base.names[group] == "from_ckpt"]
    ckpt = typed.get("ckpt", None if OmegaConf.is_missing(base, "ckpt") else base.ckpt)
    if isinstance(ckpt, str) and "${" in ckpt:
        others = overrides.where(lambda key: key.split(".")[0] not in FROM_CHECKPOINT)
        ckpt = compose.selected(compose.compose(others), "ckpt")
    if "ckpt" not in typed and OmegaConf.is_missing(base, "ckpt"):
        raise ConfigError(start.example(base))
    if ckpt is None:
        return _fresh(overrides, groups, base), None
    if "model" not in typed and "model" not in groups:
        groups.append("model")
        OmegaConf.update(base, "model", {"_target_": "from_ckpt"}, merge=False)  # types are its own, not the default's
    return _from_checkpoint(str(ckpt), overrides, groups, base, opened, problems)


def _fresh(overrides: Overrides, groups: list[str], base: DictConfig) -> DictConfig:
    """`ckpt=null`: what would come from the checkpoint is the default instead."""
    if "dataset" in groups or "objective" in groups:
        raise ConfigError(f"stage={base.names.stage}: needs a checkpoint, so ckpt=null can't be; {start.example(base)}")
    defaults = compose.compose([]).names if groups else {}
    return compose.compose(overrides.with_(*(f"{group}={defaults[group]}" for group in groups)))


def _from_checkpoint(
    ckpt: str, overrides: Overrides, groups: list[str], base: DictConfig, opened: Opened, problems: list[str]
) -> tuple[DictConfig, Checkpoint]:
    checkpoint = _open(ckpt, "ckpt", opened, start.starts_from(base))
    if "dataset" not in groups:
        problems += dataset.misfit(base, overrides.typed, checkpoint)
    later = overrides.where(lambda key: key.split(".")[0] in groups)
    cfg = compose.compose(overrides.where(lambda key: key.split(".")[0] not in groups))
    OmegaConf.set_struct(cfg, False)
    cfg.ckpt = compose.literal(checkpoint.path)
    if checkpoint.config is None:
        if "model" in groups:
            raise CheckpointError(
                f"ckpt={ckpt}: plain weights don't say which model they are of; "
                "add model=NAME, the one they were made with"
            )
        if groups and not start.taskless(base):
            raise CheckpointError(f"ckpt={ckpt}: plain weights hold no {' and no '.join(groups)}; finetune them first")
        problems += start.leave_empty(cfg, groups, later)
        return cfg, checkpoint
    stored = _stored(checkpoint, groups)
    if "model" not in groups:
        start.named_by(cfg, stored)
        model = compose.plain(OmegaConf.create({"model": cfg.model}))["model"]
        start.same_model(stored, model, cfg.names.model, checkpoint.path)
    lacking = [group for group in groups if group not in stored]
    if lacking and not start.taskless(base):
        then = "finetune it first" if "objective" in lacking else f"type {lacking[0]}=NAME"
        raise CheckpointError(f"ckpt={ckpt}: holds no {' and no '.join(lacking)}; {then}")
    problems += start.leave_empty(cfg, lacking, later)
    for group in (group for group in groups if group in stored):
        cfg[group] = compose.data(stored[group])
        if group == "dataset":
            _forget_files(cfg, checkpoint)
        cfg.names[group] = compose.literal(stored["names"].get(group))
        problems += compose.apply(cfg, group, later)
    name, network = overrides.typed.get("model.name"), stored["model"].get("name") if "model" in groups else None
    if None not in (name, network) and name != network:
        problems.append(f"model.name={name}: ckpt={ckpt} says which network it is of, {network}; type one of them")
    return cfg, checkpoint


def _forget_files(cfg: DictConfig, checkpoint: Checkpoint) -> None:
    """A run's tokenizer, and how its conversations are written, come from its checkpoint and not from the files that
    were typed once, which may be gone."""
    known = {} if checkpoint.spec is None else checkpoint.spec.shape
    for key, holders in (("tokenizer", {"tokenizer", "captions"}), ("template", {"template"})):
        if not holders.isdisjoint(known) and key in cfg.dataset:
            cfg.dataset[key] = None


def _stored(checkpoint: Checkpoint, groups: list[str]) -> dict[str, Any]:
    """Its configuration by today's names. Raises CheckpointError where what is wanted of it can't be one."""
    stored: dict[str, Any] = renamed(checkpoint.config)
    nodes = {group: stored[group] for group in groups if group in stored}
    try:
        check({**nodes, "names": stored["names"]}, {})
    except ConfigError as error:
        raise CheckpointError(f"{checkpoint.path}: its configuration can't be used: {error}") from error
    return stored


def _open(ckpt: str, key: str, opened: Opened, stages: tuple[str, ...] = ()) -> Checkpoint:
    from ptft.checkpoint import load

    if (ckpt, key) not in opened:
        opened[ckpt, key] = load.open_checkpoint(ckpt, key, stages)
    return opened[ckpt, key]


def _absolute(config: dict[str, Any]) -> dict[str, Any]:
    """Paths of options as they are meant where the user stands, so that a later run may start from elsewhere."""
    for group, _, key in (path.partition(".") for path in PATH_KEYS):
        path = config.get(group, {}).get(key) if key and group in compose.GROUPS else None
        called = isinstance(path, str) and group == "objective" and registry.is_name(path)  # a run by its short name
        if isinstance(path, str) and path and not called and not path.startswith(LIBRARIES):
            config[group] = {**config[group], key: str(Path(os.path.expanduser(path)).absolute())}
    return config


def _continued(overrides: Overrides, opened: Opened) -> Job:
    """The stored configuration of a run, with what may be typed on a resume."""
    typed = overrides.typed
    resume = str(compose.selected(OmegaConf.create({"resume": typed["resume"]}), "resume"))
    if typed.get("ckpt") is not None:
        raise ConfigError("resume= continues a run and ckpt= starts a new one: type one of them")
    checkpoint = _open(resume, "resume", opened)
    if checkpoint.config is None or checkpoint.training is None:
        raise CheckpointError(
            f"resume={resume}: {checkpoint.path} holds weights only and can't be continued; "
            f"ckpt={resume} starts a new run from them"
        )
    if checkpoint.run is None:
        raise CheckpointError(f"resume={resume}: {checkpoint.path} is not in the folder of a run; resume=RUN names one")
    cfg = stored_run(renamed(checkpoint.config), checkpoint.path)
    cfg.train.pause = None  # what it was paused at is behind it
    if "logger" in typed:
        cfg.logger = compose.compose(overrides.where(lambda key: key == "logger")).logger
        cfg.names.logger = list(cfg.logger)
    same_run(cfg, overrides)
    notes = budget(cfg, typed, checkpoint.progress)
    _forget_files(cfg, checkpoint)
    for override in overrides.parsed:
        if override.key_or_group not in compose.GROUPS:
            OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
    cfg.resume = compose.literal(checkpoint.path)
    cfg.trusted = typed.get("trusted") or []
    config = _absolute(compose.plain(cfg))
    if about := config["objective"].get("lm_model"):
        about["of"] = config["objective"]["lm"]  # wherever it lies: the digest beside it is what must be the same
    check({**config, "ckpt": None}, {})
    trusted.check(config, typed)
    return Job(Config(config), overrides, checkpoint, notes=notes)
