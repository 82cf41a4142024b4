"""Texts and judgements: the values, and the readers of every form they come in.

values.py      Document, Query, Qrel, Triple, TextTriple, Run, Qrels
lines.py       a file, plain or .gz, as numbered lines of bounded length; what happens to a bad one
rejects.py     where bad lines go when reading does not stop at them
seen.py        which ids a file has held so far, in little memory
jsonl.py       one JSON object -> Document or Query
documents.py   a JSONL or TSV file -> documents or queries
triples.py     MS MARCO triples, by id and by text
qrels.py       BEIR, TREC and JSON judgements
runs.py        TREC and MS MARCO runs, in; TREC runs, out
collection.py  Collection: documents, queries and judgements of one place
layouts.py     open_collection: what kind of collection a path or a name is
irds.py        collections known to ir_datasets
"""

from __future__ import annotations

from everglade.texts.collection import Collection, FileCollection, choose_split
from everglade.texts.documents import read_documents, read_queries
from everglade.texts.layouts import open_collection
from everglade.texts.qrels import group_qrels, read_qrels
from everglade.texts.rejects import Rejects
from everglade.texts.runs import read_run, write_run
from everglade.texts.triples import read_text_triples, read_triples
from everglade.texts.values import Document, Qrel, Qrels, Query, Run, TextTriple, Triple

__all__ = [
    "Collection",
    "Document",
    "FileCollection",
    "Qrel",
    "Qrels",
    "Query",
    "Rejects",
    "Run",
    "TextTriple",
    "Triple",
    "choose_split",
    "group_qrels",
    "open_collection",
    "read_documents",
    "read_qrels",
    "read_queries",
    "read_run",
    "read_text_triples",
    "read_triples",
    "write_run",
]
