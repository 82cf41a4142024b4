"""One step of training: ours beside sentence-transformers, same model, triples, lengths and threads, with the loss.

    python benchmarks/training_step.py --model MODEL --collection BEIR [--steps 5]

A step is 32 x (query, positive, negative), cut at 128 tokens: tokenise, MarginMSE and FLOPS, gradients, clip, AdamW,
all in float32 without dropout. Ours runs through `everglade.train.loop.train`; sentence-transformers through
SpladeLoss(SparseMarginMSELoss) with torch's AdamW, without its Trainer, which would only add to it. Two models: MODEL,
and a BERT of 6 layers of width 768 with random weights whose bias lets 9 % of the terms of a document be active. In
bf16 ours runs with `precision = "bf16"` and sentence-transformers under torch's autocast; each is compared with its
like.

Every way has a process of its own. Shown is the best step after the first, and all of them; memory is what the process
grew by at its highest; `first loss` is the ranking loss before anything was learned, and the run fails if ours and
theirs differ in float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from everglade import Splade
from everglade.distill.bm25 import bm25_run
from everglade.distill.examples import Example, TrainingSet
from everglade.texts import group_qrels, open_collection
from head import DENSITY, memory_bytes
from machine import write_result

BATCH, LENGTH, LAMBDA = 32, 128, 1e-3


def make_triples(collection, count):
    """Give (query, positive, negative, margin) texts: the negative is the first BM25 hit that is not relevant."""
    source = open_collection(collection)
    qrels = group_qrels(source.qrels("train"))
    documents = {document.id: document.full_text for document in source.documents()}
    queries = [query for query in source.queries("train") if query.id in qrels][:count]
    run = bm25_run(source.documents(), queries, k=20)
    triples = []
    for i, query in enumerate(queries):
        relevant = sorted(name for name, relevance in qrels[query.id].items() if relevance > 0)
        negative = next(name for name in run[query.id] if name not in relevant)
        triples.append((query.text, documents[relevant[0]], documents[negative], 1.0 + i % 7))
    return triples


def make_wide_model(tiny, folder, texts):
    """Save a BERT of 6 layers of width 768 with the tokenizer of `tiny`."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    start = Splade.load(tiny)
    config = BertConfig(vocab_size=start.n_terms, num_hidden_layers=6, hidden_dropout_prob=0.0)
    model = Splade(BertForMaskedLM(config), start.tokenizer)
    with torch.no_grad():
        decoder = model.mlm.get_output_embeddings()
        decoder.bias.fill_(100.0)  # nothing is cut off: what comes out are the logits
        logits = torch.expm1(model.eval()(**model.tokenize(texts, "document", max_length=LENGTH))) - 100
        decoder.bias.fill_(-logits.flatten()[::7].quantile(1 - DENSITY).item())
    model.save(folder)


class Watch:
    """Notes the time of every step and the highest memory."""

    def __init__(self):
        self.before, self.times = memory_bytes("VmRSS"), []
        Path("/proc/self/clear_refs").write_text("5")

    def tick(self, *_):
        self.times.append(time.perf_counter())

    def report(self, first_loss):
        steps = [b - a for a, b in zip(self.times[1:], self.times[2:], strict=False)]
        extra = memory_bytes("VmHWM") - self.before
        return {"step_s": steps, "extra_mb": round(extra / 1e6), "first loss": first_loss}


