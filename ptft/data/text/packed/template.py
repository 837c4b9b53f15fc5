"""From messages to token ids, and which of them the assistant says: by a model's own template, or a plain one.

Axes: T tokens.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ptft.data import subwords
from ptft.data.files import read_file
from ptft.data.records import RowError
from ptft.data.text.packed.messages import Conversation, Message
from ptft.data.tokenizer import Tokenizer
from ptft.errors import ConfigError, DataError, absent

PLAIN = "plain"
ASSISTANT = "assistant"
SAID = "Yes, 7!"  # an answer whose place a template is asked for: no name of a role or token is like it
Tokens = tuple[list[int], list[int]]
"""Ids, and for each 1 where the assistant says it, else 0."""


class Template(Protocol):
    """How a conversation is written for a model.

    end: the id that ends an answer.
    """

    end: int

    def tokens(self, conversation: Conversation) -> Tokens:
        """All of a conversation. Raises RowError where it can't be written."""

    def prompt(self, conversation: Conversation) -> list[int]:
        """The same up to where the assistant's next answer begins."""


class PlainTemplate:
    """`cls` before all; of each message its role, a line's end, its text, and `sep` behind it.

    Special ids never come from a text, so nothing that somebody writes ends a message or begins another.
    Raises ConfigError for a tokenizer without `sep`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.sep < 0:
            raise ConfigError("dataset.template=plain: this tokenizer has no id that ends a text; choose another")
        self.tokenizer, self.end = tokenizer, tokenizer.sep
        self.before = [tokenizer.cls] if tokenizer.cls >= 0 else []

    def tokens(self, conversation: Conversation) -> Tokens:
        ids, says = [*self.before], [0] * len(self.before)
        messages = conversation.messages
        written = self.tokenizer.encode([text for role, said in messages for text in (f"{role}\n", said)])
        for number, message in enumerate(messages):
            head, said = written[2 * number], [*written[2 * number + 1], self.end]
            ids += [*head, *said]
            says += [*[0] * len(head), *[int(message.role == ASSISTANT)] * len(said)]
        return ids, says

    def prompt(self, conversation: Conversation) -> list[int]:
        return [*self.tokens(conversation)[0], *self.tokenizer.encode([f"{ASSISTANT}\n"])[0]]


class JinjaTemplate:
    """The template that comes with a public tokenizer (`chat_template`), as transformers writes it.

    plain: "jinja", the template, and what it names: "bos_token" and "eos_token".
    Raises DataError for a template that can't be read, or writes no answer.
    """

    def __init__(self, tokenizer: Tokenizer, plain: dict[str, Any]) -> None:
        from jinja2 import TemplateError

        if tokenizer.text is None:
            raise ConfigError("dataset.template: needs a tokenizer with special tokens of its own; bytes takes plain")
        self.errors, self.names = TemplateError, {key: value for key, value in plain.items() if key != "jinja"}
        added = json.loads(tokenizer.text).get("added_tokens") or []
        self.special = {token["content"]: token["id"] for token in added if token.get("special")}
        # Special tokens in the text are special here, unlike in `Tokenizer.encode`: the template writes them.
        self.library = subwords.parsed(tokenizer.text)
        try:
            self.template = _environment().from_string(plain["jinja"])
        except TemplateError as error:
            raise DataError(f"dataset.template: is no template ({error})") from error
        self.end = self._found_end()

    def tokens(self, conversation: Conversation) -> Tokens:
        text, spans = self._written(conversation)
        encoding = self.library.encode(text, add_special_tokens=False)
        said = [int(any(begin <= start < end for begin, end in spans)) for start, _ in encoding.offsets]
        return encoding.ids, said

    def prompt(self, conversation: Conversation) -> list[int]:
        text = self._render(conversation.messages, conversation.where, begins=True)
        return list(self.library.encode(text, add_special_tokens=False).ids)

    def _written(self, conversation: Conversation) -> tuple[str, list[tuple[int, int]]]:
        """The text, and where in it the assistant speaks: [begin, end) of every answer."""
        messages, where = conversation.messages, conversation.where
        whole, spans = self._render(messages, where), []
        for number, message in enumerate(messages):
            if message.role != ASSISTANT:
                continue
            before = self._render(messages[:number], where, begins=True)
            after = self._render(messages[: number + 1], where)
            if not (whole.startswith(before) and whole.startswith(after) and len(before) < len(after)):
                what = "the template writes an answer in other words than the conversation it is in"
                raise RowError(where, f"{what}; dataset.template=plain")
            spans.append((len(before), len(after)))
        return whole, spans

    def _render(self, messages: Sequence[Message], where: str, *, begins: bool = False) -> str:
        if token := next((name for _, said in messages for name in self.special if name in said), None):
            raise RowError(where, f"a message holds {token!r}, which only the template may write")
        said = [message._asdict() for message in messages]
        try:
            text: str = self.template.render(messages=said, add_generation_prompt=begins, **self.names)
        except self.errors as error:
            raise RowError(where, f"dataset.template refuses it ({error})") from error
        return text

    def _found_end(self) -> int:
        """The special token behind an answer; before its text there may be others, of a header that no prompt has."""
        asked = (Message("user", "a"), Message(ASSISTANT, SAID))
        text, [(begin, end_of_span)] = self._written(Conversation(asked, "dataset.template"))
        behind, special = max(begin, text.find(SAID, begin)), set(self.special.values())
        encoding = self.library.encode(text, add_special_tokens=False)
        found = zip(encoding.ids, encoding.offsets, strict=True)
        end: int | None = next(
            (token for token, (at, _) in found if behind <= at < end_of_span and token in special), None
        )
        if end is None:
            raise DataError("dataset.template: writes no special token behind an answer; dataset.template=plain")
        return end


def _environment() -> Any:
    """What transformers renders templates in, which no code of theirs can leave; torch itself needs the package."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}`, by which some templates mark answers: what is in it stands there."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    return environment


