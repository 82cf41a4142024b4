"""Values of single queries are written whole and read back as they were."""

import csv
import json

import pytest

from everglade.errors import InputError
from everglade.evaluation.per_query import write_per_query

VALUES = {"a": {"q1": {"RR": 1 / 3, "AP": 1.0}, "q2": {"RR": 0.0, "AP": 0.1}}, "b": {"q1": {"RR": 1.0, "AP": 0.2}}}


def test_json_is_what_it_was(tmp_path):
    write_per_query(VALUES, tmp_path / "values.json")
    assert json.loads((tmp_path / "values.json").read_text()) == VALUES


def test_a_table_loses_no_digit(tmp_path):
    write_per_query(VALUES, tmp_path / "values.tsv", "set")
    with (tmp_path / "values.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == ["set", "query", "RR", "AP"]
    found = {}
    for row in rows:
        found.setdefault(row["set"], {})[row["query"]] = {name: float(row[name]) for name in ("RR", "AP")}
    assert found == VALUES


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="folder .*none is not there"):
        write_per_query(VALUES, tmp_path / "none" / "values.tsv")
