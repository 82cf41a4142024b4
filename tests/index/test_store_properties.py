"""The store against a dictionary searched by brute force: equal ids and integer scores, whatever was done before."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from everglade.index.segments import SEGMENT_DOCUMENTS
from everglade.index.store import Store
from everglade.texts import Document

# Ids whose order differs between code points, UTF-16 and collations; few, so that they meet again.
IDS = ["a", "B", "b", "10", "9", "é", "e\u0301", "\ufb01", "\U0001d11e", "a b", "zz", "-"]
ids = st.sampled_from(IDS)
weights = st.sampled_from([0.004, 0.5, 1.0, 1.0, 2.0, 3.0, 7.5])
rows = st.dictionaries(st.integers(0, 11), weights, max_size=5)
batches = st.lists(st.tuples(ids, rows), max_size=8)
changes = st.one_of(
    st.tuples(st.just("add"), batches),
    st.tuples(st.just("delete"), st.lists(ids, max_size=5)),
    st.tuples(st.just("reopen"), st.none()),
)
quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder():
    """A folder in memory where there is one: durability is not what these tests are about."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)


def apply(store, model, kind, values):
    if kind == "add":
        store.add(None, [id for id, _ in values], model_matrix(values))
        model.rows.update(values)
    else:
        existed = sum(model.rows.pop(id, None) is not None for id in values)
        assert store.delete(values) == existed


def model_matrix(values):
    from everglade.vectors import SparseMatrix

    return SparseMatrix.from_rows([row for _, row in values], 12)


@settings(quick, max_examples=120)
@given(history=st.lists(changes, max_size=8))
def test_any_history_gives_the_reference_ids_and_integer_scores(history, folder, small_vectors):
    path = folder / "i"
    shutil.rmtree(path, ignore_errors=True)
    store, model = Store.create(path, n_terms=12), small_vectors.Model()
    try:
        for kind, values in history:
            if kind == "reopen":
                store.close()
                store = Store.open(path)
            else:
                apply(store, model, kind, values)
        small_vectors.require_equal(store, model)
        store.close()
        store = Store.open(path)
        small_vectors.require_equal(store, model)
    finally:
        store.close()


@settings(quick, max_examples=40)
@given(data=st.data())
def test_the_layout_of_segments_changes_nothing(data, folder, small_vectors, monkeypatch):
    documents = data.draw(st.dictionaries(ids, rows, min_size=1))
    answers = []
    for layout in range(2):
        order = data.draw(st.permutations(list(documents.items())))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
        again = data.draw(st.lists(ids, max_size=3))
        most = data.draw(st.sampled_from([1, 2, SEGMENT_DOCUMENTS]))
        monkeypatch.setattr("everglade.index.segments.SEGMENT_DOCUMENTS", most)
        path = folder / str(layout)
        shutil.rmtree(path, ignore_errors=True)
        with Store.create(path, n_terms=12, impact_scale=40.0) as store:
            store.add(None, again, model_matrix([(id, {3: 2.0}) for id in again]))
            for start, stop in zip([0, *cuts], [*cuts, len(order)], strict=True):
                part = order[start:stop]
                store.add(None, [id for id, _ in part], model_matrix(part))
            store.delete([id for id in again if id not in documents])
            found = store.search(small_vectors.every_term(), 5, threads=1 + layout)
            answers.append((found.ids.tolist(), found.integer_scores.tolist(), found.scores.tolist()))
    assert answers[0] == answers[1]


class StoreMachine(RuleBasedStateMachine):
    """A store with a second, reading store beside it, and a dictionary that says what both should hold."""

    helpers = None

    @initialize()
    def create(self):
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.store = Store.create(self.folder / "i", n_terms=12)
        self.reader = Store.open(self.folder / "i")
        self.model, self.texts = self.helpers.Model(), {}

    @rule(batch=batches)
    def add_vectors(self, batch):
        self.store.add(None, [id for id, _ in batch], model_matrix(batch))
        self.model.rows.update(batch)
        self.texts.update((id, Document(id, "")) for id, _ in batch)

    @rule(batch=batches, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    def add_documents(self, batch, text):
        documents = [Document(id, text + str(place), text, {"n": place}) for place, (id, _) in enumerate(batch)]
        self.store.add(documents, [id for id, _ in batch], model_matrix(batch))
        self.model.rows.update(batch)
        self.texts.update((document.id, document) for document in documents)

    @rule(gone=st.lists(ids, max_size=6))
    def delete(self, gone):
        apply(self.store, self.model, "delete", gone)
        for id in gone:
            self.texts.pop(id, None)

    @rule(most=st.integers(1, 9))
    def optimise(self, most):
        assert self.store.optimise(most) == len(self.store.snapshot.segments)
        assert all(segment.row.deleted == 0 for segment in self.store.snapshot.segments)

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.folder / "i")

    @rule()
    def hand_over(self):
        """The reader becomes the writer, and the other way round."""
        self.store.close()
        self.store, self.reader = self.reader, Store.open(self.folder / "i")
        self.store.refresh()

    @rule()
    def refresh(self):
        self.reader.refresh()
        self.require_filtered(self.reader)
        self.helpers.require_equal(self.reader, self.model)

    @invariant()
    def holds_what_the_model_holds(self):
        if hasattr(self, "store"):
            self.helpers.require_equal(self.store, self.model)
            assert all(self.store.vector(id) is None for id in IDS if id not in self.model.rows)
            assert {id: self.store.document(id) for id in IDS} == {id: self.texts.get(id) for id in IDS}
            self.require_filtered(self.store)

    def require_filtered(self, store):
        snapshot, shown = store.view({"n": [0, 2]})
        found = [segment.ids(here) for segment, here in zip(snapshot.segments, snapshot.locals_of(shown), strict=True)]
        matching = {id for id, text in self.texts.items() if text.metadata and text.metadata["n"] in (0, 2)}
        assert {id for ids in found for id in ids} == matching
        assert shown.documents == len(matching)

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.reader.close()
            shutil.rmtree(self.folder)


def test_a_store_behaves_like_a_dictionary(small_vectors, monkeypatch):
    """Merges are on their way at nearly every step, and take effect some commits later."""
    for name, value in {"TIER": 2, "FIRST_TIER_DOCUMENTS": 2, "MERGED_DOCUMENTS": 9}.items():
        monkeypatch.setattr(f"everglade.index.merging.{name}", value)
    monkeypatch.setattr("everglade.index.background.DOCUMENTS_FOR_A_COMMIT", 3)
    StoreMachine.helpers = small_vectors
    run_state_machine_as_test(StoreMachine, settings=settings(quick, max_examples=40, stateful_step_count=12))
