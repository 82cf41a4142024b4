"""Scoring: teachers give each document of each example a score, in durable shards; the scores are made one.

The folder that scoring leaves::

    settings.json                            the settings in full, and a hash of examples and texts
    teachers/NAME/shard-00000.safetensors    `scores` (n,) float32, one document of the examples after another
    examples.jsonl or examples.arrow         the examples with their scores; a table where there are many
    statistics.json                          what the teachers are like, written last

Of a pair that stands in several examples the first score counts everywhere. What is made of the scores may be asked for
anew: with other weights, normalise, rescale or margin the shards stay, and only the last two files are written again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.distill.ensemble import Places, correlate, list_places, normalise, positive_first, rescale
from everglade.distill.examples import Example, TrainingSet, require_pyarrow, write_examples
from everglade.distill.false_negatives import FalseNegatives, TrueNegatives, read_rule
from everglade.distill.scoring_settings import ScoringSettings
from everglade.distill.teachers import Teacher, open_teacher, short_name
from everglade.distill.values import StoredExamples
from everglade.errors import ConfigError, InputError, ModelError
from everglade.progress import Meter, ProgressCallback

__all__ = ["MOST_LINES", "ScoringReport", "ScoringSettings", "score_shard", "score_to_folder", "teacher_names"]

MOST_LINES = 100_000
"""With more examples than these a table is written."""

_OF_SHARDS = ("teachers", "shard_examples", "precision")
"""The settings that shards depend on."""


@dataclass(frozen=True, slots=True)
class ScoringReport:
    """What scoring left.

    Attributes:
        examples: The file of the scored examples.
        n_examples: How many there are.
        statistics: What stands in statistics.json.
    """

    examples: Path
    n_examples: int
    statistics: dict[str, Any]


def score_to_folder(
    examples: Sequence[Example],
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    settings: ScoringSettings,
    out: str | Path,
    *,
    progress: ProgressCallback | None = None,
) -> ScoringReport:
    """Score every document of every example, and leave a folder with the scored examples.

    An interrupted scoring that is started again with the same arguments scores only the shards that are missing, and
    ends with the same bytes. So does one with another way to make the scores one. Scores that the examples had before
    are replaced.

    Args:
        examples: The examples; they may stay in a file.
        queries: Texts by id.
        documents: Texts by id: the collection, as far as the examples and BM25 need it.
        settings: The teachers, and how their scores are made one.
        out: The folder.
        progress: Called at the start and after every shard; its rows are documents of examples, for each teacher.

    Raises:
        ConfigError: if `out` holds a scoring with other teachers or shards, or of other examples or texts.
        InputError: if an example names an id without text, a shard is damaged, or `margin` leaves nothing.
        ModelError: if a teacher cannot be opened, is another than the one before, or gives a score that is not finite.
    """
    out = Path(out)
    training_set = TrainingSet(queries, documents, examples)
    as_table = isinstance(examples, StoredExamples) or len(examples) > MOST_LINES
    if as_table:
        require_pyarrow()
    names = teacher_names(settings.specs)
    _begin(out, settings, names, training_set)
    places = list_places(examples)
    meter = Meter(int(places.starts[-1]) * len(names), progress)
    scores = []
    for spec, name in zip(settings.specs, names, strict=True):
        # One after the other, so that only one model is in memory.
        teacher = open_teacher(spec, documents, settings.precision)
        scores.append(_score_all(teacher, training_set, settings, out / "teachers" / name, meter)[places.first])
    found = _combine(settings, scores, places)
    file = out / ("examples.arrow" if as_table else "examples.jsonl")
    written = out / "statistics.json"
    if not (written.exists() and file.exists()):
        counts = _write(examples, found, places, settings, file)
        durable.write_json(written, _describe(settings, names, scores, found, places, counts))
    statistics: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return ScoringReport(file, statistics["examples"], statistics)


def teacher_names(specs: Sequence[str]) -> tuple[str, ...]:
    """Give what each teacher is called in the folder: its kind and the last part of its path, counted where equal."""
    names: list[str] = []
    for spec in specs:
        name = short_name(spec)
        counted = (f"{name}.{number}" for number in itertools.count(2))
        names.append(next(free for free in itertools.chain([name], counted) if free not in names))
    return tuple(names)


def _begin(out: Path, settings: ScoringSettings, names: tuple[str, ...], training_set: TrainingSet) -> None:
    """Write what the folder is made from, after making sure that the shards in it are made from the same."""
    described = settings.to_dict()
    # Paths differ from machine to machine; which models they were is in the shards.
    described["teachers"] = list(names[: len(settings.teachers)])
    described["weights"] = list(settings.shares)
    described["margin"] = None if settings.margin is None else str(read_rule(settings.margin))
    if isinstance(settings.rescale, str):
        described["rescale"] = names[settings.specs.index(settings.rescale)]
    now = {"settings": described, "examples_sha256": training_set.fingerprint}
    file = out / "settings.json"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        durable.write_json(file, now)
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in _OF_SHARDS if before["settings"].get(key) != described[key]]
        same_examples = before["examples_sha256"] == now["examples_sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("not the settings of a scoring. Score into another folder", file) from error
    if changed:
        raise ConfigError(
            f"{out} was scored with other settings ({', '.join(changed)}). Score with the same, or into another folder."
        )
    if not same_examples:
        raise ConfigError(f"{out} was scored from other examples or texts. Score the same, or into another folder.")
    if before != now:
        # First the mark of a finished scoring goes: what it stood for is not what is asked for.
        (out / "statistics.json").unlink(missing_ok=True)
        durable.sync_folder(out)
        durable.write_json(file, now)


def _score_all(
    teacher: Teacher, training_set: TrainingSet, settings: ScoringSettings, folder: Path, meter: Meter
) -> NDArray[np.float32]:
    """Give the score of each place, shape (P,), after scoring the shards that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, start in enumerate(range(0, len(training_set.examples), settings.shard_examples)):
        rows = range(start, min(start + settings.shard_examples, len(training_set.examples)))
        chunk = [training_set.examples[row] for row in rows]
        pairs, places = _different_pairs(chunk, training_set)
        file = folder / f"shard-{number:05d}.safetensors"
        count = meter.skip if file.exists() else meter.advance
        parts.append(score_shard(teacher, pairs, places, file))
        count(len(places))
    return np.concatenate(parts)


