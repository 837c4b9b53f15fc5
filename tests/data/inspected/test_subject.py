"""What is known of examples without reading them as a model does: names, and of texts what they say."""

from ptft.data.inspected.subject import subject_of
from ptft.data.text.table import TableTexts


class Silent(TableTexts):
    """A source of one's own that shows nothing, and knows its rows by names."""

    def shown(self, split):
        return {}

    def known_by(self, split):
        return [f"row {i}" for i in range(len(self.rows(split)))]


def test_texts_that_nobody_shows_are_read_from_their_tokens(tmp_path):
    said = [f"subject number {i}" for i in range(12)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *(f"{text},{i % 2}" for i, text in enumerate(said))]))
    for kind in (TableTexts, Silent):
        subject = subject_of(kind(root=tmp_path, tokenizer="bytes", val=None))
        assert subject.texts == said
        assert len(subject.names) == 12
