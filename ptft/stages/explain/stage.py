"""Why a checkpoint answers what it does for new files, and whether that explanation means anything.

`explanations.json` in the run's folder says all of it:

    version, parent, model, objective, modality, classes, settings
    methods: by name how many `inputs`, for how many it `means_something`; the means of `area`, `random_area`
        and `correlation`, the median `gap`; `randomised`, the share of those by random weights that pass the tests
    inputs: of each `item`, `answer` (as stage=predict), `target` (the class explained; null of a number), whether
        that is `answered`, `belief` in it (a probability; of a number the value in deviations), `belief_of_empty`,
        `units` ({"grid": [rows, columns]} or {"words": […]}), `random` (deletion in random orders: `shares` deleted,
        `mean` and `deviation` of the belief, `area`, `area_deviation`), `files` (by kind, in the folder),
        `explanations`, perhaps `neighbours` (by dataset: `index`, `item`, `label`, `similarity`)
    explanations: of each `method`, `gap` (the share of integrated gradients that does not add up), `values` (a number a
        unit, row by row), `deletion` (`curve` and its `area`, `last`: the curve where what is least marked goes first,
        `advantage`: by how much its log-odds are higher, `p`: how often a random order does as well), `randomised`
        (rank `correlation` with random weights, `p`: how often their orders do as well, how many `of` these would pass
        for meaning something: `means_something`), `means_something`, `reasons` why not, `files`, of words `text`
    unread: `item` and `reason` of what could not be explained
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptft.builders.inputs import step_examples
from ptft.builders.predictor import Predictor
from ptft.builders.restore import check_spec, trained_with, untrained
from ptft.config.config import Config
from ptft.config.resolve import Job
from ptft.errors import ConfigError, shortened, suggest
from ptft.launch import following
from ptft.loggers.console import Console
from ptft.runs.folder import RunFolder, write_json
from ptft.runtime.device import versions
from ptft.runtime.rng import forked
from ptft.stages import messages
from ptft.stages.asking import new_files
from ptft.stages.explain import neighbours, shown
from ptft.stages.explain.asked import Asked
from ptft.stages.explain.one import METHODS, Settings
from ptft.stages.explain.telling import Telling

FILE, VERSION = "explanations.json", 2
ROWS = 64
"""Variants of an input that are computed at once, at most."""
FEWEST = 19
"""With fewer random orders, or models with random weights, nothing can be told from chance at 5 %."""
LARGE_GAP = 0.05


def run(job: Job, out: Console, folder: RunFolder | None) -> dict[str, Any]:
    """Read, answer, explain, test, draw. What can't be read is said and left out; if nothing can be, DataError."""
    cfg, checkpoint = job.config, job.checkpoint
    assert checkpoint
    check_spec(checkpoint)
    items = new_files.items(cfg, checkpoint.spec) if checkpoint.spec and checkpoint.has_task else []
    predictor = Predictor(job)
    predictor.require_answers()
    settings, target = _settings(cfg), _target(cfg, predictor)
    asked, untrained_by = _asked(job, predictor)
    count = min(len(items), cfg.explain.limit)
    notes = [f"the first {count:,} are explained (explain.limit)"] if len(items) > count else []
    if getattr(predictor.objective, "tta", None):
        predictor.objective.tta = None  # type: ignore[assignment]
        notes.append("each input is looked at once, whatever objective.tta says")
    new_files.plan(job, out, folder, items, predictor, cfg.names.objective, notes)
    if folder is None:
        return {}
    banks = neighbours.banks(job, predictor, out) if cfg.explain.neighbours else []
    telling = Telling(predictor, asked, untrained_by, settings, target, banks, cfg.explain.neighbours, folder.path)
    with out.reading("explaining") as progress:
        for done in telling.each(items[:count]):
            progress(done, count)
    new_files.say_what_was_read(cfg, out, telling.unread, telling.remarks, count)
    _close(job, out, folder, predictor, telling)
    return {}


