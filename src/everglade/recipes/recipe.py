"""A recipe: named settings and a list of stages, read from TOML.

Such a file::

    summary = "one line for the list"
    source = "where its numbers come from"

    [set]                           # what `--set key=value` changes; "$key" in a stage stands for it
    start = "distilbert-base-uncased"
    scores = ""

    [[stage]]
    name = "scored"
    kind = "import"                 # see kinds.py
    when = "scores"                 # only if that setting is given; `unless` is the opposite
    file = "$scores"

    [[stage]]
    name = "train"
    kind = "train"
    start = "$start"
    examples = "@scored | @score"   # the output of an earlier stage; the first of them that takes place
    steps = 150_000                 # the settings of the stage itself

A file with `like = "NAME"` has the settings and stages of that recipe, and says only what is other.

"@stage" and "$key" may also stand after a scheme ("splade:@first"), in a list or in a table; see references.py.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everglade.errors import ConfigError, suggest_name
from everglade.recipes.checks import check_settings, same_type
from everglade.recipes.kinds import KINDS, setting_names
from everglade.recipes.references import change_texts, find_broken, find_stages, names_things, read_mention, texts

__all__ = ["Recipe", "StageSpec", "list_recipes", "load_recipe", "preset_file"]

_NAME = re.compile(r"[a-z][a-z0-9-]*")

_OF_FILE: dict[str, Any] = {"like": "", "summary": "", "source": "", "set": {}, "stage": []}
_OF_STAGE = ("name", "kind", "when", "unless")

DEFAULTS: dict[str, Any] = {"seed": 123, "hold_out": 0.0, "validate_in": 1.0}
"""Settings that every recipe has: the seed; the share of the training queries held out to validate with; and the share
of the documents that are searched in validation, beside those judged."""


@dataclass(frozen=True)
class StageSpec:
    """One stage of a resolved recipe: "$key" is filled in, "@stage" is not; `number` is its place in the file."""

    name: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    number: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """The values that the stage's own configuration takes."""
        return {key: value for key, value in self.values.items() if key not in KINDS[self.kind].own}

    def own(self, key: str) -> Any:  # noqa: ANN401 - any TOML value
        """Give the value of a key of the stage itself, or its default."""
        return self.values.get(key, KINDS[self.kind].own[key])


