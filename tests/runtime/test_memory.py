"""How much memory there is, by what the kernel says of the machine, of its control groups, and of the process."""

import os
import resource

import pytest

from ptft.runtime.memory import free_memory

MIB = 2**20


@pytest.fixture
def system(tmp_path):
    """`system(files)` writes what a kernel shows, under a root of its own: 8 GiB of memory, and these files."""

    def make(files):
        for name, text in {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 * 2**20} kB\n", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def v1(path, limit, used, cached=0):
    folder = f"sys/fs/cgroup/memory{path}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_cache 9\ntotal_inactive_file {cached}\n",
    }


def v2(path, limit, used, cached=0):
    folder = f"sys/fs/cgroup{path}"
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


OF_V1 = {"proc/self/cgroup": "5:devices:/\n4:cpu,memory:/jobs/7\n0::/\n"}
OF_V2 = {"proc/self/cgroup": "0::/user.slice/job.scope\n"}
NO_LIMIT = 9223372036854771712


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8192),
        ({**OF_V1, **v1("", 900 * MIB, 100 * MIB)}, 800),  # as in a container, which sees its own group alone
        ({**OF_V1, **v1("", NO_LIMIT, MIB), **v1("/jobs/7", 500 * MIB, 300 * MIB, 50 * MIB)}, 250),
        ({**OF_V1, **v1("", NO_LIMIT, MIB), **v1("/jobs", 400 * MIB, 300 * MIB), **v1("/jobs/7", NO_LIMIT, MIB)}, 100),
        ({**OF_V1, **v1("", 100 * MIB, 200 * MIB)}, 0),
        ({**OF_V2, **v2("", 900 * MIB, 100 * MIB, 10 * MIB)}, 810),
        ({**OF_V2, **v2("/user.slice", "max", MIB), **v2("/user.slice/job.scope", 500 * MIB, 300 * MIB)}, 200),
        ({**OF_V2, **v2("/user.slice", 600 * MIB, 500 * MIB), **v2("/user.slice/job.scope", "max", MIB)}, 100),
        ({"proc/self/cgroup": "0::/../../other\n", **v2("", 300 * MIB, 0)}, 300),
    ],
)
def test_the_least_that_any_group_leaves_counts(system, files, expected):
    assert free_memory(system(files)) == expected * MIB


def test_what_a_process_may_take_counts_as_well(system):
    before = resource.getrlimit(resource.RLIMIT_AS)
    root = system({"proc/self/statm": f"{2 * 2**30 // resource.getpagesize()} 1 1 1 0 1 0\n"})
    try:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30 + 2**40, before[1]))
        assert free_memory(root) == 8 * 2**30
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    taken = (3 * 2**40 + 2**30) // resource.getpagesize()
    root = system({"proc/self/statm": f"{taken} 1 1 1 0 1 0\n"})
    try:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**40 + 3 * 2**30, before[1]))
        assert free_memory(root) == 2 * 2**30
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_here_it_is_less_than_the_machine_has():
    assert 2**20 < free_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
