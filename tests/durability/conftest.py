"""What the tests of durability share: a folder in memory, and the program that runs below calls.c."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def memory():
    """A folder in memory where there is one: these tests know what a sync is worth without waiting for a disk."""
    place = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=place if place.is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run_trials(memory):
    """Run trials.py below calls.c; give what it found."""
    import watched

    if watched.COMPILER is None or not sys.platform.startswith("linux"):
        pytest.skip("calls.c needs Linux and a C compiler")

    def run(what, *words, before=()):
        done = watched.run_watched(HERE / "trials.py", what, str(memory), *map(str, words), before=before)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch):
    """Two segment files for one commit of the script."""
    import scripted

    monkeypatch.setattr("everglade.index.segments.SEGMENT_DOCUMENTS", scripted.SEGMENT_DOCUMENTS)
