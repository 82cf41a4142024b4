"""The model and the collection that come with Everglade, and the demonstration that runs on them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_collection", "bundled_model"]


def bundled_model() -> Path:
    """Give the folder of the bundled model, SPLADE-tiny; its README.md and NOTICE name its origin."""
    return Path(__file__).parent / "model"


def bundled_collection() -> Path:
    """Give the folder of the bundled collection, SciFact in BEIR form; its README.md names its origin."""
    return Path(__file__).parent / "scifact"
