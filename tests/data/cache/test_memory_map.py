"""The file of decoded examples: shared by parts and processes, resumed where it was left, never believed blindly."""

import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.data.cache import memory_map
from ptft.data.cache.memory_map import PAGE, Store
from ptft.data.cache.policy import decode, onto_disk, silent
from ptft.data.image import folder as image_folder
from ptft.data.image.folder import ImageFolder
from ptft.errors import DataError, StorageError
from ptft.runtime.paths import cache_dir
from tests.data.test_examples import Counting
from tests.helpers.processes import Process, python

ROOT = Path(__file__).resolve().parents[3]


class Watched(Counting):
    """Counts what is read."""

    def __init__(self, count, broken=()):
        super().__init__(count, broken)
        self.read = []

    def take(self, indices):
        self.read += indices.tolist()
        return super().take(indices)


def values(examples):
    return examples.take(torch.arange(len(examples)))["input"][:, 0, 0, 0].tolist()


def files():
    return sorted(path.suffix for path in cache_dir().iterdir())


def test_the_folder_is_the_users_choice(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PTFT_CACHE", "~/here")
    assert cache_dir() == Path("/home/me/here")
    monkeypatch.delenv("PTFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache_dir() == Path("/there/ptft")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/home/me/.cache/ptft")


def test_parts_of_a_set_share_a_file_and_read_only_what_is_missing():
    whole = Watched(100)
    first = onto_disk(whole.at(torch.tensor([30, 10, 31]), torch.arange(3)))
    assert values(first) == [30, 10, 31]
    assert sorted(whole.read) == [10, 30, 31]
    whole.read = []
    assert values(onto_disk(whole)) == list(range(100))
    assert sorted(whole.read) == sorted(set(range(100)) - {10, 30, 31})
    whole.read = []
    assert values(onto_disk(whole.at(torch.tensor([5, 99]), torch.arange(2)))) == [5, 99]
    assert whole.read == []
    assert files() == [".examples", ".lock"]


def test_it_can_be_mapped_where_nothing_may_be_written():
    """A finished cache of somebody else: neither its lock nor the file is written."""
    onto_disk(Counting(50))
    for path in cache_dir().iterdir():
        path.chmod(0o400)
        before = path.stat()
    cache_dir().chmod(0o500)
    assert values(onto_disk(Counting(50))) == list(range(50))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_build_that_an_error_ended_goes_on(monkeypatch):
    class Breaks(Watched):
        fail = True

        def take(self, indices):
            if self.fail and 70 in indices:
                raise DataError("file70.png: cut")
            return super().take(indices)

    monkeypatch.setattr(memory_map, "FLUSH", 1)
    examples, decoder = Breaks(100), partial(decode, at_a_time=12 * 16)
    with pytest.raises(DataError):
        onto_disk(examples, silent, decoder)
    assert sorted(examples.read) == list(range(64))
    examples.read, examples.fail = [], False
    assert values(onto_disk(examples, silent, decoder)) == list(range(100))
    assert sorted(examples.read) == list(range(64, 100))


BUILD = """
import sys, time, torch
from functools import partial
from pathlib import Path
from ptft.data.cache import memory_map, policy
from tests.data.cache.test_memory_map import Watched
memory_map.FLUSH = 1

class Slow(Watched):
    def take(self, indices):
        time.sleep(float(sys.argv[1]))
        with open("read", "a") as file:
            file.write("".join(f"{i}\\n" for i in indices.tolist()))
        return super().take(indices)

Slow.__qualname__ = "Watched"
Slow.__module__ = "same"
found = policy.onto_disk(Slow(200), policy.silent, partial(policy.decode, at_a_time=12 * 16, worth=float("inf")))
assert found.take(torch.arange(200))["input"][:, 0, 0, 0].tolist() == list(range(200))
print("whole")
"""


def build(pause):
    code = [sys.executable, "-c", BUILD, str(pause)]
    return Process(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read():
    return [int(line) for line in Path("read").read_text().splitlines()] if Path("read").exists() else []


def test_killed_builds_go_on_where_they_were_and_several_processes_read_each_example_once():
    killed = build(0.1)
    while len(read()) < 64:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = len(read())
    assert before < 200
    together = [build(0.02) for _ in range(3)]
    results = [process.communicate(timeout=60) for process in together]
    assert [out for out, _ in results] == ["whole\n"] * 3, results
    again = read()[before:]
    assert len(again) == len(set(again))
    assert before - 16 <= 200 - len(again) <= before, "at most the part that was being written is read again"


DIES = """
import os, sys
from pathlib import Path
from ptft.data.cache import memory_map
from ptft.data.cache.policy import onto_disk
from ptft.runtime.paths import cache_dir
from tests.data.cache.test_memory_map import Watched, values
from tests.helpers.dying import deaths

memory_map.FLUSH = 1


def prepare(number):
    os.environ["PTFT_CACHE"] = str(Path(sys.argv[1], str(number)))
    return cache_dir()


count = 0
for place in deaths(prepare, lambda place: onto_disk(Watched(24))):
    assert values(onto_disk(Watched(24))) == list(range(24)), place
    assert {path.suffix for path in place.iterdir()} <= {".examples", ".lock"}, sorted(place.iterdir())
    count += 1
print(count)
"""


def test_a_death_before_any_file_operation_of_a_build_leaves_a_cache_that_is_made_whole(tmp_path):
    done = python(DIES, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def damaged(change):
    onto_disk(Counting(100))
    path = Store(Counting(100)).path
    data = bytearray(path.read_bytes())
    path.write_bytes(bytes(change(data)))
    return path


def flipped(data):
    data[-5] ^= 1
    return data


def impossible(data):
    data[PAGE : PAGE + 8] = b"\xff" * 7 + b"\x7f"
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"<html>" + data[6:],
        lambda data: b"\0" * len(data),
        flipped,
        impossible,
    ],
    ids=["empty", "short", "foreign", "zeros", "a bit", "impossible"],
)
def test_a_broken_file_is_noticed_and_made_anew(change):
    path = damaged(change)
    open_before = path.open("rb")
    examples = onto_disk(Counting(100))
    assert values(examples) == list(range(100))
    assert "broken and is made anew" in examples.notes[0]
    assert onto_disk(Counting(100)).notes == ()
    assert os.fstat(open_before.fileno()).st_nlink == 0, "whoever has mapped the old file keeps it"
    open_before.close()


def test_unreadable_ones_are_tried_again():
    """What was skipped is not believed to be broken forever, and raises where errors are to be raised."""
    assert onto_disk(Watched(100, broken=[3])).unreadable == {3}
    later = Watched(100)
    assert values(onto_disk(later)) == list(range(100))
    assert later.read == [3]


def test_another_time_size_shape_or_name_is_another_file(tmp_path):
    def path(**keys):
        return Store(ImageFolder(root=tmp_path / "photos", **{"size": 8, **keys}).split("train").whole()[0]).path

    image_folder.sample(tmp_path / "photos")
    photo = tmp_path / "photos/train/cat/3.jpg"
    seen = [path(), path(size=9), path(channels=1), path(fit="stretch")]
    fingerprint = ImageFolder(root=tmp_path / "photos", size=8).fingerprint()
    os.utime(photo, ns=(1, 1))
    seen.append(path())
    assert ImageFolder(root=tmp_path / "photos", size=8).fingerprint() == fingerprint, "a copy has other times"
    Image.new("RGB", (9, 9)).save(photo)
    os.utime(photo, ns=(1, 1))
    seen.append(path())
    photo.rename(photo.with_name("33.jpg"))
    seen.append(path())
    assert len(set(seen)) == 7
    assert path(limit=5, seed=3, val=None) == seen[-1], "whatever part is asked for"
    (tmp_path / "photos").rename(tmp_path / "moved")
    (tmp_path / "photos").symlink_to("moved")
    assert path() == seen[-1]


def test_other_images_of_the_same_names_sizes_and_times_are_not_those_in_the_cache(tmp_path):
    """As archives unpack them that were packed with fixed times."""
    for shade in (10, 200):
        for split in ("train", "val"):
            for name in ("a", "b"):
                file = tmp_path / f"{shade}" / split / name / "0.bmp"
                file.parent.mkdir(parents=True)
                Image.new("RGB", (8, 8), (shade, 0, 0)).save(file)
                os.utime(file, ns=(1, 1))
    first, second = (ImageFolder(root=tmp_path / f"{shade}", size=8).split("train").whole()[0] for shade in (10, 200))
    assert first.digest() == second.digest()
    assert Store(first).path != Store(second).path


@pytest.fixture
def small_files():
    """No file of this process may grow beyond 100 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_with_what_is_needed_and_free(small_files):
    with pytest.raises(StorageError) as error:
        onto_disk(Counting(10_000))
    for part in (str(cache_dir()), "120,000 bytes", " are free", "PTFT_CACHE", "dataset.cache=off"):
        assert part in str(error.value)
    assert files() == [".lock"], "nothing is left on it"


def test_a_folder_that_can_not_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PTFT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match=r"file/cache.*PTFT_CACHE"):
        onto_disk(Counting(10))
    assert memory_map.free(cache_dir()) == 0


def test_records_are_of_the_pixels():
    onto_disk(Counting(300))
    pixels, records = Store(Counting(300)).open()
    assert [1 + zlib.crc32(image.numpy().tobytes()) for image in pixels] == records.tolist()
    assert Store(Counting(300)).missing(torch.arange(300)) == 0
