"""Closing a search: what it found, judged, written to files, drawn and said."""

from __future__ import annotations

import contextlib
import csv
import io
import shlex
import shutil
from pathlib import Path
from typing import Any

from ptft.checkpoint import file as checkpoint_file
from ptft.config import compose
from ptft.config.overrides import PATH_KEYS, Overrides, quote
from ptft.config.resolve import Job
from ptft.config.yaml_files import save
from ptft.errors import counted, shortened
from ptft.runs.folder import read_json, write_json
from ptft.runtime.paths import relative
from ptft.runtime.system import write_text
from ptft.stages import messages as common
from ptft.stages.tune import confirm, messages, plot, sampler, trials
from ptft.stages.tune.going import Going
from ptft.stages.tune.search import FAILED, WHOLE, Trial
from ptft.stages.tune.space import typed

SHOWN = 8
"""Trials in the table on the terminal, the best; results.csv has all of them."""
TOLD = 12
"""Trials from which on it is said what mattered: of fewer chance says as much."""
KEPT = ("parent", "transfer", "data", "steps", "epochs", "samples", "parameters", "trainable_parameters", "device")
"""Of the summary of the run that is the result, what the search's own says as well."""


def close(job: Job, going: Going) -> dict[str, Any]:
    """Write results.csv, tune.json, best.yaml, summary.json and the picture; say the table and the answer.

    Returns what `status.json` adds to the status: a failure where no trial came to its end.
    """
    out, state, place, by = going.out, going.state, going.place, going.by
    verdict = confirm.judged(state.confirmation, by)
    best = going.plan.best(state.trials)
    chosen = state.trials[0] if best and verdict.word == "worse" else best
    answer = _answer(going, best, verdict)
    notes = _notes(going, best, verdict)
    found = {"answer": answer, "notes": notes, "cost": cost(going), "importance": _importance(going)}
    result = {"status": "finished" if chosen else "failed", **found, "verdict": verdict.to_dict()}
    if chosen:
        result["best"] = {"number": chosen.number, "settings": chosen.settings, "folder": chosen.folder}
        _keep(going, chosen)
    state.save(**result)
    _write(going, chosen, {"answer": answer, "notes": notes, "seconds": state.seconds, "cost": found["cost"]})
    _draw(going, best)
    common.report(going.cfg, out, place)
    header, rows = messages.table(state.trials, going.plan, going.dimensions, by)
    out.table("\ntrials, those that came farthest first", header, rows[:SHOWN], result=True)
    for note in notes:
        out.say(note, "dim")
    out.say(f"\n{answer}\n", "bold", result=True)
    if chosen is None:
        return {"exit_code": 1, "status": "failed", "message": answer}
    out.say(f"best    {relative(place / 'checkpoints' / 'best.pt')}  (trial {chosen.number})", result=True)
    common.ending(out, place, command(job, chosen))
    return {"answer": answer}


def _answer(going: Going, best: Trial | None, verdict: confirm.Verdict) -> str:
    trials_, by = going.state.trials, going.by
    if best is None:
        why = next((trial.message for trial in trials_ if trial.message), "")
        return f"No answer: no trial came to its end. {why}".strip()
    count = counted(len(trials_), "trials")
    if best.number == 0:
        return f"The defaults are the best of {count}: {messages.valued(best.rungs[-1].value, by)}."
    if trials_[0].status == FAILED:
        return f"The defaults failed; the best of {count} has {messages.valued(best.rungs[-1].value, by)}."
    if not going.state.confirmation:
        shown, usual = (messages.valued(trial.rungs[-1].value, by) for trial in (best, trials_[0]))
        doubt = "the best of many looks better than it is, and tune.confirm=3 would tell by how much"
        return f"Not confirmed: the best of {count} has {shown}, the defaults {usual}; {doubt}."
    return confirm.sentence(verdict, by)


