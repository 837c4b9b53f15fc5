"""Choices of examples: proportional, seeded, nested."""

import torch

from ptft.data.stratify import per_class, ranks, stratified_order

LABELS = torch.cat([torch.full((count,), label) for label, count in enumerate((600, 300, 100))])


def test_ranks_count_equal_labels_before():
    assert ranks(torch.tensor([1, 0, 1, 1, 0])).tolist() == [0, 0, 1, 2, 1]


def test_every_beginning_holds_the_classes_in_proportion():
    order = stratified_order(LABELS, 0)
    assert order.sort().values.tolist() == list(range(1000))
    for count in (10, 100, 500):
        share = LABELS[order[:count]].bincount(minlength=3) / count
        assert (share - torch.tensor([0.6, 0.3, 0.1])).abs().max() <= 1 / count + 1e-6


def test_the_order_is_the_seeds():
    assert torch.equal(stratified_order(LABELS, 1), stratified_order(LABELS, 1))
    assert not torch.equal(stratified_order(LABELS, 1), stratified_order(LABELS, 2))
    assert len(set(LABELS[stratified_order(torch.arange(1000) % 10, 3)[:5]].tolist())) > 1


def test_few_examples_of_many_classes_are_not_always_the_first_classes():
    labels = torch.arange(1000) % 100
    first = {tuple(labels[stratified_order(labels, seed)[:5]].sort().values.tolist()) for seed in range(5)}
    assert len(first) > 1


def test_per_class_takes_so_many_of_each():
    chosen = per_class(LABELS, 7, 0)
    assert LABELS[chosen].bincount().tolist() == [7, 7, 7]
    assert not torch.equal(chosen, per_class(LABELS, 7, 1))
    assert set(per_class(LABELS, 5, 0).tolist()) < set(chosen.tolist())


def test_choosing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    stratified_order(LABELS, 0)
    per_class(LABELS, 3, 0)
    assert torch.equal(torch.get_rng_state(), before)
