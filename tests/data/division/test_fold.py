"""`dataset.fold`: over all folds each example is tested once, whatever else is asked, and no group is in two."""

import pytest
import torch

from ptft.data.division.fold import places
from ptft.data.image.folder import ImageFolder
from ptft.errors import ConfigError, DataError
from tests.data import test_divided_by_name as undivided
from tests.data import test_own_val as given
from tests.data.own.test_grouping import in_list

WANTED = ("image folder", "image list", "audio folder", "manifest", "table", "conll", "squad")


def rows_of(source, split):
    """The names of what is in a split."""
    part = source.part(split)
    names = source.names(part.split)
    return [names[row] for row in part.rows.tolist()]


def over(kind, count, **options):
    """The sources of all folds."""
    return [kind(fold=f"{number}/{count}", **options) for number in range(1, count + 1)]


@pytest.mark.parametrize("divide_by", ["name", "order"])
@pytest.mark.parametrize("name", WANTED)
def test_each_example_is_tested_once_and_never_trained_on_then(name, divide_by, tmp_path):
    make, kind, options = undivided.KINDS[name]
    root = make(tmp_path / "data", undivided.NAMES)
    folds = over(kind, 3, root=root, divide_by=divide_by, val=0.1, **options)
    tested = [rows_of(fold, "test") for fold in folds]
    every = [name for test in tested for name in test]
    assert len(every) == len(set(every)) == 60
    for fold, test in zip(folds, tested, strict=True):
        train, val = (set(rows_of(fold, split)) for split in ("train", "val"))
        assert len(train) + len(val) + len(test) == 60
        assert len(train | val | set(test)) == 60
        assert val
    if divide_by == "order":
        assert {len(test) for test in tested} == {20}


@pytest.mark.parametrize("more", [{"limit": 9}, {"per_class": 2}, {"seed": 7, "fraction": 0.5}, {"val": None}])
def test_what_is_trained_on_moves_no_test_example(more, tmp_path):
    root = undivided.image_folder(tmp_path / "data", undivided.NAMES)
    plain, other = (over(ImageFolder, 3, root=root, divide_by="name", **keys) for keys in ({}, more))
    assert [rows_of(fold, "test") for fold in plain] == [rows_of(fold, "test") for fold in other]


def test_names_and_the_split_seed_alone_say_which_and_folds_are_alike(tmp_path):
    """In sizes and classes, in whatever order the examples stand."""
    names = [f"{name}{i}" for i in range(47) for name in ("a" if i % 3 else "ab")]
    keys, labels = names, torch.tensor([int(name[0] == "b") for name in names])
    place = places(labels, 5, 0, keys)
    assert place.bincount().tolist() == [13, 13, 13, 12, 12]
    assert {int(labels[place == number].sum()) for number in range(5)} <= {3, 4}
    mixed = torch.randperm(len(names), generator=torch.Generator().manual_seed(0))
    again = places(labels[mixed], 5, 0, [keys[i] for i in mixed.tolist()])
    assert torch.equal(again, place[mixed])
    assert not torch.equal(places(labels, 5, 1, keys), place)
    twice = places(labels.repeat(2), 5, 0, keys * 2)
    assert torch.equal(twice, place.repeat(2)), "equal ones stay together"


@pytest.mark.parametrize("sets", [False, True])
def test_groups_of_any_size_make_folds_as_even_as_they_can(sets):
    generator = torch.Generator().manual_seed(0)
    who = torch.randint(0, 60, (1000,), generator=generator)
    labels = torch.randint(0, 4, (1000,), generator=generator)
    given = torch.nn.functional.one_hot(labels).to(torch.uint8) if sets else labels
    keys = [str(each) for each in who.tolist()]
    place = places(given, 5, 0, keys, grouped=True)
    assert all(len(place[who == each].unique()) == 1 for each in range(60))
    sizes = place.bincount()
    assert int(sizes.min()) > 185
    assert int(sizes.max()) < 215
    counts = torch.stack([labels[place == number].bincount(minlength=4) for number in range(5)])
    assert int((counts - labels.bincount() / 5).abs().max()) < 15
    mixed = torch.randperm(1000, generator=generator)
    assert torch.equal(places(given[mixed], 5, 0, [keys[i] for i in mixed.tolist()], grouped=True), place[mixed])