def made(tokenizer: Tokenizer, plain: str | dict[str, Any]) -> Template:
    """The template of a Spec: PLAIN, or what `found` gave."""
    return PlainTemplate(tokenizer) if isinstance(plain, str) else JinjaTemplate(tokenizer, plain)


def found(name: str | None, tokenizer: str | None, like: Any) -> str | dict[str, Any]:
    """The template that `dataset.template=name` asks for, as plain data.

    name: PLAIN, the file of a template, or None: the checkpoint's, or the one beside the tokenizer, else PLAIN.
    tokenizer: what `dataset.tokenizer` names. like: the checkpoint's template, or None.
    """
    if name == PLAIN:
        return PLAIN
    beside = _beside(Path(tokenizer).expanduser()) if tokenizer else None
    if name is None:
        return like or beside or PLAIN
    if not Path(name).expanduser().is_file():
        raise ConfigError(f"dataset.template={name}: plain, or a file of Jinja, which {absent(name)}")
    names = beside or (like if isinstance(like, dict) else {})
    return {**names, "jinja": read_file(Path(name).expanduser())}


def _beside(folder: Path) -> dict[str, Any] | None:
    """The template in a Hugging Face folder, if there is one."""
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return None
    settings = json.loads(read_file(file))
    if (folder / "chat_template.jinja").is_file():
        settings["chat_template"] = read_file(folder / "chat_template.jinja")
    return of_settings(settings.get("chat_template"), settings)


def of_settings(template: Any, settings: Any) -> dict[str, Any] | None:
    """A public tokenizer's template with the special tokens that it names; None where it has none.

    Of several templates it is the one called default.
    """
    if isinstance(template, list):
        template = {one["name"]: one["template"] for one in template}
    if isinstance(template, dict):
        template = template.get("default")
    if not isinstance(template, str):
        return None
    values = {key: settings.get(key) for key in ("bos_token", "eos_token")}
    return {"jinja": template, **{key: _text(value) for key, value in values.items()}}


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else "" if token is None else str(token)
