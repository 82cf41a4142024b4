"""Qdrant's engine in the process, through qdrant-edge-py: one shard, float values, one search thread."""

from __future__ import annotations

from importlib.metadata import version

import qdrant_edge as qdrant

from peers import EXACT, Setting

BATCH = 2_000
FIELD = "text"


class Engine:
    version = version("qdrant-edge-py")

    def build(self, rows, folder):
        (folder / "shard").mkdir()
        shard = qdrant.EdgeShard.create(str(folder / "shard"), self.config())
        for start, part in rows.chunks(BATCH):
            points = []
            for i in range(part.count):
                terms, weights = part.row(i)
                vector = qdrant.SparseVector(terms.tolist(), weights.tolist())
                points.append(qdrant.Point(start + i, {FIELD: vector}, None))
            shard.update(qdrant.UpdateOperation.upsert_points(points))
        shard.flush()
        shard.optimize()
        shard.flush()
        shard.close()

    def load(self, folder):
        self.shard = qdrant.EdgeShard.load(str(folder / "shard"), self.config())

    def config(self):
        return qdrant.EdgeConfig(sparse_vectors={FIELD: qdrant.EdgeSparseVectorParams()}, max_search_threads=1)

    def settings(self, k):
        return [Setting("sparse", EXACT, {})]

    def prepare(self, terms, weights):
        return qdrant.Query.Nearest(qdrant.SparseVector(terms.tolist(), weights.tolist()), FIELD)

    def search(self, query, k):
        return self.shard.query(qdrant.QueryRequest(k, query=query, with_payload=False, with_vector=False))

    def documents(self, found):
        return [point.id for point in found]
