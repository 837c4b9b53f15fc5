"""Keys that are `auto`: decided by a look at the training images, said in the plan, kept in checkpoints."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from ptft.checkpoint.load import open_checkpoint

DRY = ("stage=pretrain", "model=convnet", "device=cpu", "train.steps=1", "train.batch_size=16", "dry_run=true")
GLYPHS = ("dataset=glyphs", "dataset.images=64", "dataset.held_out=8")
FIGURES = "grey, on a plain ground"


def photo(side: int, seed: int) -> Image.Image:
    """Coloured patches up to the border."""
    patches = torch.randint(0, 255, (3, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return Image.fromarray(patches.permute(1, 2, 0).numpy()).resize((side, side))


def figure(side: int, seed: int) -> Image.Image:
    """Grey strokes on black, all in colour files."""
    canvas = torch.zeros(side, side, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed)
    top, left = (int(torch.randint(side // 4, side // 2, (), generator=generator)) for _ in range(2))
    canvas[top : top + side // 3, left : left + 2] = 230
    canvas[top : top + 2, left : left + side // 4] = 200
    return Image.fromarray(canvas.numpy()).convert("RGB")


def folder(make, side: int = 32) -> str:
    for split, count in (("train", 12), ("val", 4)):
        for i in range(count):
            file = Path("pictures") / split / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            make(side, i + 100 * len(split)).save(file)
    return "dataset.root=pictures"


def said(done) -> str:
    assert done.code == 0, done.text
    (line,) = [line for line in done.out.splitlines() if "training images (" in line]
    return line


@pytest.mark.parametrize("objective", ["simclr", "byol", "vicreg", "dino"])
def test_characters_are_turned_a_little_and_seen_almost_whole_and_never_mirrored(ptft, objective):
    line = said(ptft(*DRY, f"objective={objective}", *GLYPHS))
    assert f"views by a look at 64 training images ({FIGURES}, 28×28 pixels)" in line
    assert "rotate 15, scale 0.2, shear 15" in line
    assert ("crop 0.6" in line) == (objective != "dino")
    assert "flip" not in line  # what glyphs are is known: they are never mirrored
    assert "objective" in line.rpartition(";")[2]


def test_photos_are_mirrored_recoloured_and_seen_in_part(ptft):
    line = said(ptft(*DRY, "objective=simclr", "dataset=image_folder", "dataset.size=32", folder(photo)))
    assert "coloured, on no plain ground, 32×32 pixels" in line
    assert all(word in line for word in ("flip,", "crop 0.3", "grey 0.2"))
    assert "no rotate, scale, shear, blur" in line


def test_large_photos_are_blurred_too(ptft):
    line = said(ptft(*DRY, "objective=byol", "dataset=image_folder", "dataset.size=64", folder(photo, 64)))
    assert all(word in line for word in ("crop 0.2", "blur 0.5", "solarize 0.1"))


@pytest.mark.parametrize(("make", "mirrored"), [(photo, True), (figure, False)])
def test_a_folder_of_drawings_is_not_mirrored_for_a_classifier_either(ptft, make, mirrored):
    done = ptft(*DRY, "objective=classify", "dataset=image_folder", "dataset.size=32", folder(make))
    assert said(done).endswith(f": {'flip' if mirrored else 'no flip'}; objective.views.KEY changes it")


def test_what_is_typed_wins(ptft):
    typed = ("objective.views.rotate=3", "objective.views.crop=0.9")
    line = said(ptft(*DRY, "objective=simclr", *GLYPHS, *typed))
    assert "shear 15" in line
    assert "rotate" not in line
    assert "crop" not in line


def test_a_checkpoint_holds_what_was_chosen_and_a_resume_says_nothing_new(ptft):
    typed = ("objective=simclr", *GLYPHS, "hydra.run.dir=run", "train.every.save=2", "train.batch_size=16")
    assert ptft("stage=pretrain", "model=convnet", "device=cpu", "train.steps=2", *typed).code == 0
    views = open_checkpoint("run", "ckpt").config["objective"]["views"]
    assert (views["rotate"], views["shear"], views["crop"], views["grey"]) == (15, 15, 0.6, 0)
    assert "auto" not in views.values()
    resumed = ptft("resume=run", "train.steps=3")
    assert resumed.code == 0, resumed.text
    assert "training images (" not in resumed.out


def test_auto_where_nothing_decides_it_is_one_line(ptft):
    done = ptft(*DRY, "objective=simclr", *GLYPHS, "objective.views.shift=auto")
    assert (done.code, "objective.views.shift=auto" in done.err) == (2, True), done.text
    sound = ptft(*DRY[:1], "objective=simclr", "dataset=tones", "model=audio_cnn", "dry_run=true")
    assert sound.code == 2
    assert "auto: a look at images decides it, the dataset yields audio" in sound.err


def test_what_auto_means_to_a_class_of_ones_own_is_its_own_matter(ptft, tmp_path, monkeypatch):
    (tmp_path / "turned.py").write_text(
        "from torch import nn\n\n\nclass Turned(nn.Module):\n"
        "    def __init__(self, mode):\n        super().__init__()\n        assert mode == 'auto'\n\n"
        "    def forward(self, x):\n        return x.flip(2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ("objective.views._target_=turned.Turned", "trusted=[turned]", "objective.views.mode=auto")
    line = said(ptft(*DRY, "objective=dino", *GLYPHS, *own))
    assert ": global_crop 0.5 to 1.0, local_crop 0.25 to 0.5; objective.KEY changes it" in line
