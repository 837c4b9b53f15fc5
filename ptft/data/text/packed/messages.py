"""Conversations as people write them: a list of messages, each with a role and a text.

Rows are those of OpenAI's and Hugging Face's chats, {"messages": [{"role": …, "content": …}]}, or of ShareGPT's,
{"conversations": [{"from": "human" or "gpt", "value": …}]}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ptft.data.records import EmptyRow, RowError, objects_of

ROLES = ("system", "user", "assistant")
SPOKEN = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}
"""ShareGPT's names of roles, and others that are common."""
AUTO = "auto"
FIELDS = ("messages", "conversations", "conversation")
"""Fields that `auto` finds, the first that there is."""


class Message(NamedTuple):
    """What somebody says; role is one of ROLES."""

    role: str
    content: str


class Conversation(NamedTuple):
    """The messages of a row, and its file and line. rest: its other fields, where they were asked for."""

    messages: tuple[Message, ...]
    where: str
    rest: dict[str, Any] | None = None


def conversations_in(file: Path, name: str = AUTO, rest: bool = False) -> Iterator[Conversation | RowError]:
    """The conversation in each row of a JSON file, or what is wrong with it; name: the field that holds the messages.

    rest: whether its other fields are wanted too. Raises DataError where the file can't be read.
    """
    for line, fields in objects_of(file):
        where = f"{file}:{line}"
        if isinstance(fields, RowError):
            yield fields
            continue
        try:
            messages = tuple(_messages(fields, name, where))
        except RowError as error:
            yield error
            continue
        others = {key: value for key, value in fields.items() if key != _field(fields, name)} if rest else None
        yield Conversation(messages, where, others)


def _field(fields: Mapping[str, Any], name: str) -> str | None:
    return next((field for field in ([name] if name != AUTO else FIELDS) if field in fields), None)


def _messages(fields: Mapping[str, Any], name: str, where: str) -> Iterator[Message]:
    """Raises RowError."""
    found = _field(fields, name)
    if found is None:
        keys = ", ".join(map(str, list(fields)[:8]))
        wanted = "messages or conversations" if name == AUTO else name
        raise RowError(where, f"has no field {wanted} ({keys}); dataset.messages names the field")
    said = fields[found]
    if not isinstance(said, list):
        raise RowError(where, f"field {found!r} holds no list of messages")
    if not said:
        raise EmptyRow(where)
    for number, message in enumerate(said, 1):
        yield _message(message, f"message {number}", where)


def _message(message: Any, which: str, where: str) -> Message:
    """Raises RowError for what has no role, or no text."""
    if not isinstance(message, dict):
        raise RowError(where, f"{which} is no object of role and content")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    role = SPOKEN.get(str(role).lower(), str(role).lower())
    if role not in ROLES:
        raise RowError(where, f"{which} is of role {role!r}; there are {', '.join(ROLES)}")
    if isinstance(content, list):  # of parts, as where pictures stand between them
        kinds = [part.get("type") for part in content if isinstance(part, dict)]
        if kinds != ["text"] * len(content):
            raise RowError(where, f"{which} holds other parts than text")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not content.strip():
        raise RowError(where, f"{which} ({role}) holds no text")
    return Message(role, content)
