"""The files by which sentence-transformers knows a model: what they say, and how Everglade spells them.

One encoder for both sides is a transformer and a SpladePooling. With a query encoder of its own it is a Router::

    modules.json  router_config.json  config_sentence_transformers.json
    query_0_SparseStaticEmbedding/    or  query_0_Transformer/ and query_1_SpladePooling/
    document_0_Transformer/  document_1_SpladePooling/

The files are spelled as version 5.0.0 spelled them, because later versions read that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everglade.errors import ModelError
from everglade.model.files import ModelFolder, QueryFolder, find_inside, read_json, tokenizer_length
from everglade.model.settings import SpladeSettings

__all__ = [
    "DOCUMENT_FOLDER",
    "QUERY_FOLDER",
    "TABLE_FOLDER",
    "pooling_config",
    "read_sentence_transformers",
    "root_files",
]

DOCUMENT_FOLDER = "document_0_Transformer"
QUERY_FOLDER = "query_0_Transformer"
TABLE_FOLDER = "query_0_SparseStaticEmbedding"

_MODELS = "sentence_transformers.sparse_encoder.models"
_BACKBONES = ("Transformer", "MLMTransformer")

Module = tuple[str, Path]  # the kind, which is the last part of its type, and its folder


def read_sentence_transformers(path: Path) -> ModelFolder:
    """Read what modules.json and the files it names say.

    Raises:
        ModelError: if they describe another kind of model, or one that needs code of its own.
    """
    listed = read_json(path / "modules.json", kind=list)
    if not listed or not all(isinstance(module, dict) and {"type", "path"} <= set(module) for module in listed):
        raise ModelError(f"{path / 'modules.json'} does not hold what it should: modules, each with a type and a path.")
    modules = _check_types(path, [(module["type"], module["path"]) for module in listed])
    prompts = (read_json(path / "config_sentence_transformers.json", missing={}).get("prompts")) or {}
    if not isinstance(prompts, dict):
        raise ModelError(f"{path / 'config_sentence_transformers.json'} has prompts that are no object: {prompts!r}.")
    prefixes = {f"{side}_prefix": prompts.get(side) or "" for side in ("query", "document")}
    if [kind for kind, _ in modules] in (["Router"], ["Asym"]):
        return _read_router(modules[0][1]).with_settings(prefixes)
    return _read_encoder(path, modules).with_settings(prefixes)


def _check_types(path: Path, modules: Sequence[tuple[object, object]]) -> list[Module]:
    foreign = [str(kind) for kind, _ in modules if not str(kind).startswith("sentence_transformers.")]
    if foreign:
        raise ModelError(f"{path} needs the code of {', '.join(foreign)}; Everglade runs no code from model folders.")
    return [(str(kind).rpartition(".")[2], find_inside(path, name)) for kind, name in modules]


def _read_router(path: Path) -> ModelFolder:
    file = path / "router_config.json"
    config = read_json(file)
    types, structure = config.get("types"), config.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict):
        raise ModelError(f"{file} does not hold what it should, types and structure. Fetch or save the model again.")
    routes = {}
    for side in ("query", "document"):
        names = structure.get(side)
        if (
            not isinstance(names, list)
            or not names
            or not all(isinstance(name, str) and name in types for name in names)
        ):
            raise ModelError(f"{file} has no {side} route of modules it names. Everglade needs query and document.")
        routes[side] = _check_types(path, [(types[name], name) for name in names])
    documents = _read_encoder(path, routes["document"])
    if structure["query"] == structure["document"]:
        return documents
    query = _read_query(path, routes["query"])
    length = _table_length(query) if query.model is None else query.model.settings.get("max_query_length")
    return replace(documents, query=query).with_settings({} if length is None else {"max_query_length": length})


def _read_query(path: Path, modules: Sequence[Module]) -> QueryFolder:
    kind, folder = modules[0]
    if [kind for kind, _ in modules] != ["SparseStaticEmbedding"]:
        model = _read_encoder(path, modules)
        length = {"max_query_length": model.settings.get("max_query_length", model.usual_length)}
        return QueryFolder("separate", model.path, model=model.with_settings(length))
    config = read_json(folder / "config.json", missing={})
    named = config.get("path")
    idf = None
    if isinstance(named, str):
        places = [place / Path(named).name for place in (folder, path) if (place / Path(named).name).is_file()]
        if not places:
            raise ModelError(f"{folder / 'config.json'} names the weights {named}, which are not in {path}.")
        idf = places[0]
    return QueryFolder("static", folder, learned=not config.get("frozen", False), idf=idf)


def _table_length(query: QueryFolder) -> int | None:
    length = tokenizer_length(query.path)
    return length if length >= 3 else None


def _read_encoder(path: Path, modules: Sequence[Module]) -> ModelFolder:
    _check_kinds(path, [kind for kind, _ in modules])
    (kind, backbone), (_, folder) = modules
    pooling = read_json(folder / "config.json")
    reading: dict[str, Any] = next(map(read_json, sorted(backbone.glob("sentence_*_config.json"))), {})
    if kind == "Transformer" and reading.get("transformer_task") != "fill-mask":
        raise ModelError(
            f"{path} uses its transformer for {reading.get('transformer_task')}, not as a masked language model."
        )
    settings = {
        "pooling": pooling.get("pooling_strategy", "max"),
        "activation": pooling.get("activation_function", "relu"),
    }
    for side in ("query", "document"):
        if reading.get(f"{side}_length"):
            settings[f"max_{side}_length"] = reading[f"{side}_length"]
    length = reading.get("max_seq_length") or tokenizer_length(backbone)
    if not isinstance(length, int):
        raise ModelError(f"{backbone} has a max_seq_length that is no whole number: {length!r}.")
    return ModelFolder(backbone, settings, length, lower_case=bool(reading.get("do_lower_case")))


def _check_kinds(path: Path, kinds: list[str]) -> None:
    if len(kinds) == 2 and kinds[0] in _BACKBONES and kinds[1] == "SpladePooling":
        return
    if "Router" in kinds or "Asym" in kinds:
        what = "a Router among other modules"
    elif "SparseAutoEncoder" in kinds:
        what = "a CSR model (a dense model with a sparse autoencoder), not SPLADE"
    elif "SpladePooling" in kinds:
        what = f"a SPLADE model with modules that Everglade does not know ({', '.join(kinds)})"
    else:
        what = f"another kind of sentence-transformers model ({', '.join(kinds)}), not SPLADE"
    raise ModelError(f"{path} is {what}. Everglade opens a masked language model with SpladePooling.")


def root_files(settings: SpladeSettings, query_kind: str) -> dict[str, Any]:
    """Give the JSON files at the root, name to content, of a model whose query encoder is of that kind."""
    listed = [{"idx": 0, "name": "0", "path": "", "type": f"{_MODELS}.MLMTransformer"}]
    if query_kind == "shared":
        listed.append({"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{_MODELS}.SpladePooling"})
    else:
        listed[0]["type"] = "sentence_transformers.models.Router"
    files: dict[str, Any] = {
        "modules.json": listed,
        "config_sentence_transformers.json": {
            "model_type": "SparseEncoder",
            # The oldest version that can read this folder; a reader warns when it is older than what stands here.
            "__version__": {"sentence_transformers": "5.0.0"},
            "prompts": {"query": settings.query_prefix, "document": settings.document_prefix},
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        },
    }
    return files if query_kind == "shared" else files | {"router_config.json": _router_config(query_kind)}


def _router_config(query_kind: str) -> dict[str, Any]:
    route = [QUERY_FOLDER, "query_1_SpladePooling"] if query_kind == "separate" else [TABLE_FOLDER]
    routes = {"query": route, "document": [DOCUMENT_FOLDER, "document_1_SpladePooling"]}
    kinds = {"Transformer": "MLMTransformer"}
    return {
        "types": {
            name: f"{_MODELS}.{kinds.get(name.split('_')[2], name.split('_')[2])}"
            for names in routes.values()
            for name in names
        },
        "structure": routes,
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }


def pooling_config(settings: SpladeSettings, n_terms: int) -> dict[str, Any]:
    """Give the config.json of a SpladePooling."""
    return {
        "pooling_strategy": settings.pooling,
        "activation_function": settings.activation,
        "word_embedding_dimension": n_terms,
    }
