"""Models beside SPLADE-tiny, from which they were trained, on sets that none was trained on.

    python benchmarks/study/judge_tiny.py --sets SETS --start SPLADE_TINY [CANDIDATE...] [--result everglade_tiny]

SETS is what make_mixture.py made. Each model reads and searches every set of docs/models/everglade-tiny/suite.toml.
Given are nDCG@10, the difference to the start with its 95 % interval and paired t-test on every set, the means over the
sets, and FLOPS. A candidate may take the bundled model's place if its mean is greater and its mean FLOPS is not.
Candidates are model folders, or NAME=FOLDER; the bundled model, if none is named. Writes
benchmarks/results/RESULT.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from everglade.assess.suite_run import run_suite
from everglade.assess.systems import SystemSpec, Workplace
from everglade.bundled import bundled_model
from everglade.evaluation.significance import compare_values
from everglade.evaluation.suite import read_suite

sys.path.insert(1, str(Path(__file__).parents[1]))
from machine import ROOT, write_result

SUITE = ROOT / "docs" / "models" / "everglade-tiny" / "suite.toml"
MEASURE = "nDCG@10"
START = "start"


def judge(name, folder, suite, sets):
    """Measure a model on every set: what each came to, as `run_suite` gives it."""
    outcome = run_suite(suite, SystemSpec(str(folder), name), sets, workplace=Workplace(100, timed=False))
    return outcome.assessments


def describe(found):
    sets = {
        name: {MEASURE: round(one.means[MEASURE], 4), "flops": round(one.cost.flops, 3)}
        | {side: round(getattr(one.cost, side), 1) for side in ("query_terms", "document_terms")}
        for name, one in found.items()
    }
    means = {key: round(statistics.fmean(row[key] for row in sets.values()), 4) for key in (MEASURE, "flops")}
    return {"mean": means, "sets": sets}


def compare(found, start):
    """Say of each set how far the candidate is from the start."""
    rows = {}
    for name, one in found.items():
        values = {"candidate": one.per_query, START: start[name].per_query}
        (row,) = compare_values(values, START, [MEASURE])
        rows[name] = {
            "difference": round(row.difference, 4),
            "interval": [round(row.low, 4), round(row.high, 4)],
            "p": float(f"{row.p_t:.2g}"),
        }
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="*", metavar="CANDIDATE")
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--result", default="everglade_tiny")
    options = parser.parse_args()
    suite = read_suite(SUITE)
    start = judge(START, options.start, suite, options.sets)
    table = {START: describe(start)}
    print(START, table[START], flush=True)
    for candidate in options.candidates or [f"everglade-tiny={bundled_model()}"]:
        name, _, folder = candidate.rpartition("=")
        name = name or Path(folder).name
        found = judge(name, folder, suite, options.sets)
        table[name] = describe(found) | {"against the start": compare(found, start)}
        before, now = table[START]["mean"], table[name]["mean"]
        table[name]["may replace"] = now[MEASURE] > before[MEASURE] and now["flops"] <= before["flops"]
        print(name, table[name], flush=True)
    print(write_result(options.result, {"models": table}))


if __name__ == "__main__":
    main()
