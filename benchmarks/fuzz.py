"""libFuzzer on the reader of segments, under the address and undefined-behaviour sanitizers.

    python benchmarks/fuzz.py WORK [--runs 10000000] [--seconds 3600] [--seed 1] [--compiler clang++-16]

builds engine/fuzz in WORK, begins with the files of tests/engine/golden and what WORK/corpus holds already, and runs
until so many executions or seconds are over. Adds the run to those in results/fuzz.json, which says how many executions
they make together. What crashes lies in WORK/crashes then: mend the engine, and keep the file in tests/attacks.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from machine import ROOT, describe_machine, write_result

MOST_BYTES = 8192
RESULT = ROOT / "benchmarks" / "results" / "fuzz.json"


def build(work, compiler):
    folder = work / "build"
    define = ["-DEVERGLADE_FUZZ=ON", f"-DCMAKE_CXX_COMPILER={compiler}"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *define], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder, "--target", "fuzz_segment"], check=True, stdout=subprocess.DEVNULL)
    return folder / "engine" / "fuzz" / "fuzz_segment"


def figure(text, pattern):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else None


def compiler_name(compiler):
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.partition("\n")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiler", default=shutil.which("clang++-16") or shutil.which("clang++"))
    arguments = parser.parse_args()
    if arguments.compiler is None:
        sys.exit("libFuzzer comes with clang: install clang 16 or newer.")
    corpus, crashes, log = (arguments.work.absolute() / name for name in ("corpus", "crashes", "log"))
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    for path in (ROOT / "tests" / "engine" / "golden").glob("*.segment"):
        shutil.copy(path, corpus)
    command = [build(arguments.work.absolute(), arguments.compiler), f"-runs={arguments.runs}"]
    command += [f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}", f"-max_len={MOST_BYTES}"]
    command += ["-print_final_stats=1", "-rss_limit_mb=2048", f"-artifact_prefix={crashes}/", corpus]
    began = time.monotonic()
    with log.open("w") as file:
        code = subprocess.run(command, stderr=file, check=False).returncode
    text = log.read_text(errors="replace")
    result = {
        "executions": figure(text, r"number_of_executed_units: (\d+)"),
        "seconds": round(time.monotonic() - began),
        "seed": arguments.seed,
        "exit_code": code,
        "edges_covered": figure(text, r"cov: (\d+)"),
        "corpus_files": sum(1 for _ in corpus.iterdir()),
        "crashes": sorted(path.name for path in crashes.iterdir() if not path.name.startswith("slow-unit")),
        "compiler": compiler_name(arguments.compiler),
        "commit": describe_machine()["commit"],
        "date": describe_machine()["date"],
    }
    print(result)
    runs = [*(json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []), result]
    write_result("fuzz", {"executions": sum(run["executions"] or 0 for run in runs), "runs": runs})
    sys.exit(1 if code or result["crashes"] else 0)


if __name__ == "__main__":
    main()
