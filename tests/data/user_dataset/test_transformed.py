"""A function of one's own on each image: what it gets and may give, and that epoch and index decide its numbers."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from ptft.data.examples import MemoryExamples
from ptft.data.label_sets.balanced import balanced
from ptft.data.loader import Loader
from ptft.data.user_dataset.transformed import DRAW, Transformed
from ptft.errors import ConfigError, DataError
from ptft.runtime.together.alone import Share


def examples(count=7, channels=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 4, 6), generator=generator).to(torch.uint8)
    return MemoryExamples(images, torch.arange(count))


def changed(function, kind="array", channels=3):
    return Transformed(examples(channels=channels), function, kind, "dataset.transform._target_=mine.Rain")


def noisy(image):
    numbers = np.random.randint(50), random.randrange(50), int(torch.randint(50, ()))
    return (image // 4 + sum(numbers)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("array", lambda image: image[:, ::-1]),
        ("array", lambda image: Image.fromarray(image.squeeze()).transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        ("pil", ImageOps.mirror),
        ("tensor", v2.RandomHorizontalFlip(1)),
        ("tensor", lambda image: image.flip(2).permute(1, 2, 0).numpy()),
    ],
)
def test_it_gets_an_image_as_it_asks_and_gives_any_kind_back(channels, kind, function):
    held = examples(channels=channels)
    batch = changed(function, kind, channels).take(torch.tensor([3, 1]))
    assert torch.equal(batch["input"], held.base[[3, 1]].flip(3))
    assert batch["label"].tolist() == batch["index"].tolist() == [3, 1]


def test_what_it_does_to_an_image_in_place_stays_with_that_view():
    def black(image):
        image[:] = 0
        return image

    made = changed(black)
    assert not made.take(torch.arange(7))["input"].any()
    assert torch.equal(made.examples.base, examples().base)


def test_numbers_follow_from_the_epoch_and_the_image_whoever_reads_it():
    loader = Loader(changed(noisy), 3, seed=5, shuffle=True)

    def epoch(number, workers=0):
        loader.workers = workers
        batches = list(loader.epoch(number))
        order = torch.cat([batch["index"] for batch in batches]).argsort()
        return torch.cat([batch["input"] for batch in batches])[order]

    state, own, numpys = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first, second = epoch(0), epoch(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == own
    assert (np.random.get_state()[1] == numpys).all()
    assert all((one != other).any() for one, other in zip(first, second, strict=True))
    assert torch.equal(epoch(1, workers=2), second)
    batches = list(loader.epoch(1))  # resumed in the middle of an epoch
    assert all(torch.equal(batch["input"], second[batch["index"]]) for batch in loader.epoch(1, len(batches) - 1))
    assert len(loader.first()["input"]) == 3


def drawn(loader, start=0):
    """What an epoch shows: `index` long [N] and `input` uint8 [N, C, H, W]."""
    batches = list(loader.epoch(1, start))
    return tuple(torch.cat([batch[name] for batch in batches]) for name in ("index", "input"))


def rain(image):
    return np.random.randint(0, 256, image.shape).astype(np.uint8)


def test_an_image_that_comes_again_in_an_epoch_is_changed_anew_whoever_reads_it():
    grey = MemoryExamples(torch.full((24, 3, 4, 6), 9, dtype=torch.uint8), torch.tensor([0] * 20 + [1] * 4))
    made = Transformed(balanced(grey, ["a", "b"]), rain, "array", "mine.rain")
    loader = Loader(made, 5, seed=5, shuffle=True)
    index, images = drawn(loader)
    assert index.bincount()[20:].tolist() == [3] * 4
    assert len(images.unique(dim=0)) == len(images)
    once = made.of_epoch(loader._seed(1)).take(torch.arange(24))["input"]
    first = [index.tolist().index(row) for row in index.unique().tolist()]
    assert torch.equal(images[first], once[index[first]])

    loader.workers = 2
    assert torch.equal(drawn(loader)[1], images)
    assert torch.equal(drawn(loader, 3)[1], images[15:])
    ranks = [Loader(made, 5, share=Share(rank, 2), seed=5, shuffle=True) for rank in range(2)]
    pairs = zip(*(rank.epoch(1) for rank in ranks), strict=True)
    assert torch.equal(torch.cat([batch["input"] for pair in pairs for batch in pair]), images)


def test_images_that_come_again_keep_their_numbers_where_others_can_not_be_read():
    class Partly(MemoryExamples):
        def take(self, indices):
            return super().take(indices[indices != 2])

    grey = torch.full((4, 3, 4, 6), 9, dtype=torch.uint8)
    whole, partly = (
        Transformed(kind(grey, torch.arange(4)), rain, "array", "mine.rain") for kind in (MemoryExamples, Partly)
    )
    numbers = torch.tensor([1, 2, 1 + DRAW, 2 + DRAW, 3, 1 + 2 * DRAW])
    taken = partly.take(numbers)
    assert taken["index"].tolist() == [1, 1, 3, 1]
    assert torch.equal(taken["input"], whole.take(numbers)["input"][[0, 2, 4, 5]])
    twice = Loader(partly, 4)
    twice._batches = lambda epoch: [numbers]
    assert len(next(twice.epoch())["index"]) == 4
    assert twice.examples.unreadable == {2}


def test_an_object_with_numbers_of_its_own_is_seeded():
    class Own:
        def set_random_seed(self, seed):
            self.numbers = np.random.default_rng(seed)

        def __call__(self, image):
            return (image // 4 + self.numbers.integers(99)).astype(np.uint8)

    made, again = changed(Own()), changed(Own())
    taken = made.take(torch.arange(7))["input"]
    assert torch.equal(again.take(torch.tensor([6]))["input"][0], taken[6])


def test_what_is_only_to_be_read_is_taken():
    def fixed(image):
        return np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape[:2])

    torch.set_warn_always(True)  # else it says it once in a process
    try:
        taken = changed(fixed, channels=1).take(torch.arange(3))["input"]
    finally:
        torch.set_warn_always(False)
    assert torch.equal(taken, examples(channels=1).take(torch.arange(3))["input"])


def broken(image):
    raise ValueError("rain")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (broken, r"fails on training image 2 \(ValueError: rain\)"),
        (lambda image: image / 255, r"gives float64 \[4, 6, 3\] of training image 2, must give uint8 .* 4×6×3"),
        (lambda image: image[:2], r"gives uint8 \[2, 6, 3\]"),
        (lambda image: Image.fromarray(image).convert("L"), "gives an image 4×6×1"),
        (lambda image: torch.zeros(3, 4, 6), "gives torch.float32"),
        (lambda image: None, "gives NoneType"),
    ],
)
def test_what_it_gives_that_is_no_such_image_is_said_in_one_line(function, said):
    with pytest.raises(ConfigError, match=rf"^dataset\.transform\._target_=mine\.Rain: {said}"):
        changed(function).take(torch.tensor([2]))


def test_errors_of_ptft_stay_what_they_are():
    def missing(image):
        raise DataError("masks of rain: do not exist")

    with pytest.raises(DataError, match="masks of rain"):
        changed(missing).take(torch.tensor([2]))
