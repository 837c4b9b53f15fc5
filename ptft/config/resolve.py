"""Resolving: from overrides to a job, whose configuration is complete, checked, and does not change any more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose
from ptft.config.config import Config
from ptft.config.overrides import PATH_KEYS, Overrides, quote
from ptft.config.renamed import renamed
from ptft.config.validate import check
from ptft.errors import CheckpointError, ConfigError, suggest
from ptft.runs import registry
from ptft.runs.folder import read_json

if TYPE_CHECKING:
    from ptft.checkpoint.load import Checkpoint

FROM_CHECKPOINT = ("model", "dataset", "objective")
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
    "logger",
)
"""Keys (and what is below them) that may change when a run is continued."""

BUDGET = ("epochs", "steps", "minutes")

Opened = dict[tuple[str, str], "Checkpoint"]
"""Checkpoints by what names them and the key that does, so that several jobs read one once."""


@dataclass(frozen=True)
class Job:
    """One thing to do: the configuration, what was typed for it, and the checkpoint it starts from or continues."""

    config: Config
    overrides: Overrides
    checkpoint: Checkpoint | None = None


def resolve(overrides: Overrides | list[str], opened: Opened | None = None) -> Job:
    """The job that `overrides` ask for. Raises ConfigError or CheckpointError."""
    overrides, opened = Overrides.of(overrides), {} if opened is None else opened
    typed = overrides.typed
    if typed.get("resume") is not None:
        return _continued(overrides, opened)
    if "stage" not in typed:
        raise ConfigError(f"which stage? type stage=NAME, one of {', '.join(compose.options('stage'))}")
    base = _known_stage(compose.compose(overrides.where(lambda key: key in compose.GROUPS)))
    later = {group for group in FROM_CHECKPOINT if base.names[group] == "from_ckpt" or typed.get("ckpt") is not None}
    ours = overrides.where(lambda key: key.split(".")[0] not in later)
    if unknown := compose.unknown_key(ours.parsed, base):
        raise unknown
    cfg, checkpoint = _filled(overrides, base, opened)
    config = _absolute(compose.plain(_known_stage(cfg)))
    check(config, _defaults(base))
    return Job(Config(config), overrides, checkpoint)


def _defaults(base: DictConfig) -> dict[str, Any]:
    """The same composition without typed values, unresolved: their types count where a key has no rule."""
    OmegaConf.set_struct(base, False)
    base.ckpt = None
    defaults = OmegaConf.to_container(base, resolve=False)
    assert isinstance(defaults, dict)
    return {str(key): value for key, value in defaults.items() if key != "hydra"}


def again(overrides: Overrides) -> Overrides:
    """`resume=` of a comparison is its command once more, in its folder: the runs that are finished are not repeated.

    Anything else is returned as it is.
    """
    resume = overrides.typed.get("resume")
    if resume is None:
        return overrides
    folder = Path(os.path.expanduser(str(resume))).absolute()
    stored = folder / ".hydra" / "config.yaml"
    if not os.path.isfile(stored) or OmegaConf.select(OmegaConf.load(stored), "stage.reuses", default=None) is None:
        return overrides
    before = Overrides.parse(str(text) for text in OmegaConf.load(folder / ".hydra" / "overrides.yaml"))
    ckpt = OmegaConf.load(stored).ckpt
    where = [f"hydra.run.dir={folder}", *([f"ckpt={ckpt}"] if ckpt else [])]
    rest = overrides.where(lambda key: key != "resume")
    return before.with_(*rest.texts, *map(quote, where))


def _filled(overrides: Overrides, base: DictConfig, opened: Opened) -> tuple[DictConfig, Checkpoint | None]:
    """The composition with everything that comes from the checkpoint in its place, and the checkpoint."""
    typed = overrides.typed
    wants = [group for group in FROM_CHECKPOINT if base.names[group] == "from_ckpt"]
    ckpt = typed.get("ckpt", None if OmegaConf.is_missing(base, "ckpt") else base.ckpt)
    if "ckpt" not in typed and OmegaConf.is_missing(base, "ckpt"):
        raise ConfigError(_example(base))
    if ckpt is None:
        return _fresh(overrides, wants, base), None
    if "model" not in typed and "model" not in wants:
        wants.append("model")
    return _from_checkpoint(str(ckpt), overrides, wants, base, opened)


def _fresh(overrides: Overrides, wants: list[str], base: DictConfig) -> DictConfig:
    """`ckpt=null`: what would come from the checkpoint is the default instead."""
    if "dataset" in wants or "objective" in wants:
        raise ConfigError(f"stage={base.names.stage}: needs a checkpoint, so ckpt=null can't be; {_example(base)}")
    defaults = compose.compose([]).names if wants else {}
    return compose.compose(overrides.with_(*(f"{group}={defaults[group]}" for group in wants)))


def _from_checkpoint(
    ckpt: str, overrides: Overrides, wants: list[str], base: DictConfig, opened: Opened
) -> tuple[DictConfig, Checkpoint]:
    checkpoint = _open(ckpt, "ckpt", opened, starts_from(base))
    held = overrides.where(lambda key: key.split(".")[0] in wants)
    cfg = compose.compose(overrides.where(lambda key: key.split(".")[0] not in wants))
    OmegaConf.set_struct(cfg, False)
    cfg.ckpt = checkpoint.path
    if checkpoint.config is None:
        if "model" in wants:
            raise CheckpointError(
                f"ckpt={ckpt}: plain weights don't say which model they are of; "
                "add model=NAME, the one they were made with"
            )
        if wants:
            raise CheckpointError(f"ckpt={ckpt}: plain weights hold no {' and no '.join(wants)}; finetune them first")
        return cfg, checkpoint
    stored = renamed(checkpoint.config)
    if "model" not in wants:
        model = compose.plain(OmegaConf.create({"model": cfg.model}))["model"]
        _same_model(stored, model, cfg.names.model, checkpoint.path)
    for group in wants:
        if group not in stored:
            raise CheckpointError(f"ckpt={ckpt}: holds no {group}; type {group}=NAME")
        cfg[group] = OmegaConf.create(stored[group])
        if group == "dataset":
            _forget_tokenizer(cfg, checkpoint)
        cfg.names[group] = stored["names"][group]
        compose.apply(cfg, group, held)
    return cfg, checkpoint


def _forget_tokenizer(cfg: DictConfig, checkpoint: Checkpoint) -> None:
    """A run's tokenizer comes from its checkpoint and not from the file that was typed once, which may be gone."""
    if checkpoint.spec is not None and "tokenizer" in checkpoint.spec.shape and "tokenizer" in cfg.dataset:
        cfg.dataset.tokenizer = None


