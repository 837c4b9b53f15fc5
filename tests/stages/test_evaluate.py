"""`ptft stage=evaluate ckpt=…`."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.data.audio import reader as audio_reader
from ptft.data.text import conll, corpus, squad
from tests.conftest import refused


def metrics(folder: str) -> dict:
    return json.loads((Path(folder) / "summary.json").read_text())["metrics"]


def test_it_measures_the_checkpoint_on_its_own_test_split(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "hydra.run.dir=run")
    assert done.code == 0, done.text
    trained = json.loads((pretrained / "summary.json").read_text())["metrics"]["test"]
    assert metrics("run") == {"test": pytest.approx(trained)}
    table = json.loads(Path("run/confusion_test.json").read_text())
    assert sum(map(sum, table["values"])) == 100
    hits = sum(row[i] for i, row in enumerate(table["values"]))
    assert hits / 100 == pytest.approx(trained["accuracy"])


def test_another_split_or_dataset_with_the_same_classes(ptft, pretrained):
    assert ptft("stage=evaluate", f"ckpt={pretrained}", "split=val", "hydra.run.dir=val").code == 0
    assert set(metrics("val")) == {"val"}
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=digits", "hydra.run.dir=digits")
    assert done.code == 0, done.text
    assert "359 test" in done.out


def test_a_class_that_the_checkpoint_has_not_is_an_error_that_names_it(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", *SOME, "hydra.run.dir=some")
    assert done.code == 0, done.text
    data = pictures(Path("data"), "1", "zebra")
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=image_folder", f"dataset.root={data}")
    refused(done, 3, "classes that the checkpoint has not: zebra; it has 0, 1, 2, … 7 more")
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=table", f"dataset.root={data}")
    refused(done, 2, "the checkpoint was trained on image")


SOME = ("dataset=digits", "dataset.classes=['2','1']")
"""Some of the classes, in another order."""


def test_labels_are_matched_by_name_whatever_their_order_and_number(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset=digits", "hydra.run.dir=all")
    assert done.code == 0, done.text
    done = ptft("stage=evaluate", f"ckpt={pretrained}", *SOME, "hydra.run.dir=some")
    assert done.code == 0, done.text
    assert "8 of the checkpoint's 10 classes have no example here: 0, 3, 4, … 5 more" in done.out
    tables = [json.loads(Path(f"{run}/confusion_test.json").read_text()) for run in ("all", "some")]
    assert tables[0]["rows"] == tables[1]["rows"]
    assert [row if k in (1, 2) else [0] * 10 for k, row in enumerate(tables[0]["values"])] == tables[1]["values"]


def pictures(root: Path, *classes: str, count: int = 6) -> Path:
    """`count` pictures of one colour a class in ROOT/CLASS; the colour follows from the name."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            colour = (sum(map(ord, name)) * 40 % 256, 5 * i, 90)
            Image.new("RGB", (16, 16), colour).save(root / name / f"{i}.png")
    return root


def sounds(root: Path, *classes: str, count: int = 6) -> Path:
    for name in classes:
        for i in range(count):
            wave = 9000 * torch.sin(torch.arange(800 + i) * sum(map(ord, name)) / 500)
            audio_reader.write(root / name / f"{i}.wav", wave.to(torch.int16), 8000)
    return root


