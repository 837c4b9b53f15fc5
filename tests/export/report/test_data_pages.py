"""Pages of inspections and explanations: what they show, in which order, and that nothing of the data is HTML."""

import json
import random
import shutil

import pytest
from PIL import Image

from ptft.export.report import inspection, media, page
from tests.helpers import untrained
from tests.helpers.browser import shown

HOSTILE = ("<script>alert(1)</script>", "a & \"b\" 'c' </script><img src=x onerror=alert(2)>")
COUNT = "document.querySelectorAll('{}').length"


@pytest.fixture
def shades(tmp_path):
    """Gradients of two classes; one of test is in train under the other class, one is there in another light."""
    for split, shift in (("train", 0), ("test", 22)):
        for name in ("dark", "light"):
            (tmp_path / "shades" / split / name).mkdir(parents=True)
            for i in range(12):
                grey = Image.linear_gradient("L").resize((16, 16)).rotate(30 * i + shift)
                level = 4 * i + (name == "light") * 120
                grey.point(lambda value, level=level: value // 4 + level).save(
                    tmp_path / "shades" / split / name / f"{i}.png"
                )
    twin = tmp_path / "shades/train/dark/3.png"
    shutil.copy(twin, tmp_path / "shades/test/light/3.png")
    Image.open(twin).point(lambda value: value * 9 // 10).save(tmp_path / "shades/test/dark/9.png")
    (tmp_path / "shades/train/dark/cut.png").write_bytes(twin.read_bytes()[:40])
    return ("dataset=image_folder", f"dataset.root={tmp_path / 'shades'}", "dataset.val=null", "device=cpu")


def test_an_inspection_shows_leaks_first_and_side_by_side(shades, ptft, tmp_path, browser, monkeypatch):
    done = ptft("stage=inspect", *shades, "hydra.run.dir=run")
    assert done.code == 0, done.text
    text = shown(browser, tmp_path / "run/report.html")
    assert browser.ask("document.querySelector('main section').id") == "leakage"
    first = browser.ask("document.querySelector('.group').innerText")
    assert "labels differ" in first
    assert ["test/light/3.png" in first, "train/dark/3.png" in first] == [True, True]
    assert browser.ask("document.querySelector('.group').querySelectorAll('img').length") == 2
    assert "perceptual hash" in browser.ask("document.querySelector('#leakage').innerText")
    assert "cut.png" in browser.ask("document.querySelector('#broken').innerText")
    for said in ("brightness", "width: 16 of all", "dataset.ignore=run/ignore.csv", "As a model is shown them"):
        assert said in text
    assert browser.ask("document.querySelector('#sheet img').naturalWidth") > 100
    bars = browser.ask("[...document.querySelectorAll('#balance tbody tr')].map(row => row.cells[1].textContent)")
    assert bars == ["13", "12"]
    whole = (tmp_path / "run/report.html").read_text()
    shown(browser, tmp_path / "run/report.html", 380, dark=True)
    (tmp_path / "run/report.html").unlink()
    assert ptft("report", str(tmp_path / "run")).code == 0
    assert (tmp_path / "run/report.html").read_text() == whole
    monkeypatch.setattr(page, "LARGEST", len(whole) - 1)
    small = page.write(tmp_path / "run").read_text()
    assert "data:image/png" not in small
    assert "are left out: the page would be too large" in small


def test_what_no_longer_fits_is_left_out_from_the_end():
    uris = [("a", "x" * 10), ("b", None), ("c", "x" * 10), ("a", "y"), ("d", "x" * 90), ("e", "x")]
    assert list(media.fitting(iter(uris), 100)) == ["a", "c"]
    same, near = ([{"how": how}] * 40 for how in ("same", "near"))
    chosen = inspection._both(same, near)
    assert len(chosen) == 80
    assert [group["how"] for group in chosen[: inspection.SHOWN["leaks"]]].count("near") == 12
    assert [group["how"] for group in inspection._both(same[:3], near)[:24]].count("near") == 21
    assert [group["how"] for group in inspection._both(same, near[:1])[:24]].count("near") == 1


@pytest.fixture
def hostile(tmp_path):
    """Texts and classes that are HTML, some of them twice."""
    dice = random.Random(0)
    lines = [
        {"text": f"<b>{dice.choice('abcd')}</b> & {dice.choice('efgh')} {k}", "label": HOSTILE[k % 2]}
        for k in range(60)
    ]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, lines + lines[:20])))
    return ("dataset=table", f"dataset.root={rows}", "dataset.label=label", "dataset.text=text")


