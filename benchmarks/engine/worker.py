"""One engine in a process of its own: `worker.py build NAME FOLDER` and `worker.py serve NAME FOLDER`; run.py runs it.

FOLDER holds `documents/` and one folder for each set of queries, as collection.py writes them; the index goes to or
comes from `FOLDER/indexes/NAME`. A build prints one JSON line. A server prints one when it is ready, then one for each
line it reads, {"do": "round", "queries", "k", "setting", "times", "found"} or {"do": "batch", ...}, until its input
ends. Engines print what they like: their standard output is sent after their errors.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
from collection import open_rows
from peers import make


def resident_mb():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def bytes_of(file):
    """What a file takes on the disk, which is less than its size where it has holes."""
    status = file.stat()
    return min(status.st_size, status.st_blocks * 512)


def own_channel():
    """Keep the standard output for answers, and send to the errors whatever else would be printed there."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**answer):
        print(json.dumps(answer), file=channel, flush=True)

    return say


def build(name, folder, say):
    engine = make(name)
    documents = open_rows(folder / "documents")
    target = folder / "indexes" / name
    target.mkdir(parents=True)
    # Copied into memory first, so that no page fault of the input is timed.
    documents = documents._replace(**{field: np.array(array) for field, array in documents._asdict().items()})
    begin, cpu = time.perf_counter(), time.process_time()
    engine.build(documents, target)
    say(
        version=engine.version,
        build_s=time.perf_counter() - begin,
        build_cpu_s=time.process_time() - cpu,
        build_peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        bytes=sum(bytes_of(file) for file in target.rglob("*") if file.is_file()),
    )


class Server:
    def __init__(self, name, folder):
        self.folder = folder
        self.engine = make(name)
        self.before_mb = resident_mb()
        begin = time.perf_counter()
        self.engine.load(folder / "indexes" / name)
        self.load_s = time.perf_counter() - begin
        self.queries = {}

    def describe(self, ks):
        settings = {k: [(setting.name, setting.kind) for setting in self.engine.settings(k)] for k in ks}
        return {
            "load_s": self.load_s,
            "resident_mb": resident_mb(),
            "resident_before_load_mb": self.before_mb,
            "settings": settings,
            "batch": hasattr(self.engine, "batch"),
        }

    def prepared(self, name):
        if name not in self.queries:
            rows = open_rows(self.folder / name)
            self.queries[name] = [self.engine.prepare(*rows.row(i)) for i in range(rows.count)]
        return self.queries[name]

    def round(self, queries, k, setting, times, found):
        """Search each query once; write milliseconds to `times` and, if asked for, document numbers to `found`."""
        queries = self.prepared(queries)
        parameters = self.engine.settings(k)[setting].parameters
        search = self.engine.search
        search(queries[0], k, **parameters)
        taken = np.empty(len(queries))
        hits = np.full((len(queries), k), -1, dtype=np.int64)
        cpu, wall = time.process_time(), time.perf_counter()
        for i, query in enumerate(queries):
            begin = time.perf_counter()
            result = search(query, k, **parameters)
            taken[i] = time.perf_counter() - begin
            if found:
                documents = self.engine.documents(result)
                hits[i, : len(documents)] = documents
        cores_used = (time.process_time() - cpu) / (time.perf_counter() - wall)
        np.save(times, taken * 1000)
        if found:
            np.save(found, hits)
        return {"cores_used": cores_used, "resident_mb": resident_mb()}

    def batch(self, queries, k, threads):
        search = self.engine.batch(self.prepared(queries), k, threads)
        begin = time.perf_counter()
        search()
        return {"seconds": time.perf_counter() - begin}


def serve(name, folder, say):
    server = Server(name, folder)
    say(**server.describe([10, 1000]))
    for line in sys.stdin:
        request = json.loads(line)
        say(**getattr(server, request.pop("do"))(**request))


def main():
    do, name, folder = sys.argv[1:]
    say = own_channel()
    {"build": build, "serve": serve}[do](name, Path(folder), say)


if __name__ == "__main__":
    main()
