"""Print the tables of docs/study/miniature/README.md from the JSON of its two studies."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from everglade.report.significance import LEVEL

FOLDER = Path(__file__).parents[2] / "docs" / "study" / "miniature"
NAMES = {"squad": "SQuAD", "scifact": "SciFact", "scitldr": "SciTLDR", "medquad": "MedQuAD"}
MEASURE = "nDCG@10"


def main() -> None:
    """Print all tables, an empty line between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where study.json and backbones/study.json lie")
    folder = parser.parse_args().folder
    print("\n\n".join("\n".join(table) for table in make_tables(folder)))


def make_tables(folder: Path) -> list[list[str]]:
    """Give the lines of every table."""
    study, backbones = (json.loads((place / "study.json").read_text()) for place in (folder, folder / "backbones"))
    return [
        list(tell_level(study, "middle", ["scifact", "scitldr", "tldr", "medquad"])),
        list(tell_levels(study, ["sparse", "middle", "dense"])),
        list(tell_gains(study, "middle")),
        list(tell_level(backbones, "middle", [])),
    ]


def tell_level(study: Mapping[str, Any], level: str, unseen: Sequence[str]) -> Iterator[str]:
    """Give a line for each system at one level: in domain, on each other set, and on those together."""
    columns = [*(NAMES.get(name, name) for name in unseen), "zero-shot" if unseen else "SciTLDR, zero-shot", "FLOPS"]
    yield "| | SQuAD | FLOPS | " + " | ".join(columns) + " |"
    yield "|---|---|---:|" + "---|" * (len(unseen) + 1) + "---:|"
    means = _means(study)
    for scenario, label in _systems(study, level):
        own = {name: found for (one, of, name), found in means.items() if one == scenario and of in (None, level)}
        cells = [_value(own["squad"]), _flops(own["squad"])]
        cells += [_value(own[name], spread=False) for name in unseen]
        yield " | ".join([f"| {label}", *cells, _value(own["zero-shot"]), f"{_flops(own['zero-shot'])} |"])


def tell_levels(study: Mapping[str, Any], levels: Sequence[str]) -> Iterator[str]:
    """Give a line for each scenario that has all levels."""
    yield "| | " + " | ".join(f"{level}: SQuAD | FLOPS | zero-shot" for level in levels) + " |"
    yield "|---|" + "---|---:|---|" * len(levels)
    means = _means(study)
    for scenario, about in study["scenarios"].items():
        if all((scenario, level, "squad") in means for level in levels):
            cells = [
                cell
                for level in levels
                for cell in (
                    _value(means[scenario, level, "squad"]),
                    _flops(means[scenario, level, "squad"]),
                    _value(means[scenario, level, "zero-shot"]),
                )
            ]
            yield " | ".join([f"| {about['label']}", *cells]) + " |"


def tell_gains(study: Mapping[str, Any], level: str) -> Iterator[str]:
    """Give a line for each gain at one level, a star where chance alone would seldom give as much."""
    sets = [*study["sets"], "zero-shot"]
    yield "| | " + " | ".join(NAMES.get(name, name) for name in sets) + " |"
    yield "|---|" + "---:|" * len(sets)
    for gain in study["gains"]:
        if gain["level"] == level:
            cells = [_signed(gain["gain"][name]) + _star(gain["tests"].get(name)) for name in sets]
            yield " | ".join([f"| {gain['name']}", *cells]) + " |"


def _systems(study: Mapping[str, Any], level: str) -> Iterator[tuple[str, str]]:
    known = {(one["scenario"], one["level"]): one["label"] for one in study["means"]}
    yield from ((scenario, label) for (scenario, of), label in known.items() if of is None)
    yield from ((one, about["label"]) for one, about in study["scenarios"].items() if (one, level) in known)


def _means(study: Mapping[str, Any]) -> dict[tuple[str, str | None, str], Mapping[str, Any]]:
    return {(one["scenario"], one["level"], one["set"]): one for one in study["means"]}


def _value(one: Mapping[str, Any], *, spread: bool = True) -> str:
    deviation = one["deviation"][MEASURE]
    shown = f" ± {deviation:.4f}".replace("0.", ".") if spread and deviation is not None else ""
    return f"{one['mean'][MEASURE]:.4f}".removeprefix("0") + shown


def _flops(one: Mapping[str, Any]) -> str:
    return f"{one['mean']['flops']:.2f}" if "flops" in one["mean"] else ""


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("0.", ".")


def _star(test: Mapping[str, Any] | None) -> str:
    return " *" if test is not None and test["p_randomisation"] < LEVEL else ""


if __name__ == "__main__":
    main()
