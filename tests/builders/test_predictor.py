"""`ptft.load`: what is trained answers in Python what `stage=predict` writes, for files and for values."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch.utils.data import DataLoader

import ptft as package
from ptft.data.audio import reader as audio_reader
from ptft.data.text import conll, squad, table
from ptft.data.user_dataset import values
from ptft.errors import CheckpointError, ConfigError, DataError
from tests.conftest import NET, SMALL
from tests.helpers import processes

TEXTS = ("model=bert_tiny", "model.width=16", "model.depth=1", "model.heads=2", "train.batch_size=8", "train.steps=2")


@pytest.fixture(scope="module")
def images(pretrained):
    return package.load(pretrained, device="cpu")


@pytest.fixture
def photos(tmp_path):
    """Three grey pictures of another size than the model's, of which one lies deeper."""
    noise = np.random.default_rng(0)
    names = ("a.png", "b.png", "more/c.png")
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in names:
        Image.fromarray(noise.integers(0, 256, (40, 36), dtype=np.uint8)).save(tmp_path / "photos" / name)
    return [tmp_path / "photos" / name for name in names]


def written(ptft, *typed):
    """What `stage=predict` writes: the class of every row."""
    done = ptft("stage=predict", *typed, "device=cpu", "output=out.csv")
    assert done.code == 0, done.text
    with open("out.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_nothing_heavy_is_imported_before_it_is_called():
    code = "import ptft, sys; assert not {'torch', 'hydra'} & sys.modules.keys(); print(ptft.__version__)"
    done = processes.subprocess.run([processes.sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == package.__version__, done.stderr


def test_files_are_answered_as_the_command_does(images, photos, ptft, pretrained):
    rows = written(ptft, f"ckpt={pretrained}", "input=photos")
    for asked in ("photos", Path("photos"), ["photos/a.png", "photos/b.png", "photos/more"]):
        answers = images(asked)
        assert [Path(row["path"]).name for row in answers] == ["a.png", "b.png", "c.png"]
        for answer, row in zip(answers, rows, strict=True):
            assert answer["class"] == row["class"]
            assert answer["probability"] == pytest.approx(float(row["probability"]), abs=1e-6)
    for one in (photos[0], "photos/a.png", "./photos/a.png", "photos//a.png"):
        assert images(one)["class"] == rows[0]["class"]
    assert images.classes == tuple("0123456789")
    assert len(images("photos/a.png", top=3)["class"]) == 1
    with pytest.raises(ConfigError, match="temperature: the options of its answers are top"):
        images("photos/a.png", temperature=1)


def test_values_are_read_as_files_of_the_same_content(images, photos):
    from_file = images(photos[1])
    assert from_file.pop("path") == str(photos[1])
    array = np.array(Image.open(photos[1]))
    tensor = torch.from_numpy(array)
    for value in (Image.open(photos[1]), array, array[..., None], tensor, tensor[None], tensor.float() / 255):
        assert images(value) == from_file
    for several in ([array, array], np.stack([array, array])[..., None], tensor.expand(2, 1, -1, -1)):
        answers = images(several)
        assert [answer["class"] for answer in answers] == [from_file["class"]] * 2


@pytest.fixture
def every_warning():
    """torch says a thing once; and warnings are errors here."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("every_warning")
def test_what_is_only_to_be_read_is_answered_without_a_warning(images, photos):
    array = np.array(Image.open(photos[1]))
    only_read = np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape)
    assert not only_read.flags.writeable
    assert images(only_read) == images(array)
    assert images([only_read, only_read]) == images([array, array])


def test_a_photo_that_lies_on_its_side_is_turned_as_its_file_is(images, photos):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.open(photos[0]).save("turned.png", exif=exif)
    from_file = images("turned.png")
    assert from_file.pop("path") == "turned.png"
    assert images(Image.open("turned.png")) == from_file
    assert images(Image.open(photos[0])) != from_file


def test_features_are_the_backbones(images, photos):
    one, all_of_them = images.features(photos[0]), images.features(photos)
    assert one.shape == (images.objective.backbone.width,)
    assert all_of_them.shape == (3, 16)
    assert torch.allclose(all_of_them[0], one, atol=1e-5)
    head = images.objective.linear_head()
    expected = [answer["probability"] for answer in images(photos)]
    assert head(all_of_them).softmax(1).max(1).values.tolist() == pytest.approx(expected, abs=1e-5)


def test_of_nothing_there_are_no_features_and_no_answers(images):
    assert images.features([]).shape == (0, 16)
    assert images([]) == []


def test_the_module_takes_raw_batches(images, photos):
    raw = torch.stack([torch.from_numpy(np.array(Image.open(photo).resize((28, 28)))) for photo in photos])[:, None]
    with torch.no_grad():
        probabilities = images.module(raw)
    assert probabilities.shape == (3, 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    answers = images(list(raw))
    assert [images.classes[i] for i in probabilities.argmax(1)] == [answer["class"] for answer in answers]


def test_the_card_says_what_it_is(images, pretrained):
    card = images.card
    assert (card["model"], card["objective"], card["dataset"], card["step"]) == ("cnn", "classify", "glyphs", 20)
    assert card["metrics"]["test"].keys() >= {"accuracy", "loss"}
    assert card["path"] == str(pretrained / "checkpoints" / "best.pt")
    assert card["parent"] is None
    last = package.load(pretrained / "checkpoints" / "last.pt", device="cpu").card
    assert last["metrics"] == {}, "the summary's are those of the best weights"
    assert "cnn, classify" in repr(images)


class Answers(torch.utils.data.Dataset):
    def __init__(self, model, files):
        self.model, self.files = model, files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.model(self.files[index])["class"]


def test_it_answers_in_the_workers_of_a_loader(images, photos):
    loader = DataLoader(Answers(images, photos), batch_size=None, num_workers=1, multiprocessing_context="fork")
    assert list(loader) == [answer["class"] for answer in images(photos)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nowhere.png", "nowhere.png: no image files there"),
        (["photos/a.png", "nowhere"], "nowhere: no image files there"),
        (3, "input 0 holds 3"),
        ([np.zeros((4, 4), np.uint8), None], "input 1 holds None"),
        (np.zeros(9000, np.float32), "input 0 is of audio, and the model reads image"),
        (["photos/a.png", np.zeros((4, 4), np.uint8)], "paths and values in one list"),
        (np.full((4, 4), 7.5), "from 0 to 1"),
    ],
)
def test_what_can_not_be_read_is_an_error_that_names_it(value, said, images, photos):
    with pytest.raises(DataError, match=said):
        images(value)


def test_what_a_stage_says_of_its_input_is_a_warning(images, photos, tmp_path):
    (tmp_path / "list.csv").write_text("id,picture\n1,photos/a.png\n")
    with pytest.warns(UserWarning, match=r"list\.csv names the files in its column picture"):
        assert len(images("list.csv")) == 1


def test_a_broken_file_is_an_error_of_its_own(images, photos):
    photos[1].write_text("no image")
    with pytest.raises(DataError, match=r"b\.png"):
        images("photos")


def test_latest_a_file_and_what_is_no_model(ptft, tmp_path, pretrained):
    assert ptft("stage=pretrain", *SMALL, "train.steps=1").code == 0
    assert package.load("latest").card["step"] == 1
    assert package.load(pretrained / "checkpoints" / "last.pt").card["step"] == 20
    with pytest.raises(CheckpointError, match="nowhere"):
        package.load("nowhere")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "plain.pt")
    with pytest.raises((CheckpointError, ConfigError), match="plain"):
        package.load("plain.pt")
    views = ("objective=simclr", "dataset=digits", *NET, "train.steps=1", "train.batch_size=8", "dataset.limit=16")
    assert ptft("stage=pretrain", *views, "hydra.run.dir=views").code == 0
    learned = package.load("views")
    assert learned.features(np.zeros((8, 8), np.uint8)).shape == (16,)
    with pytest.raises(ConfigError, match="objective=simclr has no answer"):
        learned(np.zeros((8, 8), np.uint8))


def test_texts(ptft, tmp_path):
    table.sample(tmp_path / "data")
    made = ("stage=pretrain", *TEXTS, "dataset.tokenizer=bytes", "hydra.run.dir=run")
    assert ptft(*made, "dataset=table", "dataset.root=data").code == 0
    texts = ["a good day", "so dull", "fine and good, all in all"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    rows = written(ptft, "ckpt=run", "input=texts.txt")
    model = package.load("run", device="cpu")
    answers = model(texts)
    assert [answer["class"] for answer in answers] == [row["class"] for row in rows]
    assert model(texts[0])["probability"] == pytest.approx(float(rows[0]["probability"]), abs=1e-5)
    assert [row["path"] for row in model(Path("texts.txt"))] == [row["path"] for row in rows]
    assert model.features(texts).shape == (3, 16)
    with pytest.raises(DataError, match="input 1"):
        model(["a text", " "])


def test_words_of_sentences(ptft, tmp_path):
    conll.sample(tmp_path / "data")
    made = ("stage=pretrain", *TEXTS, "dataset.tokenizer=bytes", "objective=tag", "hydra.run.dir=run")
    assert ptft(*made, "dataset=conll", "dataset.root=data").code == 0
    model, long = package.load("run", device="cpu"), " ".join(f"word{i}" for i in range(60))
    answers = model(["Anna lives in Bonn .", "A day ."])
    assert [len(answer["tags"].split()) for answer in answers] == [5, 3]
    both = model.features([long, "A day ."])
    assert both.shape == (2, model.objective.backbone.width), "one row each, however many parts are read"
    assert torch.allclose(both[1], model.features("A day ."), atol=1e-3)
    parts = torch.cat([model.embed(read.batch) for read in model.batches(values.items(model.spec, long).items)])
    assert len(parts) > 1
    assert torch.allclose(both[0], parts.mean(0), atol=1e-3)
    (tmp_path / "in.csv").write_text(f"id,text\n7,{long}\n8,A day .\n")
    rows = written(ptft, "ckpt=run", "input=in.csv", "input_text=text")
    assert [(row["id"], len(row["tags"].split())) for row in rows] == [("7", 60), ("8", 3)]
    done = ptft("stage=embed", "ckpt=run", "input=in.csv", "input_text=text", "device=cpu", "output=out.npz")
    assert "2 embedded, 0 unreadable" in done.out, done.text
    with np.load("out.npz") as file:
        assert np.allclose(file["features"], both.numpy(), atol=1e-3)


def test_questions_about_texts(ptft, tmp_path):
    squad.sample(tmp_path / "data")
    made = ("stage=pretrain", *TEXTS, "dataset.tokenizer=bytes", "objective=span", "hydra.run.dir=run")
    assert ptft(*made, "dataset=squad", "dataset.root=data", "dataset.length=96").code == 0
    model, files = package.load("run", device="cpu"), [Path("data/dev.json"), Path("data/train.json")]
    first, second = (model(file) for file in files)
    for one, two in zip(model(files), [*first, *second], strict=True):  # the questions of each file by themselves
        assert one["path"] == two["path"]
        assert (one["answer"], one["score"]) == (two["answer"], pytest.approx(two["score"], abs=1e-5))
    context = json.loads(files[0].read_text())["data"][0]["paragraphs"][0]["context"]
    asked = [{"question": row["question"], "context": context} for row in first[:2]]
    answers = model(asked)
    assert [answer["answer"] for answer in answers] == [row["answer"] for row in first[:2]]
    assert len(model.features(files)) == len(first) + len(second)
    assert model(asked[0])["score"] == pytest.approx(first[0]["score"], abs=1e-5)
    for wrong in ("Where?", {"question": "Where?"}, {"question": "", "context": "x"}):
        with pytest.raises(DataError, match=r"input 0 is .*the model reads"):
            model(wrong)


def test_a_notebook_shows_the_card(images):
    shown = images._repr_html_()
    assert shown.startswith("<table><caption>&lt;ptft cnn, classify")
    assert "<th>dataset</th><td>&quot;glyphs&quot;</td>" in shown


def test_a_class_of_ones_own_is_found_where_one_stands(ptft, tmp_path, pretrained, monkeypatch):
    (tmp_path / "mynet.py").write_text("from ptft.models.image.cnn import CNN\n\n\nclass Mine(CNN):\n    pass\n")
    typed = ("stage=pretrain", *SMALL, "train.steps=1", "model._target_=mynet.Mine", "trusted=[mynet]")
    assert ptft(*typed, "hydra.run.dir=run").code == 0
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place or ".").resolve() != tmp_path])
    monkeypatch.delitem(sys.modules, "mynet", raising=False)  # as a program does that begins with it
    assert type(package.load("run", trusted=["mynet"]).objective.backbone).__module__ == "mynet"


def test_recordings(ptft, tmp_path):
    run = (
        "stage=pretrain",
        "dataset=tones",
        "dataset.count=24",
        "dataset.held_out=12",
        "model=audio_cnn",
        "model.width=12",
    )
    assert ptft(*run, "model.channels=[4,8]", "train.batch_size=8", "train.steps=2", "hydra.run.dir=run").code == 0
    model = package.load("run", device="cpu")
    rate = model.spec.shape["rate"]
    wave = (8000 * torch.sin(torch.arange(rate) / 9)).to(torch.int16)
    audio_reader.write(tmp_path / "a.wav", wave, rate)
    from_file = model("a.wav")
    assert from_file.pop("path") == "a.wav"
    samples, _ = soundfile.read("a.wav", dtype="float32")
    for value in (
        wave,
        samples,
        (samples, rate),
        {"array": samples, "sampling_rate": rate},
        np.stack([samples, samples]),
    ):
        assert model(value) == from_file
    assert model((samples, 2 * rate)) != from_file
    assert model(np.stack([samples, samples])[:, :90])["class"] in model.classes, "short, and no image"
    with pytest.raises(DataError, match="input 0 holds 'a text'"):
        model(("a text", rate))
    with pytest.raises(DataError, match="amplitudes up to 3"):
        model(3 * np.ones(2000, np.float32))
