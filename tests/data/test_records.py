"""Rows of CSV, TSV and JSONL files, and what names them where they are wrong."""

import json

import pytest

from ptft.data.own.text_record import Columns
from ptft.data.own.text_rows import read_texts
from ptft.data.readers import with_fields
from ptft.data.records import RowError, records
from ptft.errors import DataError

ROWS = [(2, {"path": "a.wav", "text": "one"}), (4, {"path": "b.wav", "text": "two\u2028lines"})]


def read_records(file):
    """Every row; raises what is wrong with one."""
    for line, fields in records(file):
        if isinstance(fields, RowError):
            raise fields
        yield line, fields


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("list.csv", ["path,text", "a.wav,one", "", "b.wav,two\u2028lines"]),
        ("list.txt", ["path,text", '"a.wav","one"', "", '"b.wav","two\u2028lines"']),
        ("list.tsv", ["path\ttext", "a.wav\tone", "", "b.wav\ttwo\u2028lines"]),
        ("list.jsonl", ["", '{"path": "a.wav", "text": "one"}', "", '{"path": "b.wav", "text": "two\u2028lines"}']),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name, lines, start, end):
    (tmp_path / name).write_bytes((start + end.join(lines)).encode())
    assert list(read_records(tmp_path / name)) == ROWS


