"""Hostile segments with right checksums are refused, or harmless; they are never a crash or a great allocation.

What a fuzzer once crashed on lies here as NAME.segment and stays refused. benchmarks/fuzz.py looks for more.
"""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from everglade import _engine

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "engine" / "golden"
HEADER, ENTRY, SEAL = 64, 24, 16
NAMES = [path.name for path in sorted(GOLDEN.glob("*.segment"))]
POSTINGS, DOCUMENTS, TERMS, FEATURES, SECTIONS = 40, 48, 52, 56, 60


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = list(_table())


def crc32c(content):
    value = 0xFFFFFFFF
    for byte in content:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def count_sections(content):
    """Give what the header says, or what there is room for."""
    return min(struct.unpack_from("<I", content, SECTIONS)[0], (len(content) - HEADER - SEAL) // ENTRY)


def entries(content):
    """Give (place in the table, kind, offset, length) of each section."""
    for place in range(count_sections(content)):
        at = HEADER + place * ENTRY
        kind, _, offset, length = struct.unpack_from("<IIQQ", content, at)
        yield at, kind, offset, length


def sealed(content):
    """Make every checksum right, as an attacker would."""
    content = bytearray(content)
    for at, _, offset, length in list(entries(content)):
        if offset + length <= len(content):
            struct.pack_into("<I", content, at + 4, crc32c(content[offset : offset + length]))
    end = HEADER + count_sections(content) * ENTRY + SEAL
    struct.pack_into("<QII", content, end - SEAL, len(content), 0, 0)
    struct.pack_into("<I", content, end - 4, crc32c(content[: end - 4]))
    return bytes(content)


def use(segment):
    """Search, and read every document."""
    queries = (np.array([0, 1], np.int64), np.array([0], np.int32), np.array([3], np.uint32))
    if segment.n_terms:
        _engine.search([segment], [None], *queries, 3, 1)
    segment.ids_all()
    segment.rows()


def refused(path, *, verify=True):
    tracemalloc.start()
    try:
        use(_engine.Segment(str(path), verify))
    except (_engine.CorruptSegment, _engine.FormatTooNew):
        return True
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2**24
    return False


def test_sealing_changes_nothing_in_a_good_file(tmp_path):
    for name in NAMES:
        assert sealed((GOLDEN / name).read_bytes()) == (GOLDEN / name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [2**30, 2**30 + 1, 2**32 - 1])
@pytest.mark.parametrize("field", [DOCUMENTS, TERMS, FEATURES, SECTIONS, POSTINGS, POSTINGS + 4])
def test_counts_that_cannot_be_are_refused_before_anything_is_allocated(tmp_path, name, value, field):
    content = bytearray((GOLDEN / name).read_bytes())
    struct.pack_into("<I", content, field, value)
    (tmp_path / "s").write_bytes(sealed(content))
    assert refused(tmp_path / "s")
    assert refused(tmp_path / "s", verify=False)


@pytest.mark.parametrize("name", NAMES)
def test_sections_that_overlap_or_reach_out_are_refused(tmp_path, name):
    content = (GOLDEN / name).read_bytes()
    for at, _, offset, length in entries(content):
        for other in ((offset, 2**63), (2**64 - 64, length), (offset + 64, length), (0, length), (offset, length + 1)):
            damaged = bytearray(content)
            struct.pack_into("<QQ", damaged, at + 8, *other)
            (tmp_path / "s").write_bytes(sealed(damaged))
            assert refused(tmp_path / "s", verify=False), (at, other)


@pytest.mark.parametrize("name", NAMES)
def test_no_number_in_a_list_leads_outside(tmp_path, name):
    """Every 8 bytes of every section become the greatest numbers there are: refused or harmless, never a crash."""
    content = (GOLDEN / name).read_bytes()
    for _, _, offset, length in entries(content):
        for place in range(offset, offset + length - length % 8, 8):
            damaged = content[:place] + b"\xff" * 8 + content[place + 8 :]
            (tmp_path / "s").write_bytes(sealed(damaged))
            assert refused(tmp_path / "s") or not refused(tmp_path / "s", verify=False)


def test_what_once_crashed_is_refused():
    for path in sorted(HERE.glob("*.segment")):
        assert refused(path), path.name
