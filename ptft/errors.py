"""The errors a user can cause or meet, each with its exit code.

The message is one line: what failed, which value or file, which key to change.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class PtftError(Exception):
    """Base of everything that ends a run with one line instead of a traceback."""

    exit_code = 1


class ConfigError(PtftError):
    """A key, a value or a combination of them that can't work."""

    exit_code = 2


class OptionError(ConfigError):
    """A value that an option can't take, whoever gave it: a command, or the configuration in a checkpoint."""


class NoTrainingSplit(ConfigError):
    """A dataset without the split to train on, which what is only measured does not need."""


class DataError(PtftError):
    """A dataset that is missing, empty, broken or unlike what the model needs."""

    exit_code = 3


class CheckpointError(PtftError):
    """A file of weights that is missing, broken, unsafe or does not fit."""

    exit_code = 4


class StorageError(PtftError):
    """A folder that can't be written, is in use, or a full disk."""

    exit_code = 5


class NotFiniteError(PtftError):
    """A loss or gradient that became NaN or infinite."""

    exit_code = 6


class ResourceError(PtftError):
    """Not enough memory, or a worker process that died."""

    exit_code = 7


class Interrupted(KeyboardInterrupt):
    """SIGINT (130), SIGTERM or SIGHUP (143) ended the run after its state was saved.

    No PtftError and no Exception: nobody who handles errors may take it for one, and go on.
    """

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def first_line(error: object, limit: int = 200) -> str:
    """The first line of an error's text, or its class where it has none; a longer one ends with … behind a word."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or len(lines[0]) <= limit:
        return lines[0] if lines else type(error).__name__
    words, _, broken = lines[0][: limit - 1].rpartition(" ")
    return f"{words} …" if len(broken) < limit // 2 else f"{lines[0][: limit - 1]}…"


def not_imported(needs: str, package: str, install: str, error: Exception) -> ConfigError:
    """Of an optional package: `needs` says who needs it; it is missing, or is there and fails as `error` says."""
    missing = isinstance(error, ModuleNotFoundError) and (error.name or package).partition(".")[0] == package
    if missing:
        return ConfigError(f"{needs}: pip install {install}")
    return ConfigError(f"{needs}, and {package} is installed and can't be imported ({first_line(error)})")


def suggest(name: str, choices: Iterable[str]) -> str:
    """ "; did you mean a or b?" for the choices nearest to `name`, or nothing."""
    near = nearest(name, choices)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def nearest(name: str, choices: Iterable[str], count: int = 2) -> list[str]:
    """The choices most like `name`, best first; a key's last part alone is enough to find it."""
    choices = sorted(set(choices))
    near = difflib.get_close_matches(name, choices, n=count, cutoff=0.6)
    if near and difflib.SequenceMatcher(None, name, near[0]).ratio() > 0.9:
        return near[:1]
    if not near:
        leaf = name.rsplit(".", 1)[-1]
        leaves = [choice for choice in choices if choice.rsplit(".", 1)[-1] == leaf]
        near = leaves or difflib.get_close_matches(leaf, choices, n=count, cutoff=0.5)
    return near[:count]


def shortened(names: Iterable[str], limit: int = 4, *, last: bool = False) -> str:
    """ "a, b, c, … 4 more" for more than `limit` names, or with `last` "a, b, c, …, z"; all of them for fewer."""
    names = list(names)
    if len(names) <= limit:
        return ", ".join(names)
    return ", ".join([*names[:3], *(["…", names[-1]] if last else [f"… {len(names) - 3} more"])])


def unknown(key: str, value: str, choices: Iterable[str], most: int = 20) -> str:
    """One line for a name that does not exist: the nearest that do, and the choices."""
    names = list(choices)
    near = ", ".join(difflib.get_close_matches(value, names, 3, 0.5))
    listed = ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
    return f"{key}: there is no {value!r}{f', nearest: {near}' if near else ''} (choices: {listed})"


def absent(path: str | os.PathLike[str]) -> str:
    """ "does not exist; did you mean photos?" of a file or folder beside which others have such a name."""
    path = Path(path)
    while path.parent != path and not path.parent.exists():
        path = path.parent
    beside = {name.casefold(): name for name in _listed(path.parent) if not name.startswith(".")}
    near = difflib.get_close_matches(path.name.casefold(), sorted(beside), 2, 0.7)
    named = " or ".join(str(path.parent / beside[name]) for name in near)
    return f"does not exist; did you mean {named}?" if near else "does not exist"


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def counted(count: int, nouns: str) -> str:
    """ "1 file", "2,000 files" of a noun in the plural."""
    return f"{count:,} {noun_for(count, nouns)}"


def noun_for(count: int, nouns: str) -> str:
    """A noun in the plural, in the singular for one."""
    return nouns if count != 1 else nouns.removesuffix("es" if nouns.endswith("sses") else "s")


def are(count: int) -> str:
    """The verb of so many."""
    return "is" if count == 1 else "are"


OWN_FILES = {"image": "image_folder", "audio": "audio_folder", "text": "table"}
"""Modality -> the dataset that reads a user's own files."""


def reads_no_files(source: str, root: object, modality: str, other: str | None = None) -> ConfigError:
    """What to say of a root that is typed for a dataset which has none."""
    what = f"{source} needs no files and reads none; dataset={other or OWN_FILES[modality]} reads yours"
    return ConfigError(f"dataset.root={root}: {what}")