def test_nothing_of_the_data_is_html_here_either(hostile, ptft, tmp_path, browser):
    done = ptft("stage=inspect", *hostile, "device=cpu", "hydra.run.dir=run")
    assert done.code == 0, done.text
    net = ("model=bert_tiny", "model.width=8", "model.depth=1", "model.heads=2", "objective=classify")
    ckpt = untrained.write(tmp_path / "best.pt", *hostile, *net)
    few = ("explain.steps=4", "explain.randomised=0", "explain.neighbours=2", "device=cpu", "hydra.run.dir=why")
    done = ptft("stage=explain", f"ckpt={ckpt}", f"text={HOSTILE[1]}", *few)
    assert done.code == 0, done.text
    for name, words in (("run", (*HOSTILE, "<b>")), ("why", (*HOSTILE[:1], "<b>", "</script><img"))):
        text = shown(browser, tmp_path / name / "report.html", 380, dark=True)
        for said in words:
            assert said in text.replace("\n", " "), (name, said)
        assert browser.ask(COUNT.format("script")) == 1
        assert browser.ask(COUNT.format("blockquote b, .words b, img")) == 0
    assert browser.ask("document.body.innerText.includes('means nothing here')")


def test_an_explanation_is_shown_with_its_checks_and_neighbours(pretrained, ptft, tmp_path, browser):
    Image.linear_gradient("L").resize((12, 12)).save(tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes(b"no picture")
    few = ("explain.steps=4", "explain.randomised=19", "explain.neighbours=2", "device=cpu")
    done = ptft("stage=explain", f"ckpt={pretrained}", f"input={tmp_path}/*.png", *few, "hydra.run.dir=why")
    assert done.code == 0, done.text
    shown(browser, tmp_path / "why/report.html")
    told = json.loads((tmp_path / "why/explanations.json").read_text())["inputs"][0]
    verdicts = browser.ask("[...document.querySelectorAll('.way strong')].map(each => each.textContent)")
    given = ["means something" if one["means_something"] else "means nothing here" for one in told["explanations"]]
    assert verdicts == given
    assert browser.ask(COUNT.format(".way img")) == 1 + len(given)
    assert browser.ask(COUNT.format(".deletion")) == len(given)
    reasons = browser.ask("[...document.querySelectorAll('.reasons li')].map(each => each.textContent)")
    assert reasons == [reason for one in told["explanations"] for reason in one["reasons"]]
    assert browser.ask(COUNT.format(".neighbours img")) == 2
    assert "two.png" in browser.ask("document.querySelector('#unread').innerText")
    found = json.loads((tmp_path / "why/explanations.json").read_text())
    found["inputs"][0]["files"]["picture"] = "../one.png"
    (tmp_path / "why/explanations.json").write_text(json.dumps(found))
    page.write(tmp_path / "why")
    shown(browser, tmp_path / "why/report.html", 380, dark=True)
    assert browser.ask(COUNT.format(".way img")) == len(given)  # what lies elsewhere is not shown
    assert ptft("stage=inspect", "dataset=digits", "dataset.limit=40", "report=false", "hydra.run.dir=no").code == 0
    assert not [*tmp_path.glob("no/report.html"), *tmp_path.glob("no/previews.json")]