def test_what_classes_and_a_list_leave_out_is_in_no_fold_and_the_rest_in_one(tmp_path):
    root = undivided.image_folder(tmp_path / "data", [f"{name}{i}" for i in range(20) for name in "abc"])
    (tmp_path / "ignore.csv").write_text("name\na/a3.png\nb/b4.png\n")
    folds = over(ImageFolder, 3, root=root, divide_by="name", classes=["a", "b"], ignore=tmp_path / "ignore.csv")
    tested = sorted(name for fold in folds for name in rows_of(fold, "test"))
    assert len(tested) == len(set(tested)) == 38
    assert not {"a/a3.png", "b/b4.png"} & {*tested}


def test_a_given_test_split_is_left_out_and_a_given_val_split_stays(tmp_path):
    make = given.folders(undivided.image_folder)
    parts = {"train": given.TRAIN, "val": [f"{name}{i}" for i in range(30, 33) for name in "ab"], "test": given.OTHER}
    root = make(tmp_path / "data", parts)
    folds = over(ImageFolder, 4, root=root, divide_by="name")
    assert sorted(name for fold in folds for name in rows_of(fold, "test")) == sorted(
        f"train/{name[0]}/{name}.png" for name in given.TRAIN
    )
    assert {len(rows_of(fold, "val")) for fold in folds} == {6}
    assert "test is left out, as fold 1 of 4 of train is the test split (dataset.fold)" in folds[0].notes
    whole = ImageFolder(root=root, fold="1/4", whole=True)
    assert len(rows_of(whole, "test")) == len(given.OTHER)


@pytest.mark.parametrize("count", [2, 5, 7])
def test_groups_are_tested_whole_however_few_there_are(count, tmp_path):
    items = [(f"g{i}", "ab"[i % 2], f"{i}{part}") for i in range(10) for part in "xyz"]
    root = in_list(tmp_path, items)
    group_of = {f"all/{label}{name}.png": group for group, label, name in items}
    held = []
    for fold in over(ImageFolder, count, root=root, divide_by="name", group="who", val=0.1):
        groups = {split: {group_of[name] for name in rows_of(fold, split)} for split in ("train", "val", "test")}
        assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 10
        assert groups["test"]
        assert {*fold.part("train").labels.tolist()} == {0, 1}
        held += groups["test"]
    assert sorted(held) == sorted(f"g{i}" for i in range(10))


@pytest.mark.parametrize("sets", [False, True])
def test_no_class_that_can_be_in_two_folds_is_in_one(sets):
    for seed in range(30):
        keys = [f"{seed}-{i}" for i in range(40)]
        labels = torch.tensor([min(i // 2, 12) for i in range(40)])  # 12 classes of two
        if sets:
            labels = torch.nn.functional.one_hot(labels).to(torch.uint8)
        place = places(labels, 5, seed, keys)
        assert set(place.tolist()) == set(range(5))
        numbers = labels.argmax(1) if sets else labels
        assert all(len(place[numbers == label].unique()) > 1 for label in range(13))


def test_too_few_for_so_many_folds_are_refused(tmp_path):
    items = [(f"g{i}", "ab"[i % 2], str(i)) for i in range(4)]
    root = in_list(tmp_path / "few", items)
    with pytest.raises(DataError, match=r"dataset\.fold=1/5: 4 groups of who to train on are too few for 5 folds"):
        ImageFolder(root=root, divide_by="name", fold="1/5", group="who").part("train")
    rare = undivided.image_folder(tmp_path / "rare", [*(f"a{i}" for i in range(9)), "b0"])
    with pytest.raises(DataError, match=r"dataset\.fold=2/3: class b has 1 image, all in one fold.*dataset\.classes"):
        ImageFolder(root=rare, divide_by="name", fold="2/3").part("train")
    with pytest.raises(ConfigError, match=r"dataset\.fold=4/3: which of how many"):
        ImageFolder(root=rare, fold="4/3")
    with pytest.raises(ConfigError, match=r"dataset\.fold=1/3 and dataset\.test=0\.2: each says what is test"):
        ImageFolder(root=rare, fold="1/3", test=0.2)
