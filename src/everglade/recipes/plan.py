"""What a recipe would do here: each stage with its key, what is there of it already, its counts and an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from everglade.errors import InputError, ModelError
from everglade.recipes.estimates import Estimator, find_rate, read_rates
from everglade.recipes.files import hash_file, hash_model
from everglade.recipes.folders import aside, find_folder, is_begun, read_finished, read_times, stage_key
from everglade.recipes.kinds import KINDS, NAMED_MODELS, WORDS, settings_class
from everglade.recipes.recipe import Recipe, StageSpec
from everglade.recipes.references import change_texts, find_stages, names_things, split_scheme

if TYPE_CHECKING:
    from everglade.recipes.material import Material

__all__ = ["COLUMNS", "Digests", "Plan", "PlannedStage", "count_work", "make_plan"]

COLUMNS = ("stage", "does", "from", "counts", "state", "estimate")

Counts = dict[str, int | None]
SecondsFrom = Literal["measured", "measured rate", "estimated"]

_HOW_SURE = {"measured": "", "measured rate": "about ", "estimated": "~", None: ""}


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan.

    Attributes:
        number: Its place among the stages that take place, counted from 1.
        spec: The stage.
        folder: Its folder, or None where no folder for the recipe was named.
        key: Its key, or None where no collection was named.
        settings: What its key is made from: own keys and every setting of its function.
        inputs: For each thing it works on the key of the stage, or the digest of what it reads.
        counts: How much there is to do, by name; None where that is not known yet.
        work: Rows that the work consists of, or None.
        state: "run", "resumed", "reused", or "brought back" from set-aside.
        seconds: How long it took, or may take; None if unknown.
        seconds_from: "measured" of the stage itself; "measured rate" of what ran in the same folder; "estimated" from
            its work and the speed of this machine; None if unknown.
        unknown_because: Why it is unknown, where there is more to say than that nobody asked.
    """

    number: int
    spec: StageSpec
    folder: Path | None
    key: str | None
    settings: dict[str, Any]
    inputs: dict[str, str]
    counts: Counts = field(default_factory=dict)
    work: int | None = None
    state: str = "run"
    seconds: float | None = None
    seconds_from: SecondsFrom | None = None
    unknown_because: str = ""

    def cells(self) -> list[str]:
        """Give the texts of its row in the plan, in the order of `COLUMNS`."""
        counts = _spoken_counts(self.counts)
        named = {**{key: f"@{name}" for key, name in find_stages(self.spec)}, **self._given()}
        state = self.state if self.key is not None else "-"
        time = "unknown" if self.seconds is None else _spoken(self.seconds, _HOW_SURE[self.seconds_from])
        sources = dict.fromkeys(named.values())
        return [self.spec.name, KINDS[self.spec.kind].does, " ".join(sources) or "collection", counts, state, time]

    def _given(self) -> dict[str, str]:
        inputs = KINDS[self.spec.kind].inputs
        return {key: str(self.spec.own(key)) for key in inputs if self.spec.own(key) not in (None, "")}

    def to_dict(self) -> dict[str, Any]:
        """Give the stage as plain JSON values."""
        return {
            "stage": self.spec.name,
            "kind": self.spec.kind,
            "folder": None if self.folder is None else str(self.folder),
            "key": self.key,
            "state": self.state,
            "settings": self.settings,
            "inputs": self.inputs,
            "counts": self.counts,
            "seconds": self.seconds,
            "seconds_from": self.seconds_from,
            "unknown_because": self.unknown_because or None,
        }


