"""Lucene through Anserini's command line: an impact index of a JsonVectorCollection, searched with a query file."""

from __future__ import annotations

import subprocess


def search_lucene(java, jar, case, k):
    """Index `case/documents`, search `case/queries.tsv`, and give {query: [[document, score], ...]}.

    The scores are sums of query weight times term frequency in single precision. Anserini lowers those that tie by some
    millionths, as far as single precision can tell; rounded to whole numbers they are the sums again.
    """
    index, run = case / "lucene", case / "lucene.trec"
    call(
        *(java, "-Xmx3g", "-cp", jar, "io.anserini.index.IndexCollection"),
        *("-collection", "JsonVectorCollection", "-generator", "DefaultLuceneDocumentGenerator"),
        *("-input", case / "documents", "-index", index, "-threads", "1", "-impact", "-pretokenized"),
    )
    call(
        *(java, "-Xmx3g", "-cp", jar, "io.anserini.search.SearchCollection"),
        *("-index", index, "-topics", case / "queries.tsv", "-topicReader", "TsvString", "-output", run),
        *("-hits", str(k), "-threads", "1", "-impact", "-pretokenized"),
    )
    found = {}
    with run.open(encoding="utf-8") as lines:
        for line in lines:
            query, _, document, _, score, _ = line.split()
            found.setdefault(query, []).append([document, float(round(float(score)))])
    return found


def call(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[4]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
