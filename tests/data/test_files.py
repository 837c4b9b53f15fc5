"""What every reader of people's files shares: text, lines, cells, JSON values and names."""

import codecs
import gzip
import json
import os
import unicodedata
from pathlib import Path

import pytest

from ptft.data import files
from ptft.errors import DataError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_only_line_ends_end_a_line(tmp_path, end):
    odd = "a\u2028b\u2029c\x85d\x0ce\x0bf\x1cg\x1dh\x1ei"
    (tmp_path / "text").write_bytes(end.join([odd, "", "last", ""]).encode())
    assert files.read_lines(tmp_path / "text") == [odd, "", "last"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_how_a_text_is_read(tmp_path, encoding):
    (tmp_path / "text").write_bytes("é\r\n語".encode(encoding))
    assert files.read_lines(tmp_path / "text") == ["é", "語"]
    (tmp_path / "text").write_bytes(codecs.BOM_UTF16_BE + "é\n語".encode("utf-16-be"))
    assert files.read_lines(tmp_path / "text") == ["é", "語"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("fine\ncafé".encode("latin-1"), r"text:2: is not UTF-8 text \(byte 8 can't be decoded\); save it as UTF-8"),
        ("a\rb\rcafé".encode("latin-1"), r"text:3: is not UTF-8 text"),
        ("abc".encode("utf-16-le"), r"text: is no text \(it holds zero bytes\)"),
        (b"PK\x03\x04" + b"\0" * 40, r"text: is not text but a ZIP archive or a spreadsheet.* save it as CSV"),
        (gzip.compress(b"text,label\na,b\n", mtime=0), r"text: is not text but compressed \(gzip\): unpack it first"),
        (b"PAR1" + b"\0" * 40, r"text: is not text but Parquet, which dataset=huggingface reads"),
        (codecs.BOM_UTF16_LE + b"a", r"text:1: is not UTF-8 text, nor the UTF-16 of its byte order mark"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(tmp_path, content, said):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=said):
        files.read_file(tmp_path / "text")


def test_cells_stand_between_spaces_and_tabs_only():
    assert files.cells(" a\u00a0b \t c\u3000 d ") == ["a\u00a0b", "c\u3000", "d"]
    assert files.is_blank(" \t")
    assert not files.is_blank("\u00a0")


ROWS = [{"text": "a\u2028b", "n": [1]}, {"text": "[{"}]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), [1, 2]),
        ("\n\n" + "\n \n".join(map(json.dumps, ROWS)) + "\n", [3, 5]),
        (json.dumps(ROWS), [1, 1]),
        ("[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n", [2, 3]),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS) + "\n", [1, 7]),
    ],
    ids=["lines", "with empty lines", "list", "list on lines", "objects of several lines"],
)
def test_json_lines_and_a_json_list_are_told_by_what_they_hold(content, lines):
    assert list(files.json_values(content)) == list(zip(lines, ROWS, strict=True))


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("{}\n" + "[" * 200_000, 2, "nested too deeply"),
        ("[{}, " + '{"a":' * 200_000, 1, "nested too deeply"),
        ('{"text": "\\ud83d"}', 1, "half a surrogate pair"),
        ('[{},\n{"text": "\\uD83D"}]', 2, "half a surrogate pair"),
        ('[{},\n{"a": 1', 2, "Expecting"),
        ("[{}]\n[{}]", 1, "more follows"),
        ("{}\n{} {}", 2, "Extra data"),
        ('{\n"a": 1\n}\n{\n"a":', 4, "Expecting"),
        ('{"n": ' + "9" * 5000 + "}", 1, "4300"),
    ],
)
def test_damaged_json_is_an_error_with_its_line(content, line, said):
    found = list(files.json_values(content))[-1]
    assert found[0] == line
    assert isinstance(found[1], ValueError)
    assert said in str(found[1])


def test_a_whole_surrogate_pair_is_a_character():
    assert files.parse_json('"\\ud83d\\ude00"') == "\U0001f600"


def test_a_listed_file_is_found_in_the_other_unicode_form(tmp_path):
    there = tmp_path / unicodedata.normalize("NFD", "Mél") / unicodedata.normalize("NFC", "café.wav")
    there.parent.mkdir()
    there.touch()
    listed = "/".join((unicodedata.normalize("NFC", "Mél"), unicodedata.normalize("NFD", "café.wav")))
    assert files.located(tmp_path, listed) == there
    for name in ("naïve.wav", "é" * 300, "é/" * 3000):
        assert files.located(tmp_path, name) == tmp_path / name


def test_folders_are_looked_through_however_deep_they_are(tmp_path, monkeypatch):
    levels = 1200  # more than Python's calls may be nested
    monkeypatch.chdir(tmp_path)
    for _ in range(levels):
        os.mkdir("d")
        os.chdir("d")
    Path("a.png").touch()
    found = files.find(tmp_path, frozenset({".png"}))
    assert [path.relative_to(tmp_path).parts.count("d") for path in found] == [levels]
    Path("a.png").unlink()
    for _ in range(levels):  # so that nobody has to remove them by calls that are nested
        os.chdir("..")
        os.rmdir("d")
