"""`report.html`: made by runs, evaluations, comparisons and sweeps, and as a browser shows it."""

import json
import random
import re
import shutil

import pytest

from ptft.errors import DataError
from ptft.export.report import charts, page
from ptft.stages import predictions
from tests.conftest import FEW, GLYPHS, NET, SMALL, refused, rows
from tests.helpers.browser import shown

HOSTILE = ("<script>alert(1)</script>", "a & \"b\" 'c' </script><img src=x onerror=alert(2)>")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A run on texts whose classes and words are HTML, and which is often wrong."""
    from ptft import run

    folder, dice = tmp_path_factory.mktemp("words"), random.Random(0)
    lines = [
        {"text": f"<b>{dice.choice('abcd')}</b> & {dice.choice('efgh')}", "label": HOSTILE[k % 2]} for k in range(80)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    typed = ("model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=2", "train.batch_size=16", "device=cpu")
    data = ("dataset=table", f"dataset.root={folder / 'rows.jsonl'}", "dataset.label=label", "dataset.text=text")
    run("stage=pretrain", "objective=classify", *data, *typed, "train.steps=4", f"hydra.run.dir={folder / 'run'}")
    return folder / "run"


def test_a_run_is_told_from_its_sentences_to_its_commands(pretrained, browser):
    text = shown(browser, pretrained / "report.html")
    summary = json.loads((pretrained / "summary.json").read_text())
    accuracy = f"{100 * summary['metrics']['test']['accuracy']:.2f} %"
    assert f"On the 100 test examples its accuracy is {accuracy}." in text
    for said in ("train.steps", "dataset.images", "ptft stage=finetune ckpt=run", summary["command"], "fp32"):
        assert said in text
    assert browser.ask("document.querySelectorAll('.matrix tbody tr').length") == 10
    support = browser.ask(
        "[...document.querySelectorAll('#classes td[data-value]:nth-child(2)')].map(td => +td.dataset.value)"
    )
    assert sum(support) == 100


def test_its_curves_are_read_off_and_zoomed(pretrained, browser):
    shown(browser, pretrained / "report.html")
    chart = "document.querySelector('svg[data-chart]')"
    browser.ask(f"{chart}.scrollIntoView()")
    left, top, width, height = browser.ask(f"(b => [b.x, b.y, b.width, b.height])({chart}.getBoundingClientRect())")
    usual = browser.ask(f"{chart}.querySelector('.line').getAttribute('d')")
    browser.drag((left + width * 0.5, top + height / 2), (left + width * 0.7, top + height / 2))
    assert browser.ask(f"{chart}.querySelector('.line').getAttribute('d')") != usual
    said = browser.ask(f"{chart}.parentElement.querySelector('.readout').textContent")
    losses = [row["loss"] for row in rows(pretrained) if row["split"] == "val"]
    assert any(f"val {float(f'{loss:.4g}'):g}" in said for loss in losses), (said, losses)
    for key in ("Escape", "ArrowLeft"):
        browser.ask(f"{chart}.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
    assert browser.ask(f"{chart}.querySelector('.line').getAttribute('d')") == usual


def test_a_cell_of_the_confusion_shows_its_examples(pretrained, browser):
    shown(browser, pretrained / "report.html")
    button = "document.querySelector('.matrix button')"
    true, predicted = browser.ask(f"[{button}.dataset.true, {button}.dataset.predicted]")
    browser.ask(f"{button}.click()")
    said = browser.ask("document.getElementById('cell').innerText")
    assert said.startswith(f"{true} taken for {predicted}")
    assert re.search(rf"true\s+{true}\s+predicted\s+{predicted}", said)
    assert browser.ask("document.querySelectorAll('#cell img').length") > 0


def test_tables_sort(pretrained, browser):
    shown(browser, pretrained / "report.html")
    recalls = "[...document.querySelectorAll('#classes td:nth-child(4)')].map(td => +td.dataset.value)"
    browser.ask("document.querySelector('#classes th:nth-child(4) button').click()")
    assert (down := browser.ask(recalls)) == sorted(down, reverse=True)
    browser.ask("document.querySelector('#classes th:nth-child(4) button').click()")
    assert browser.ask(recalls) == sorted(down)


@pytest.mark.parametrize(("width", "dark"), [(380, True), (1400, False)])
def test_nothing_of_the_data_is_html(words, browser, width, dark):
    text = shown(browser, words / "report.html", width, dark)
    assert HOSTILE[0] in text
    assert HOSTILE[1] in text
    assert "<b>" in text
    assert browser.ask("document.querySelectorAll('script').length") == 2
    assert browser.ask("document.querySelectorAll('td b, dd b, img[src=x]').length") == 0
    assert (
        browser.ask("getComputedStyle(document.body).backgroundColor")
        == f"rgb({'21, 23, 27' if dark else '253, 253, 252'})"
    )


def test_sounds_can_be_heard(ptft, tmp_path, browser):
    few = ("model.channels=[4,8]", "dataset.count=60", "dataset.held_out=20", "train.steps=1")
    assert ptft("stage=pretrain", "dataset=tones", "model=audio_cnn", *few, "hydra.run.dir=run").code == 0
    shown(browser, tmp_path / "run" / "report.html")
    heard = "a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1); a.load()"
    find = "const a = document.querySelector('#mistakes audio')"
    assert 0.1 < browser.ask(f"new Promise(done => {{ {find}; {heard}; }})") <= 2.0


def test_a_hundred_thousand_points_are_a_small_page_that_keeps_its_spikes(pretrained, tmp_path, browser):
    folder = shutil.copytree(pretrained, tmp_path / "run")
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(100_000):
            loss = 77.0 if step == 54_321 else 1 / (1 + step)
            file.write(f'{{"step": {step}, "split": "train", "loss": {loss}}}\n')
    page.write(folder)
    assert (folder / "report.html").stat().st_size < 500_000
    shown(browser, folder / "report.html")
    drawn = "JSON.parse(document.querySelector('svg[data-chart]').dataset.chart).lines.train"
    assert browser.ask(f"{drawn}.some(point => point[0] === 54321 && point[1] === 77)")


def test_a_sweep_has_a_page_of_all_its_jobs(ptft, tmp_path, browser):
    typed = ("-m", "stage=pretrain", *SMALL, "optimizer.lr=1e-3,1e-2", "seed=0,1", "hydra.sweep.dir=sweep")
    assert ptft(*typed).code == 0
    text = shown(browser, tmp_path / "sweep" / "report.html", 380)
    results = json.loads((tmp_path / "sweep" / "results.json").read_text())
    best = max(results, key=lambda job: job["metrics"]["test/accuracy"])
    assert f"The best by test/accuracy is job {best['number']}" in text
    assert browser.ask("document.querySelectorAll('#runs tbody tr').length") == 4
    assert browser.ask("document.querySelectorAll('#effects circle').length") == 8
    assert browser.ask("document.querySelectorAll('.line.run').length") == 4


def test_a_comparison_has_a_page_with_its_answer(ptft, pretrained, tmp_path, browser):
    few = ("compare.per_class=[2]", "compare.seeds=1", "compare.tune=null", "compare.only=[finetune]", "train.steps=2")
    done = ptft("stage=compare", f"ckpt={pretrained}", "dataset=glyphs", *GLYPHS, *few, "hydra.run.dir=compared")
    assert done.code == 0, done.text
    text = shown(browser, tmp_path / "compared" / "report.html")
    assert json.loads((tmp_path / "compared" / "summary.json").read_text())["answer"] in text
    assert browser.ask("document.querySelectorAll('#answer tbody tr').length") == 2


def test_runs_side_by_side(ptft, pretrained, tmp_path, browser):
    assert ptft("stage=evaluate", f"ckpt={pretrained}", *FEW, "hydra.run.dir=measured").code == 0
    assert "was measured on glyphs" in shown(browser, tmp_path / "measured" / "report.html")
    done = ptft("report", str(pretrained), "measured", "--output=both.html")
    assert done.code == 0, done.text
    assert "Settings in which they differ" in shown(browser, tmp_path / "both.html", 380)
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    refused(ptft("report", str(pretrained), "measured", "--output=mine.html"), 2, "mine.html: is there already")
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    refused(ptft("report"), 2, "ptft report RUN")
    refused(ptft("report", str(tmp_path)), 4, "holds no training, evaluation")


def test_it_is_made_again_as_the_run_made_it(ptft, pretrained, tmp_path):
    folder = shutil.copytree(pretrained, tmp_path / "run")
    before = (folder / "report.html").read_text().replace(str(pretrained), str(folder))
    (folder / "report.html").unlink()
    assert ptft("report", str(folder)).code == 0
    again = (folder / "report.html").read_text()
    assert again.count("<section") == before.count("<section")
    assert re.findall(r"<td class=\"number\"[^>]*>[^<]*", again) == re.findall(
        r"<td class=\"number\"[^>]*>[^<]*", before
    )


def test_it_can_be_left_out(ptft, tmp_path):
    typed = ("stage=pretrain", *FEW, *NET, "train.steps=1", "report=false", "hydra.run.dir=run")
    assert ptft(*typed).code == 0
    assert not [*tmp_path.glob("run/report.html"), *tmp_path.glob("run/mistakes_*")]


def test_what_is_wrong_with_a_page_ends_no_run(ptft, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no page today")

    monkeypatch.setattr(page, "render", broken)
    done = ptft("stage=pretrain", *FEW, *NET, "train.steps=1", "hydra.run.dir=run")
    assert done.code == 0
    assert "report.html: can't be made (no page today)" in done.text


def test_a_page_too_large_goes_without_pictures(pretrained, tmp_path, monkeypatch):
    folder = shutil.copytree(pretrained, tmp_path / "run")
    whole = page.write(folder).read_text()
    monkeypatch.setattr(page, "LARGEST", len(whole) - 1)
    small = page.write(folder).read_text()
    assert "data:image/png" in whole
    assert "data:image/png" not in small
    assert ("which are left out" in whole, "which are left out" in small) == (False, True)


def test_a_run_that_was_interrupted_has_a_page_too(ptft, pretrained, tmp_path, browser):
    folder = shutil.copytree(pretrained, tmp_path / "run")
    found = {**json.loads((folder / "summary.json").read_text()), "status": "interrupted", "metrics": {}}
    (folder / "summary.json").write_text(json.dumps(found))
    assert ptft("report", str(folder)).code == 0
    text = shown(browser, folder / "report.html")
    assert "It was interrupted before its end." in text
    assert "ptft resume=run" in text


def test_examples_that_can_not_be_read_again_end_no_run(ptft, tmp_path, monkeypatch):
    def gone(*_):
        raise DataError("the file is gone")

    monkeypatch.setattr(predictions, "of_rows", gone)
    done = ptft("stage=pretrain", *FEW, *NET, "train.steps=1", "hydra.run.dir=run")
    assert done.code == 0
    assert "mistakes_test.json: can't be made (the file is gone)" in done.text


def test_what_is_not_finite_is_left_out_of_curves():
    line = [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, None), (4, 2.0)]
    assert charts.chart("loss", {"train": line})["data"]["lines"] == {"train": [[0, 1], [4, 2]]}
    assert charts.chart("loss", {"train": line[1:3]}) == {}
