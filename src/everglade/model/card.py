"""The model card that stands in a model folder when its maker writes none."""

from __future__ import annotations

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
are cut after {settings.max_document_length} tokens, queries after {settings.max_query_length}. {_QUERIES[query_kind]}

```python
from everglade import Splade

model = Splade.load("path/to/this/folder")
vectors = model.encode_documents(["a text"])
```

{where}
"""