@dataclass(frozen=True)
class Recipe:
    """A recipe as its file has it, with what was overridden.

    Attributes:
        name: What it is called.
        summary: One line.
        source: Where its numbers come from.
        settings: The recipe's own settings.
        stages: Tables of the stages, as they were read.
        text: The file.
        overrides: What was overridden, by "key" or "stage.key".
    """

    name: str
    summary: str
    source: str
    settings: dict[str, Any]
    stages: tuple[dict[str, Any], ...]
    text: str
    overrides: dict[str, Any] = field(default_factory=dict)

    def override(self, values: Mapping[str, Any]) -> Recipe:
        """Give the recipe with other settings: "key" of the recipe, or "STAGE.key" of a stage.

        Raises:
            ConfigError: if there is no such setting or stage, with the nearest known one.
        """
        settings = dict(self.settings)
        stages = [dict(stage) for stage in self.stages]
        for key, value in values.items():
            first, dot, rest = key.partition(".")
            if not dot:
                if key not in settings:
                    raise ConfigError(f"{self.name} has no setting {key!r}. {suggest_name(key, list(settings))}")
                settings[key] = same_type(key, value, settings[key])
                continue
            stage = next((one for one in stages if one["name"] == first), None)
            if stage is None:
                names = [one["name"] for one in stages]
                raise ConfigError(f"{self.name} has no stage {first!r}. {suggest_name(first, names, 'stages')}")
            self._put(stage, rest, value)
        overrides = {**self.overrides, **values}
        return dataclasses.replace(self, settings=settings, stages=tuple(stages), overrides=overrides)

    def _put(self, stage: dict[str, Any], key: str, value: object) -> None:
        first, dot, rest = key.partition(".")
        known = setting_names(stage["kind"])
        if first not in known:
            raise ConfigError(f"stage {stage['name']} of {self.name} has no {first!r}. {suggest_name(first, known)}")
        if not dot:
            stage[first] = value
        elif isinstance(KINDS[stage["kind"]].own.get(first), dict):
            stage[first] = {**stage.get(first, {}), rest: value}
        else:
            raise ConfigError(f"{first} of stage {stage['name']} of {self.name} is no table: there is no {key!r}.")

    def resolve(self) -> list[StageSpec]:
        """Give the stages that take place, in order, with the recipe's settings filled in, and check them.

        Raises:
            ConfigError: if a stage names a setting or an earlier stage that there is not, or has a setting that is
                unknown or cannot be used.
        """
        taken = [(number, stage) for number, stage in enumerate(self.stages, start=1) if self._takes_place(stage)]
        names = [stage["name"] for _, stage in taken]
        for key in self.overrides:
            if "." in key and key.partition(".")[0] not in names:
                raise ConfigError(f"{self.name}: {key} is set, but with these inputs that stage does not take place.")
        resolved: dict[str, StageSpec] = {}
        for number, stage in taken:
            place = f"{self.name}, stage {stage['name']}"
            if stage["name"] in resolved:
                raise ConfigError(f"{place}: two stages have that name.")
            values = {
                key: self._fill_in(stage["kind"], key, value, names, f"{place}, {key}")
                for key, value in stage.items()
                if key not in _OF_STAGE
            }
            if "seed" in setting_names(stage["kind"]):
                values.setdefault("seed", self.settings["seed"])
            spec = StageSpec(stage["name"], stage["kind"], values, number)
            check_settings(spec, self.name)
            self._check_references(spec, resolved)
            resolved[spec.name] = spec
        return list(resolved.values())

    def _takes_place(self, stage: Mapping[str, Any]) -> bool:
        for word in ("when", "unless"):
            for name in _as_list(stage.get(word, [])):
                if name not in self.settings:
                    raise ConfigError(
                        f"{self.name}, stage {stage['name']}: {word} = {name!r} is no setting of the recipe. "
                        f"{suggest_name(name, list(self.settings))}"
                    )
        given = [bool(self.settings[name]) for name in _as_list(stage.get("when", []))]
        against = [bool(self.settings[name]) for name in _as_list(stage.get("unless", []))]
        return all(given) and not any(against)

    def _fill_in(self, kind: str, key: str, value: Any, names: list[str], place: str) -> Any:  # noqa: ANN401 - any TOML value
        def fill(text: str) -> Any:  # noqa: ANN401
            if names_things(kind, key):
                return self._first_there(text, names, place)
            found = read_mention(text)
            return self._setting(found.setting, place) if found and found.setting and not found.scheme else text

        return change_texts(value, fill)

    def _first_there(self, text: str, names: list[str], place: str) -> Any:  # noqa: ANN401 - any TOML value
        """Give what a text stands for: of "one | two" the first that takes place, or is given."""
        mentions = [read_mention(alternative) for alternative in text.split(" | ")]
        for found in mentions:
            if found is None:
                return text
            if found.stage:
                if found.stage in names:
                    return f"{found.scheme}@{found.stage}"
                if len(mentions) == 1:
                    hint = suggest_name(found.stage, names, "stages")
                    raise ConfigError(f"{place}: {text} is no stage that takes place before this one. {hint}")
                continue
            filled = self._setting(str(found.setting), place)
            if filled in ("", []) and len(mentions) > 1:
                continue
            return f"{found.scheme}{filled}" if found.scheme else filled
        raise ConfigError(f"{place}: none of {text} is there.")

    def _setting(self, name: str, place: str) -> Any:  # noqa: ANN401 - any TOML value
        if name not in self.settings:
            hint = suggest_name(name, list(self.settings))
            raise ConfigError(f"{place}: ${name} is no setting of the recipe. {hint}")
        return self.settings[name]

    def _check_references(self, stage: StageSpec, earlier: Mapping[str, StageSpec]) -> None:
        for key, text in find_broken(stage):
            raise ConfigError(
                f"{self.name}, stage {stage.name}, {key}: {text!r} is neither @stage nor $setting. Nothing may stand "
                f"behind the name; of several, write the first that is there as @one | @two."
            )
        for key, name in find_stages(stage):
            place = f"{self.name}, stage {stage.name}, {key}"
            if name not in earlier:
                raise ConfigError(f"{place}: @{name} is not before this stage.")
            kinds = KINDS[stage.kind].inputs.get(key)
            if kinds is not None and earlier[name].kind not in kinds:
                takes = f"takes {' or '.join(kinds)}" if kinds else "takes no stage"
                raise ConfigError(f"{place}: @{name} is a stage of kind {earlier[name].kind}, but this {takes}.")


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _presets() -> Path:
    return Path(__file__).parent


def list_recipes() -> dict[str, str]:
    """Give name -> summary of the recipes that come with Everglade, those for small machines last."""
    files = sorted(_presets().glob("*.toml"), key=lambda file: (file.stem.endswith("-small"), file.stem))
    return {file.stem: load_recipe(file.stem).summary for file in files}


