"""Several machines, played by several of torch's launchers on this one: one run, one folder, everything said once."""

import socket
import sys

from tests.conftest import command
from tests.distributed.test_equal import COMMON, RUNS, same
from tests.helpers.processes import Process, run
from tests.launch.test_ranks import PIPES


def test_two_launchers_make_one_run_of_what_one_process_makes(tmp_path):
    typed = (*COMMON, *RUNS["cnn"])
    assert run(command(*typed, "hydra.run.dir=one")).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = (
            "--nnodes=2",
            "--nproc-per-node=1",
            "--master-addr=127.0.0.1",
            f"--master-port={free.getsockname()[1]}",
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", *place]
    job = ["-m", "ptft", *typed]  # nobody types a folder: each that made one would have its own
    launchers = [Process([*torchrun, f"--node-rank={node}", *job], **PIPES) for node in range(2)]
    (first, warned), other = (each.communicate(timeout=120) for each in launchers)
    assert [each.returncode for each in launchers] == [0, 0], (first, warned, other)
    assert (warned, other) == ("", ("", ""))
    assert "2 processes, each on cpu" in first
    assert [first.count(said) for said in ("ptft pretrain", "step 1/6", "step 6/6", "pretrain done")] == [1] * 4
    (folder,) = [each.parent for each in (tmp_path / "outputs").rglob("metrics.jsonl")]
    same(tmp_path / "one", folder)
    files = [{file.relative_to(each) for file in each.rglob("*")} for each in (tmp_path / "one", folder)]
    assert files[0] == files[1]