def _notes(going: Going, best: Trial | None, verdict: confirm.Verdict) -> list[str]:
    spent, by = cost(going), going.by
    failed = [trial for trial in going.state.trials if trial.status == FAILED]
    stopped = counted(spent["stopped"], "trials")
    notes = [
        f"the search trained {spent['steps']:,} steps, where {counted(len(going.state.trials), 'trials')} to their end "
        f"would have taken {spent['whole']:,}: {spent['saved']:.0%} less, as {stopped} stopped early"
    ]
    if spent["confirm_steps"]:
        notes.append(f"{counted(len(going.state.confirmation), 'runs')} to confirm, {spent['confirm_steps']:,} steps")
    if failed:
        which = ", ".join(str(trial.number) for trial in failed)
        notes.append(f"failed: trial {which}, which count as the worst")
    if found := _importance(going):
        shown = ", ".join(f"{key} {part:.0%}" for key, part in found.items())
        notes.append(f"what set the best fourth of the trials apart at their first rung (PED-ANOVA): {shown}")
    if best and best.number:
        notes += [confirm.regression(best.rungs[-1].value, verdict, by), confirm.on_test(verdict, by)]
        notes += [
            f"the best lies at the end of {each}: a wider range may hold better ones" for each in _at_ends(going, best)
        ]
    if going.other_data:
        which = f"{shortened(going.other_data, 6)} learned from others"
        notes.append(f"the data changed while the search ran: {which}; search again, in another folder")
    return [note for note in notes if note]


def _at_ends(going: Going, best: Trial) -> list[str]:
    """Keys whose best value is nearly an end of their range."""
    found = []
    for each in going.dimensions:
        if not each.choices and not each.whole:
            value, low, high = best.settings[each.key], each.low, each.high
            width = 0.05 * (high - low)
            near = (
                value < low * (high / low) ** 0.05 or value > high / (high / low) ** 0.05
                if each.log
                else (value < low + width or value > high - width)
            )
            found += [f"{each.key}={value:g} ({each.low:g} to {each.high:g})"] if near else []
    return found


def cost(going: Going) -> dict[str, Any]:
    """What the search took: steps, what it would have been without stopping, which share was saved."""
    every, shares = going.state.trials, (*going.plan.rungs, 1.0)
    steps = sum(trial.steps for trial in every)
    whole = sum(trial.of or round(trial.steps / shares[max(0, len(trial.rungs) - 1)]) for trial in every)
    stopped = sum(trial.status not in (FAILED, WHOLE) for trial in every)
    again = sum(run.steps for run in going.state.confirmation)
    saved = 1 - steps / whole if whole else 0.0
    return {"steps": steps, "whole": whole, "saved": saved, "stopped": stopped, "confirm_steps": again}


def _importance(going: Going) -> dict[str, float]:
    """By what all trials had at their first rung, which can be compared."""
    known = [
        sampler.Known(settings, 1, trial.rungs[0].value, True)
        for trial in going.state.trials
        if trial.rungs and (settings := going.settings_of(trial)) is not None
    ]
    if len(known) < TOLD or len(going.dimensions) < 2:
        return {}
    return sampler.importance(going.dimensions, known, going.tried.monitor["mode"])


def _keep(going: Going, chosen: Trial) -> None:
    """The result in the search's own folder, as a run has it; other checkpoints go, unless all are kept."""
    run, place = Path(chosen.folder), going.place
    source = run / "checkpoints" / "best.pt"
    if source.exists():  # else it was kept at an earlier end of a search of before
        (place / "checkpoints").mkdir(exist_ok=True)
        checkpoint_file.link(source, place / "checkpoints" / "best.pt")
    with contextlib.suppress(OSError):
        shutil.copyfile(run / "split.csv", place / "split.csv")
    if going.cfg.tune.keep == "best":
        best = going.plan.best(going.state.trials)  # which, or the defaults, more seeds or trials may choose later
        for trial in going.state.trials[1:]:
            if trial not in (chosen, best):
                trials.drop_checkpoints(trial.folder)


