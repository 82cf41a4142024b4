"""PISA, through the compiled part of pyterrier-pisa: MaxScore, with block-max WAND beside it.

The package's own Python wants PyTerrier, Java and data frames. None of it is needed: the postings are written in PISA's
own files, and its compiled module makes the rest of the index and searches. That module needs libtbb.so.2, which the
package tbb brings. Documents keep their steps of 1/64; query weights are multiplied by 100 and cut to whole numbers,
as pyterrier-pisa does.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from collection import STEP

from peers import ROUNDED, Setting

QUERY_SCALE = 100
ENCODING, SCORER = "block_simdbp", "quantized"


def load_module():
    """Load the compiled module by its path, because importing the package would import PyTerrier."""
    ctypes.CDLL(str(Path(sys.prefix) / "lib" / "libtbb.so.2"), mode=ctypes.RTLD_GLOBAL)
    package = importlib.util.find_spec("pyterrier_pisa").submodule_search_locations[0]
    (path,) = Path(package).glob("_pisathon*.so")
    loader = importlib.machinery.ExtensionFileLoader("_pisathon", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_pisathon", loader))
    loader.exec_module(module)
    return module


pisathon = load_module()


def write_lists(path, indptr, numbers, head=()):
    """Write one list after the other as uint32, each after its length."""
    lists = len(indptr) - 1
    out = np.empty(len(numbers) + lists, dtype=np.uint32)
    is_length = np.zeros(len(out), dtype=bool)
    is_length[indptr[:-1] + np.arange(lists)] = True
    out[is_length], out[~is_length] = np.diff(indptr), numbers
    with path.open("wb") as file:
        np.array(head, dtype=np.uint32).tofile(file)
        out.tofile(file)


class Engine:
    version = version("pyterrier-pisa")

    def build(self, rows, folder):
        by_term = rows.to_scipy().tocsc()
        present = np.flatnonzero(np.diff(by_term.indptr))
        indptr = np.concatenate([[0], by_term.indptr[present + 1]]).astype(np.int64)
        write_lists(folder / "inv.docs", indptr, by_term.indices, head=(1, rows.count))
        write_lists(folder / "inv.freqs", indptr, np.rint(by_term.data / STEP))
        sizes = np.rint(rows.to_scipy().sum(axis=1) / STEP)
        write_lists(folder / "inv.sizes", np.array([0, rows.count]), sizes)
        self.write_names(folder / "fwd.terms", folder / "fwd.termlex", present)
        self.write_names(folder / "fwd.documents", folder / "fwd.doclex", np.arange(rows.count))
        self.load(folder)
        for path in (*folder.glob("inv.*"), folder / "fwd.terms", folder / "fwd.documents"):
            path.unlink()  # what a search does not read

    def write_names(self, names, lexicon, numbers):
        names.write_text("".join(f"{number:08d}\n" for number in numbers.tolist()), encoding="ascii")
        pisathon.build_binlex(str(names), str(lexicon))

    def load(self, folder):
        """Open the index; the first time, in the build, this makes the compressed postings out of the plain ones."""
        self.context = pisathon.RetrievalContext()
        pisathon.prepare_index(self.context, str(folder), ENCODING, SCORER, "")

    def settings(self, k):
        return [Setting(name, ROUNDED, {"algorithm": name}) for name in ("maxscore", "block_max_wand")]

    def prepare(self, terms, weights):
        return {f"{term:08d}": weight * QUERY_SCALE for term, weight in zip(terms, weights.tolist(), strict=True)}

    def search(self, query, k, algorithm):
        return self.retrieve(query, k, algorithm)[0]

    def retrieve(self, query, k, algorithm):
        """Give the names of documents and their scores, the best first."""
        documents = np.empty(k, dtype=object)
        queries, ranks, scores = np.empty(k, np.int32), np.empty(k, np.int32), np.empty(k, np.float32)
        size = pisathon.retrieve(
            self.context,
            algorithm,
            [(0, query)],
            k=k,
            threads=1,
            query_weighted=1,
            pretokenised=True,
            result_qidxs=queries,
            result_docnos=documents,
            result_ranks=ranks,
            result_scores=scores,
        )
        return documents[:size], scores[:size]

    def documents(self, found):
        return [int(name) for name in found]
