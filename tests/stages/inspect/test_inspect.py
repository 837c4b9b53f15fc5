"""`stage=inspect` on sets with known faults: what it finds, what it writes, and what is left when that is ignored."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ptft.data.image.captions import folder
from tests.conftest import contents, refused, summary
from tests.helpers import planted

KINDS = {"digits": "image_folder", "tones": "audio_folder", "texts": "table"}


def inspected(ptft, folder, *typed):
    done = ptft("stage=inspect", *typed, f"hydra.run.dir={folder}", "device=cpu")
    assert done.code == 0, done.text
    return json.loads((folder / "inspect.json").read_text()), done


def ignored(run):
    with (run / "ignore.csv").open() as file:
        return {row["name"] for row in csv.DictReader(file)}


def data(kind, root):
    return (f"dataset={KINDS[kind]}", f"dataset.root={root}")


@pytest.mark.parametrize(
    ("kind", "size"),
    [("digits", {"few": 6, "limit": 300}), ("tones", {"count": 80, "few": 4}), ("texts", {"count": 200, "few": 4})],
)
def test_what_was_planted_is_found(kind, size, ptft, tmp_path):
    truth = getattr(planted, kind)(tmp_path / "data", **size)
    report, done = inspected(ptft, tmp_path / "run", *data(kind, tmp_path / "data"))
    found = planted.found(report)
    assert found.broken == truth.broken
    assert found.copies == truth.copies
    assert truth.near <= found.near
    assert found.outliers >= truth.outliers
    assert planted.shares(truth.flipped, found.flipped) >= (0.5, 0.5)  # of few; the benchmark measures it on all
    assert done.out.index("leakage: ") < done.out.index("inspect done")
    held = sum(report["leakage"].values())
    assert held >= len(truth.copies) + len(truth.near)
    listed = ignored(tmp_path / "run")
    assert truth.broken <= listed
    dropped = [pair & listed for pair in truth.copies | truth.near]
    assert {len(names) for names in dropped} == {1}
    assert all(name.startswith("train") for names in dropped for name in names)  # what is measured stays whole
    assert (tmp_path / "run/sheet.png").exists() == (kind != "texts")
    again, _ = inspected(ptft, tmp_path / "again", *data(kind, tmp_path / "data"), "dataset.ignore=run/ignore.csv")
    assert again["leakage"] == {}
    assert not again["unreadable"]
    assert sum(again["splits"].values()) == sum(report["splits"].values()) - len(listed)


@pytest.fixture
def shades(tmp_path):
    """Squares of different greys, eight of each of two classes in train and test; one of test is one of train."""
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (tmp_path / "shades" / split / name).mkdir(parents=True)
            for i in range(8):
                grey = (name == "light") * 120 + 12 * i + 6 * (split == "test")
                image = Image.linear_gradient("L").resize((16, 16)).point(lambda value, grey=grey: value // 4 + grey)
                image.rotate(45 * i + 22 * (split == "test")).save(tmp_path / "shades" / split / name / f"{i}.png")
    twin = (tmp_path / "shades/train/dark/3.png").read_bytes()
    (tmp_path / "shades/test/light/7.png").write_bytes(twin)
    return ("dataset=image_folder", f"dataset.root={tmp_path / 'shades'}", "dataset.val=null")


def test_strict_ends_with_3_and_has_written_all(shades, ptft, tmp_path):
    typed = ("stage=inspect", *shades, "device=cpu", "hydra.run.dir=run")
    refused(ptft(*typed, "inspect.strict=true"), 3, "1 of 16 test examples are in another split too", "dataset.ignore=")
    report = json.loads((tmp_path / "run/inspect.json").read_text())
    entry = report["duplicates"][0]
    assert [item["name"] for item in entry["items"]] == ["test/light/7.png", "train/dark/3.png"]
    assert entry["leak"]
    assert entry["labels_differ"]
    clean = ptft("stage=inspect", *shades, "dataset.ignore=run/ignore.csv", "inspect.strict=true", "hydra.run.dir=two")
    assert clean.code == 0, clean.text
    assert "no leakage" in clean.out


def test_the_report_says_shapes_and_balance(shades, ptft, tmp_path):
    (tmp_path / "shades/train/dark/wide.png").unlink(missing_ok=True)
    Image.new("RGB", (160, 16), "red").save(tmp_path / "shades/train/dark/wide.png")
    report, done = inspected(ptft, tmp_path / "run", *shades, "dataset.size=16", "inspect.sheet=0")
    assert report["balance"]["train"] == {"dark": 9, "light": 8}
    width = report["histograms"]["width"]
    assert (width["least"], width["median"], width["most"]) == (16, 16, 160)
    assert sum(width["counts"]["train"]) == 17
    assert [entry["item"]["name"] for entry in report["odd"]] == ["train/dark/wide.png"]
    assert "odd: train/dark/wide.png" in done.out
    assert report["sheet"] is None
    assert not (tmp_path / "run/sheet.png").exists()
    kept = summary(tmp_path / "run")
    assert kept["stage"] == "inspect"
    assert kept["counts"] == report["counts"]


def test_a_checkpoint_lends_its_features(shades, ptft, pretrained, tmp_path):
    report, done = inspected(ptft, tmp_path / "run", *shades, f"ckpt={pretrained}")
    assert report["features"] == "cnn's backbone (16 features)"
    assert {entry["leak"] for entry in report["duplicates"]} == {True}
    alone = [entry for entry in report["near_duplicates"] if entry["by"] == "features alone"]
    assert any(len({item["split"] for item in entry["items"]}) == 2 for entry in alone)
    assert not any(entry["leak"] for entry in alone)
    assert report["leakage"] == {"test": 1}  # the twin: what one network takes for alike is no copy by that alone
    assert f"{len(alone)} pairs near by features alone" in done.out
    others = {entry["items"][1]["name"] for entry in report["near_duplicates"][: -len(alone)]}
    assert ignored(tmp_path / "run") == {"train/dark/3.png"} | others
    again, _ = inspected(ptft, tmp_path / "again", *shades, f"ckpt={pretrained}")
    assert {**again, "sheet": None} == {**report, "sheet": None}


def test_a_dry_run_writes_nothing_and_wrong_kinds_are_refused(shades, ptft, tmp_path):
    before = contents(tmp_path)
    done = ptft("stage=inspect", *shades, "dry_run=true")
    assert done.code == 0, done.text
    assert contents(tmp_path) == before
    refused(
        ptft("stage=inspect", *shades, "inspect.ignore=[leaks]"),
        2,
        "inspect.ignore: there is no 'leaks'",
        "near_duplicates",
    )
    refused(ptft("stage=inspect", *shades, "train.steps=3"), 2, "train.steps: for stage=")


def test_texts_say_what_is_cut_and_what_was_misread(ptft, tmp_path):
    rows = [f"a text about subject number {i},{i % 2}" for i in range(30)]
    rows[4], rows[9] = "a cafÃ© about nothing else,0", f"{'long ' * 90}text,1"
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    typed = ("dataset=table", "dataset.root=texts.csv", "dataset.tokenizer=bytes", "dataset.length=64")
    report, done = inspected(ptft, tmp_path / "run", *typed)
    assert [entry["item"]["text"][:7] for entry in report["odd"]] == ["a cafÃ©"]
    assert "1 of 30 texts (3.3%) are cut by dataset.length=64; the longest has 454 tokens" in done.out
    assert report["histograms"]["tokens"]["most"] == 454


def test_running_text_and_tags_are_inspected_as_far_as_they_go(ptft, tmp_path):
    paragraphs = [f"paragraph {i} of a text that goes on about {i * 7}" for i in range(40)]
    paragraphs[39] = paragraphs[0]
    paragraphs[20] = paragraphs[21] = paragraphs[10]
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs))
    typed = ("dataset=text", "dataset.root=text.txt", "dataset.documents=paragraph", "dataset.length=32")
    report, done = inspected(ptft, tmp_path / "run", *typed)
    assert report["leakage"] == {"val": 1}
    assert "not done: likely wrong labels: examples have none" in done.out
    clean, _ = inspected(ptft, tmp_path / "two", *typed, "dataset.ignore=run/ignore.csv")
    assert clean["leakage"] == {}
    assert clean["counts"]["duplicates"] == 0
    listed = ignored(tmp_path / "run")
    assert {f"train document {i}" for i in (0, 20, 21)} <= listed
    assert "train document 10" not in listed
    assert clean["splits"] == {"train": report["splits"]["train"] - len(listed), "val": report["splits"]["val"]}


def test_a_picture_with_several_captions_is_no_copy_of_itself(ptft, tmp_path):
    folder.sample(tmp_path / "pictures", 6)
    (tmp_path / "pictures/twin.jpg").write_bytes((tmp_path / "pictures/2.jpg").read_bytes())
    with (tmp_path / "pictures/captions.csv").open("a") as file:
        file.write("".join(f"{i}.jpg,another one of {i},{'val' if i % 3 == 2 else 'train'}\n" for i in range(12)))
        file.write("twin.jpg,a twin,train\ntwin.jpg,the same once more,train\n")
    typed = ("dataset=captions", "dataset.root=pictures")
    report, _ = inspected(ptft, tmp_path / "run", *typed)
    names = [[item["name"] for item in entry["items"]] for entry in report["duplicates"]]
    assert names == [["2.jpg", "twin.jpg"]]
    assert ignored(tmp_path / "run") == {"twin.jpg"}
    clean, _ = inspected(ptft, tmp_path / "two", *typed, "dataset.ignore=run/ignore.csv")
    assert clean["splits"] == {"train": report["splits"]["train"] - 2, "val": report["splits"]["val"]}
    assert clean["counts"]["duplicates"] == 0


def test_of_a_picture_in_two_splits_every_caption_leaks_and_so_does_each_copy_of_a_near_one(ptft, tmp_path):
    folder.sample(tmp_path / "pictures", 6)
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((48, 40))
    for name, quality in (("5", 95), ("nearly", 70)):
        coarse.save(tmp_path / f"pictures/{name}.jpg", quality=quality)
    rows = [(2, "train"), (2, "val"), (2, "val"), (5, "val"), ("nearly", "train")]
    with (tmp_path / "pictures/captions.csv").open("a") as file:
        file.write("".join(f"{name}.jpg,said {i},{split}\n" for i, (name, split) in enumerate(rows)))
    typed = ("dataset=captions", "dataset.root=pictures", "inspect.strict=true")
    done = ptft("stage=inspect", *typed, "device=cpu", "hydra.run.dir=run")
    report = json.loads((tmp_path / "run/inspect.json").read_text())
    assert report["leakage"] == {"val": 5}  # three captions of 2.jpg, two of 5.jpg
    assert (report["counts"]["duplicates"], report["counts"]["near_duplicates"]) == (1, 1)
    assert "5 of 7 val examples" in done.out
    refused(done, 3, "inspect.strict=true: 5 of 7 val examples are in another split too")
    page = (tmp_path / "run/report.html").read_text()
    assert "17 examples of captions.csv (captions) were inspected: 10 of train, 7 of val." in " ".join(page.split())
    assert "Leakage: 5 of 7 val examples" in page


def test_a_file_with_several_captions_is_one_file_that_cannot_be_read(ptft, tmp_path):
    folder.sample(tmp_path / "pictures", 3)
    (tmp_path / "pictures/bad.jpg").write_text("nothing")
    with (tmp_path / "pictures/captions.csv").open("a") as file:
        file.write("bad.jpg,one,train\nbad.jpg,two,train\n")
    report, done = inspected(ptft, tmp_path / "run", "dataset=captions", "dataset.root=pictures", "inspect.sheet=0")
    assert report["counts"]["unreadable"] == 2
    assert "1 file can't be read, which 2 examples are of" in done.out
    assert "2 unreadable examples" in (tmp_path / "run/report.html").read_text()


def test_a_pair_that_is_there_twice_is_told_and_so_is_a_file_with_two_sets_of_labels(ptft, shades, tmp_path):
    folder.sample(tmp_path / "pictures", 6)
    with (tmp_path / "pictures/captions.csv").open("a") as file:
        file.write("0.jpg,a bright picture,train\n")
    report, done = inspected(ptft, tmp_path / "run", "dataset=captions", "dataset.root=pictures")
    assert report["counts"]["duplicates"] == 1
    assert not ignored(tmp_path / "run")
    assert "leaving out 1 line of 0.jpg, whose list has" in done.out
    rows = [f"{split}/dark/{i}.png,{labels},{split}" for split in ("train", "test") for i, labels in enumerate("abc")]
    rows += ["train/dark/0.png,a;b,train"]
    (tmp_path / "shades/list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    typed = ("dataset=image_folder", "dataset.root=shades/list.csv", "dataset.val=null", "dataset.label_separator=;")
    report, _ = inspected(ptft, tmp_path / "two", *typed)
    assert report["counts"]["duplicates"] == 1


def test_a_file_that_a_list_has_twice_stays(ptft, shades, tmp_path):
    """Names are all that an ignore list has of it: what would leave one line out would leave both out."""
    rows = [f"train/{name}/{i}.png,{name},train" for name in ("dark", "light") for i in range(3)]
    rows += [f"test/{name}/{i}.png,{name},test" for name in ("dark", "light") for i in range(2)]
    rows += ["train/dark/0.png,dark,train", "train/dark/1.png,light,train", "train/dark/2.png,dark,test"]
    (tmp_path / "shades/list.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    typed = ("dataset=image_folder", "dataset.root=shades/list.csv", "dataset.val=null")
    report, done = inspected(ptft, tmp_path / "run", *typed)
    assert report["counts"]["duplicates"] == 3
    assert report["leakage"] == {"test": 1}
    assert not ignored(tmp_path / "run") & {f"train/dark/{i}.png" for i in range(3)}
    assert "leaving out 3 lines of train/dark/0.png, train/dark/1.png, train/dark/2.png, whose list has" in done.out


def paragraph(name, text, questions):
    asked = [{"id": f"{name}{i}", "question": each, "answers": []} for i, each in enumerate(questions)]
    return {"context": text, "qas": [{**each, "is_impossible": True} for each in asked]}


def test_questions_are_inspected_by_what_they_ask_and_of_which_text(ptft, tmp_path):
    """Many questions are asked of one text and are no copies; ids say nothing of what is asked."""
    texts = [" ".join(f"w{(i + 1) * (j + 3) ** 3 % 997}" for j in range(60)) for i in range(9)]
    usual = ["Who came first of all?", "Where did they go in the end?", "Why was that a good year?"]
    train = [paragraph(i, text, usual) for i, text in enumerate(texts[:6])]
    dev = [paragraph(i, text, usual) for i, text in enumerate(texts[6:])]  # the same ids, of other texts
    dev += [paragraph("x", texts[1], usual), paragraph("y", f"{texts[2]}!", [f"{each}!" for each in usual])]
    (tmp_path / "q").mkdir()
    for split, paragraphs in (("train", train), ("dev", dev)):
        (tmp_path / "q" / f"{split}.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    typed = ("dataset=squad", "dataset.root=q", "dataset.tokenizer=bytes", "dataset.length=100")
    report, done = inspected(ptft, tmp_path / "run", *typed)
    assert (report["counts"]["duplicates"], report["counts"]["near_duplicates"]) == (3, 3)
    assert report["leakage"] == {"val": 6}
    assert "33 of 33 texts (100.0%) are read in windows of dataset.length=100" in done.out


OWN = """
class Sentences:
    def __init__(self):
        texts = [f"{i * 7919 % 9973} of the {i * 31 % 37} ships sailed {['south', 'north'][i % 2]}" for i in range(30)]
        self.texts = texts + texts[:5] + [f"{text} ." for text in texts[10:15]]
        self.ids = [f"t{i}" for i in range(40)]
    def __len__(self):
        return 40
    def __getitem__(self, i):
        return self.texts[i], ["a", "b"][i % 2]
"""


def test_texts_of_ones_own_dataset_are_compared_whatever_they_are_called(ptft, tmp_path):
    (tmp_path / "my_texts.py").write_text(OWN)
    typed = ("dataset._target_=my_texts.Sentences", "trusted=[my_texts]", "dataset.tokenizer=bytes")
    report, done = inspected(ptft, tmp_path / "run", *typed)
    assert (report["counts"]["duplicates"], report["counts"]["near_duplicates"]) == (5, 5)
    assert f"the longest has {len('9927 of the 21 ships sailed south .')} tokens" in done.out
