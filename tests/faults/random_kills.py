"""Runs that are killed at random moments and continued, beside the same that nothing interrupts: equal bit for bit.

    python -m tests.faults.random_kills [--kills N] [--seed N] [RUN ...]      (make kills)

SIGKILL comes from outside, whenever it comes: while Python starts, while data are read, in a step, in an evaluation, in
a save. Runs and their times stand in RUNS; the table that is printed says how often each was killed and where it was.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from ptft.checkpoint import file as checkpoint_file
from ptft.data.image import folder as image_folder
from tests.conftest import ROOT, command, rows, status

COMMON = (
    "device=cpu",
    "precision=fp32",
    "train.layout=contiguous",
    "train.every.log=5",
    "train.every.save=7",
    "train.every.evaluate=10",
)
SPEECH = ("model=audio_transformer", "model.width=12", "model.heads=2", "model.depth=1", "model.channels=4")
TEXT = ("model=bert_tiny", "model.width=32", "model.depth=2", "model.heads=2", "dataset=grammar")
RUNS = {
    "image": (
        *("stage=pretrain", "dataset=image_folder", "dataset.root=IMAGES", "dataset.size=16", "dataset.test=null"),
        *("dataset.cache=off", "train.workers=2", "train.ema=0.9", "dataset.views.shift=1", "train.batch_size=8"),
        *("model.channels=[4,8]", "model.width=16", "train.steps=600"),
    ),
    "text": ("stage=pretrain", *TEXT, "objective=masked_lm", "dataset.length=32", "train.steps=600"),
    "speech": (
        *("stage=pretrain", *SPEECH, "dataset=tones", "objective=ctc", "dataset.words=[1,2]", "dataset.count=60"),
        *("dataset.held_out=20", "train.batch_size=8", "train.steps=400"),
    ),
    "simclr": (
        *("stage=pretrain", "objective=simclr", "dataset.images=200", "dataset.size=12", "model.channels=[4,8]"),
        *("model.width=16", "train.batch_size=32", "train.steps=600"),
    ),
    "lora": (
        *("stage=finetune", "ckpt=PRETRAINED", "dataset=digits", "finetune.lora.rank=2", "finetune.lora.targets=all"),
        *("train.batch_size=16", "train.steps=1200"),
    ),
}


def placed(work: Path, arguments: tuple[str, ...]) -> list[str]:
    """The arguments with the real places of what they start from."""
    return [word.replace("IMAGES", f"{work}/images").replace("PRETRAINED", f"{work}/pretrained") for word in arguments]


def started(work: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PTFT_CACHE": str(work / "cache")}
    return subprocess.Popen(
        command(*arguments),
        cwd=work,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its workers end with it
    )


def whole(work: Path, name: str) -> float:
    """The run that nothing interrupts; how many seconds it takes."""
    began = time.monotonic()
    run = started(work, *placed(work, RUNS[name]), *COMMON, f"hydra.run.dir={work / name}")
    assert run.wait(timeout=900) == 0, f"{name} failed"
    return time.monotonic() - began


def killed(work: Path, name: str, kills: int, seconds: float, chance: random.Random) -> list[int]:
    """The same run, killed `kills` times and continued to its end; the step that each kill left behind."""
    folder, steps = work / f"{name}-killed", []
    for _ in range(kills):
        run = started(work, *_next(work, name, folder))
        time.sleep(chance.uniform(0.5, 4 + 1.5 * seconds / kills))
        if run.poll() is not None:
            break  # it came to its end
        os.killpg(run.pid, 9)
        run.wait()
        steps.append(_step(folder))
    run = started(work, *_next(work, name, folder))
    assert run.wait(timeout=900) == 0, f"{name} could not be continued"
    return steps


def _next(work: Path, name: str, folder: Path) -> list[str]:
    """What a user types next: the command again where nothing was saved yet, else resume=."""
    if (folder / "checkpoints" / "last.pt").exists():
        return [f"resume={folder}"]
    shutil.rmtree(folder, ignore_errors=True)
    return [*placed(work, RUNS[name]), *COMMON, f"hydra.run.dir={folder}"]


def _step(folder: Path) -> int:
    last = folder / "checkpoints" / "last.pt"
    return int(checkpoint_file.read(last)[0]["progress"]["step"]) if last.exists() else 0


def differences(one: Path, other: Path) -> list[str]:
    """What two finished runs do not share: tensors and metrics by name, to the bit."""
    a, b = (checkpoint_file.read(folder / "checkpoints" / "last.pt")[0] for folder in (one, other))
    found = [name for name in a["weights"] if not torch.equal(a["weights"][name], b["weights"][name])]
    logged = [[{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)] for folder in (one, other)]
    found += ["metrics.jsonl"] if logged[0] != logged[1] else []
    found += ["status"] if status(other)["status"] != "finished" else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="RUN", help=", ".join(RUNS))
    parser.add_argument("--kills", type=int, default=6, help="of each run (default 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    chance, wrong = random.Random(given.seed), []
    with tempfile.TemporaryDirectory(prefix="ptft-kills-") as folder:
        work = Path(folder)
        image_folder.sample(work / "images", 20)
        small = ("dataset.images=200", "train.steps=10", "model.channels=[4,8]", "model.width=16")
        assert started(work, "stage=pretrain", *small, f"hydra.run.dir={work / 'pretrained'}").wait() == 0
        print(
            "| run | seconds | kills | step that each left | differs in |\n| --- | --: | --: | --- | --- |", flush=True
        )
        for name in given.names or RUNS:
            seconds = whole(work, name)
            steps = killed(work, name, given.kills, seconds, chance)
            found = differences(work / name, work / f"{name}-killed")
            wrong += [name] if found else []
            shown = ", ".join(map(str, steps))
            print(f"| {name} | {seconds:.0f} | {len(steps)} | {shown} | {', '.join(found) or 'nothing'} |", flush=True)
    raise SystemExit(f"not equal: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
