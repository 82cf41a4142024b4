"""A million power cuts, and a fault at every call: what tests/durability samples, in full.

    python benchmarks/power_loss.py [--states 1000000] [--every 1] [--seed 1]

runs the script of tests/durability/scripted.py on a disk that can be cut off at every call, draws that many different
states of it and opens each; then disturbs every EVERYth call of every change in eight ways. Writes
results/power_loss.json. Exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from machine import ROOT, write_result

DURABILITY = ROOT / "tests" / "durability"
sys.path.insert(0, str(DURABILITY))
from watched import run_watched  # noqa: E402 - it lies beside the tests


def run(*words):
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        done = run_watched(DURABILITY / "trials.py", words[0], folder, *map(str, words[1:]))
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    faults = run("faults", arguments.every, arguments.seed)
    print(json.dumps(faults, indent=2), flush=True)
    power = run("power", arguments.states, arguments.seed)
    print(json.dumps(power, indent=2))
    write_result("power_loss", {"power": power, "faults": faults})
    sys.exit(1 if power["wrong"] or faults["wrong"] else 0)


if __name__ == "__main__":
    main()