def score_shard(
    teacher: Teacher, pairs: Sequence[tuple[str, str]], places: NDArray[np.int64], file: Path
) -> NDArray[np.float32]:
    """Give the scores of pairs of texts at each place, shape (n,), from a file that is made if it is not there.

    Raises:
        InputError: if the file is damaged, or of other pairs.
        ModelError: if it is of another teacher, or the teacher gives anything but a finite score for each pair.
    """
    origin = {"teacher": teacher.fingerprint, "pairs": _hash_pairs(pairs, places)}
    if file.exists():
        return _read_shard(file, origin, len(places))
    scores = _score_pairs(teacher, pairs)[places]
    _write_shard(file, scores, origin)
    return scores


def _different_pairs(
    chunk: Sequence[Example], training_set: TrainingSet
) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """Give the texts of each different pair once, in order of first appearance, and the pair of each place."""
    known: dict[tuple[str, str], int] = {}
    places = [
        known.setdefault((example.query_id, document_id), len(known))
        for example in chunk
        for document_id in example.document_ids
    ]
    texts = [(training_set.queries[query_id], training_set.documents[document_id]) for query_id, document_id in known]
    return texts, np.array(places, dtype=np.int64)


def _score_pairs(teacher: Teacher, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    scores = teacher.score([query for query, _ in pairs], [document for _, document in pairs])
    if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
        raise ModelError(
            f"the teacher {teacher.name} gave {scores.shape} for {len(pairs)} pairs, or a score that is not finite. It "
            f"must give one finite number for each pair."
        )
    return scores.astype(np.float32, copy=False)


def _hash_pairs(pairs: Sequence[tuple[str, str]], places: NDArray[np.int64]) -> str:
    return hashlib.sha256(json.dumps([pairs, places.tolist()]).encode()).hexdigest()


def _write_shard(file: Path, scores: NDArray[np.float32], origin: dict[str, str]) -> None:
    from safetensors.numpy import save

    # As one entry, because several would be written in an order that changes from call to call.
    metadata = {"origin": json.dumps(origin)}
    durable.write_bytes(file, save({"scores": np.ascontiguousarray(scores)}, metadata=metadata))


def _read_shard(file: Path, origin: dict[str, str], count: int) -> NDArray[np.float32]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            made_from = json.loads((opened.metadata() or {})["origin"])
            scores: NDArray[np.float32] = opened.get_tensor("scores")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"this shard of scores is damaged ({error}). Remove it and score again", file) from error
    if made_from.get("teacher") != origin["teacher"]:
        raise ModelError(
            f"{file} holds the scores of another teacher. Use the same model, or score into another folder."
        )
    if made_from.get("pairs") != origin["pairs"] or scores.shape != (count,):
        raise InputError("this shard holds the scores of other pairs. Score into another folder", file)
    return scores


