"""The printed form of a result: one line for each engine, one for each search worth a line, one for each aim."""

from __future__ import annotations

from aims import fastest
from peers import APPROXIMATE

ENGINE_LINE = "{:20} {:>9} {:>8} {:>8} {:>8} {:>7} {:>8} {:>8}  {}"
SEARCH_LINE = "{:20} {:32} {:>7} {:>9} {:>9} {:>7} {:>6}"


def print_table(result):
    print(f"{result['documents']:,} documents, {result['postings']:,} postings, {result['bytes_per_s'] / 1e9:.1f} GB/s")
    print(ENGINE_LINE.format("engine", "version", "build s", "cpu s", "MB", "B/post", "load s", "RSS MB", ""))
    for row in result["engines"]:
        print_engine(row)
    for queries in result["queries"]:
        for k in (10, 1000):
            print(f"\n{queries}, k={k}, {result['postings_of_a_query'][queries]:,.0f} postings a query")
            print(SEARCH_LINE.format("engine", "setting", "recall", "median ms", "p99 ms", "x floor", "cores"))
            for row in result["engines"]:
                for one in worth_a_line(row, queries, k):
                    print_search(row["engine"], one)


def print_engine(row):
    if "build_s" not in row:
        print(f"{row['engine']:20} {row['failed']}")
        return
    numbers = (row["build_s"], row["build_cpu_s"], row["bytes"] / 1e6, row.get("bytes_per_posting"), row.get("load_s"))
    shown = [f"{number:.2f}" if number is not None else "" for number in numbers]
    resident = f"{row['resident_mb']:.0f}" if "resident_mb" in row else ""
    print(ENGINE_LINE.format(row["engine"], row["version"], *shown, resident, row.get("failed", "")))


def worth_a_line(row, queries, k):
    """Exact searches, those of the whole product, and the quickest for each recall; the result file has them all."""
    mine = [one for one in row.get("searches", ()) if (one["queries"], one["k"]) == (queries, k) and "median_ms" in one]
    shown = [one for one in mine if one["kind"] != APPROXIMATE or one["setting"].startswith("index")]
    for least in (0.0, 0.9, 0.95, 0.97, 0.99):
        best = fastest([(row["engine"], one) for one in mine if one["kind"] == APPROXIMATE], least)
        if best and best[1] not in shown:
            shown.append(best[1])
    return shown


def print_search(engine, one):
    numbers = (f"{one['recall']:.4f}", f"{one['median_ms']:.3f}", f"{one['p99_ms']:.3f}")
    floor = f"{one['times_floor']:.1f}"
    print(SEARCH_LINE.format(engine, one["setting"], *numbers, floor, f"{one['cores_used']:.2f}"))


def print_aims(aims):
    print()
    for aim in aims:
        value = "not measured" if aim["value"] is None else f"{aim['value']:.2f}"
        verdict = {True: "met", False: "missed", None: ""}[aim["met"]]
        print(f"{aim['aim']}: {value} (aim {aim['limit']}) {verdict}")
        if "ours" in aim:
            print(f"    {aim['ours']}; {aim['theirs']}")
