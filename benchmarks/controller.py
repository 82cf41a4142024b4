"""The sparsity controller on a real model: how near the target it is at the end of the ramp, and how well it holds it.

    python benchmarks/controller.py --collection BEIR [--steps 400] [--only "half dense"]

SPLADE-tiny with the bias of its decoder raised by 1 (dense) or 1/2 (half dense), lowered by 1 (sparse) and as it is;
InfoNCE on the collection's train split with BM25 negatives, batch 32, one seed each. The ramp takes half of the steps.
Terms are those of the batches, which spread by themselves, so means are taken over 20 steps around the ramp's end, the
30 after, and the last 30. FLOPS is that of the batch: what a term's share of the queries times its share of the
documents sums to.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from everglade import Splade
from everglade.bundled import bundled_model
from everglade.distill.bm25 import bm25_run
from everglade.distill.examples import TrainingSet
from everglade.distill.negatives import mine_negatives
from everglade.texts import group_qrels, open_collection
from everglade.train.config import TrainConfig
from everglade.train.loop import train
from machine import ROOT, describe_machine, write_result

RESULT = ROOT / "benchmarks" / "results" / "controller.json"

STARTS = {
    "dense": (1.0, {"target_doc_terms": 120, "target_query_terms": 30}),
    "sparse": (-1.0, {"target_doc_terms": 150, "target_query_terms": 35}),
    "as it is": (0.0, {"target_doc_terms": 170, "target_query_terms": 45}),
    "half dense": (0.5, {"target_doc_terms": 140, "target_query_terms": 40}),
    "dense, FLOPS": (1.0, {"target_flops": 8.0}),
    "sparse, FLOPS": (-1.0, {"target_flops": 6.0}),
    "as it is, FLOPS": (0.0, {"target_flops": 8.0}),
}
MEASURED = {"target_doc_terms": "document_terms", "target_query_terms": "query_terms", "target_flops": "flops"}


def make_training_set(path):
    source = open_collection(path)
    qrels = group_qrels(source.qrels("train"))
    queries = [query for query in source.queries("train") if query.id in qrels]
    run = bm25_run(source.documents(), queries, k=50)
    mined = mine_negatives(run, qrels, depth=50, negatives_per_query=30, seed=1)
    documents = {document.id: document.full_text for document in source.documents()}
    return TrainingSet({query.id: query.text for query in queries}, documents, mined.examples)


def measure(raised, targets, training_set, steps):
    config = TrainConfig(
        steps=steps,
        batch_size=32,
        learning_rate=1e-4,
        dropout=False,
        precision="bf16",
        max_query_length=64,
        max_document_length=128,
        lambda_ramp_steps=steps // 2,
        log_every=1,
        checkpoint_every=steps,
        **targets,
    )
    model = Splade.load(bundled_model())
    with torch.no_grad():
        model.mlm.get_output_embeddings().bias += raised
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, model, training_set, Path(folder) / "run")
        log = [json.loads(line) for line in result.log.read_text().splitlines()]
    ramp = steps // 2
    spans = {"end of the ramp": (ramp - 10, ramp + 10), "then": (ramp + 10, ramp + 40), "end": (steps - 30, steps)}
    report = {}
    for name, target in targets.items():
        values = [record[MEASURED[name]] for record in log if MEASURED[name] in record]
        means = {span: statistics.fmean(values[slice(*place)]) for span, place in spans.items()}
        off = {f"{span}, off by %": round(100 * (mean / target - 1), 1) for span, mean in means.items()}
        spread = round(100 * statistics.stdev(values[-30:]) / target, 1)
        report[name] = {"target": target, "start": round(values[0], 1), **off, "spread of a batch, %": spread}
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", choices=STARTS, help="one start, which takes its place beside the others")
    options = parser.parse_args()
    training_set = make_training_set(options.collection)
    commit = describe_machine()["commit"]
    for name, (raised, targets) in STARTS.items():
        if options.only in (None, name):
            found = {"steps": options.steps, "commit": commit} | measure(raised, targets, training_set, options.steps)
            print(name, found, flush=True)
            earlier = json.loads(RESULT.read_text())["starts"] if RESULT.exists() else {}
            write_result("controller", {"torch": torch.__version__, "starts": earlier | {name: found}})


if __name__ == "__main__":
    main()
