"""A process that ends, without a goodbye, before the n-th file operation of a piece of work."""

import itertools
import os
import pathlib

OPENED = pathlib.Path.open


class Operations:
    """Counts the operations that are patched in a process, and ends it before one of them."""

    def __init__(self, before_the_end: int) -> None:
        self.left = before_the_end

    def dies(self, operation, half=None):
        """The operation, or the end; `half` is called before an end, with what the operation would have been."""

        def counted(*arguments, **options):
            if self.left == 0:
                if half:
                    half(*arguments)
                os._exit(9)
            self.left -= 1
            return operation(*arguments, **options)

        return counted

    def patch(self) -> None:
        """Of this process: opening (by pathlib), writing, flushing, syncing, truncating, renaming, removing."""
        pathlib.Path.open = self.dies(lambda *arguments, **options: File(self, OPENED(*arguments, **options)))
        for name in ("replace", "fsync", "link", "unlink"):
            setattr(os, name, self.dies(getattr(os, name)))


class File:
    """The real file, whose process dies before a write, in the middle of it, or before it is flushed or closed."""

    def __init__(self, operations, file):
        def half(data):
            file.write(data[: len(data) // 2])
            file.flush()

        dies = operations.dies
        self.file = file
        self.write = dies(dies(file.write), half)
        self.flush, self.close, self.truncate = dies(file.flush), dies(file.close), dies(file.truncate)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def deaths(prepare, work):
    """Yields what `prepare(number)` returned after a child process that did `work` on it died before operation
    `number`, for every operation there is, and at last after one that came to its end.
    """
    for number in itertools.count():
        place = prepare(number)
        child = os.fork()
        if child == 0:
            Operations(number).patch()
            work(place)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        yield place
        if code == 0:
            return
