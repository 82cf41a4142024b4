"""Whatever a file is made of, reading it gives lines or an InputError that says where, in bounded memory."""

import gzip
import tracemalloc

import pytest

from everglade.errors import InputError
from everglade.texts import Rejects, lines, read_documents, read_queries


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(params=["d.tsv", "d.tsv.gz"])
def tsv(request, tmp_path):
    return tmp_path / request.param


def texts(path, **options):
    return [(document.id, document.text) for document in read_documents(path, **options)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"\n \n\t\n\r\n", []),
        (b"1\ta\n2\tb\n", [("1", "a"), ("2", "b")]),
        (b"1\ta\n2\tb", [("1", "a"), ("2", "b")]),
        (b"1\ta\r\n\r\n2\tb\r\n", [("1", "a"), ("2", "b")]),
        (b"\xef\xbb\xbf1\ta\n2\t\xef\xbb\xbfb\n", [("1", "a"), ("2", "\ufeffb")]),
        (b'1\t"a" said "b\n2\t""\n', [("1", '"a" said "b'), ("2", '""')]),
        (b"1\t  a \n2\t\n", [("1", "  a "), ("2", "")]),
        ("1\ta\x0bb\x0cc\x1cd\x85e\u2028f\rg\n".encode(), [("1", "a\x0bb\x0cc\x1cd\x85e\u2028f\rg")]),
        (b"1\ta\0b\n", [("1", "a\0b")]),
        ("1\tDonâ\x80\x99t\n".encode(), [("1", "Donâ\x80\x99t")]),
    ],
)
def test_lines_end_at_line_feeds_and_nothing_is_stripped(tsv, content, expected):
    assert texts(write(tsv, content)) == expected


def test_gzip_is_known_by_its_content(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_bytes(gzip.compress(b"1\ta\n") + gzip.compress(b"2\tb\n"))
    assert texts(path) == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize("content", [b"", b"1\ta\n", b"\x1f"])
def test_gz_that_is_not_gzip_is_told_apart(tmp_path, content):
    path = tmp_path / "d.tsv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="the name says gzip, the content is not") as caught:
        texts(path)
    assert caught.value.path == path


@pytest.mark.parametrize("keep", [-1, -5, 1000, 10])
@pytest.mark.parametrize("skip", [False, True])
def test_truncated_gzip_stops_even_when_bad_lines_are_skipped(tmp_path, keep, skip):
    path = tmp_path / "d.tsv.gz"
    packed = gzip.compress(b"".join(b"%d\t%d\n" % (i, i * 7919) for i in range(20_000)))
    path.write_bytes(packed[:keep])
    with pytest.raises(InputError, match="cut short or damaged"):
        texts(path, rejects=Rejects() if skip else None)


def test_damaged_gzip_names_the_line_reached(tmp_path):
    path = tmp_path / "d.tsv.gz"
    packed = bytearray(gzip.compress(b"1\ta\n2\tb\n"))
    packed[-6] ^= 1  # the checksum
    path.write_bytes(packed)
    with pytest.raises(InputError, match=r"line 3: the gzip data is cut short or damaged"):
        texts(path)


def test_missing_file_says_what_else_is_there(tmp_path):
    with pytest.raises(InputError, match="no such file. Check the path"):
        read_documents(tmp_path / "d.jsonl")
    write(tmp_path / "d.jsonl.gz", b"")
    with pytest.raises(InputError, match=r"no such file. There is .*d\.jsonl\.gz"):
        read_documents(tmp_path / "d.jsonl")
    with pytest.raises(InputError, match="this is a folder"):
        read_queries(tmp_path)


def test_unreadable_file_is_an_input_error(tmp_path):
    path = write(tmp_path / "d.tsv", b"1\ta\n")
    documents = read_documents(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        next(documents)


@pytest.mark.parametrize(
    ("raw", "byte"), [(b"2\t\xff", 3), (b"2\tab\xc3", 5), (b"2\t\xed\xa0\x80", 3), (b"\xc0\x80\tx", 1)]
)
def test_bad_utf8_names_line_and_byte(tsv, raw, byte):
    with pytest.raises(InputError, match=f"line 3: byte {byte} of the line .* is not UTF-8") as caught:
        texts(write(tsv, b"1\ta\n\n" + raw + b"\n"))
    assert caught.value.line == 3


@pytest.mark.parametrize("form", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", ["d.tsv", "d.jsonl"])
def test_utf16_is_named(tmp_path, name, form):
    mark = b"\xfe\xff" if form == "utf-16-be" else b""
    path = write(tmp_path / name, mark + '{"_id": "1", "text": "a"}\n'.encode(form))
    with pytest.raises(InputError, match="line 1: the file is UTF-16"):
        texts(path)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("extra", [0, 1, 5000])
@pytest.mark.parametrize("piece", [7, 2**20])
def test_the_limit_counts_the_line_without_its_end(tsv, monkeypatch, end, extra, piece):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(lines, "_PIECE_BYTES", piece)
    write(tsv, b"1\ta\n2\t" + b"x" * (98 + extra) + end)
    if extra:
        with pytest.raises(InputError, match="line 2: the line is longer than 100 bytes"):
            texts(tsv)
    else:
        assert texts(tsv) == [("1", "a"), ("2", "x" * 98)]


@pytest.mark.parametrize("piece", [7, 2**20])
def test_reading_goes_on_behind_a_line_that_is_too_long(tsv, monkeypatch, piece):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(lines, "_PIECE_BYTES", piece)
    write(tsv, b"1\ta\n2\t" + b"x" * 5000 + b"\r\n3\tc\n4\t" + b"y" * 99)
    rejects = Rejects()
    assert texts(tsv, rejects=rejects) == [("1", "a"), ("3", "c")]
    assert rejects.count == 2


def test_a_huge_line_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "d.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"_id": "1", "text": "')
        for _ in range(160):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"_id": "2", "text": "b"}\n')
    tracemalloc.start()
    try:
        assert texts(path, rejects=Rejects()) == [("2", "b")]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1.5 * lines.MAX_LINE_BYTES


def test_documents_are_read_one_by_one(tmp_path):
    path = tmp_path / "d.tsv"
    path.write_text("".join(f"{i}\t{'x' * 1000}\n" for i in range(20_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_documents(path)) == 20_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 2**20  # the file has 20 MB
