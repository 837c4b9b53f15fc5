"""The errors a user can cause or meet, each with its exit code.

The message is one line: what failed, which value or file, which key to change.
"""


class PtftError(Exception):
    """Base of everything that ends a run with one line instead of a traceback."""

    exit_code = 1


class ConfigError(PtftError):
    """A key, a value or a combination of them that can't work."""

    exit_code = 2


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


class Interrupted(PtftError):
    """SIGINT (130) or SIGTERM (143) ended the run after its state was saved."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code