def test_a_row_may_be_shorter_than_the_header_but_not_longer(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path,text\na.wav\nb.wav,x,\n")
    assert list(read_records(file)) == [(2, {"path": "a.wav", "text": None}), (3, {"path": "b.wav", "text": "x"})]
    file.write_text("path,text\na.wav,hello, world\n")
    with pytest.raises(DataError, match=r"list\.csv:2: has 3 columns, the header has 2"):
        list(read_records(file))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.jsonl", b'{"path": "a"}\n[1]', r"list\.jsonl:2: is not a JSON object"),
        ("list.json", b'{"path": "a"}\n{', r"list\.json:2: is not JSON \("),
        ("list.csv", b"path,text\n\xff\xfe", r"list\.csv:2: is not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_records(tmp_path / name))


TEXT = Columns(("text",), "label")


def texts(file, columns=TEXT, **options):
    broken = []
    rows = read_texts(file, columns, broken.append, **options)
    return [(row.texts[0], row.label) for row in rows], [str(error).rpartition(f"{file.name}:")[2] for error in broken]


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.jsonl"])
def test_a_text_of_any_length_is_a_cell(tmp_path, name):
    long = "word " * 60_000
    rows = {"a.csv": f'text,label\n"{long}",x\n', "a.TSV": f"text\tlabel\n{long}\tx\n"}
    (tmp_path / name).write_text(rows.get(name, json.dumps({"text": long, "label": "x"})))
    assert texts(tmp_path / name) == ([(long.strip(), "x")], [])


@pytest.mark.parametrize("name", ["a.json", "a.JSON", "a.jsonl", "a.ndjson"])
def test_json_is_told_by_what_a_file_holds(tmp_path, name):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": 1}]
    for content in (json.dumps(rows, indent=1), "\n".join(map(json.dumps, rows))):
        (tmp_path / name).write_text(content)
        assert texts(tmp_path / name) == ([("a", "x"), ("b", "1")], [])


def test_empty_cells_and_null_are_missing_and_words_are_words(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\nNA,None\nnull,nan\n,x\n" ",x\nb,\n')
    assert texts(tmp_path / "a.csv") == (
        [("NA", "None"), ("null", "nan"), ("b", None)],
        ["4: column 'text' holds no text", "5: column 'text' holds no text"],
    )
    lines = ['{"text": null, "label": "x"}', '{"text": "a", "label": null}', '{"text": "null", "label": NaN}']
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": false, "label": "NaN"}', "[]", "{"]))
    found, broken = texts(tmp_path / "a.jsonl")
    assert found == [("a", None), ("null", None), ("false", "NaN")]
    assert broken[:2] == ["1: column 'text' holds no text", "5: is not a JSON object"]
    assert broken[2].startswith("6: is not JSON")


def test_names_and_labels_are_compared_in_one_unicode_form(tmp_path):
    for name, content in (
        ("a.csv", "te\u0301xt, label \nz,cafe\u0301\n"),
        ("a.jsonl", '{"te\u0301xt": "z", "label": "cafe\u0301"}'),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert texts(tmp_path / name, Columns(("t\u00e9xt",), "label")) == ([("z", "caf\u00e9")], [])


def test_a_column_of_labels_may_be_missing_where_that_is_allowed(tmp_path):
    (tmp_path / "a.csv").write_text("text\na\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    for name in ("a.csv", "a.jsonl"):
        assert texts(tmp_path / name, unlabelled=True) == ([("a", None)], [])
    assert texts(tmp_path / "a.jsonl")[1] == ["1: has no column 'label' (text)"]
    with pytest.raises(DataError, match=r"a\.csv:1: column: there is no 'label' \(choices: text\)"):
        texts(tmp_path / "a.csv")


def test_a_file_of_texts_alone_may_call_them_otherwise(tmp_path):
    (tmp_path / "a.csv").write_text("review\na\n")
    alone = Columns(("text",), None, alone=True, hint="; so rename it")
    assert texts(tmp_path / "a.csv", alone) == ([("review", None), ("a", None)], [])
    (tmp_path / "a.csv").write_text("id,review\n1,a\n")
    with pytest.raises(DataError, match=r"there is no 'text' \(choices: id, review\); so rename it"):
        texts(tmp_path / "a.csv", alone)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['"a quote that opens,x', "b,x", "c,x"], 3),
        (['"a quote,x', '"b,x', "c,x"], 3),
        (['"two', 'lines",x', '"open,x', "b,x"], 5),
    ],
)
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path, rows, line):
    (tmp_path / "a.csv").write_text("\n".join(["text,label", "first,x", *rows]) + "\n")
    with pytest.raises(DataError, match=rf"a\.csv:{line}: a quote begins a cell of several lines"):
        texts(tmp_path / "a.csv")


def test_cells_of_several_lines_are_read(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"one\n\ntwo",x\nb,x\n"say ""hi""\nthere",x\n')
    assert texts(tmp_path / "a.csv")[0] == [("one\n\ntwo", "x"), ("b", "x"), ('say "hi"\nthere', "x")]


@pytest.mark.parametrize(("label", "names"), [("label", ("text", "label")), (1, ("text", "column_1"))])
def test_what_is_handed_on_of_a_cell_is_as_it_was_written(tmp_path, label, names):
    head = b"text,label\r\n" if label == "label" else b""
    (tmp_path / "a.csv").write_bytes(head + b'"one\r\ntwo","a\rb"\r\n"three\nfour",c\r\n')
    columns = Columns(("text" if head else 0,), None, header=bool(head))
    found = list(with_fields(tmp_path / "a.csv", columns, []))
    assert [record.texts for record, _ in found] == [("one\ntwo",), ("three\nfour",)]  # as models have learned them
    assert [fields for _, fields in found] == [
        dict(zip(names, cells, strict=True)) for cells in (("one\r\ntwo", "a\rb"), ("three\nfour", "c"))
    ]


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,text,label\na,b,x\n")
    with pytest.raises(DataError, match=r"a\.csv:1: has two columns 'text'"):
        texts(tmp_path / "a.csv")
    assert texts(tmp_path / "a.csv", Columns((1,), 2, header=True))[0] == [("b", "x")]
    with pytest.raises(DataError, match=r"a\.csv:1: has two columns 'text'"):
        list(read_records(tmp_path / "a.csv"))


def test_text_behind_a_closing_quote_costs_its_row_and_no_other(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('text,label\n"a \\"good\\" day",pos\n"a ""bad"" day",neg\na 5" pipe,neg\n')
    found, broken = texts(file)
    assert found == [('a "bad" day', "neg"), ('a 5" pipe', "neg")]
    assert broken == ['2: goes on behind a closing quote; in a quoted cell a quote is written twice ("")']
    assert [line for line, _ in records(file)] == [2, 3, 4]


def test_a_row_of_several_lines_is_named_by_its_first(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"two\nlines",pos\n\none,neg\n')
    assert [row.where.rpartition(":")[2] for row in read_texts(tmp_path / "a.csv", TEXT, [].append)] == ["2", "5"]


@pytest.mark.parametrize("value", [["one", "two"], {"en": "one"}, []])
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_list_or_an_object_is_no_text_and_no_label(tmp_path, column, value):
    rows = [{"text": "a", "label": "x", column: value}, {"text": "b", "label": "y", "more": [1]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found, broken = texts(tmp_path / "a.jsonl")
    assert found == [("b", "y")]
    assert broken[0].startswith(f"1: column '{column}' holds a")


@pytest.mark.parametrize(("mark", "said"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
@pytest.mark.parametrize("alone", [False, True])
def test_separators_that_not_all_lines_have_are_named(tmp_path, mark, said, alone):
    (tmp_path / "a.csv").write_text(f"\ufefftext{mark}label\nx{mark}pos\ny\nz\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"a\.csv:1: columns are separated by {said}, though not in all lines"):
        texts(tmp_path / "a.csv", Columns(("text",), None if alone else "label", alone=alone))


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\u200e", " \u2060"])
def test_marks_that_nobody_sees_make_no_other_label(tmp_path, mark):
    (tmp_path / "a.csv").write_text(f"text,label\na,pos\nb,pos{mark}\nc,{mark}pos\nd,p\u200cos\n", encoding="utf-8")
    assert [label for _, label in texts(tmp_path / "a.csv")[0]] == ["pos", "pos", "pos", "p\u200cos"]
