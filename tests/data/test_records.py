"""Rows of CSV, TSV and JSONL files, and what names them where they are wrong."""

import pytest

from ptft.data.records import read_records
from ptft.errors import DataError

ROWS = [(2, {"path": "a.wav", "text": "one"}), (4, {"path": "b.wav", "text": "two\u2028lines"})]


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
