"""kill -9 at random moments of `everglade run`, then the same command again: is the end the same, byte for byte?

    python benchmarks/recipe_kill.py WORK --kills 20

runs a small recipe on a part of the bundled collection once without interruption, then again while it is killed at
random moments, over and over, until it has been killed so often and has ended. Times are left out of the comparison:
times.json, times.jsonl, and the fields of log.jsonl that are times. Writes results/recipe_kill.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from everglade.bundled import bundled_collection
from everglade.texts import Query, group_qrels, open_collection
from machine import write_result

HERE = Path(__file__).parent
N_QUERIES, N_DOCUMENTS = 60, 200
SETTINGS = {
    "bm25.negatives_per_query": 4,
    "first.steps": 20,
    "first.batch_size": 8,
    "first.lambda_ramp_steps": 20,
    "first.validate_every": 20,
    "first.checkpoint_every": 4,
    "teacher.steps": 6,
    "teacher.validate_every": 6,
    "teacher.checkpoint_every": 2,
    "negatives.negatives_per_query": 2,
    "train.steps": 20,
    "train.batch_size": 8,
    "train.lambda_ramp_steps": 20,
    "train.validate_every": 10,
    "train.checkpoint_every": 4,
    "encode.shard_rows": 64,
    "encode-start.shard_rows": 64,
    "score.shard_examples": 16,
    "hold_out": 0.2,
    "validate_in": 0.1,
}
"""self-distil-small with so few steps that killing it 20 times takes minutes.

It has every kind of stage but import and pretrain; tests/recipes/test_kill.py kills a recipe with pretrain.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for both runs; an interrupted benchmark goes on in it")
    parser.add_argument("--recipe", default="self-distil-small")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="more settings of the recipe")
    arguments = parser.parse_args()
    arguments.work.mkdir(exist_ok=True)
    out, whole, collection = (arguments.work / name for name in ("out", "whole", "collection"))
    if not collection.exists():
        write_part(collection)
    pairs = [f"{key}={value}" for key, value in SETTINGS.items()] + arguments.set
    command = [sys.executable, "-m", "everglade.cli", "run", arguments.recipe, "--collection", str(collection)]
    command += ["--out", str(out), "--threads", "1", "--quiet", *(word for pair in pairs for word in ("--set", pair))]

    done = arguments.work / "kills.json"
    if not done.exists():
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        out.rename(whole)  # names of models are written down with their path, so both runs have one
        done.write_text(json.dumps({"seconds": round(time.monotonic() - began, 1), "kills": []}))
    known = json.loads(done.read_text())
    print(f"without interruption: {known['seconds']:.0f} s, {len(known['kills'])} kills so far", flush=True)

    moments = known["kills"]
    draw = random.Random(f"{arguments.seed} {len(moments)}")
    while len(moments) < arguments.kills:
        # Short enough for several kills before the run is through, long enough for it to get on.
        moment = draw.uniform(0.05, 0.35) * known["seconds"]
        place = kill_after(command, moment, out)
        if place is None:
            require_same(whole, out)
            shutil.rmtree(out)
            continue
        moments.append({"seconds": round(moment, 2), "in": place})
        done.write_text(json.dumps(known))
        print(f"kill {len(moments)} after {moment:.1f} s, in {place}", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    require_same(whole, out)
    files = sum(path.is_file() for path in whole.rglob("*"))
    result = {
        "recipe": arguments.recipe,
        "settings": pairs,
        "seconds": known["seconds"],
        "kills": moments,
        "files": files,
        "differences": 0,
    }
    write_result("recipe_kill", result)
    print(f"{arguments.kills} kills, {files} files, no difference")


def write_part(folder: Path) -> None:
    """Write a part of the bundled collection in BEIR form: some queries, what is relevant to them, some documents."""
    source = open_collection(bundled_collection())
    (folder / "qrels").mkdir(parents=True)
    queries: list[Query] = []
    needed: set[str] = set()
    for split, count in (("train", N_QUERIES), ("test", N_QUERIES // 2)):
        chosen = source.queries(split)[:count]
        judged = group_qrels(source.qrels(split))
        lines = [f"{q.id}\t{key}\t{value}\n" for q in chosen for key, value in judged[q.id].items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
        needed.update(key for q in chosen for key in judged[q.id])
        queries += chosen
    documents = list(source.documents())
    kept = needed | {document.id for document in documents[:N_DOCUMENTS]}
    rows = [{"_id": d.id, "title": d.title, "text": d.text} for d in documents if d.id in kept]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": q.id, "text": q.text}) + "\n" for q in queries))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def kill_after(command: list[str], seconds: float, out: Path) -> str | None:
    """Give the stage that was killed; None if the run ended before."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment()) as process:
        try:
            if process.wait(seconds) != 0:
                raise SystemExit(f"the run failed by itself, after {seconds:.1f} s at most")
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            begun = [path for path in sorted(out.glob("[0-9]*-*")) if not (path / "manifest.json").exists()]
            return begun[0].name if begun else "no stage"
    return None


def require_same(whole: Path, out: Path) -> None:
    found = _same().differences(whole, out)
    if found:
        raise SystemExit("NOT THE SAME:\n" + "\n".join(found))


def _same():
    path = HERE.parent / "tests" / "recipes" / "same.py"
    spec = importlib.util.spec_from_file_location("same", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
