"""Types, ranges and contradictions of a composed configuration, all at once, before any data is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ptft.config import compose
from ptft.config.mistakes import advice
from ptft.config.rules import rules
from ptft.config.settled import folds, own_views, together
from ptft.errors import ConfigError
from ptft.validators import (
    ABOVE_0,
    BELOW_1,
    COUNT,
    DEVICE,
    FLAG,
    INSIDE,
    INTERVAL,
    NAMES,
    NUMBER,
    ONE_OR_MORE_NAMES,
    POSITIVE,
    TARGETS,
    TEXT,
    TRAIN,
    TWO_OR_MORE,
    WHOLE,
    Rule,
    auto,
    either,
    is_number,
    is_plan,
    is_whole,
    one_of,
    optional,
    rule,
)

RULES: dict[str, Rule] = {
    "ckpt": optional(TEXT),
    "resume": optional(TEXT),
    "device": DEVICE,
    "precision": one_of("auto", "fp32", "bf16", "fp16"),
    "seed": rule("a whole number from 0 to 2^64 - 1", type="integer", min=0, max=2**64 - 1),
    "dry_run": FLAG,
    "predictions": one_of("csv", "parquet", "none"),
    "report": FLAG,
    "quiet": FLAG,
    "split_overlap": one_of("refuse", "allow"),
    "trusted": NAMES,
    "train.epochs": optional(COUNT),
    "train.steps": optional(COUNT),
    "train.minutes": optional(POSITIVE),
    "train.budget.epochs": COUNT,
    "train.budget.min_steps": WHOLE,
    "train.batch_size": auto(COUNT),
    "train.tokens": optional(COUNT),
    "train.replay": optional(TEXT),
    "train.replay_share": INSIDE,
    "train.panel": optional(ONE_OR_MORE_NAMES),
    "train.folds": optional(TWO_OR_MORE),
    "train.accumulate": auto(COUNT),
    "train.clip": optional(POSITIVE),
    "train.ema": optional(INSIDE),
    "train.average_last": optional(TWO_OR_MORE),
    "train.processes": COUNT,
    "train.parallel": one_of("ddp", "fsdp"),
    "train.save": one_of("whole", "parts"),
    "train.sync_batchnorm": FLAG,
    "train.workers": auto(WHOLE),
    "train.layout": one_of("auto", "channels_last", "contiguous"),
    "train.keep_memory": FLAG,
    "train.safetensors": FLAG,
    "train.compile": FLAG,
    "train.tf32": FLAG,
    "train.deterministic": FLAG,
    "train.cuda_graph": auto(FLAG),
    "train.checkpoint_activations": FLAG,
    "train.pause": optional(either("a step, or a share of the budget between 0 and 1", COUNT, INSIDE)),
    "train.patience": optional(COUNT),
    "train.every.log": auto(COUNT),
    "train.every.evaluate": INTERVAL,
    "train.every.save": auto(COUNT),
    "finetune.train": TRAIN,
    "finetune.head": one_of("auto", "new", "keep"),
    "finetune.head_init": one_of("random", "zero", "probe"),
    "finetune.probe": one_of("auto", "exact", "steps"),
    "finetune.layer_decay": optional(ABOVE_0),
    "finetune.l2sp": optional(POSITIVE),
    "finetune.lora.rank": optional(COUNT),
    "finetune.lora.alpha": POSITIVE,
    "finetune.lora.targets": TARGETS,
    "finetune.lora.dropout": BELOW_1,
    "finetune.weights": one_of("ckpt", "fresh"),
}
"""Of the keys of config.yaml. Those of an option stand in its own YAML: ptft.config.rules."""


def check(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise one ConfigError that names every key whose value can't work, with what is allowed.

    cfg: the resolved configuration; defaults: the same composition without typed values, whose types count for keys
    that have no rule of their own.
    """
    if lines := problems(cfg, defaults):
        raise ConfigError("\n".join(lines))


def problems(cfg: Mapping[str, Any], defaults: Mapping[str, Any], missing: Collection[str] = ()) -> list[str]:
    """As `check`, a line for each. missing: keys without a value, of which nothing is said."""
    cfg = own_views.without(cfg)
    if lines := [*_shape(cfg, _with_groups(compose.own(), defaults) if defaults else {}, compose.own())]:
        return lines
    rules_by_key = {key: rule for key, rule in (RULES | rules(cfg)).items() if key not in missing}
    alike = {name: node for name, node in defaults.items() if _target(node) == _target(cfg.get(name))}
    defaults_by_key = {key: value for key, value in _leaves(alike, rules_by_key) if key not in missing}
    lines = [*_groups(cfg, rules_by_key), *_values(cfg, defaults_by_key, rules_by_key)]
    return [*lines, *_contradictions(cfg), *finetune_contradictions(cfg)]