@dataclass(frozen=True)
class Plan:
    """The stages of a recipe, in order, as they would be run now."""

    recipe: Recipe
    stages: tuple[PlannedStage, ...]

    @property
    def left(self) -> list[PlannedStage]:
        """The stages that are not finished."""
        return [stage for stage in self.stages if stage.state in ("run", "resumed")]

    @property
    def seconds_left(self) -> float:
        """How long those may take whose time is known."""
        return sum(stage.seconds or 0.0 for stage in self.left)

    def remarks(self) -> list[str]:
        """Give the lines under the table: how long it all may take, and why some of it is unknown."""
        unknown = [stage for stage in self.left if stage.seconds is None]
        reasons: dict[str, list[str]] = {}
        for stage in unknown:
            reasons.setdefault(stage.unknown_because, []).append(stage.spec.name)
        reasons.pop("", None)
        lines = [
            f"unknown for {'every stage' if len(names) == len(self.stages) else ', '.join(names)}: {reason}"
            for reason, names in reasons.items()
        ]
        if not self.left:
            return ["nothing is left to do"]
        if len(unknown) == len(self.left):
            return lines
        total = _spoken(self.seconds_left, "at least " if unknown else "about ")
        return [f"left to do: {'unknown' if unknown and self.seconds_left < 1 else total}", *lines]

    def to_dict(self) -> dict[str, Any]:
        """Give the plan as plain JSON values."""
        return {
            "recipe": self.recipe.name,
            "summary": self.recipe.summary,
            "settings": self.recipe.settings,
            "stages": [stage.to_dict() for stage in self.stages],
            "seconds_left": None if any(stage.seconds is None for stage in self.left) else self.seconds_left,
        }


def make_plan(
    recipe: Recipe,
    material: Material | None,
    out: Path | None,
    *,
    fresh: bool = False,
    digests: Digests | None = None,
    estimates: bool = True,
) -> Plan:
    """Say what each stage of a recipe would do. Nothing is made, and nothing is written.

    Args:
        recipe: The recipe.
        material: The collections; None leaves counts and keys unknown.
        out: The folder of the recipe, which need not be there; None for none.
        fresh: Whether what is in `out` is removed first.
        digests: Where to look up and note digests of inputs, for several plans in a row.
        estimates: Whether to estimate how long stages take that have not run in `out`.

    Raises:
        ConfigError: if a stage cannot be.
        InputError: if a file or folder that is an input is not there.
        CheckpointError: if a file of a finished stage is gone.
    """
    planned: dict[str, PlannedStage] = {}
    rates = {} if out is None else read_rates(out)
    estimator = Estimator(material) if material is not None and estimates else None
    digests = digests or Digests()
    for number, spec in enumerate(recipe.resolve(), start=1):
        settings = _all_settings(spec)
        inputs = _find_inputs(spec, planned, material, digests)
        key, folder = None, None
        if material is not None:
            key = stage_key(spec.kind, _by_content(spec, settings, digests), inputs)
        if out is not None:
            number_and_name = f"{spec.number:02d}-{spec.name}"
            folder = out / number_and_name if fresh or key is None else find_folder(out, spec.number, spec.name, key)
        stage = PlannedStage(number, spec, folder, key, settings, inputs)
        stage = _count(stage if fresh else _look(stage), planned, material)
        planned[spec.name] = _add_seconds(stage, planned, rates, estimator)
    return Plan(recipe, tuple(planned.values()))


def _all_settings(spec: StageSpec) -> dict[str, Any]:
    kind, settings = KINDS[spec.kind], settings_class(spec.kind)
    own = {key: spec.own(key) for key in kind.own}
    return own if settings is None else {**own, **settings.from_dict(spec.settings).to_dict()}


def _by_content(spec: StageSpec, settings: Mapping[str, Any], digests: Digests) -> dict[str, Any]:
    """Give the settings for a key: a model behind a scheme by its content.

    What is in the inputs is left out, and which result others take, as that is in their inputs.
    """

    def change(text: str) -> str:
        scheme, rest = split_scheme(text)
        return text if not scheme or rest.startswith("@") else f"{scheme}{digests.of(rest, is_file=scheme == 'run:')}"

    kind = KINDS[spec.kind]
    return {
        key: change_texts(value, change) if names_things(spec.kind, key) else value
        for key, value in settings.items()
        if key not in kind.inputs and key != "give"
    }


