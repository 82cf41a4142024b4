"""Files that rows are written to: JSON lines and Parquet by column name, and plain bytes; any but Parquet also gzip."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

__all__ = ["Add", "open_file", "open_rows"]

Add = Callable[[dict[str, Any]], object]
_PARQUET_ROWS = 1024


def open_file(path: Path, *, packed: bool) -> IO[bytes] | gzip.GzipFile:
    """Open a file for writing; without a time in the header of gzip the same content gives the same bytes."""
    return gzip.GzipFile(path, "wb", mtime=0) if packed else path.open("wb")


@contextmanager
def open_rows(path: Path, name: str) -> Iterator[Add]:
    """Give what writes a row to a file: Parquet if its final `name` ends in .parquet, else JSON lines."""
    if name.endswith(".parquet"):
        table = _ParquetRows(path)
        try:
            yield table.add
            table.flush()
        finally:
            table.close()
        return
    with open_file(path, packed=name.endswith(".gz")) as file:
        yield lambda row: file.write(orjson.dumps(row) + b"\n")


class _ParquetRows:
    """A Parquet table that is written some rows at a time. Its columns are those of the first row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _PARQUET_ROWS:
            self.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        if not self._rows:
            return
        if self._writer is None:
            schema = pa.schema([(name, _column_type(name, value)) for name, value in self._rows[0].items()])
            self._writer = pyarrow.parquet.ParquetWriter(self._path, schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows = []


def _column_type(name: str, value: object) -> Any:  # noqa: ANN401 - pyarrow is imported where it is needed
    """Give the type of a column. Of lists the name says it, for the list of the first row may be empty."""
    import pyarrow as pa

    if not isinstance(value, list):
        return pa.float64() if isinstance(value, float) else pa.string()
    if name.endswith("_passages"):
        return pa.list_(pa.struct([(part, pa.string()) for part in ("docid", "title", "text")]))
    return pa.list_(pa.string() if name.endswith("_ids") else pa.float64())
