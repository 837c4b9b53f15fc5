"""Conversations to learn answers from (supervised finetuning): every token is read, and the assistant's are learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ptft.core import Batch, Examples
from ptft.data.cleaning.learned import learned
from ptft.data.own.unusable import UnusableRows
from ptft.data.ragged import Ragged
from ptft.data.records import JSON, RowError
from ptft.data.splits import Part, split_by_stem, split_files
from ptft.data.text.examples import TextExamples, in_a_row
from ptft.data.text.packed import template as template_
from ptft.data.text.packed.examples import PackedTexts
from ptft.data.text.packed.messages import AUTO, Conversation, conversations_in
from ptft.data.text.source import TextKeys, TextSource
from ptft.errors import ConfigError, DataError, are, counted

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ChatExamples(TextExamples):
    """Conversations padded to the longest of a batch, with `answer`, bool [B, T]: what the assistant says."""

    def take(self, indices: Tensor) -> Batch:
        batch = super().take(indices)
        answer = batch.pop("label") > 0
        return {**batch, "answer": answer}

    def _like(self, ids: Ragged, labels: Tensor | None, tags: Ragged | None, more: dict[str, Tensor]) -> ChatExamples:
        return ChatExamples(ids, self.pad, labels, tags, more)


class Chat(TextSource):
    """Conversations of JSONL files.

    root: a folder of train, val (dev, validation) and test files, or one file, which is divided 80/10/10.
    messages: the field that holds the messages; "auto": messages or conversations.
    template: how they are written: "plain", a file of Jinja, or None: the model's or the tokenizer's own, else plain.
    separate: whether batches hold rows of several conversations that do not see each other.
    split_seed: divides one file; not the run's seed.

    What is longer than `length` loses its end; one that has no answer within it is left out. Raises DataError naming
    file and line of a row that can't be used; with `on_error="skip"` it is left out.
    """

    noun = "conversations"
    cuts: ClassVar[bool] = True
    own_length: ClassVar[int] = 512

    def __init__(
        self,
        *,
        messages: str = AUTO,
        template: str | None = None,
        separate: bool = False,
        split_seed: int = 0,
        **keys: Unpack[TextKeys],
    ) -> None:
        super().__init__(**keys)
        if self.root is None:
            raise ConfigError("dataset.root is not set; name a folder of train.jsonl, val.jsonl … or one file")
        self.field, self.separate, self.written = messages, separate, dict[str, list[template_.Tokens]]()
        files = split_files(self.root, _split_of, "train.jsonl with val and test, or a file", self.whole)
        self.rows = {split: self._read(split, parts) for split, parts in files.items()}
        if "" in self.rows:
            rows = self.rows[""]
            self.rows = self.divide(self.root, rows, split_seed, lambda: _keys(rows))
        like = None if self.like is None else self.like.shape.get("template")
        self.plain = template_.found(template, self.wanted, like)
        shape: dict[str, Any] = {"reader": "packed.conversations", "template": self.plain}
        shape |= ({"separate": True} if separate else {}) | ({} if messages == AUTO else {"messages": messages})
        self.describe([], self.rows, "none", self._training_texts, **shape)
        self.template = template_.made(self.tokenizer, self.plain)
        self.spec.shape["end"] = self.template.end
        self.note(f"the template is {'plain' if isinstance(self.plain, str) else 'the public one'} (dataset.template)")

    def load(self, split: str) -> ChatExamples:
        written = self._encoded(split)
        longer = sum(len(ids) > self.length for ids, _ in written)
        if longer:
            what = f"{longer:,} of {counted(len(written), 'conversations')} {are(longer)} longer than {self.length}"
            self.note(f"{split}: {what} tokens and cut there; dataset.length takes longer ones")
        ids = in_a_row([ids[: self.length] for ids, _ in written])
        says = in_a_row([says[: self.length] for _, says in written])
        return ChatExamples(ids, self.tokenizer.pad, tags=says)

    def choose(self, part: Part) -> Examples:
        examples = super().choose(part)
        if not self.separate:
            return examples
        assert isinstance(examples, ChatExamples)
        rows = PackedTexts(examples.ids, self.length, self.tokenizer.pad, examples.tags)
        self.note(
            f"{part.split}: {counted(len(examples), self.noun)} apart in {counted(len(rows), 'rows')} of {self.length} "
            f"tokens, {rows.filled:.0%} full"
        )
        return rows

    def names(self, split: str) -> list[str]:
        self._keep_usable(split)
        return [self.below(row.where) for row in self.rows[split]]

    def shown(self, split: str) -> dict[str, list[str]]:
        self._keep_usable(split)
        return {"text": _keys(self.rows[split], "\n")}

    def known_by(self, split: str) -> list[str]:
        """What is said in it."""
        self._keep_usable(split)
        return _keys(self.rows[split])

    def sizes(self, splits: Sequence[str]) -> dict[str, int | None]:
        return {split: len(self.rows[split]) for split in splits}

    def _keep_usable(self, split: str) -> None:
        """Leave out what can't be learned from, once there is a tokenizer that says what that is."""
        if self.has_tokens:
            self._encoded(split)

    def _encoded(self, split: str) -> list[template_.Tokens]:
        """The tokens of each conversation; from here on the split has those alone that can be learned from."""
        if split not in self.written:
            unusable, kept, written = UnusableRows(self.on_error, "conversation"), [], []
            for row in self.rows[split]:
                try:
                    ids, says = self.template.tokens(row)
                except RowError as error:
                    unusable(error)
                    continue
                if not any(says[1 : self.length]):
                    what = "has no answer" if not any(says) else f"has no answer in its first {self.length} tokens"
                    unusable(RowError(row.where, f"{what} (dataset.length)"))
                    continue
                kept.append(row)
                written.append((ids, says))
            self._told(unusable, len(kept), split)
            self.rows[split], self.written[split] = kept, written
        return self.written[split]

    def _read(self, split: str, files: Sequence[Path]) -> list[Conversation]:
        unusable, rows = UnusableRows(self.on_error, "conversation"), list[Conversation]()
        for row in (row for file in files for row in conversations_in(file, self.field)):
            if isinstance(row, RowError):
                unusable(row)
            else:
                rows.append(row)
        self._told(unusable, len(rows), split)
        if not rows:
            raise DataError(f"{files[0]}: holds no conversations")
        return rows

    def _told(self, unusable: UnusableRows, used: int, split: str) -> None:
        for sentence in unusable.notes(used, f"{self._where()}: {split or 'all'}"):
            self.note(sentence)
        self.unusable += unusable.named()

    def _training_texts(self) -> list[str]:
        rows = learned(self, lambda own: own.rows[own.train])
        return [message.content for row in rows for message in row.messages]


def _keys(rows: Sequence[Conversation], between: str = "\0") -> list[str]:
    return [between.join(f"{role}: {said}" for role, said in row.messages) for row in rows]


def _split_of(file: Path) -> str | None:
    return split_by_stem(file) if file.suffix.lower() in JSON else None


def sample(root: Path, count: int = 8) -> None:
    """Write a tiny set below `root`: train.jsonl and val.jsonl."""
    root.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        rows = []
        for i in range(count):
            asked = {"role": "user", "content": f"what is {i} and {i}"}
            rows.append(json.dumps({"messages": [asked, {"role": "assistant", "content": f"it is {2 * i}"}]}))
        (root / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