def _find_inputs(
    spec: StageSpec, planned: Mapping[str, PlannedStage], material: Material | None, digests: Digests
) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, name in find_stages(spec):
        # What a stage gives may depend on which of its results is taken, so the word stands beside the key.
        found[f"{key} @{name}"] = planned[name].key or name
        if planned[name].spec.kind == "train":
            found[f"{key} @{name}"] += f" {planned[name].spec.own('give')}"
    for key in KINDS[spec.kind].inputs:
        value = spec.own(key)
        if isinstance(value, str) and value and not value.startswith("@"):
            found[key] = digests.of(value, is_file=key in ("file", "examples"))
    if material is not None:
        found |= {name: material.digests[name] for name in KINDS[spec.kind].needs}
    return found


class Digests:
    """Digests of files and model folders that are inputs, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, value: str, *, is_file: bool) -> str:
        """Give the digest of a file or folder, or the name of a model that is on a hub.

        Raises:
            InputError: if it is a path, and nothing is there.
        """
        if value not in self._known:
            self._known[value] = f"name:{value}" if value in WORDS else self._look_up(value, is_file=is_file)
        return self._known[value]

    def _look_up(self, value: str, *, is_file: bool) -> str:
        before = "learned:" if value.startswith("learned:") else ""
        name = value.removeprefix("learned:")
        path = Path(NAMED_MODELS.get(name, name))
        if path.is_dir():
            return f"{before}sha256:{hash_model(path)}"
        if path.is_file():
            return f"{before}sha256:{hash_file(path)}"
        if is_file or before or _is_path(name):
            hint = ". Write the path in full: ~ is not read here" if name.startswith("~") else ""
            raise InputError(f"there is no such {'file' if is_file else 'file or folder'}{hint}", path)
        return f"name:{value}"


def _is_path(name: str) -> bool:
    """Whether a name can be no model of a hub, which is called NAME or OWNER/NAME."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or name.endswith((".json", "/"))


def _look(stage: PlannedStage) -> PlannedStage:
    """Add what is there of a stage already."""
    if stage.folder is None or stage.key is None:
        return stage
    for place, finished, begun in (
        (stage.folder, "reused", "resumed"),
        (aside(stage.folder, stage.key), "brought back", "resumed"),
    ):
        if (manifest := read_finished(place, stage.key)) is not None:
            return replace(stage, state=finished, counts=_whole_numbers(manifest["counts"]), seconds=_seconds(place))
        if is_begun(place, stage.key):
            return replace(stage, state=begun)
    return stage


def _whole_numbers(counts: Mapping[str, Any]) -> Counts:
    return {name: value for name, value in counts.items() if type(value) is int}


def _seconds(folder: Path) -> float | None:
    seconds: float | None = read_times(folder).get("seconds")
    return seconds


def _count(stage: PlannedStage, planned: Mapping[str, PlannedStage], material: Material | None) -> PlannedStage:
    counts, work = count_work(stage, planned, material)
    return replace(stage, counts=stage.counts or counts, work=work)


def _add_seconds(
    stage: PlannedStage,
    planned: Mapping[str, PlannedStage],
    rates: Mapping[str, float],
    estimator: Estimator | None,
) -> PlannedStage:
    """Add how long a stage takes: as measured, by the rate of one like it in the same folder, or estimated."""
    if stage.seconds is not None:
        return replace(stage, seconds_from="measured")
    rate = find_rate(stage, planned, rates)
    if rate is not None and stage.work is not None:
        return replace(stage, seconds=rate * stage.work, seconds_from="measured rate")
    if estimator is None:
        return replace(stage, unknown_because="" if stage.key else "no collection is named")
    try:
        return replace(stage, seconds=estimator.estimate(stage, planned), seconds_from="estimated")
    except ModelError as error:
        return replace(stage, unknown_because=str(error))