def _combine(settings: ScoringSettings, scores: Sequence[NDArray[np.float32]], places: Places) -> NDArray[np.float32]:
    """Give the score of each different pair, shape (U,), from those of each teacher."""
    found = np.zeros(len(places.first))
    for share, own in zip(settings.shares, scores, strict=False):
        found += share * normalise(own.astype(np.float64), places.queries, settings.normalise)
    if isinstance(settings.rescale, str):
        reference = scores[settings.specs.index(settings.rescale)].astype(np.float64)
        found = rescale(found, float(reference.mean()), float(reference.std()))
    elif settings.rescale is not None:
        found = rescale(found, *settings.rescale)
    return found.astype(np.float32)


def _write(
    examples: Sequence[Example],
    found: NDArray[np.float32],
    places: Places,
    settings: ScoringSettings,
    file: Path,
) -> FalseNegatives | None:
    """Write the scored examples without likely false negatives, and count those."""
    placed = found[places.pairs]
    scored = (
        Example(example.query_id, example.document_ids, tuple(placed[start:end].tolist()))
        for example, start, end in zip(examples, places.starts[:-1].tolist(), places.starts[1:].tolist(), strict=True)
    )
    if settings.margin is None:
        write_examples(scored, file)
        return None
    kept = TrueNegatives(scored, settings.margin)
    write_examples(_require_some(kept, settings.margin), file)
    return kept.counts


def _require_some(kept: TrueNegatives, margin: float | str) -> Iterator[Example]:
    yield from kept
    if 0 < kept.counts.examples == kept.counts.emptied:
        raise InputError(
            f"the margin {read_rule(margin)} leaves no negative in any of {kept.counts.examples} examples. Give a "
            f"smaller distance, a larger share or a higher score; it looks at scores after normalise and rescale"
        )


def _describe(
    settings: ScoringSettings,
    names: Sequence[str],
    scores: Sequence[NDArray[np.float32]],
    found: NDArray[np.float32],
    places: Places,
    counts: FalseNegatives | None,
) -> dict[str, Any]:
    columns = {name: own.astype(np.float64) for name, own in zip(names, scores, strict=True)}
    columns["ensemble"] = found.astype(np.float64)
    count = len(places.starts) - 1
    return {
        "examples": count if counts is None else count - counts.emptied,
        "pairs": len(places.first),
        "in_ensemble": list(names[: len(settings.teachers)]),
        "scores": {
            name: {
                "mean": float(column.mean()),
                "std": float(column.std()),
                "positive_first": positive_first(column, places),
            }
            for name, column in columns.items()
        },
        "correlation": {
            name: {other: correlate(column, columns[other]) for other in columns if other != name}
            for name, column in columns.items()
        },
        "false_negatives": None if counts is None else counts._asdict(),
    }
