"""A call that fails, falls short, or is the last that a process makes, wherever it is: disturb.py tries them.

One call in EVERY is disturbed here, drawn by SEED; benchmarks/power_loss.py disturbs all of them.
"""

import os
import subprocess

import pytest

from everglade.errors import IndexFolderError

EVERY = 50
SEED = 1


def test_no_fault_at_any_call_breaks_an_index(run_trials):
    """After each: the last acknowledged state or the whole of the one under way, a clear error, and it goes on."""
    found = run_trials("faults", EVERY, SEED)
    assert found["wrong"] == 0, found
    assert found["outcomes"]["killed"] > 50
    assert found["outcomes"]["killed again"] > 20
    assert found["outcomes"]["refused: OSError"] > 100
    assert found["disturbed"] > 250


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a file system of so many KiB, or gives it another size."""
    mounted = []

    def make(kib):
        options = f"size={kib}k" + (",remount" if mounted else "")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", tmp_path], capture_output=True)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
        mounted.append(kib)
        return tmp_path

    yield make
    if mounted:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("kib", range(36, 96, 4))
def test_a_full_disk_stops_at_an_acknowledged_state_and_goes_on_when_there_is_room(small_disk, kib):
    from scripted import changes, read_index, run_change, states, tidy_up

    folder = small_disk(kib) / "i"
    expected, script = list(states()), changes()
    for number, change in enumerate(script):
        try:
            run_change(folder, change)
        except (OSError, IndexFolderError):
            break
        assert read_index(folder) == expected[number + 1]
    else:
        pytest.fail("the disk was never full")
    assert read_index(folder) in (expected[number], expected[number + 1])
    small_disk(8192)
    assert os.statvfs(folder.parent).f_bavail > 1000
    if read_index(folder) != expected[number + 1]:
        run_change(folder, change)
    for later, change in enumerate(script[number + 1 :], start=number + 2):
        run_change(folder, change)
        assert read_index(folder) == expected[later]
    assert tidy_up(folder) == expected[-1]
