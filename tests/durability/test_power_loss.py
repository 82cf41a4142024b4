"""A power cut at any moment leaves every acknowledged change, and of the one under way all or nothing.

power.py says what a disk may hold then, scripted.py what is done, and trials.py opens what is left.
benchmarks/power_loss.py does the same a million times.
"""

import re
import shutil
from collections import Counter

import pytest

STATES = 10_000
KILL_EVERY = 20
SEED = 1


def test_nothing_is_lost_and_nothing_appears(run_trials):
    found = run_trials("power", STATES, SEED)
    assert found["wrong"] == 0, found
    assert found["states"] >= STATES
    assert found["tidied_up"] > 500
    assert found["cut_again_while_recovering"] > 50


@pytest.mark.parametrize(
    "left_out",
    [
        "fsync,fdatasync",
        "fsync .tmp",  # the content of segments
        "fsync ",  # the names in folders
        "fdatasync .sqlite",
        "fdatasync .sqlite-journal",
        "collect first",
    ],
)
def test_a_program_that_leaves_out_a_step_is_found_out(run_trials, left_out):
    assert run_trials("power", STATES, SEED, left_out)["wrong"] >= 20


def test_nothing_is_lost_when_a_recovery_is_cut_off(run_trials):
    """The killed writer's last commit may not be on the disk yet: no file goes before it is."""
    found = run_trials("killed", KILL_EVERY, SEED)
    assert found["wrong"] == 0, found
    assert found["kills"] > 30
    assert found["states"] > 500


KINDS = {"write": {"write", "pwrite64"}, "truncate": {"ftruncate"}, "rename": {"renameat2"}, "unlink": {"unlinkat"}}
KINDS |= {"mkdir": {"mkdirat"}, "fsync": {"fsync"}, "fdatasync": {"fdatasync"}}
ONLY_LOOKING = {"newfstatat", "fstat", "fstatfs", "lseek", "read", "pread64", "close", "fcntl", "flock", "getcwd"}
ONLY_LOOKING |= {"fchown"}  # SQLite gives its journal the owner of the database, which nothing here depends on
ONLY_LOOKING |= {"access", "faccessat2", "lstat", "stat", "statx", "getdents64", "readlink", "mmap", "openat", "chdir"}


def test_every_call_is_seen(run_trials, tmp_path):
    """What calls.c writes down is what strace sees, and strace sees no other way to change a file."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "strace.log"
    tracing = ("strace", "-f", "-qq", "-y", "-s", "0", "-e", "trace=%file,%desc", "-o", str(log))
    written_down = run_trials("record", before=tracing)
    calls = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if "/disk" not in line or re.search(r"= -1 |\?$", line):
            continue
        name = re.match(r"\d+ +(\w+)\(", line)[1]
        calls[name] += 1
        assert not (name == "mmap" and "MAP_SHARED" in line and "PROT_WRITE" in line), line
    calls["mkdirat"] -= 1  # the watched folder itself
    for what, names in KINDS.items():
        assert sum(calls[name] for name in names) == written_down.get(what, 0), (what, calls, written_down)
    assert set(calls) <= ONLY_LOOKING.union(*KINDS.values()), calls