def texts(root: Path, *classes: str, count: int = 6) -> Path:
    """A file of the split that the folder is called as, one row a line."""
    root.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name * 3} number {i},{name}" for i in range(count) for name in classes]
    root.with_suffix(".csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return root.with_suffix(".csv")


KINDS = {
    "image_folder": (pictures, ("model=cnn", "model.width=8", "model.channels=[4,8]", "dataset.size=16")),
    "audio_folder": (sounds, ("model=audio_cnn", "model.width=8")),
    "table": (texts, ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_named_is_measured_all_of_it_by_the_checkpoints_classes(ptft, kind):
    write, options = KINDS[kind]
    for split in ("train", "val"):
        write(Path("own") / split, "a", "b", "c")
    common = (f"dataset={kind}", *options, "train.steps=2", "train.batch_size=8")
    done = ptft("stage=pretrain", *common, "dataset.root=own", "hydra.run.dir=run")
    assert done.code == 0, done.text

    def measured(root: Path | str, *typed: str) -> tuple[str, list[int]]:
        """The split that was measured, and how many examples of every class."""
        folder = Path(f"measured-{len(list(Path().iterdir()))}")
        done = ptft("stage=evaluate", "ckpt=run", f"dataset.root={root}", *typed, f"hydra.run.dir={folder}")
        assert done.code == 0, done.text
        split = json.loads((folder / "summary.json").read_text())["split"]
        table = json.loads((folder / f"confusion_{split}.json").read_text())
        return split, [round(sum(row)) for row in table["values"]]

    write(Path("alone") / "test", "b", "c")
    assert measured("alone") == ("test", [0, 6, 6])
    whole = write(Path("whole"), "c", "a", count=10)
    assert measured(whole) == ("test", [10, 0, 10])
    assert 0 < sum(measured(whole, "split=test")[1]) < 10
    write(Path("only") / "train", "b", count=3)
    assert measured("only") == ("test", [0, 3, 0])
    for split in ("train", "dev"):
        write(Path("both") / split, "c", count=2 if split == "dev" else 4)
    assert measured("both", *([] if kind == "table" else ["dataset.val=dev"])) == ("val", [0, 0, 2])
    write(Path("more") / "test", "a", "d")
    refused(ptft("stage=evaluate", "ckpt=run", "dataset.root=more"), 3, "classes that the checkpoint has not: d")
    kept = "dataset.classes=[b,a]"
    assert measured("more", kept) == ("test", [6, 0, 0])
    assert measured("own") == ("val", [6, 6, 6])
    for split, count in (("val", 4), ("test", 6)):
        write(Path("held") / split, "b", "c", count=count)
    assert measured("held", "split=test", "evaluate.calibrate=true") == ("test", [0, 6, 6])
    assert measured("held", "split=val") == ("val", [0, 4, 4])
    done = ptft("stage=evaluate", "ckpt=run", "dataset.root=held", "split=train")
    refused(done, 2, "dataset.train: there is no 'train'")
    done = ptft("stage=evaluate", "ckpt=run", "dataset.root=held", "split=test", "dataset.train=mine")
    refused(done, 2, "dataset.train: there is no 'mine'")
    refused(ptft("stage=finetune", "ckpt=run", "dataset.root=held", *common), 2, "dataset.train: there is no 'train'")


def test_a_table_without_labels_says_what_is_missing_and_what_answers_it(ptft):
    kept, answers = KINDS["table"][1], "stage=predict answers texts without labels"
    for split in ("train", "val"):
        texts(Path("own") / split, "a", "b")
    typed = ("dataset=table", "dataset.root=own", *kept, "train.steps=1", "hydra.run.dir=run")
    assert ptft("stage=pretrain", *typed).code == 0
    Path("one.csv").write_text("text,writer\nan a,x\na b,y\n")
    Path("split.csv").write_text("text,split\nan a,val\na b,test\n")
    Path("one.jsonl").write_text('{"text": "an a", "writer": "x"}\n')
    for file, there in (("one.csv", "text, writer"), ("split.csv", "text, split"), ("one.jsonl", "text, writer")):
        done = ptft("stage=evaluate", "ckpt=run", f"dataset.root={file}", "dataset.test=null")
        refused(done, 3, f"{file}: column: there is no 'label' (choices: {there}); dataset.label names", answers)
    texts(Path("two") / "val", "a", "b")
    Path("two/test.csv").write_text("text\nan a\na b\n")
    assert ptft("stage=evaluate", "ckpt=run", "dataset.root=two", "hydra.run.dir=val").code == 0
    refused(ptft("stage=evaluate", "ckpt=run", "dataset.root=two", "split=test"), 3, "(test.csv has no labels)")


@pytest.mark.parametrize("kind", ["conll", "squad", "text"])
def test_one_file_of_words_questions_or_running_text_is_measured_whole(ptft, kind):
    task = {"conll": "tag", "squad": "span", "text": "causal_lm"}[kind]
    model = "gpt_tiny" if kind == "text" else "bert_tiny"
    options = (f"model={model}", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes", "train.batch_size=8")
    source = {"conll": conll, "squad": squad, "text": corpus}[kind]
    source.sample(Path("own"))
    long = () if kind == "squad" else ("dataset.length=32",)
    common = (f"dataset={kind}", f"objective={task}", *options, *long, "dataset.root=own", "train.steps=2")
    done = ptft("stage=pretrain", *common, "hydra.run.dir=run")
    assert done.code == 0, done.text
    source.sample(Path("new"))
    (file,) = [path for path in Path("new").iterdir() if path.stem in ("dev", "bottles")]
    Path("alone").mkdir()
    (Path("alone") / file.name).write_bytes(file.read_bytes())
    for number, root in enumerate((file, Path("alone"))):
        done = ptft("stage=evaluate", "ckpt=run", f"dataset.root={root}", f"hydra.run.dir=run{number}")
        assert done.code == 0, done.text
    samples = [json.loads(Path(f"run{i}/summary.json").read_text())["samples"] for i in range(2)]
    wanted = {"conll": 12, "squad": 16, "text": -(-len(file.read_bytes()) // 31)}[kind]
    assert samples == [wanted, wanted]


@pytest.mark.parametrize("even", [False, True])
def test_measuring_and_predicting_compute_no_more_tokens_at_once_than_a_training_step(ptft, even, monkeypatch):
    monkeypatch.setattr("ptft.builders.inputs.FREE", 0)  # so few tokens are always allowed
    Path("data").mkdir()
    for split, count in (("train", 16), ("dev", 70)):
        lines = [f"{'word ' * (9 if even else 1 + i % 9)},{'ab'[i % 2]}" for i in range(count)]
        Path(f"data/{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    sizes: list[int] = []

    def computed(module, given):
        if isinstance(module, torch.nn.Embedding):
            sizes.append(given[0].numel())

    hook = torch.nn.modules.module.register_module_forward_pre_hook(computed)
    try:
        model = ("model=bert_tiny", "model.width=16", "model.depth=1", "dataset.tokenizer=bytes", "precision=fp32")
        batch = ("train.batch_size=8", "train.accumulate=2", "train.steps=2", "dataset.val=null")
        done = ptft("stage=pretrain", *model, *batch, "dataset=table", "dataset.root=data", "hydra.run.dir=run")
        assert done.code == 0, done.text
        most = 4 * 47
        assert max(sizes) <= most
        sizes.clear()
        done = ptft("stage=evaluate", "ckpt=run", "dataset.val=val", "split=val", "hydra.run.dir=measured")
        assert done.code == 0, done.text
        assert max(sizes) <= most
        sizes.clear()
        done = ptft("stage=predict", "ckpt=run", "input=data/dev.csv", "output=out.csv")
        assert done.code == 0, done.text
        assert max(sizes) <= most
    finally:
        hook.remove()
    assert len(Path("out.csv").read_text().splitlines()) == 71
