"""The processes that engines run in: how they are started, asked, timed out and described when they fail."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
SMALL_PRODUCTS = {"OPENBLAS_NUM_THREADS": "1"}
"""order.py multiplies many small matrices, which threads make slower."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class EngineFailed(Exception):
    """An engine that ended, raised or took too long; its message says which."""


class EngineProcess:
    """One worker. Its standard error is kept in a file beside the indexes, and quoted when it fails."""

    def __init__(self, python, do, name, folder, one_thread):
        self.name, self.do = name, do
        self.log = folder / f"{name}.{do}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, WORKER, do, name, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | SMALL_PRODUCTS | (ONE_THREAD if one_thread else {}),
            )

    def answer(self, seconds):
        """Wait for the next line of JSON."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(seconds, 0))
        if not ready:
            raise EngineFailed(f"{self.do}: not done within the budget, {seconds:.0f} s of it left")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise EngineFailed(f"{self.do}: ended with {code}: {self.last_words()}")
        return json.loads(line)

    def ask(self, seconds, **request):
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.answer(0)  # which says how it ended
        return self.answer(seconds)

    def last_words(self):
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def stop(self):
        self.process.kill()
        self.process.communicate()


class Budget:
    """Seconds that one engine may still take, over its build and all its rounds."""

    def __init__(self, seconds):
        self.left = seconds

    def spend(self, act, *arguments, **request):
        begin = time.monotonic()
        try:
            return act(self.left, *arguments, **request)
        finally:
            self.left -= time.monotonic() - begin
