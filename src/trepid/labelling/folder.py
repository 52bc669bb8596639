"""A folder of labels that belong to one input: a list of frames, or the relaxation of one crystal.

    inputs.json    structures, reference and settings that the labels are of
    ledger.jsonl   requests, labels and failures
    labels/        as in a run (`trepid.runs.label_files`)

The same command goes on in its folder; other structures, another reference or other settings are refused there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from trepid.data.atomic import write_text_atomic
from trepid.data.claim import OTHER_DIRECTORY, claimed
from trepid.data.json_file import read_json_object
from trepid.errors import ConfigError
from trepid.runs.label_files import INPUTS_FILE, label_numbers


@dataclass(frozen=True)
class Inputs:
    """What labels in a folder depend on.

    Attributes
    ----------
    structures : str
        SHA-256 of the frames.
    reference : mapping of str to (str, float or int)
        See `Reference.describe`.
    settings : mapping of str to (str, float, int or bool)
        Of the job.
    """

    structures: str
    reference: Mapping[str, str | float | int]
    settings: Mapping[str, str | float | int]


@contextmanager
def label_folder(directory: Path, *, kind: str) -> Iterator[Path]:
    """Make and lock the folder for the block; then `bind` it to its inputs.

    Parameters
    ----------
    directory : Path
    kind : str
        What the folder holds, for messages: "labels of frames".

    Raises
    ------
    ConfigError
        It is a file, or holds other files.
    DataError
        Another process uses it, or it cannot be made.
    """
    with claimed(directory, settings_file=INPUTS_FILE, kind=kind):
        if not (directory / INPUTS_FILE).exists():  # before anything else is in it: the folder is known by this file
            write_text_atomic(directory / INPUTS_FILE, "{}\n")
        yield directory


def bind(directory: Path, inputs: Inputs, *, kind: str) -> None:
    """Note what the labels in the folder are of, or check it once there are labels.

    Raises
    ------
    ConfigError
        There are labels of other structures, another reference or other settings.
    DataError
        The file cannot be read.
    """
    now = json.loads(json.dumps(asdict(inputs)))
    known = read_json_object(directory / INPUTS_FILE, advice=OTHER_DIRECTORY)
    if label_numbers(directory / "labels"):
        if other := [name for name in now if known.get(name) != now[name]]:
            raise ConfigError(
                f"{directory} holds {kind} with other {' and '.join(other)} ({INPUTS_FILE}); {OTHER_DIRECTORY}"
            )
    else:
        write_text_atomic(directory / INPUTS_FILE, json.dumps(now, indent=1) + "\n")
