"""A Python that has imported what runs need, and forks itself into the processes that it is asked for.

`processes.py` starts it and asks. A request is the three standard handles and one JSON object: `arguments` as they
follow Python's name (`-m ptft …` or `-c code …`), `folder` and `environment`. The answer is a process id. Nobody here
waits for that process: whoever asked adopts it, and it is a child like any other.
"""

import gc
import io
import json
import os
import runpy
import signal
import socket
import sys
import time
import types

LARGEST = 2**20
"""Bytes of a request."""


def preload():
    """Import what runs of the tests import, without a run. What is missing here is imported by the process itself."""
    from ptft.runtime import process

    process.start()

    import torch

    import ptft.augment.views
    import ptft.cli.main
    import ptft.data.image.digits
    import ptft.data.image.glyphs
    import ptft.finetune.phases
    import ptft.loggers.curves
    import ptft.metrics.classification
    import ptft.models.image.cnn
    import ptft.objectives.supervised.classify
    import ptft.stages.compare.stage
    import ptft.stages.evaluate
    import ptft.stages.predict
    import ptft.stages.train
    from ptft.config import compose
    from ptft.config.overrides import OWN
    from ptft.config.resolve import resolve
    from ptft.config.rules import usual

    for stage in compose.options("stage"):  # what is kept of files until they change: options merged, rules, comments
        compose.compose([f"stage={stage}"])
    resolve(["stage=pretrain"])
    usual("dataset", OWN)
    if torch.get_num_threads() == 1:  # threads would not be there in a fork
        ptft.data.image.glyphs.glyphs("0123456789")


def serve(line):
    """Answer what is asked on a socket until it ends. Returns the request in each process that was asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asked, who ends the line
    while True:
        data, handles, _, _ = socket.recv_fds(line, LARGEST, 3)
        if not data:
            os._exit(0)
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            between = os.getpid()
            if process := os.fork():
                os.write(writing, str(process).encode())
                os._exit(0)  # so that the process is adopted
            while os.getppid() == between:
                time.sleep(0.0005)
            for handle in (reading, writing, line.detach()):
                os.close(handle)
            for number, handle in enumerate(handles):
                os.dup2(handle, number)
                os.close(handle)
            return json.loads(data)
        os.waitpid(between, 0)
        line.send(os.read(reading, 32))
        for handle in (*handles, reading, writing):
            os.close(handle)


def become(arguments, folder, environment):
    """Be the process that Python would have started."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    how, what, *rest = arguments
    sys.argv = [how, *rest]
    sys.path[0] = os.getcwd() if how == "-m" else ""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        setattr(sys, name, opened(number, getattr(sys, name)))
        setattr(sys, f"__{name}__", getattr(sys, name))
    import numpy
    import torch

    numpy.random.seed()
    torch.seed()
    gc.enable()
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)


def opened(number, before):
    """A standard stream as Python opens it: like the one before, on what the handle is now."""
    raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw),
        before.encoding,
        before.errors,
        newline=None if number == 0 else "\n",
        line_buffering=number == 2 or os.isatty(number),
    )
    stream.mode = "r" if number == 0 else "w"
    return stream


if __name__ == "__main__":
    line = socket.socket(fileno=int(sys.argv[1]))
    preload()
    gc.collect()
    gc.freeze()
    become(**serve(line))
