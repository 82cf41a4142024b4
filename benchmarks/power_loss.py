"""A million power cuts, and a fault at every call: what tests/durability samples, in full.

    python benchmarks/power_loss.py [--states 1000000] [--every 1] [--kill-every 1] [--seed 1] [--seconds S] [PART ...]

runs the script of tests/durability/scripted.py on a disk that can be cut off at every call, draws that many different
states of it, or what SECONDS allow, and opens each (`power`); disturbs every EVERYth call of every change in eight ways
(`faults`); and cuts the power while a process recovers from a kill at every KILL_EVERYth call (`killed`). Parts that
are named are done alone, and take their places in results/power_loss.json beside the others. Exits with 1 if anything
was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from machine import ROOT, write_result

DURABILITY = ROOT / "tests" / "durability"
RESULT = ROOT / "benchmarks" / "results" / "power_loss.json"
PARTS = ("faults", "killed", "power")
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
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them without a name")
    parser.add_argument("--states", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--kill-every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    seed = arguments.seed
    ways = {
        "faults": (arguments.every, seed),
        "killed": (arguments.kill_every, seed),
        "power": (arguments.states, seed, "", arguments.seconds),
    }
    if unknown := set(arguments.parts) - set(ways):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: name some of {', '.join(PARTS)}.")
    wrong = 0
    for part in arguments.parts or PARTS:
        found = run(part, *ways[part])
        print(part, json.dumps(found, indent=2), flush=True)
        wrong += found["wrong"]
        earlier = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        earlier.pop("machine", None)
        write_result("power_loss", {**earlier, part: found})
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
