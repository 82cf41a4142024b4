"""The model card that stands in a model folder when its maker writes none."""

from __future__ import annotations

import json
import re

from everglade.model.settings import SpladeSettings

__all__ = ["model_card"]

_QUERIES = {
    "shared": "Queries and documents share the encoder.",
    "separate": "Queries have a language model of their own.",
    "static": "Queries weigh their tokens by a table and need no model.",
    "binary": "Queries weigh each of their tokens by 1 and need no model.",
}
_OPENS = (
    "The folder also opens in `transformers.AutoModelForMaskedLM` and `sentence_transformers.SparseEncoder`.",
    "The folder also opens in `sentence_transformers.SparseEncoder`.",
)
_OPENS_IN_EVERGLADE = "Other tools do not know how this decoder reads a text: open the folder in Everglade."


def _describe_documents(settings: SpladeSettings) -> str:
    length = settings.max_document_length
    if settings.passages == 1:
        return f"are cut after {length} tokens"
    shared = f", {settings.passage_overlap} of them shared with the one before" if settings.passage_overlap else ""
    return (
        f"are read as up to {settings.passages} passages of {length} tokens{shared}, and a term weighs what it weighs "
        f"most in any of them (Everglade does this; other tools read the first passage only)"
    )


def _describe_prefixes(settings: SpladeSettings) -> str:
    found = [(side, getattr(settings, f"{side}_prefix")) for side in ("query", "document")]
    return "".join(f"Before each {side} stands {_quote(prefix)}.\n" for side, prefix in found if prefix)


def _quote(text: str) -> str:
    """Give the text as a JSON string that Markdown shows as it stands: a code span on one line."""
    quoted = json.dumps(text, ensure_ascii=False)
    fence = "`" * (1 + max(map(len, re.findall("`+", quoted)), default=0))
    return f"{fence}{quoted}{fence}"


def model_card(architecture: str, n_terms: int, settings: SpladeSettings, query_kind: str) -> str:
    """Give a short model card, Markdown with the front matter that the Hugging Face hub reads."""
    where = _OPENS[query_kind != "shared"] if settings.reading is None else _OPENS_IN_EVERGLADE
    return f"""---
library_name: sentence-transformers
pipeline_tag: feature-extraction
tags:
- sentence-transformers
- sparse-encoder
- splade
- everglade
---

# A SPLADE model

A {architecture} that turns a text into a sparse vector over {n_terms:,} terms ({settings.pooling} pooling). Documents
{_describe_documents(settings)}, queries are cut after {settings.max_query_length}. {_QUERIES[query_kind]}
{_describe_prefixes(settings)}

```python
from everglade import Splade

model = Splade.load("path/to/this/folder")
vectors = model.encode_documents(["a text"])
```

{where}
"""
