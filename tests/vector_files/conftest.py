"""Small files of each format, made for these tests, and their vocabulary."""

from pathlib import Path

import pytest

from everglade.vector_files import read_vocabulary

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden():
    return GOLDEN


@pytest.fixture(scope="session")
def vocabulary():
    return read_vocabulary(GOLDEN / "vocab.txt")
