"""Vectors that other tools wrote, by the strings of their terms: read, rounded, and put into a vectors folder.

vocabulary.py  the term id of each string
rows.py        one line or object -> id and {token: weight}
rounding.py    what a weight becomes: as it stands, or as Anserini, PISA or Lucene would have it
reading.py     files and folders -> shards of rows
folder.py      shards -> a vectors folder
"""

from __future__ import annotations

from everglade.vector_files.folder import write_folder
from everglade.vector_files.reading import read_vector_files
from everglade.vector_files.rounding import Round, Rounding
from everglade.vector_files.vocabulary import Vocabulary, read_vocabulary

__all__ = ["Round", "Rounding", "Vocabulary", "read_vector_files", "read_vocabulary", "write_folder"]
