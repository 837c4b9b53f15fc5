"""Metrics of masks, against counting by hand."""

import math

import torch

from ptft.metrics import segmentation as measures


def test_counts_and_what_is_made_of_them():
    torch.manual_seed(0)
    predicted, true = torch.randint(0, 3, (2, 500)), torch.randint(0, 3, (2, 500))
    valid = torch.rand(2, 500) < 0.8
    counts = measures.confusion(predicted, true, valid, 4)
    assert counts.shape == (2, 4, 4)
    assert counts.sum((1, 2)).tolist() == valid.sum(1).tolist()
    whole = counts.sum(0)
    shares = []
    for k in range(3):
        one, other = (true == k) & valid, (predicted == k) & valid
        shares.append(int((one & other).sum()) / int((one | other).sum()))
    found = measures.measures(whole)
    assert math.isclose(found["miou"], sum(shares) / 3)  # the fourth class is nowhere
    assert math.isclose(found["pixel_accuracy"], int(((predicted == true) & valid).sum()) / int(valid.sum()))
    table = measures.by_class(whole, ["a", "b", "c", "d"])
    assert [round(row[1], 6) for row in table.values[:3]] == [round(share, 6) for share in shares]
    assert math.isnan(table.values[3][1])
    assert table.values[3][0] == 0