def _open(ckpt: str, key: str, opened: Opened, stages: tuple[str, ...] = ()) -> Checkpoint:
    from ptft.checkpoint import load

    if (ckpt, key) not in opened:
        opened[ckpt, key] = load.open_checkpoint(ckpt, key, stages)
    return opened[ckpt, key]


def starts_from(cfg: DictConfig) -> tuple[str, ...]:
    """The stages whose finished runs `ckpt=latest` may mean."""
    return tuple(cfg.stage.get("starts_from") or ())


def _same_model(stored: dict[str, Any], model: dict[str, Any], name: str, path: str) -> None:
    theirs, ours = stored["model"].get("name", stored["names"]["model"]), model.get("name", name)
    if theirs != ours and stored["model"] != model:
        raise CheckpointError(
            f"{path}: the checkpoint holds {theirs}, model= asks for {ours}; drop model={name} or choose another ckpt"
        )


def _example(base: DictConfig) -> str:
    stage = base.names.stage
    try:
        newest = registry.latest(starts_from(base))[0]
        shown = str(newest.relative_to(Path.cwd()) / "checkpoints" / "best.pt")
    except (CheckpointError, ValueError):
        shown = "outputs/…/checkpoints/best.pt"
    needed = (
        "from_ckpt" in (base.names.dataset, base.names.objective)
        or OmegaConf.select(base, "stage.reuses", default=None) is not None
    )
    scratch = "" if needed else ", or ckpt=null to train from scratch"
    return f"stage={stage} starts from a checkpoint: type ckpt={shown}, or ckpt=latest for the newest one{scratch}"


def _absolute(config: dict[str, Any]) -> dict[str, Any]:
    """Paths of options as they are meant where the user stands, so that a later run may start from elsewhere."""
    for group, _, key in (path.partition(".") for path in PATH_KEYS):
        path = config.get(group, {}).get(key) if key and group in compose.GROUPS else None
        if isinstance(path, str) and path:
            config[group] = {**config[group], key: str(Path(os.path.expanduser(path)).absolute())}
    return config


def _continued(overrides: Overrides, opened: Opened) -> Job:
    """The stored configuration of a run, with what may be typed on a resume."""
    typed = overrides.typed
    resume = str(typed["resume"])
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
    cfg = _stored(renamed(checkpoint.config))
    _same_run(cfg, typed)
    if any(typed.get(f"train.{key}") is not None for key in BUDGET):
        cfg.train.update(dict.fromkeys(BUDGET))
    if "logger" in typed:
        cfg.logger = compose.compose(overrides.where(lambda key: key == "logger")).logger
    _forget_tokenizer(cfg, checkpoint)
    for override in overrides.parsed:
        if override.key_or_group not in compose.GROUPS:
            OmegaConf.update(cfg, override.key_or_group, override.value(), force_add=True)
    cfg.resume = checkpoint.path
    cfg.trusted = typed.get("trusted") or []
    config = _absolute(compose.plain(cfg))
    check({**config, "ckpt": None}, {})
    return Job(Config(config), overrides, checkpoint)


def _stored(config: dict[str, Any]) -> DictConfig:
    """A run's configuration; a ptft that wrote it may have known fewer keys, and its values win."""
    cfg, known = OmegaConf.create(config), compose.compose([])
    for node in ("train", "finetune"):
        cfg[node] = OmegaConf.merge(known[node], cfg[node])
    for key in known:
        if key not in cfg and key != "hydra":
            cfg[key] = known[key]
    return _known_stage(cfg)


def _known_stage(cfg: DictConfig) -> DictConfig:
    """What is known of the stage of that name goes for a copy of an earlier version too."""
    own = compose.conf_dir() / "stage" / f"{cfg.names.stage}.yaml"
    if own.is_file():
        OmegaConf.set_struct(cfg, False)
        cfg.stage = OmegaConf.merge(OmegaConf.load(own).stage, cfg.stage)
        OmegaConf.set_struct(cfg, True)
    return cfg


def _same_run(cfg: DictConfig, typed: dict[str, Any]) -> None:
    """Raises ConfigError with a table where what was typed would make it another run."""
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


def complete(job: Job) -> str | None:
    """What to say of a finished run whose continuation has nothing to do; None where there is something."""
    folder, typed = Path(job.config.resume).parent.parent, job.overrides.typed
    if read_json(folder / "status.json").get("status") != "finished":
        return None
    done = read_json(folder / "summary.json")
    limits = {"epochs": done["epochs"], "steps": done["steps"], "minutes": done["seconds"] / 60}
    raised = {key: typed[f"train.{key}"] for key in limits if typed.get(f"train.{key}") is not None}
    if raised and all(value > limits[key] for key, value in raised.items()):
        return None
    return f"{folder}: complete at step {done['steps']:,}, epoch {done['epochs']:,}; raise train.epochs to go on"
