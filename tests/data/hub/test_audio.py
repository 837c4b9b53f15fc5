"""Recordings in tables: the same as in files, with transcripts or classes."""

import datasets
import pytest
import torch

from ptft.core import Spec
from ptft.data.audio import huggingface as audio
from ptft.data.audio import reader as audio_reader
from ptft.data.audio.examples import PAD
from ptft.data.audio.folder import AudioFolder
from ptft.data.audio.huggingface import HuggingFaceAudio
from ptft.data.cache.policy import keep
from ptft.errors import DataError
from tests.helpers.hub import cells, save, wav, write

SOUND = {"audio": datasets.Audio()}


def stereo(path):
    """Two channels at 16,000 Hz, as FLAC or OGG, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waves = torch.randint(-9000, 9000, (2400, 2), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    audio_reader.write(path, waves, 16_000)


@pytest.mark.parametrize("saved", [False, True])
def test_a_recording_in_a_cell_is_the_same_as_in_a_file(tmp_path, saved):
    folder = tmp_path / "files" / "train" / "horn"
    for name in ("a.flac", "b.ogg"):
        stereo(folder / name)
    (folder / "c.wav").write_bytes(wav(300))
    (folder / "d.mp3").write_bytes(b"ID3 and nothing else")
    files = sorted(folder.iterdir())
    columns = {"audio": cells([file.read_bytes() for file in files], [file.name for file in files])}
    root = write(tmp_path / "rows" / "train.parquet", {**columns, "label": ["horn"] * 4}, **SOUND).parent
    root = save(tmp_path / "saved", train=root / "train.parquet") if saved else root
    keys = {"rate": 8000, "val": None, "on_error": "skip"}
    own, theirs = AudioFolder(root=tmp_path / "files", **keys), HuggingFaceAudio(root=root, labelled=True, **keys)
    every = torch.arange(4)
    mine, other = own.split("train").take(every), theirs.split("train").take(every)
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert other["index"].tolist() == [0, 1, 2]
    assert torch.equal(own.identities("train"), theirs.identities("train"))
    in_memory = keep(theirs.split("train"), "memory")
    assert "d.mp3" not in in_memory.notes[0]
    assert "row 3 the first" in in_memory.notes[0]
    with pytest.raises(DataError, match=r"train(\.parquet)? row 3: not readable as a recording \(Format not recog"):
        audio_reader.info(theirs.loaded("train").paths[3])


def test_transcripts_and_classes_are_found_by_what_is_asked(tmp_path):
    columns = {
        "audio": cells([wav(200, count=1600 + i) for i in range(4)]),
        "transcription": ["ab a", "b", "a", "bb"],
        "intent": [1, 0, 1, 0],
        "speaker": ["x", "x", "y", "y"],
    }
    intents = datasets.ClassLabel(names=["stop", "go"])
    file = write(tmp_path / "train.parquet", columns, **SOUND, intent=intents)
    read = HuggingFaceAudio(root=file, whole=True)
    assert read.settled == {"text": "transcription"}
    assert read.spec.target == "transcript"
    assert read.spec.classes == (" ", "a", "b")
    batch = read.split("test").take(torch.arange(4))
    assert batch["target_length"].tolist() == [4, 1, 1, 2]
    spoken = [[read.spec.classes[token] for token in row if token != PAD] for row in batch["target"].tolist()]
    assert ["".join(row) for row in spoken] == ["ab a", "b", "a", "bb"]
    classed = HuggingFaceAudio(root=file, whole=True, labelled=True)
    assert classed.settled == {"label": "intent"}
    assert classed.spec.classes == ("stop", "go")
    assert classed.split("test").labels.tolist() == [1, 0, 1, 0]
    columns["sentence"] = columns["transcription"]
    two = write(tmp_path / "two.parquet", columns, **SOUND, intent=intents)
    with pytest.raises(DataError, match="may each be the text or the label"):
        HuggingFaceAudio(root=two, whole=True)
    keys = {"text": "sentence", "seconds": 0.2002, "group": "speaker", "divide_by": "name", "val": None}
    short = HuggingFaceAudio(root=two, **keys)  # the last two last longer
    assert list(short.names("train")) == ["two.parquet row 0", "two.parquet row 1"]
    assert short.groups_of("train") == ["x", "x"]


def test_recordings_alone_are_learned_from_without_labels(tmp_path, ptft):
    write(tmp_path / "alone" / "train.parquet", {"audio": cells([wav(200 + 9 * i) for i in range(20)])}, **SOUND)
    source = HuggingFaceAudio(root=tmp_path / "alone", val=0.2)
    assert (source.spec.target, source.spec.classes) == ("none", ())
    assert source.split("train").take(torch.arange(2)).keys() == {"input", "length", "index"}
    with pytest.raises(DataError, match="has no column beside audio, and so no label"):
        HuggingFaceAudio(root=tmp_path / "alone", labelled=True)
    audio.sample(tmp_path / "classes")
    assert HuggingFaceAudio(root=tmp_path / "classes", label=None).spec.target == "none"
    net = ("model=audio_cnn", "model.width=16", "device=cpu", "train.steps=1", "dataset=huggingface_audio")
    done = ptft("stage=pretrain", "objective=simclr_audio", *net, "dataset.root=alone", "dataset.val=0.2")
    assert done.code == 0, done.text


def test_undivided_recordings_are_divided_by_what_their_files_were_called(tmp_path):
    sounds = [wav(200 + 10 * i) for i in range(40)]
    columns = {"audio": cells(sounds), "label": [f"{i % 2}" for i in range(40)]}
    keys = {"labelled": True, "divide_by": "name", "split_seed": 0}
    first = HuggingFaceAudio(root=write(tmp_path / "a.parquet", columns, **SOUND), **keys)
    back = {name: values[::-1] for name, values in columns.items()}
    second = HuggingFaceAudio(root=write(tmp_path / "b.parquet", back, **SOUND), **keys)
    for split in ("train", "val", "test"):
        rows = set(first.known_by(split))
        assert rows
        assert rows == set(second.known_by(split))


def test_rows_are_items_to_predict_for(tmp_path):
    audio.sample(tmp_path)
    spec = Spec("audio", audio_reader.shape(4000, None), "class", ("high", "low"))
    items = audio_reader.items(str(tmp_path / "train.parquet"), spec)
    assert [item.passed for item in items[:2]] == [{"label": "low"}, {"label": "high"}]
    assert audio_reader.read(items[0].item, spec).shape == (800,)
    assert audio_reader.remark(items[0].item, audio_reader.read(items[0].item, spec), spec) is None
