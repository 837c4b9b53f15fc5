"""What pretraining is worth, by objective and data: one comparison a line of data, as `ptft` makes it by itself.

    python -m tests.benchmarks.pretraining LINE DATA OUT [OBJECTIVE ...]

LINE is one of LINES. DATA holds MNIST/raw, fsdd/recordings, sst2, ner, text and bccd, of which a line reads its own,
and public weights: minilm (a folder of all-MiniLM-L6-v2) and lite0.pth (EfficientNet-Lite0's, as timm names them).
OUT keeps the runs: what is finished there is not done again. Each pretraining is one run of seed 0; every arm then has
its best of three rates where one matters, probes are fitted to convergence, and five seeds choose the labels.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MADE = ["report=false", "predictions=none"]
PROBE = ["finetune.train=head", "finetune.probe=exact"]
MINILM = "huggingface:{data}/minilm"
WORDS = f"model.embeddings={MINILM}"
IMAGES = ["model=cnn", "train.batch_size=256", "optimizer.lr=2e-3"]
MNIST = ["dataset=mnist", "dataset.root={data}", "dataset.download=false"]
PATCHES = ["model=vit_tiny", "model.patch=7", "model.depth=6", "train.batch_size=128", "train.steps=800"]
SST2 = ["dataset=text", "dataset.root={data}/sst2", "dataset.documents=row", "dataset.column=0", "dataset.val=dev"]
PLAYS = ["dataset=text", "dataset.root={data}/text/tinyshakespeare.txt", "dataset.documents=paragraph"]
BERT = ["model=bert_tiny", "model.width=128", "model.depth=2", "model.dropout=0.1", "dataset.separate=true"]
BERT += ["dataset.tokenizer=wordpiece", "dataset.vocabulary=4000", "dataset.length=128", "train.batch_size=32"]
WIDE = ["model=bert_tiny", "model.width=128", "model.dropout=0.1"]
TAGGED = ["dataset=conll", "dataset.root={data}/ner", "dataset.vocabulary=2000"]
RATED = ["dataset=table", "dataset.layout=sst2", "dataset.root={data}/sst2"]
SPOKEN = ["dataset.root={data}/fsdd/recordings"]
UNHEARD = "dataset.test_rule=speaker:theo"
FRAMES = ["model=audio_transformer", "model.width=96", "model.depth=3", "model.subsample=2"]
CELLS = ["dataset=coco", "dataset.root={data}/bccd"]
SMALL_CELLS = [*CELLS, "dataset.target=labels", "dataset.size=[192,256]"]
TAUGHT = ["objective=feature_distill", "objective.teacher={data}/lite0.pth"]
TAUGHT += ["objective.teacher_model=timm:tf_efficientnet_lite0", "objective.views={flip: true, crop: 0.5}"]
TAUGHT += ["model=convnet", "model.channels=[16,32,64,128,256,256]", *SMALL_CELLS]
TAUGHT += ["train.batch_size=16", "train.steps=1200", "optimizer.lr=2e-3"]
BOXES = [*CELLS, "dataset.size=[240,320]", "objective=detect", "objective.views.zoom=[0.8,1.3]"]
BOXES += ["train.batch_size=10", "train.steps=240", "train.every.evaluate=48"]
LITE0 = ["ckpt={data}/lite0.pth", "model=timm", "model.name=tf_efficientnet_lite0"]


class Line(NamedTuple):
    """objectives: how each is pretrained, by its name. compared: what is typed for the comparison, and `amounts`.

    probes: whether a fitted probe of each is an arm as well. public: what is typed for an arm from public weights.
    """

    objectives: dict[str, list[str]]
    compared: list[str]
    amounts: str
    probes: bool = True
    public: Sequence[str] = ()


def images(data: list[str], steps: int) -> dict[str, list[str]]:
    budget = [*IMAGES, f"train.steps={steps}"]
    unlabelled = {name: [f"objective={name}", *data, *budget] for name in ("simclr", "vicreg", "byol", "dino")}
    return {"supervised": budget, **unlabelled}


def spoken(*tested: str) -> Line:
    """By a small convolutional network."""
    words = [*SPOKEN, *tested]
    made_otherwise = ["objective.views.pitch=0.15", "objective.views.tone=0.4"]
    objectives = {"simclr_audio": ["experiment=fsdd_pretrain", *words, *made_otherwise, "train.steps=300"]}
    return Line(objectives, ["experiment=fsdd_finetune", *words], "compare.per_class=[5]")


def heard(*tested: str) -> Line:
    """By a transformer over frames."""
    words, budget = [*SPOKEN, *tested], ["train.batch_size=64", "train.steps=600", "optimizer.lr=2e-3"]
    made = ["experiment=fsdd_pretrain", *FRAMES, *words, *budget]
    objectives = {name: [*made, f"objective={name}"] for name in ("hubert", "best_rq")}
    return Line(objectives, ["experiment=fsdd_finetune", *words], "compare.per_class=[5]")


LINES = {
    "digits": Line(
        {**images([], 600), "simclr_digits": ["objective=simclr", "dataset=digits", *IMAGES, "train.steps=600"]},
        ["dataset=digits"],
        "compare.per_class=[5,20]",
    ),
    "mnist": Line(images(MNIST, 600), MNIST, "compare.per_class=[5,20]", public=[*LITE0, "dataset.size=64", *PROBE]),
    "patches": Line(
        {"mae": ["experiment=mnist_mae", *MNIST[1:]], "dinov2": ["objective=dinov2", *MNIST, *PATCHES]},
        MNIST,
        "compare.per_class=[5,20]",
    ),
    "speech": spoken(),
    "speaker": spoken(UNHEARD),
    "frames": heard(),
    "frames_speaker": heard(UNHEARD),
    "sentiment": Line(
        {
            "sentences": ["objective=masked_lm", *SST2, *BERT, "train.steps=1500"],
            "plays": ["objective=masked_lm", *PLAYS, *BERT, "train.steps=1500"],
            "embeddings": ["objective=masked_lm", *SST2, *BERT, WORDS, "train.steps=1"],
            "embeddings_sentences": ["objective=masked_lm", *SST2, *BERT, WORDS, "train.steps=1500"],
        },
        [*RATED, "objective.dropout=0.1", "train.batch_size=32", "train.steps=200", "train.every.evaluate=50"],
        "compare.per_class=[200]",
        public=[f"ckpt={MINILM}", *PROBE],
    ),
    "entities": Line(
        {"masked_lm": ["objective=masked_lm", *TAGGED, *WIDE, "optimizer.lr=2e-3", "train.steps=1500"]},
        [*TAGGED[:2], "objective=tag", "objective.dropout=0.2", "train.batch_size=32", "train.steps=600"],
        "compare.fractions=[0.02]",
        probes=False,
        public=[f"ckpt={MINILM}"],
    ),
    "boxes": Line(
        {"feature_distill": TAUGHT},
        BOXES,
        "compare.fractions=[0.1]",
        probes=False,
        public=LITE0,
    ),
    "labels": Line(
        {"feature_distill": TAUGHT},
        [*SMALL_CELLS, "objective=multilabel", "train.batch_size=32", "train.steps=120", "train.every.evaluate=24"],
        "compare.fractions=[0.1,0.5,1.0]",
        public=[*LITE0, *PROBE],
    ),
}


def ptft(words: list[str], data: Path) -> None:
    typed = [word.format(data=data) if "{data}" in word else word for word in words]
    print(f"$ ptft {' '.join(typed)}", flush=True)
    subprocess.run([sys.executable, "-m", "ptft", *typed], check=True, stdout=subprocess.DEVNULL)


def pretrained(name: str, words: list[str], data: Path, out: Path) -> Path:
    """The folder of a finished run, or of one that was finished before."""
    folder = out / name
    if not (folder / "summary.json").is_file():
        ptft(["stage=pretrain", *words, f"hydra.run.dir={folder}", *MADE], data)
    return folder


def compare(line: Line, runs: dict[str, Path], data: Path, out: Path) -> dict[str, Any]:
    arms = []
    for run in runs.values():
        arms.append(f"compare.arms.{run.name}=[ckpt={run}]")
        arms += [f"compare.arms.{run.name}_probe=[ckpt={run},{','.join(PROBE)}]"] if line.probes else []
    arms += [f"compare.arms.public=[{','.join(line.public)}]"] if line.public else []
    names = [arm.partition("=")[0].removeprefix("compare.arms.") for arm in arms]
    words = ["stage=compare", f"ckpt={next(iter(runs.values()))}", *line.compared, line.amounts, "compare.seeds=5"]
    words += [f"compare.only=[{','.join(names)}]", *arms, "compare.keep=best", "report=false"]
    ptft([*words, f"hydra.run.dir={out / 'compared'}"], data)
    found: dict[str, Any] = json.loads((out / "compared" / "compare.json").read_text())
    return found


def table(found: dict[str, Any]) -> str:
    """A row an arm and amount: the mean in percent with its 95 % interval, and the difference to scratch."""
    rows = ["| labels | arm | test | beside scratch | |", "| --- | --- | --- | --- | --- |"]
    for row in found["rows"]:
        test, difference = (_percent(row[key]) for key in ("mean", "difference"))
        verdict = f"{row['verdict']} {row['doubt']}".strip()
        rows.append(f"| {row['amount']} | {row['arm']} | {test} | {difference} | {verdict} |")
    return "\n".join(rows)


def _percent(value: dict[str, float] | None) -> str:
    return "" if value is None else f"{100 * value['mean']:.1f} ± {100 * value['half']:.1f}"


def main(name: str, data: str, out: str, *chosen: str) -> None:
    line, where, folder = LINES[name], Path(data).absolute(), Path(out).absolute() / name
    objectives = {each: words for each, words in line.objectives.items() if not chosen or each in chosen}
    runs = {each: pretrained(each, words, where, folder) for each, words in objectives.items()}
    found = compare(line, runs, where, folder)
    print(f"{table(found)}\n{found['answer']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
