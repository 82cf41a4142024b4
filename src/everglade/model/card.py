"""The model card that stands in a model folder when its maker writes none."""

from __future__ import annotations

from everglade.model.settings import SpladeSettings

__all__ = ["model_card"]


def model_card(architecture: str, n_terms: int, settings: SpladeSettings) -> str:
    """Give a short model card, Markdown with the front matter that the Hugging Face hub reads."""
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
are cut after {settings.max_document_length} tokens, queries after {settings.max_query_length}.

```python
from everglade import Splade

model = Splade.load("path/to/this/folder")
vectors = model.encode_documents(["a text"])
```

The folder also opens in `transformers.AutoModelForMaskedLM` and `sentence_transformers.SparseEncoder`.
"""
