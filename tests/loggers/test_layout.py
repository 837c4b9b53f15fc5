"""What is shown on terminals of any width: every word whole, nothing wider, and more where there is room."""

import io
import re
import sys

import pytest

from ptft.loggers import layout
from ptft.loggers.console import Console

HEADER = ["parameters of", "count", "peak rate", "when"]
ROWS = [["backbone.encoder.blocks, head", "18,432", "0.000245", "throughout"], ["norm", "8", "0.1", "0 % - 20 %"]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """`shown(columns, act)`: the lines that `act(console)` leaves on a terminal of so many columns."""

    def call(columns, act):
        terminal = Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys, "stdout", terminal)
        act(Console())
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).splitlines()

    return call


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 160, 200])
def test_tables_and_plans_show_every_word_in_any_width(shown, columns):
    path = "/data/a folder/with-a-long-name/checkpoints/best.pt"
    note = "new       170 values in 2 tensors (head.weight, head.bias): finetune.head=new"
    table = shown(columns, lambda out: out.table("rates", HEADER, ROWS))
    plan = shown(columns, lambda out: out.plan("ptft", {"start": path, "data": "digits: 1,079 train"}, [note]))
    assert max(map(len, [*table, *plan])) <= columns
    words = {word for row in ROWS for cell in row for word in cell.split()}
    assert words <= set(re.sub(r"[│┃,]( |$)", " ", " ".join(table)).split()) | {"backbone.encoder.blocks,"}
    whole = "".join(re.sub(r"[│ ]", "", line) for line in plan)
    for said in (path, note):
        assert said.replace(" ", "") in whole


def test_a_table_is_drawn_where_it_fits(shown):
    assert any("┃" in line for line in shown(80, lambda out: out.table("rates", HEADER, ROWS)))
    narrow = shown(40, lambda out: out.table("rates", HEADER, ROWS))
    assert "parameters of norm, count 8, peak rate" in narrow


def test_the_table_of_epochs_has_the_columns_that_there_is_room_for():
    row = {
        "step": 3,
        "epoch": 1,
        "split": "val",
        "loss": 0.5,
        "accuracy": 0.9,
        "macro_f1": 0.8,
        "mcc": 0.7,
        "seconds": 3,
    }
    chosen = {width: layout.cells_of(["loss", "accuracy"], row, width) for width in (20, 40, 60, 80, 200)}
    assert chosen[20] == chosen[40] == [("val", "accuracy")]
    assert chosen[60] == [("train", "loss"), ("val", "loss"), ("val", "accuracy")]
    both = [(split, name) for split in ("train", "val") for name in ("loss", "accuracy")]
    assert chosen[80] == both
    assert chosen[200] == [*both, ("val", "macro_f1"), ("val", "mcc")]
    assert layout.cells_of(["loss"], {}, 80) == [("train", "loss"), ("val", "loss")]


def test_off_a_terminal_no_width_counts(capsys, monkeypatch):
    said = []
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        console = Console()
        console.plan("ptft", {"start": " ".join(["word"] * 30)}, [" ".join(["note"] * 30)])
        console.table("rates", HEADER, ROWS)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]


def lines(interval, seconds):
    """How many lines are due in so many seconds, asked every `interval`."""
    now = [0.0]
    rarer = layout.Rarer(lambda: now[0])
    count = 0
    while now[0] < seconds:
        now[0] += interval
        count += rarer.due()
    return count


def test_a_nights_log_has_some_hundred_lines():
    assert 200 < lines(1.0, 8 * 3600) < 500
    assert 300 < lines(0.05, 8 * 3600) < 700


def test_a_short_run_says_every_line():
    assert lines(1.0, 45) == 45
    assert lines(0.01, 0.4) == 40


def test_a_text_in_a_style_is_no_style_itself():
    shown = layout.markup([("a[red]", "bold"), ("\x1b[0m ", "")])
    assert shown == r"[bold]a\[red][/]\x1b[0m "
