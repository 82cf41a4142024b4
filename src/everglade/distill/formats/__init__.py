"""Other people's training data: readers and writers of every format it comes in.

rows.py           what a reader gives; rows of JSON lines, Parquet and Arrow
columns.py        sentence-transformers' columns, by name: texts with margins or scores
msmarco.py        sentence-transformers/msmarco-hard-negatives, and triplets of ids with margins
score_pickle.py   a pickle of cross-encoder scores, read without running it
tevatron.py       Tevatron, versions 1 and 2
pylate.py         PyLate's and LightOn's documents with scores
scored_runs.py    a TREC run with a teacher's scores
scored_lines.py   triples with tabs between them: naver's, Hofstätter's, MS MARCO's
text_tables.py    tables of texts beside examples
source.py         which format a file has
convert.py        any of them to an examples file, and a collection of the texts
writing.py        and back: examples in any format that is read here
written_rows.py   what an example is in each of them
row_files.py      files of rows: JSON lines, Parquet
"""

from __future__ import annotations

from everglade.distill.formats.convert import Converted, convert
from everglade.distill.formats.rows import Notes, Options, Row
from everglade.distill.formats.source import FORMATS, Source, find_format, read_source
from everglade.distill.formats.writing import WRITTEN_FORMATS, Written, write_as

__all__ = [
    "FORMATS",
    "WRITTEN_FORMATS",
    "Converted",
    "Notes",
    "Options",
    "Row",
    "Source",
    "Written",
    "convert",
    "find_format",
    "read_source",
    "write_as",
]
