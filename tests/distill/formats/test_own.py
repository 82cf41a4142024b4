"""Everglade's own examples as a source of others."""

import pytest

from everglade.distill.examples import Example, write_examples
from everglade.distill.formats import Options, read_source
from everglade.errors import InputError


@pytest.mark.parametrize("name", ["own.jsonl", "own.jsonl.gz", "own.arrow"])
def test_own_examples_are_cut_too(tmp_path, name):
    written = [Example("q", ("a", "b", "c"), (3.0, 2.0, 1.0)), Example("r", ("a",)), Example("s", ("a", "b", "c"))]
    write_examples(written, tmp_path / name)
    assert [row.example for row in read_source(tmp_path / name, "everglade").rows] == written
    cut = read_source(tmp_path / name, "everglade", Options(negatives=1))
    assert [row.example for row in cut.rows] == [
        Example("q", ("a", "b"), (3.0, 2.0)),
        Example("r", ("a",)),
        Example("s", ("a", "b")),
    ]


def test_own_lines_are_read_one_after_the_other(tmp_path):
    write_examples([Example("q", ("a",))], tmp_path / "own.jsonl")
    with (tmp_path / "own.jsonl").open("a") as file:
        file.write("{\n")
    rows = read_source(tmp_path / "own.jsonl", "everglade").rows
    assert next(rows).example == Example("q", ("a",))
    with pytest.raises(InputError, match="line 2"):
        next(rows)
