"""Recall between pictures and captions, beside loops over both."""

import torch
from torch.nn import functional as F

from ptft.objectives.pairs import retrieval
from ptft.objectives.pairs.retrieval import pictures


def by_loops(image, text, said, picture):
    """Nearest first, each question by itself."""
    ids = list(dict.fromkeys(picture.tolist()))
    first = [picture.tolist().index(one) for one in ids]
    own = {one: {s for s, p in zip(said.tolist(), picture.tolist(), strict=True) if p == one} for one in ids}
    found = {}
    for k in (1, 5, 10):
        there = [
            any(int(said[row]) in own[one] for row in (image[at] @ text.T).argsort(descending=True)[:k].tolist())
            for one, at in zip(ids, first, strict=True)
        ]
        back = [
            any(int(said[row]) in own[ids[place]] for place in order[:k].tolist())
            for row, order in enumerate((text @ image[first].T).argsort(1, descending=True))
        ]
        end = "" if k == 1 else f"_r{k}"
        found |= {f"image_to_text{end}": sum(there) / len(there), f"text_to_image{end}": sum(back) / len(back)}
    return found


def test_all_captions_of_a_picture_are_right_and_each_picture_is_asked_once(monkeypatch):
    torch.manual_seed(0)
    picture = torch.tensor([7, 7, 3, 9, 3, 7, 1, 1, 4, 4, 8, 8, 6, 6, 5, 5, 2, 2])
    said = torch.arange(len(picture)) * 11 - 40
    said[8], said[10] = said[0], said[4]  # two captions that are those of other pictures, word for word
    seen = F.normalize(torch.randn(10, 3), dim=1)
    image, text = seen[picture], F.normalize(0.4 * seen[picture] + torch.randn(len(picture), 3) / 3, dim=1)
    found, expected = retrieval.retrieval(image, text, said, picture), by_loops(image, text, said, picture)
    assert 0 < expected["image_to_text"] < expected["image_to_text_r5"] <= 1
    assert {name: round(value, 5) for name, value in found.items() if name != "recall"} == {
        name: round(value, 5) for name, value in expected.items()
    }
    assert abs(found["recall"] - (expected["image_to_text"] + expected["text_to_image"]) / 2) < 1e-6
    first, place = pictures(picture)
    assert (first.tolist(), place.tolist()[:7]) == ([0, 2, 3, 6, 8, 10, 12, 14, 16], [0, 0, 1, 2, 1, 0, 3])
    monkeypatch.setattr(retrieval, "MOST", 3)
    kept = torch.isin(picture, torch.tensor([7, 3, 9]))
    parts = [values[kept] for values in (image, text, said, picture)]
    assert retrieval.retrieval(image, text, said, picture) == retrieval.retrieval(*parts)