def _write(going: Going, chosen: Trial | None, said: dict[str, Any]) -> None:
    described, state = going.state.described, going.state
    names = {key: described[key] for key in ("stage", "model", "dataset", "objective", "versions")}
    run = read_json(Path(chosen.folder) / "summary.json") if chosen else {}
    kept = {key: run[key] for key in KEPT if key in run}
    outcome = {"metrics": chosen.metrics, "best": run.get("best")} if chosen else {"metrics": {}}
    paths = {"checkpoints": {"best": "checkpoints/best.pt"}} if chosen else {}
    status = {"status": "finished" if chosen else "failed", "seed": going.cfg.seed}
    write_json(going.place / "summary.json", {**names, **status, **kept, **outcome, **paths, **said})
    _write_csv(going, state.trials)
    if chosen:
        _write_experiment(going.place / "best.yaml", chosen.settings)


def _write_csv(going: Going, every: list[Trial]) -> None:
    """A row a trial: its settings, how far it came, what it had there, what it cost."""
    keys = [each.key for each in going.dimensions]
    metrics = sorted({f"{split}/{name}" for trial in every for split, some in trial.metrics.items() for name in some})
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["trial", "status", *keys, "value", "steps", "of", "seconds", *metrics, "folder"])
    for trial in every:
        values = dict(each.split("=", 1) for each in typed(trial.settings))
        known = {f"{split}/{name}": value for split, some in trial.metrics.items() for name, value in some.items()}
        row = [
            trial.number,
            trial.status,
            *(values.get(key, "") for key in keys),
            trial.value,
            trial.steps,
            trial.of,
        ]
        writer.writerow(
            ["" if cell is None else cell for cell in [*row, trial.seconds, *map(known.get, metrics), trial.folder]]
        )
    write_text(going.place / "results.csv", text.getvalue())


def _write_experiment(path: Path, settings: dict[str, Any]) -> None:
    """The settings as an experiment: in conf/experiment of the user's it is `experiment=NAME`."""
    content: dict[str, Any] = {}
    options = [{f"override /{key}": value} for key, value in settings.items() if key in compose.GROUPS]
    for key, value in settings.items():
        node, *parents = content, *key.split(".")[:-1]
        if key in compose.GROUPS:
            continue
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key.rpartition(".")[2]] = value
    save({**({"defaults": options} if options else {}), **content}, path)
    write_text(path, f"# @package _global_\n{path.read_text(encoding='utf-8')}")


def _draw(going: Going, best: Trial | None) -> None:
    """A picture is not worth a search, whatever its drawing meets."""
    if best is None:
        return
    try:
        plot.save(plot.draw(going, best), going.place)
    except Exception as error:
        going.out.say(f"tune.png: can't be drawn ({error}); the search goes on without it", "yellow")


def command(job: Job, chosen: Trial) -> str:
    """A run with the settings that were found, ready to paste."""
    cfg, typed_ = job.config, job.overrides
    start = relative(cfg.ckpt) if cfg.ckpt and Path(cfg.ckpt).exists() else cfg.ckpt or "null"
    words = [f"stage={cfg.tune.stage}"]
    for text, key in zip(typed_.texts, typed_.keys, strict=True):
        if key.split(".")[0].split("/")[0] not in trials.OWN:
            words.append(quote(f"ckpt={start}") if key == "ckpt" else text)
    seed = [f"seed={cfg.seed}"] if cfg.seed else []
    found = Overrides.parse(trials.merged([*words, *seed, *typed(chosen.settings)]))
    pairs = zip(found.texts, found.keys, strict=True)
    return shlex.join(["ptft", *(_as_typed(text, key, found.typed.get(key)) for text, key in pairs)])


def _as_typed(text: str, key: str, value: Any) -> str:
    """Paths without Hydra's quotes."""
    plain = f"{key}={value}"
    return plain if key in PATH_KEYS and quote(plain) == text else text
