"""Keys that every dataset has: which of them it can heed."""

import pytest

from tests.conftest import refused

EMBEDDED = [
    ("digits", "model=cnn", "image_folder"),
    ("glyphs", "model=cnn", "image_folder"),
    ("tones", "model=audio_cnn", "audio_folder"),
    ("grammar", "model=gpt_tiny", "text"),
]


@pytest.mark.parametrize(("name", "model", "other"), EMBEDDED, ids=lambda part: str(part))
def test_a_folder_named_for_a_dataset_that_reads_none_is_refused(ptft, name, model, other):
    done = ptft("stage=pretrain", f"dataset={name}", model, "dataset.root=mine", "train.steps=1")
    refused(done, 2, "dataset.root=", "mine: ", f"needs no files and reads none; dataset={other} reads yours")


def test_an_evaluation_does_not_measure_the_embedded_test_split_in_place_of_a_folder(ptft, pretrained):
    done = ptft("stage=evaluate", f"ckpt={pretrained}", "dataset.root=mine")
    refused(done, 2, "reads none; dataset=image_folder reads yours")