def preset_file(name: str) -> Path:
    """Give the file of a recipe: one of Everglade's own by its name, or any by its path.

    Raises:
        ConfigError: if there is none, with the nearest known name.
    """
    own = _presets() / f"{name}.toml"
    if _NAME.fullmatch(name) and own.is_file():
        return own
    path = Path(name)
    if path.is_file():
        return path
    known = [file.stem for file in sorted(_presets().glob("*.toml"))]
    hint = suggest_name(name, known, "recipes")
    raise ConfigError(f"there is no recipe {name!r}. {hint} A recipe of your own is named by the path of its file.")


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe: one of Everglade's own by its name, or any by the path of its file.

    Raises:
        ConfigError: if there is none, it is not TOML, or not of the form described above.
    """
    path = preset_file(str(name))
    text, table = _read(path)
    settings, stages = table.get("set", {}), table.get("stage", [])
    if table.get("like"):
        base = preset_file(table["like"])
        base_text, base_table = _read(base)
        if base_table.get("like"):
            raise ConfigError(f"{path}: {base.stem} is itself like {base_table['like']}. Be like that one.")
        for number, stage in enumerate(base_table.get("stage", []), start=1):
            _check_stage(stage, f"{base}, stage {number}")
        settings = {**base_table.get("set", {}), **settings}
        stages = _change_stages(base_table.get("stage", []), stages, f"{path}, like {base.stem}")
        text += f"\n# {base.name}, which this one is like but for the above:\n#\n"
        text += "".join(f"# {line}".rstrip() + "\n" for line in base_text.splitlines())
    if not stages:
        raise ConfigError(f"{path}: there are no stages. Write a table [[stage]] for each.")
    for number, stage in enumerate(stages, start=1):
        _check_stage(stage, f"{path}, stage {number}")
    settings = {**DEFAULTS, **settings}
    _check_set(settings, stages, f"{path}, [set]")
    return Recipe(path.stem, table.get("summary", ""), table.get("source", ""), settings, tuple(stages), text)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a recipe's file: as it stands, and as a table of known keys."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    if isinstance(table.get("stage"), dict):
        raise ConfigError(f"{path}: [stage] is one table. Write [[stage]], in two brackets, before each stage.")
    for key, value in table.items():
        if key not in _OF_FILE:
            raise ConfigError(f"{path}: unknown key {key!r}. {suggest_name(key, list(_OF_FILE), 'keys')}")
        try:
            same_type(key, value, _OF_FILE[key])
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
    return text, table


def _change_stages(stages: list[dict[str, Any]], changes: list[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    """Give the stages of another recipe, with the keys that a recipe like it gives them."""
    changed = {stage["name"]: stage for stage in stages}
    for change in changes:
        name = change.get("name") if isinstance(change, dict) else None
        if name not in changed:
            hint = suggest_name(str(name), list(changed), "stages")
            raise ConfigError(f"{place}: there is no stage {name!r} to change. {hint}")
        changed[name] = {**changed[name], **change}
    return list(changed.values())


def _check_stage(stage: object, place: str) -> None:
    if not isinstance(stage, dict) or not isinstance(stage.get("name"), str) or not isinstance(stage.get("kind"), str):
        raise ConfigError(f"{place}: a stage needs a name and a kind.")
    if not _NAME.fullmatch(stage["name"]):
        raise ConfigError(f"{place}: the name {stage['name']!r} must be of small letters, digits and dashes.")
    if stage["kind"] not in KINDS:
        hint = suggest_name(stage["kind"], list(KINDS), "kinds")
        raise ConfigError(f"{place}: there is no kind {stage['kind']!r}. {hint}")
    for word in ("when", "unless"):
        names = stage.get(word, [])
        if not isinstance(names, str | list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{place}: {word} must be the name of a setting of the recipe, or a list of names.")


def _check_set(settings: Mapping[str, Any], stages: list[dict[str, Any]], place: str) -> None:
    """Refuse a setting that no stage asks for: it is a typing mistake, and would do nothing."""
    used = {*DEFAULTS, *(name for stage in stages for name in _mentioned_settings(stage))}
    for key, value in settings.items():
        if key not in used:
            hint = suggest_name(key, sorted(used))
            raise ConfigError(f"{place}: no stage has ${key}, and no when or unless names {key!r}. {hint}")
        if key in DEFAULTS:
            try:
                same_type(key, value, DEFAULTS[key])
            except ConfigError as error:
                raise ConfigError(f"{place}: {error}") from error


def _mentioned_settings(stage: Mapping[str, Any]) -> Iterator[str]:
    for word in ("when", "unless"):
        yield from _as_list(stage.get(word, []))
    for text in texts(stage):
        for alternative in text.split(" | "):
            if (found := read_mention(alternative)) and found.setting:
                yield found.setting