def _target(node: Any) -> Any:
    """The class that a node is of: a checkpoint's may be another than the one that was chosen, with its own types."""
    return node.get("_target_") if isinstance(node, Mapping) else None


def rule_of(cfg: DictConfig, key: str) -> Rule:
    """What a key's value must be in that composition; of a key without a rule a list where it is one by default."""
    tree: Any = OmegaConf.to_container(cfg, resolve=False)
    is_list = OmegaConf.is_list(OmegaConf.select(cfg, key))
    return (RULES | rules(tree)).get(key, Rule("", lambda value: isinstance(value, list) == is_list, {}))


def check_shape(cfg: Mapping[str, Any], shape: Mapping[str, Any]) -> None:
    """Raises one ConfigError for every group of keys of `shape` that is none in `cfg`, and for values that became one.

    Keys of ptft's own `config.yaml` must all be there.
    """
    if lines := [*_shape(cfg, shape, compose.own())]:
        raise ConfigError("\n".join(lines))


def _with_groups(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, in which what is a group of keys of ptft's own stays one, whatever an experiment made of it."""
    merged = {**own, **defaults}
    for key, own_value in own.items():
        if isinstance(own_value, Mapping):
            merged[key] = _with_groups(own_value, merged[key]) if isinstance(merged[key], Mapping) else own_value
    return merged


def _shape(
    cfg: Mapping[str, Any], defaults: Mapping[str, Any], needed: Mapping[str, Any], above: str = ""
) -> Iterator[str]:
    for key, default in defaults.items():
        path, group = f"{above}{key}", isinstance(default, Mapping) and f"{above}{key}" not in RULES
        if key not in cfg:
            if key in needed:
                yield f"{path}: can't be left out; " + (
                    "it is a group of keys" if group else f"type {path}={_text(default)}"
                )
        elif isinstance(cfg[key], Mapping):
            if group:
                yield from _shape(cfg[key], default, needed.get(key) or {}, f"{path}.")
            elif isinstance(default, str | int | float) and "${" not in str(default) and path not in RULES:
                yield f"{path}: is a value like {_text(default)}, not a group of keys"
        elif group:
            keys = f" ({', '.join(map(str, default))})" if default else ""
            yield f"{path}={_text(cfg[key])}: is a group of keys{keys}, not a value"


def _groups(cfg: Mapping[str, Any], rules_by_key: Mapping[str, Rule]) -> Iterator[str]:
    """Values where keys are meant, as a rule speaks of one below; null goes for none of them."""
    for path in dict.fromkeys(key.rpartition(".")[0] for key in rules_by_key):
        node: Any = cfg
        for part in path.split(".") if path and path not in rules_by_key else ():
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None and not isinstance(node, Mapping):
            keys = ", ".join(key.rpartition(".")[2] for key in rules_by_key if key.rpartition(".")[0] == path)
            yield f"{path}={_text(node)}: is a group of keys ({keys}), not a value"


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _values(cfg: Mapping[str, Any], defaults: Mapping[str, Any], rules_by_key: Mapping[str, Rule]) -> Iterator[str]:
    for key, value in _leaves(cfg, rules_by_key):
        rule = rules_by_key.get(key) or _rule_of(defaults.get(key))
        if rule and not rule.fits(value):
            shown = "null" if value is None else value
            whole = isinstance(value, float) and value.is_integer() and rule.fits(int(value))
            remedy = f"; type {key}={int(value)}" if whole else advice(key, value)
            yield f"{key}={shown}: must be {rule.words}{remedy}"


def _rule_of(default: Any) -> Rule | None:
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, int | float):
        return NUMBER
    if isinstance(default, list) and default and all(map(is_number, default)):
        whole = all(map(is_whole, default))
        kind, items = ("whole numbers", "integer") if whole else ("numbers", "number")
        return rule(f"a list of {kind}, e.g. {default}", type="list", items={"type": items})
    return None


