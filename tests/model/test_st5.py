"""The folder we save opens unchanged in sentence-transformers 5.0.0 with transformers 4, and gives the same vectors."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from everglade.model.splade import Splade

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-st5" / "bin" / "python"

# Run by the other environment: encodes the texts of a JSON file with every folder named after it.
PROGRAM = """
import json, sys
import numpy as np
import sentence_transformers, transformers
from sentence_transformers import SparseEncoder
assert sentence_transformers.__version__ == "5.0.0" and transformers.__version__.startswith("4.")
texts = json.loads(open(sys.argv[1], encoding="utf-8").read())
for folder in sys.argv[2:]:
    model = SparseEncoder(folder, device="cpu")
    documents = model.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    queries = model.encode_query(texts, convert_to_sparse_tensor=False).numpy()
    np.savez(folder + ".npz", documents=documents, queries=queries)
    if folder.endswith("bert"):
        model.save_pretrained(folder + "-theirs")
"""


@pytest.mark.skipif(os.environ.get("EVERGLADE_WITHOUT_ST5") == "1", reason="EVERGLADE_WITHOUT_ST5 is set")
def test_the_oldest_sentence_transformers_gives_the_same_vectors(mlm_folders, texts, tmp_path):
    assert PYTHON.exists(), "make the second environment with tests/interop/make_st5.sh, or set EVERGLADE_WITHOUT_ST5=1"
    filled = [text for text in texts if text.strip()]
    (tmp_path / "texts.json").write_text(json.dumps(filled), encoding="utf-8")
    models = {}
    for family, folder in mlm_folders.items():
        prefix = "sun " if family == "bert" else ""
        models[family] = Splade.load(folder, query_prefix=prefix, max_document_length=20, max_query_length=20)
        models[family].save(tmp_path / family)
    for kind in ("static", "separate"):
        encoder = mlm_folders["bert"] if kind == "separate" else kind
        settings = {"query_prefix": "sun ", "max_document_length": 20, "max_query_length": 20}
        models[kind] = Splade.load(mlm_folders["bert"], query_encoder=encoder, **settings)
        models[kind].save(tmp_path / kind)
    folders = [str(tmp_path / family) for family in models]
    done = subprocess.run(
        [str(PYTHON), "-c", PROGRAM, str(tmp_path / "texts.json"), *folders],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for family, model in models.items():
        theirs = np.load(tmp_path / f"{family}.npz")
        for side, encode in (("documents", model.encode_documents), ("queries", model.encode_queries)):
            found = encode(filled).to_scipy().toarray()[:, : theirs[side].shape[1]]
            np.testing.assert_allclose(found, theirs[side], atol=1e-5, err_msg=family)
    # And the other way: what that version saves, we open.
    again = Splade.load(tmp_path / "bert-theirs")
    assert again.settings == models["bert"].settings
    np.testing.assert_array_equal(again.encode_queries(filled).weights, models["bert"].encode_queries(filled).weights)