def count_work(
    stage: PlannedStage, planned: Mapping[str, PlannedStage], material: Material | None
) -> tuple[Counts, int | None]:
    """Give the counts of a stage, and how many rows its work consists of."""
    kind = stage.spec.kind
    if kind in ("train", "pretrain", "train-teacher"):
        counts, work = _count_steps(stage.settings)
        return counts if material is None or kind == "pretrain" else {**counts, "held out": len(material.held)}, work
    if kind == "score":
        return _count_pairs(stage, planned)
    if kind == "import" or material is None:
        return {}, None
    if kind == "negatives":
        return _count_searches(stage.settings, material)
    if kind == "evaluate":
        return {"queries": len(material.judged), "documents": material.n_eval_documents}, len(material.judged)
    return {"documents": material.n_eval_documents}, material.n_eval_documents


def _count_steps(settings: Mapping[str, Any]) -> tuple[Counts, int | None]:
    names = ("steps", "batch_size", "negatives_per_query")
    counts: Counts = {name.replace("_", " "): settings[name] for name in names if name in settings}
    return counts, settings["steps"] * settings["batch_size"]


def _count_pairs(stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> tuple[Counts, int | None]:
    examples, negatives = _expected(stage.spec.own("examples"), planned)
    pairs = None if examples is None or negatives is None else examples * (1 + negatives)
    teachers = len(settings_class("score").from_dict(stage.spec.settings).specs)  # the one that is the measure too
    return {
        "examples at most": examples,
        "pairs at most": pairs,
        "teachers": teachers,
    }, None if pairs is None else pairs * teachers


def _count_searches(settings: Mapping[str, Any], material: Material) -> tuple[Counts, int | None]:
    queries, sources = len(material.qrels), settings["sources"]
    encoded = sum(source.startswith(("splade:", "dense:")) for source in sources) * material.n_documents
    counts: Counts = {"queries": queries, "sources": len(sources), "examples at most": material.n_pairs}
    if encoded:
        counts["texts to encode"] = encoded
    return counts, queries * len(sources) + encoded


def _expected(reference: str, planned: Mapping[str, PlannedStage]) -> tuple[int | None, int | None]:
    """Give how many examples a stage leaves, or at most, and how many negatives each has."""
    stage = planned.get(reference.removeprefix("@"))
    if stage is None:
        return None, None
    if stage.spec.kind == "score":
        return _most(stage), _expected(stage.spec.own("examples"), planned)[1]
    if stage.spec.kind == "import":
        return _most(stage), stage.spec.own("negatives")
    settings = settings_class("negatives").from_dict(stage.spec.settings)
    drawn = sum(band.count for band in settings.bands) or settings.hits
    each = [drawn if quota is None else min(drawn, quota) for quota in settings.quota_of_each]
    return _most(stage), min(sum(each), settings.negatives_per_query or sum(each))


def _most(stage: PlannedStage) -> int | None:
    """Give how many examples a stage has left, or can leave if it has not run."""
    return stage.counts.get("examples", stage.counts.get("examples at most"))


def _spoken_counts(counts: Counts) -> str:
    """Give the counts of a stage in few words; one source or teacher is not worth any."""
    left, said = dict(counts), []
    if {"steps", "batch size"} <= left.keys():
        said = [f"{left.pop('steps'):,} steps of {left.pop('batch size'):,}"]
    left = {name: n for name, n in left.items() if (name, n) not in (("sources", 1), ("teachers", 1))}
    return ", ".join([*said, *(f"{'?' if n is None else format(n, ',')} {name}" for name, n in left.items())])


def _spoken(seconds: float, how_sure: str = "") -> str:
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{how_sure}{seconds:.0f} s"
    if seconds < 5400:
        return f"{how_sure}{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{how_sure}{hours:.1f} h" if hours < 72 else f"{how_sure}{hours / 24:,.0f} days"
