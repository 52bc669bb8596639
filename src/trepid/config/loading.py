"""Reads a campaign file or other settings, and reports every problem in one line: file, key, value, what would be right."""

from __future__ import annotations

import difflib
import types
from collections.abc import Hashable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from trepid.config.base import Settings
from trepid.config.campaign import MODES, AnyCampaign, Campaign
from trepid.errors import ConfigError

MAX_DEPTH = 50
"""Levels of nesting that a settings file may have."""
MOST_PROBLEMS = 5
"""Problems that one message tells."""
MOST_SHOWN = 200
"""Characters of a wrong value in a message."""

SettingsT = TypeVar("SettingsT", bound=Settings)

_TAGS = {"reference": "engine", "potential": "kind", "start": "kind"}
"""Sections of several kinds, and the key that names the kind."""
_PLAIN = {
    "path_type": "should be the path of a file",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
}
"""Messages of pydantic that name Python, in words of a campaign file."""
_HINTS = {
    "reference": " (VASP, FHI-aims, Quantum ESPRESSO, CP2K and others: `engine: ase` with `calculator: vasp` and so on)"
}
"""Addition to the message where the kind of these sections is missing or unknown."""


def load_campaign(path: str | Path, *, require_files: bool = True) -> AnyCampaign:
    """Read a campaign file.

    Parameters
    ----------
    path : str or Path
        YAML file. Relative paths in it start at its folder.
    require_files : bool
        Whether the files that it names must exist; False reads the settings of a run whose structure has moved.

    Returns
    -------
    Campaign or RoundsCampaign
        According to its mode: frozen settings with absolute paths, defaults filled in.

    Raises
    ------
    ConfigError
        The file is missing or not YAML, a key is unknown, missing or given twice, a value is of the wrong type or out
        of range, the structure file does not exist. One line: file, key, value, what would be right.
    """
    path = Path(path)
    data = read_mapping(path, what="campaign", origin="'trepid init' writes one", keys=Campaign.model_fields)
    mode = data.get("mode", "on-the-fly")
    if not isinstance(mode, str) or mode not in MODES:
        close = difflib.get_close_matches(str(mode), MODES, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise ConfigError(f"{path}: mode: {mode!r}: should be {' or '.join(map(repr, MODES))}{hint}")
    return _validated(path, data, MODES[mode], require_files=require_files)


def load_settings(
    path: str | Path, model: type[SettingsT], *, what: str, origin: str, require_files: bool = True
) -> SettingsT:
    """Read a YAML file of settings other than a campaign.

    Parameters
    ----------
    path : str or Path
        Relative paths in the file start at its folder.
    model : type of Settings
    what, origin : str
        What the file is, and where one comes from, for the messages.
    require_files : bool
        Whether the files that it names must exist.

    Raises
    ------
    ConfigError
        As `load_campaign`.
    """
    path = Path(path)
    data = read_mapping(path, what=what, origin=origin, keys=model.model_fields)
    return _validated(path, data, model, require_files=require_files)


def read_mapping(path: Path, *, what: str, origin: str, keys: Iterable[str]) -> dict[Any, Any]:
    """The mapping that a YAML file holds, unchecked.

    Parameters
    ----------
    path : Path
    what, origin : str
        What the file is, and where one comes from, for the messages.
    keys : iterable of str
        Keys that it may have, for the messages.

    Raises
    ------
    ConfigError
        It is missing, not YAML, nested too deeply, or no mapping.
    """
    if path.exists() and not path.is_file():  # a pipe would wait for a writer
        raise ConfigError(f"{path}: cannot be read as a text file (it is no regular file)")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such {what if ' ' in what else what + ' file'}; {origin}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file ({_one_line(error)})") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_yaml_problem(error, text)}") from error
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"is no {what}"
        raise ConfigError(f"{path}: {found}; a {what} is a YAML mapping with the keys {', '.join(keys)}; {origin}")
    return data