def run_ours(model, triples, steps, precision):
    from everglade.train.config import TrainConfig
    from everglade.train.loop import train

    queries = {f"q{i}": triple[0] for i, triple in enumerate(triples)}
    documents = {f"{side}{i}": triple[1 + k] for i, triple in enumerate(triples) for k, side in enumerate("pn")}
    examples = [Example(f"q{i}", (f"p{i}", f"n{i}"), (triple[3], 0.0)) for i, triple in enumerate(triples)]
    config = TrainConfig(
        steps=steps,
        batch_size=BATCH,
        loss="margin_mse",
        lambda_q=LAMBDA,
        lambda_d=LAMBDA,
        dropout=False,
        precision=precision,
        max_query_length=LENGTH,
        max_document_length=LENGTH,
        warmup_steps=0,
        lambda_ramp_steps=0,
        log_every=1,
        checkpoint_every=steps,
    )
    start = Splade.load(model)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch()
        result = train(
            config, start, TrainingSet(queries, documents, examples), Path(folder) / "run", progress=watch.tick
        )
        report = watch.report(json.loads(result.log.read_text().splitlines()[0])["ranking"])
    report["step_s"] = report["step_s"][: steps - 2]  # the last one also writes the checkpoint
    return report


def run_theirs(model, triples, steps, precision):
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.losses import SparseMarginMSELoss, SpladeLoss

    encoder = SparseEncoder(str(model), device="cpu", model_kwargs={"dtype": torch.float32})
    encoder.max_seq_length = LENGTH
    encoder.eval()[1].train()  # no dropout, as ours; the pooling trains
    loss = SpladeLoss(encoder, SparseMarginMSELoss(encoder), LAMBDA, LAMBDA)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-5, weight_decay=0.01)
    watch, first = Watch(), None
    watch.tick()
    for _ in range(steps):
        columns = list(zip(*triples, strict=True))
        features = [encoder.preprocess(list(column)) for column in columns[:3]]
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            losses = loss(features, torch.tensor(columns[3]))
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        first = float(losses["base_loss"]) if first is None else first
        watch.tick()
    return watch.report(first)


def child(arguments):
    way, model, file, steps, threads = arguments
    torch.set_num_threads(int(threads))
    triples = json.loads(Path(file).read_text())
    who, _, precision = way.partition(", ")
    run = run_ours if who == "ours" else run_theirs
    report = run(model, triples, int(steps), "bf16" if precision == "bf16" else "no")
    print("RESULT", json.dumps(report))


def measure(way, model, file, steps, threads):
    command = [sys.executable, __file__, "--child", way, str(model), str(file), str(steps), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise SystemExit(done.stdout + done.stderr)
    return json.loads(found[0].removeprefix("RESULT "))


def compare(model, file, steps, threads):
    table = {}
    for precision in ("float32", "bf16"):
        pair = [f"{who}, {precision}" for who in ("ours", "sentence-transformers")]
        ours, theirs = (measure(way, model, file, steps, threads) for way in pair)
        if precision == "float32" and abs(ours["first loss"] / theirs["first loss"] - 1) > 1e-3:
            raise SystemExit(f"the first losses differ: {ours['first loss']} and {theirs['first loss']}")
        ours["times faster"] = round(min(theirs["step_s"]) / min(ours["step_s"]), 2)
        ours["share of memory"] = round(ours["extra_mb"] / theirs["extra_mb"], 3)
        for way, row in zip(pair, (ours, theirs), strict=True):
            table[way] = {"best_s": round(min(row["step_s"]), 3), **row}
            print(threads, "threads", Path(model).name, way, table[way], flush=True)
    return table


def main():
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--narrow", action="store_true", help="leave the wide model out")
    options = parser.parse_args()
    result = {"torch": torch.__version__, "batch": BATCH, "length": LENGTH}
    with tempfile.TemporaryDirectory() as folder:
        triples = make_triples(options.collection, BATCH)
        file = Path(folder) / "triples.json"
        file.write_text(json.dumps(triples))
        for threads in (2, 1):
            result[f"{options.model.name}, {threads} threads"] = compare(options.model, file, options.steps, threads)
        if not options.narrow:
            wide = Path(folder) / "bert-6x768"
            make_wide_model(options.model, wide, [triple[1] for triple in triples])
            result["6 layers of width 768, 2 threads"] = compare(wide, file, max(4, options.steps - 1), 2)
    print(result if options.narrow else write_result("training_step", result))


if __name__ == "__main__":
    main()
