"""What examples are compared with: neighbours, groups, hashes, shingles."""

import torch

from ptft.data.inspected import hashes, neighbours, shingles


def test_neighbours_in_cells_are_those_of_all(monkeypatch):
    vectors = torch.randn(1500, 6, generator=torch.Generator().manual_seed(0))
    vectors[1::500] = vectors[::500] + 1e-3
    exact = neighbours.nearest(vectors, 3)
    expected = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf).topk(3, largest=False)
    assert torch.allclose(exact.distance, expected.values, atol=2e-3)
    monkeypatch.setattr(neighbours, "SMALL", 100)
    found = neighbours.nearest(vectors, 3)
    assert (found.places[:, 0] == exact.places[:, 0]).float().mean() > 0.8
    assert found.places[::500, 0].tolist() == [1, 501, 1001]
    few = neighbours.nearest(vectors[:2], 3)
    assert few.places.tolist() == [[1, -1, -1], [0, -1, -1]]


def test_pairs_make_groups_over_others():
    pairs = torch.tensor([[8, 7], [7, 6], [6, 5], [1, 2], [5, 4]])
    assert neighbours.groups_of(pairs, 10).tolist() == [0, 1, 1, 3, 4, 4, 4, 4, 4, 9]


def test_a_hash_knows_a_picture_in_another_light():
    pictures = torch.rand(60, 32, 32, generator=torch.Generator().manual_seed(0))
    darker = 0.6 * pictures[7] + 0.1
    pairs, distances = hashes.near(hashes.frequencies(torch.cat([pictures, darker[None], torch.ones(2, 32, 32)])), 0)
    assert pairs.tolist() == [[7, 60]]
    assert float(distances[0]) < 1e-3


def test_what_features_found_is_alike_where_it_stands_out_by_itself():
    """A picture with another behind it is too far for a hash alone; a mirrored one is far from it anyway."""
    pictures = torch.rand(60, 32, 32, generator=torch.Generator().manual_seed(0))
    behind = pictures[7:8] + 0.3 * pictures[8:9]
    vectors = hashes.frequencies(torch.cat([pictures, behind, pictures[7:8].flip(2), torch.ones(2, 32, 32)]))
    assert hashes.near(vectors, 0)[0].tolist() == []
    pairs = torch.tensor([[7, 60], [7, 61], [3, 4], [62, 63]])
    assert hashes.alike(vectors, pairs, 0).tolist() == [True, False, False, False]


def test_texts_that_features_found_share_half_of_their_shingles_or_are_not_alike():
    texts = ["anna once walked along the river until it rained", "Anna walked along the river until it rained again!"]
    texts += ["carl never saw the sea and went home before noon"]
    assert shingles.near(0, texts)[0].tolist() == []
    assert shingles.alike(torch.tensor([[0, 1], [0, 2]]), texts).tolist() == [True, False]
    assert shingles.alike(torch.tensor([[0, 1]]), texts, ["one", "two", ""]).tolist() == [False]


def test_pictures_of_one_colour_each_are_no_near_duplicates():
    pairs, distances = hashes.near(hashes.frequencies(torch.rand(5, 1, 1).expand(5, 32, 32)), 0)
    assert (pairs.shape, distances.shape) == ((0, 2), (0,))


def test_shingles_know_a_text_with_another_end():
    texts = [f"{word} once walked along the river until the {word} came" for word in ("anna", "berta", "carl")]
    texts += ["", "a", "ANNA once walked along the river, until the anna came!", f"{'x' * 40} {'y' * 40}"]
    pairs, distances = shingles.near(0, texts)
    assert pairs.tolist() == [[0, 5]]
    assert distances.tolist() == [0]
    long = " ".join(f"word{i} and then" for i in range(60))
    pairs, distances = shingles.near(0, [long, f"{long} some more of it", "else"])
    assert pairs.tolist() == [[0, 1]]
    assert 0 < float(distances[0]) < 0.2
