"""What several areas of the tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real collections and vectors, which is not part of the package."""
    folder = Path(os.environ.get("EVERGLADE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set EVERGLADE_DATA to its folder")
    return folder


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    """No test asks a hub for anything."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
