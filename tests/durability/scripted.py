"""A script of changes to a small index, and what a dictionary says the index holds after each of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from everglade.index.store import Store, is_index
from everglade.reference import Impacts, quantise_documents, quantise_queries, search_impacts
from everglade.texts import Document
from everglade.vectors import SparseMatrix

N_TERMS = 24
SCALE = 60.0
IDENTITY = "0123456789abcdef" * 2
IDS = [f"d{place:02}" for place in range(20)]
N_CHANGES = 9
QUERIES = SparseMatrix.from_rows([{term: 1.0, (term + 1) % N_TERMS: 0.5} for term in range(0, N_TERMS, 4)], N_TERMS)
SEGMENT_DOCUMENTS = 6  # two files for one commit, where everglade.index.segments is told so

Rows = dict[str, dict[int, float]]
Change = tuple[str, Any]
Contents = dict[str, tuple[Any, ...]]


def changes() -> list[Change]:
    """Make the index, then add, replace, delete and merge, by word and in the background."""
    generator = random.Random(5)
    made: list[Change] = [("create", None)]
    for number in range(N_CHANGES):
        if number % 4 == 3:
            made.append(("delete", generator.sample(IDS, 9)))
            continue
        rows = {
            id: {term: generator.choice([0.5, 1.0, 2.0]) for term in generator.sample(range(N_TERMS), 3)}
            for id in generator.sample(IDS, 8)
        }
        made.append(("add", (number, rows)))
        if number in (4, 8):
            made.append(("optimise", None))
    return made


def document(id: str, number: int) -> Document:
    """Give the text that change `number` stores for a document."""
    return Document(id, f"text {number} of {id} " * (3 + number), f"title {number}", {"change": number})


def states() -> Iterator[Contents | None]:
    """Give what the index holds before the first change and after each: None where there is no index yet."""
    yield None
    held: dict[str, tuple[int, dict[int, float]]] = {}
    for what, values in changes():
        if what == "add":
            number, rows = values
            held = {**held, **{id: (number, row) for id, row in rows.items()}}
        elif what == "delete":
            held = {id: row for id, row in held.items() if id not in values}
        yield _expected(held)


def _expected(held: dict[str, tuple[int, dict[int, float]]]) -> Contents:
    matrix = SparseMatrix.from_rows([row for _, row in held.values()], N_TERMS)
    impacts = Impacts(matrix.indptr, matrix.terms, quantise_documents(matrix.weights, SCALE))
    contents: Contents = {}
    for place, (id, (number, _)) in enumerate(held.items()):
        span = slice(matrix.indptr[place], matrix.indptr[place + 1])
        vector = list(zip(impacts.terms[span].tolist(), impacts.impacts[span].tolist(), strict=True))
        contents[id] = (vector, document(id, number))
    rankings = search_impacts(impacts, list(held), quantise_queries(QUERIES)[0], len(IDS))
    contents[""] = tuple((ranking.ids, list(ranking.scores)) for ranking in rankings)
    return contents


def read_store(store: Store) -> Contents:
    """Read everything that an open index holds, and what it finds, under the id ""."""
    contents: Contents = {}
    for id in store.snapshot.ids():
        terms, impacts = store.vector(id)
        contents[id] = (list(zip(terms.tolist(), impacts.tolist(), strict=True)), store.document(id))
    found = store.search(QUERIES, len(IDS))
    contents[""] = tuple(
        ([id for id in ids if id is not None], [score for score in scores if score])
        for ids, scores in zip(found.ids.tolist(), found.integer_scores.tolist(), strict=True)
    )
    return contents


def read_index(folder: Path) -> Contents | None:
    """Open an index as a new process would, and read it; None if there is none."""
    if not is_index(folder) and not folder.exists():
        return None
    with Store.open(folder) as store:
        return read_store(store)


def run_change(folder: Path, change: Change) -> None:
    """Do one change in a store of its own."""
    what, values = change
    if what == "create":
        Store.create(folder, n_terms=N_TERMS, impact_scale=SCALE, identity=IDENTITY).close()
        return
    with Store.open(folder) as store:
        apply(store, change)


def apply(store: Store, change: Change) -> None:
    """Do one change that is not the first."""
    what, values = change
    if what == "add":
        number, rows = values
        matrix = SparseMatrix.from_rows(list(rows.values()), N_TERMS)
        store.add([document(id, number) for id in rows], list(rows), matrix)
    elif what == "delete":
        store.delete(values)
    else:
        store.optimise()


def run_all(folder: Path, note: Callable[[str], None]) -> None:
    """Do every change, the store staying open; say when each begins and when it was acknowledged."""
    store = None
    try:
        for number, change in enumerate(changes()):
            note(f"begin {number}")
            if store is None:
                store = Store.create(folder, n_terms=N_TERMS, impact_scale=SCALE, identity=IDENTITY)
            else:
                apply(store, change)
            note(f"ack {number}")
    finally:
        if store is not None:
            store.close()


def tidy_up(folder: Path) -> Contents:
    """Become the writer, add a document and take it away again; what is left over must be gone."""
    with Store.open(folder) as store:
        store.add(None, ["new"], SparseMatrix.from_rows([{0: 1.0}], N_TERMS))
        assert store.document("new") is not None
        assert store.delete(["new"]) == 1
    # Closing a store may have put segments together.
    with Store.open(folder) as store:
        contents = read_store(store)
        names = {segment.row.name for segment in store.snapshot.segments}
    # SQLite takes the place of a journal that holds nothing yet; it does not remove it.
    found = {path.name for path in folder.iterdir()} - {"catalog.sqlite-journal"}
    assert found == {*names, "catalog.sqlite", "write.lock"}, found
    return contents
