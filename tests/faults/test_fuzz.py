"""Every reader of a format on damaged files: an answer or one typed line, never a traceback. See fuzzing.py."""

import pytest

from tests.faults import fuzzing

FORMATS = fuzzing.formats()
SLOW = {
    "huggingface",
    "huggingface_images",
    "huggingface_audio",
}  # their library takes a second a file; make fuzz tries it


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - SLOW))
def test_a_damaged_file_is_read_or_refused_in_a_line(name, tmp_path):
    fuzzing.examine(FORMATS[name](), tmp_path, examples=12)


def test_a_reader_that_crashes_is_noticed(tmp_path):
    def read(root):
        (root / "a.txt").read_bytes().decode("ascii")

    made = fuzzing.Format(lambda root: (root / "a.txt").write_text("abc"), read)
    with pytest.raises(UnicodeDecodeError):
        fuzzing.examine(made, tmp_path, examples=200)
