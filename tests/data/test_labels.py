"""Labels: numbers, missing ones, and names that YAML took for something else."""

import math

import pytest
import yaml

from ptft.data.labels import as_written, fraction_among, kept_classes, number, one_spelling, to_labels, unlabelled
from ptft.errors import ConfigError, DataError


def test_a_number_is_finite_as_a_float_of_32_bits_or_none():
    assert number(" -1.5e3 ") == -1500
    assert [number(text) for text in ("one", "1_0", "", "1,5")] == [None] * 4
    for text in ("inf", "-inf", "1e400", "1e39", "nan"):
        assert not math.isfinite(number(text)), text


def test_many_numbers_that_are_not_whole_are_told():
    tenths = [f"{i / 10:.1f}" for i in range(30)]
    assert fraction_among(tenths) == "0.1"
    assert fraction_among([*tenths, "none"]) is None
    assert fraction_among([f"{i}.0" for i in range(30)]) is None
    assert fraction_among([f"v{name}" for name in tenths]) is None


def test_a_split_is_unlabelled_where_all_its_labels_are_missing():
    rows = [("train", "a"), ("test", ""), ("test", "-1"), ("val", "a"), ("val", ""), ("other", "")]
    assert unlabelled(rows, "train") == ["test", "other"]
    assert unlabelled([("train", "-1"), ("train", "1"), ("test", "-1")], "train") == []
    assert unlabelled([("", "")], "train") == []


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[no, yes]", ("no", "yes")),
        ("[On, OFF]", ("On", "OFF")),
        ("[null, a]", ("null", "a")),
        ("[~, a]", ("~", "a")),
        ("[010, 1e3]", ("010", "1e3")),
        ("[1.50, 2]", ("1.50", "2")),
        ("[0, 1, 10]", ("0", "1", "10")),
    ],
)
def test_what_yaml_made_of_a_name_finds_the_name(typed, names):
    assert as_written("dataset.classes", yaml.safe_load(typed), (*names, "other")) == names


@pytest.mark.parametrize(("name", "known"), [("Dog", "dog"), ("01", "1")])
def test_a_name_that_is_written_otherwise_is_told_how(name, known):
    with pytest.raises(DataError, match=rf"the class '{name}'.*; train writes it '{known}': write both alike"):
        to_labels([known, name], ["0", known])
    with pytest.raises(DataError, match=r"dataset\.classes keeps some"):
        to_labels([known, "3"], ["0", known])


def test_what_may_be_two_names_is_asked_about():
    with pytest.raises(ConfigError, match=r"dataset\.classes: False may be 'no' or 'off'; in YAML write it in quotes"):
        as_written("dataset.classes", [False], ["no", "off"])
    assert as_written("dataset.classes", ["no", 1], ["no", "off", "1", "01"]) == ("no", "1")
    assert as_written("dataset.classes", ["cafe\u0301"], ["caf\u00e9"]) == ("caf\u00e9",)


def test_values_are_one_class_however_a_format_writes_them():
    assert to_labels(["True", "false", "true"], ["false", "true"]).tolist() == [1, 0, 1]
    assert to_labels(["1", "0.0", "1.0"], ["0.0", "1.0"]).tolist() == [1, 0, 1]
    for name, classes in (("1.0", ["1", "01"]), ("-3", ["-3.0", "3"])):
        assert to_labels([name], classes).tolist() == [0]
    for name, classes in (("007", ["7"]), ("1.00", ["1"]), ("Yes", ["yes"]), ("TRUE", ["True", "true"])):
        with pytest.raises(DataError, match="has not"):
            to_labels([name], classes)
    assert one_spelling({"1", "1.0", "2.0"}, ()) == {"1", "2.0"}
    assert one_spelling({"true", "False"}, ("True", "False")) == {"True", "False"}
    assert one_spelling({"1", "1.0"}, ("1", "1.0")) == {"1", "1.0"}


@pytest.mark.parametrize("own", [(), ("",)])
def test_of_what_has_no_classes_none_are_kept(own):
    with pytest.raises(ConfigError, match=r"dataset.classes=\[a, b\]: the dataset has no classes; leave it null"):
        kept_classes(["a", "b"], own, ())