def _leaves(node: Mapping[str, Any], rules_by_key: Mapping[str, Rule], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value and path not in rules_by_key:
            yield from _leaves(value, rules_by_key, path)
        else:
            yield path, value


def _contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    train, dataset = cfg.get("train", {}), cfg.get("dataset", {})
    if cfg.get("resume") and cfg.get("ckpt"):
        yield "resume= continues a run and ckpt= starts a new one: type one of them"
    subsets = [f"dataset.{key}" for key in ("limit", "fraction", "per_class") if dataset.get(key) is not None]
    if len(subsets) > 1:
        yield f"{' and '.join(subsets)}: each chooses a part of the training split; type one of them"
    batch_size, accumulate = train.get("batch_size"), train.get("accumulate")
    if COUNT[1](batch_size) and COUNT[1](accumulate) and accumulate > batch_size:
        yield f"train.accumulate={accumulate}: must be at most train.batch_size={batch_size}"
    if train.get("replay") is not None and train.get("tokens") is not None:
        yield f"train.replay and train.tokens={train['tokens']}: a batch has fixed counts of both; set train.batch_size"
    yield from together.contradictions(cfg)
    yield from folds.contradictions(cfg)
    for other in ("compile", "cuda_graph"):
        if train.get("checkpoint_activations") is True and train.get(other) is True:
            yield f"train.checkpoint_activations and train.{other}: set one of them to false, they don't work together"
    if train.get("cuda_graph") is True and cfg.get("precision") == "fp16":
        yield "train.cuda_graph=true: not with precision=fp16, whose scaling waits for the device; choose bf16 or fp32"
    if cfg.get("optimizer") is not None and "lr" not in cfg["optimizer"]:
        yield f"optimizer.lr: is missing; it must be {POSITIVE[0]}"
    if monitor := train.get("monitor"):
        good = isinstance(monitor, Mapping) and isinstance(monitor.get("metric"), str)
        if not (good and monitor.get("mode") in ("min", "max")):
            yield f"train.monitor={monitor}: must be {{metric: val/NAME, mode: min or max}}"
        elif (more := monitor.keys() - {"metric", "mode"}) and not cfg.get("resume"):
            yield from (f"train.monitor.{key}: there is no such key (metric, mode)" for key in sorted(map(str, more)))


def finetune_contradictions(cfg: Mapping[str, Any]) -> Iterator[str]:
    """What can't be asked of a finetune together, or without one."""
    finetune, finetunes = cfg.get("finetune", {}), cfg.get("stage", {}).get("finetunes", False)
    train, lora = finetune.get("train"), finetune.get("lora", {}).get("rank") is not None
    l2sp, start = finetune.get("l2sp") is not None, finetune.get("head_init", "random")
    changed = {"train": train not in (None, "all"), "lora.rank": lora, "l2sp": l2sp, "head_init": start != "random"}
    keys = [f"finetune.{key}" for key, set_ in changed.items() if set_]
    if not finetunes and (other := [key for key in keys if key != "finetune.l2sp"]):
        yield f"{', '.join(other)}: for stage=finetune, not for stage={cfg.get('names', {}).get('stage')}"
        return
    fresh = cfg.get("ckpt") is None or finetune.get("weights") == "fresh"
    scratch = fresh and not cfg.get("resume")
    for key in [key for key in keys if key in ("finetune.lora.rank", "finetune.l2sp") and scratch]:
        yield f"{key} and ckpt=null: it needs the weights of a checkpoint; set one of them"
    if isinstance(panel := cfg.get("train", {}).get("panel"), str | list) and panel and scratch:
        yield "train.panel and ckpt=null: it asks what a training makes of a checkpoint's weights; set one of them"
    parts = {phase["train"] for phase in train} if is_plan(train) else {str(train)}
    if lora and (other := sorted(parts - {"all", "head"})):
        yield f"finetune.lora.rank and finetune.train={other[0]}: low-rank factors learn with all, and rest with head"
    if lora and l2sp:
        yield "finetune.lora.rank and finetune.l2sp: with low-rank factors the backbone does not move; set one of them"
    if cfg.get("train", {}).get("replay") is not None and parts == {"head"}:
        yield "train.replay and finetune.train=head: the backbone does not move; set one of them"
    if l2sp and parts == {"head"}:
        yield "finetune.l2sp and finetune.train=head: the backbone does not move; set one of them"
    if finetune.get("probe") == "exact" and not cfg.get("resume") and train != "head":
        yield f"finetune.probe=exact: fits a head alone; type finetune.train=head with it, not {train}"
    if start != "random" and finetune.get("head") == "keep":
        yield f"finetune.head_init={start} and finetune.head=keep: a kept head has its start; choose finetune.head=new"
    if cfg.get("train", {}).get("cuda_graph") is True and is_plan(train):
        yield "train.cuda_graph=true: not with phases in finetune.train, which change what a step is; set it to false"