def _settings(cfg: Config) -> Settings:
    chosen = cfg.explain.methods
    names = METHODS if chosen == "auto" else [chosen] if isinstance(chosen, str) else list(chosen)
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"explain.methods={name}: one of {', '.join(METHODS)}{suggest(name, METHODS)}")
    if cfg.explain.orders < FEWEST:
        raise ConfigError(
            f"explain.orders={cfg.explain.orders}: at least {FEWEST}, to tell anything from chance at 5 %"
        )
    if 0 < cfg.explain.randomised < FEWEST:
        raise ConfigError(
            f"explain.randomised={cfg.explain.randomised}: at least {FEWEST}, to tell anything from what models with "
            "random weights mark at 5 %, or 0"
        )
    return Settings(names, cfg.explain.steps, cfg.explain.orders, cfg.explain.randomised, cfg.seed)


def _target(cfg: Config, predictor: Predictor) -> int | None:
    """Which class is to be explained. Raises ConfigError for one that the checkpoint has not."""
    name = cfg.explain.target
    if name is None:
        return None
    if str(name) not in predictor.classes:
        known = shortened(predictor.classes) if predictor.classes else "none"
        raise ConfigError(f"explain.target={name}: the checkpoint's classes are {known}")
    return predictor.classes.index(str(name))


def _asked(job: Job, predictor: Predictor) -> tuple[Asked, Callable[[int], Asked]]:
    """The model, and what makes the same with random weights, others for each number."""
    cfg = job.config
    rows = min(ROWS, step_examples(trained_with(job)))
    how = (rows, f"ckpt={cfg.ckpt}", predictor.spec.target == "number")

    def with_random_weights(number: int) -> Asked:
        with forked(predictor.device, cfg.seed + number):
            return Asked(untrained(cfg, predictor.checkpoint).to(predictor.device), *how)

    return Asked(predictor.objective, *how), with_random_weights


def _close(job: Job, out: Console, folder: RunFolder, predictor: Predictor, telling: Telling) -> None:
    """The files, what they say in short, and the last lines."""
    cfg, found = job.config, shown.methods(telling.told)
    names = {key: cfg.names[key] for key in ("model", "objective")}
    parent = predictor.checkpoint.parent
    content = {
        "version": VERSION,
        "parent": parent,
        **names,
        "modality": predictor.spec.modality,
        "classes": list(predictor.classes),
        "settings": {**cfg.explain.plain(), "seed": cfg.seed},
        "methods": found,
        "inputs": telling.told,
        "unread": telling.lost,
    }
    write_json(folder.path / FILE, content)
    summary = {
        "stage": cfg.names.stage,
        **names,
        "status": "finished",
        "files": len(telling.told),
        "unreadable": len(telling.lost),
        "methods": found,
        "output": str(folder.path / FILE),
        "parent": parent,
        "versions": versions(),
    }
    write_json(folder.path / "summary.json", summary)
    if cfg.report and telling.banks:
        neighbours.show(folder.path, telling.banks, telling.told, out)
    messages.report(cfg, out, folder.path)
    shown.tell(out, telling.told)
    shown.table(out, found)
    for line in _remarks(found, cfg):
        out.say(line, "yellow")
    lines = {"items": f"{len(telling.told):,} explained, {len(telling.lost):,} not", "written": str(folder.path / FILE)}
    out.block("explain done", lines, "green")
    messages.ending(out, folder.path, following.measure(cfg, predictor.checkpoint))


def _remarks(found: dict[str, dict[str, Any]], cfg: Config) -> list[str]:
    """What a reader must know of the methods: that one could not be used, that one means nothing, that sums are off."""
    typed = cfg.explain.methods
    lines = []
    if typed != "auto":
        missing = [name for name in ([typed] if isinstance(typed, str) else typed) if name not in found]
        lines += [f"{name} is not possible: the model has nothing that it could read" for name in missing]
    lines += [
        f"{name}: {shown.NOTHING}, for none of the inputs" for name, row in found.items() if not row["means_something"]
    ]
    if any((row["gap"] or 0) > LARGE_GAP for row in found.values()):
        lines.append(f"integrated gradients do not add up; explain.steps={4 * cfg.explain.steps} comes nearer")
    return lines