def _validated(path: Path, data: dict[Any, Any], model: type[SettingsT], *, require_files: bool = True) -> SettingsT:
    try:
        return model.model_validate(data, context={"directory": path.resolve().parent, "require_files": require_files})
    except ValidationError as error:
        # An unknown key first: it is often the misspelt name of a missing one.
        reported = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
        # A list whose entries are all wrong is told to be too short as well.
        reported = [
            problem
            for problem in reported
            if problem["type"] != "too_short" or not any(_lies_in(other["loc"], problem["loc"]) for other in reported)
        ]
        problems = list(dict.fromkeys(_explain(problem, data, model) for problem in reported))
        if len(problems) == 1:
            raise ConfigError(f"{path}: {problems[0]}") from error
        told = " ".join(f"({k}) {problem}" for k, problem in enumerate(problems[:MOST_PROBLEMS], start=1))
        more = f" (and {len(problems) - MOST_PROBLEMS} more)" if len(problems) > MOST_PROBLEMS else ""
        raise ConfigError(f"{path}: {len(problems)} problems: {told}{more}") from error


def _lies_in(location: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    """Whether a place in the file lies within another one."""
    return len(location) > len(other) and location[: len(other)] == other


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of a silent last-one-wins, and depth is limited."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth = self._depth + 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {MAX_DEPTH} levels deep", self.peek_event().start_mark
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _yaml_problem(error: yaml.YAMLError, text: str) -> str:
    """What is wrong with the text, the line where that shows, and what to look at."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f": not valid YAML: {_one_line(error)}"
    mark, problem = error.problem_mark, _one_line(error.problem or error)
    where = "" if mark is None else f", line {mark.line + 1}"
    advice = next((plain for part, plain in _YAML_ADVICE if part in problem), "")
    if not advice or mark is None:
        return f"{where}: not valid YAML: {problem}"
    opened = "" if error.context_mark is None else f", opened in line {error.context_mark.line + 1},"
    line = "".join(text.splitlines()[mark.line : mark.line + 1]).strip()
    return f"{where}: not valid YAML: {problem} ({line!r}): {advice.replace('{opened}', opened)}"


_YAML_ADVICE = (
    ("'\\t'", "there is a tab; indent with spaces"),
    (
        "expected <block end>",
        "it begins in another column than the lines above that it belongs to; the keys of a section, and the dashes of a list, "
        "begin in one column",
    ),
    (
        "mapping values are not allowed",
        "it is indented further than the key above it, or that key has no space after its colon, or a text with ': ' has no "
        "quotes around it",
    ),
    ("expected ',' or", "a bracket{opened} is not closed, or a comma is missing"),
    ("could not find expected ':'", "a key has no colon, or no space after it"),
)
"""Parts of the messages of the YAML reader, and what to look at."""


def _explain(problem: Any, data: Any, root: type[BaseModel]) -> str:
    """One problem as 'key.path: value: what would be right'."""
    location = _without_tags(problem["loc"], data)
    key = _dotted(location) or "the file"
    model = _model_at(location[:-1], data, root)
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields) if model is not None else []
        kind = _other_kind(location, root)
        if kind and model is not None:
            tag = _TAGS[str(location[0])]
            return f"{key}: belongs to {tag} {kind}, not {_tag_values(model, tag)[0]}; leave it out"
        other = _other_mode(location, data, root)
        if other:
            return f"{key}: belongs to mode {other}, and the mode of this file is {_mode_of(root)}; leave it out"
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    field = model.model_fields.get(str(location[-1])) if model is not None and location else None
    meaning = f" [{field.description}]" if field is not None and field.description else ""
    if problem["type"] == "missing":
        return f"{key}: this key is missing{meaning}"
    plain = _PLAIN.get(problem["type"], problem["msg"])
    if problem["type"] == "too_short":
        plain = f"should have {problem['ctx']['min_length']} or more entries"
    told = _one_line(plain)
    message = told.removeprefix("Value error, ").replace("Input should", "should", 1)
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(key, problem, _models(root, location))
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = "should be a mapping of keys to values"
    if isinstance(problem["input"], dict):
        return f"{key}: {message}"
    if problem["type"] in ("literal_error", "enum") and isinstance(problem["input"], str):
        choices = [] if field is None else _choices(field.annotation)
        close = difflib.get_close_matches(problem["input"], choices, n=1)
        message += f"; did you mean '{close[0]}'?" if close else ""
    # The messages of this module already say what would be right; to those of pydantic the meaning of the key is added.
    given = repr(problem["input"])
    given = f"{given[:MOST_SHOWN]}..." if len(given) > MOST_SHOWN else given
    return f"{key}: {given}: {message}{'' if problem['type'] == 'value_error' else meaning}"


def _choices(annotation: Any) -> list[str]:
    """Values of a setting with a fixed set of them."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice.value) for choice in annotation]
    return [str(choice) for choice in get_args(annotation)]


def _wrong_tag(key: str, problem: Any, models: list[type[BaseModel]]) -> str:
    """The key that names the kind of a section is missing or unknown."""
    tag = _TAGS.get(key, "kind")
    given = problem["input"].get(tag) if isinstance(problem["input"], dict) else None
    found = "this key is missing" if given is None else repr(given)
    known = [name for model in models for name in _tag_values(model, tag)]
    close = difflib.get_close_matches(str(given), known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else _HINTS.get(key, "")
    return f"{key}.{tag}: {found}: give {', '.join(known[:-1])} or {known[-1]}{hint}"


def _mode_of(root: type[BaseModel]) -> str:
    return next(name for name, model in MODES.items() if model is root)


def _other_kind(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    """The kind of the section in which this key would be known; empty if there is none."""
    if len(location) != 2 or location[0] not in _TAGS:
        return ""
    for model in _models(root, location[:1]):
        if str(location[1]) in model.model_fields:
            return next(iter(_tag_values(model, _TAGS[str(location[0])])), "")
    return ""


def _other_mode(location: tuple[int | str, ...], data: Any, root: type[BaseModel]) -> str:
    """The mode in which this key would be known; empty if there is none, and for a file that is no campaign."""
    if root not in MODES.values():
        return ""
    for name, other in MODES.items():
        model = None if other is root else _model_at(location[:-1], data, other)
        if model is not None and str(location[-1]) in model.model_fields:
            return name
    return ""


def _without_tags(location: tuple[int | str, ...], data: Any) -> tuple[int | str, ...]:
    """Drop what pydantic adds to a key path: the tag of a kind of section, the branch of a union."""
    clean: list[int | str] = []
    for position, part in enumerate(location):
        section = clean[0] if len(clean) == 1 else None
        if section in _TAGS and position == 1 and part in _all_tags(str(section)):
            continue
        if isinstance(part, str) and ("[" in part or part in ("int", "float", "str")):
            continue
        clean.append(part)
    return tuple(clean)


def _all_tags(section: str) -> set[str]:
    models = [model for root in MODES.values() for model in _models(root, (section,))]
    return {name for model in models for name in _tag_values(model, _TAGS[section])}


def _tag_values(model: type[BaseModel], tag: str) -> list[str]:
    field = model.model_fields.get(tag)
    return [] if field is None else [str(value) for value in get_args(field.annotation)]


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _models(root: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The settings classes that the section at `location` may be of."""
    parent = root
    found: list[type[BaseModel]] = [root]
    for part in location:
        if isinstance(part, int):
            continue
        field = parent.model_fields.get(part)
        found = [] if field is None else list(_models_in(field.annotation))
        if not found:
            return []
        parent = found[0]
    return found


def _model_at(location: tuple[int | str, ...], data: Any, root: type[BaseModel]) -> type[BaseModel] | None:
    """The settings class that holds the keys at `location`; of a section with kinds, the one its tag names."""
    model = root
    for part in location:
        if isinstance(part, int):
            continue
        candidates = _models(model, (part,))
        if model is root and part in _TAGS and len(candidates) > 1:
            section = data.get(part) if isinstance(data, dict) else None
            tag = _TAGS[str(part)]
            default = candidates[0].model_fields[tag].default
            value = section.get(tag, default) if isinstance(section, dict) else default
            candidates = [c for c in candidates if value in _tag_values(c, tag)]
        if not candidates:
            return None
        model = candidates[0]
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, Annotated):
        for argument in get_args(annotation):
            yield from _models_in(argument)
