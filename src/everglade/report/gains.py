"""What a study's tests say: every scenario against the baseline, and the differences that have names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everglade.pages.page import Column, Page
from everglade.report.significance import LEVEL, mark, signed

__all__ = ["add_gains", "add_tests"]


def add_tests(page: Page, study: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Add the paired tests against the baseline, where the study has made them."""
    tests = study.get("tests")
    if not isinstance(tests, list) or not tests:
        return
    baseline = str(study.get("baseline"))
    page.add_heading(f"Against {labels.get(baseline, baseline)}")
    page.add_table(
        [
            "scenario",
            "level",
            "set",
            Column("difference", right=True),
            Column("95 % interval", right=True),
            Column("p, randomisation", right=True),
            "significant",
        ],
        [
            (
                labels.get(str(one["run"]), str(one["run"])),
                str(one.get("level") or ""),
                str(one["set"]),
                signed(one["difference"]),
                f"{signed(one['low'])} to {signed(one['high'])}",
                f"{one['p_randomisation_corrected']:.4f}",
                mark(one["p_randomisation_corrected"]),
            )
            for one in tests
        ],
        f"{tests[0]['measure']} minus that of the baseline at the same level, paired over queries whose values are "
        f"means over the seeds: above zero is better. p-values are two-sided and corrected by Holm for the number of "
        f"scenarios.",
    )


def add_gains(page: Page, study: Mapping[str, Any], measure: str, labels: Mapping[str, str]) -> None:
    """Add what the study calls its gains: differences between scenarios, or over what was not trained."""
    gains = study.get("gains")
    if not isinstance(gains, list) or not gains:
        return
    names = list(dict.fromkeys(name for one in gains for name in one["gain"]))
    page.add_heading("What each part gains")
    page.add_table(
        ["gain", "of", "over", "level", "seeds", *(Column(name, right=True) for name in names)],
        [
            (
                str(one.get("name") or ""),
                *(labels.get(str(one.get(key)), str(one.get(key) or "")) for key in ("of", "over")),
                str(one.get("level") or ""),
                one.get("seeds"),
                *(_gain(one, name) for name in names),
            )
            for one in gains
        ],
        f"Difference in the study's first measure ({measure}) between two scenarios at the same level, over the seeds "
        f"that both have, or over what was not trained: above zero, what sets them apart helps. A star: p below .05 on "
        f"that set, by a two-sided randomisation test, paired over queries whose values are means over the seeds, not "
        f"corrected.",
    )


def _gain(one: Mapping[str, Any], name: str) -> str | None:
    """Give a gain on a set, with a star if the study's test finds it significant."""
    if name not in one["gain"]:
        return None
    test = one.get("tests", {}).get(name)
    return signed(one["gain"][name]) + (" *" if test is not None and test["p_randomisation"] < LEVEL else "")
