"""Where the model and the collection lie that come with Everglade; a recipe calls them by the word "bundled"."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_collection", "bundled_model"]


def bundled_model() -> Path:
    """Give the folder of the bundled model, everglade-tiny; its README.md and NOTICE name its origin."""
    return Path(__file__).parent / "demo" / "model"


def bundled_collection() -> Path:
    """Give the folder of the bundled collection, SciFact in BEIR form; its README.md names its origin."""
    return Path(__file__).parent / "demo" / "scifact"
