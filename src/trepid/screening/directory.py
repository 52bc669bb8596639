"""The directory of a screening: settings, ledger, one folder per material, table and dashboard.

screening.yaml, versions.json, ledger.jsonl     settings as used, versions, every turn and its outcome
materials/NAME/   relaxation/                   evaluations as labels, the relaxed cell
                  structure.extxyz              where the campaign starts
                  run/                          the campaign in rounds
                  record.json                   what is known (`trepid.screening.record`), after the latest turn
                  log.txt                       progress in lines
screening.html, screening.csv, screening.json   dashboard and table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from trepid.config.screening import ScreeningSettings, load_screening
from trepid.errors import ConfigError
from trepid.runs.directory import RunDirectory
from trepid.screening.material import MaterialFiles
from trepid.screening.record import MaterialRecord, Status

_MAY_CHANGE = ("budget", "execution", "output", "sources")
"""Sections that may differ from those a screening began with; materials may be added, and rounds.max_rounds be changed."""


class ScreeningDirectory(RunDirectory):
    """A directory of a screening that this process writes to."""

    settings_name: ClassVar[str] = "screening.yaml"

    def files_of(self, name: str) -> MaterialFiles:
        """Files of a material."""
        return files_of(self.path, name)

    def compare_screening(self, settings: ScreeningSettings) -> list[str]:
        """Check that the screening can go on with these settings; gives what has changed.

        Raises
        ------
        ConfigError
            Something differs on which the labels so far depend, or the settings of the screening are damaged.
        """
        if not self.settings.exists():
            return []
        # Through the schema: a key that an earlier version did not have has its default.
        old = load_screening(self.settings, require_files=False).to_file_json()
        new = settings.to_file_json()
        changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in _MAY_CHANGE if old.get(key) != new.get(key)]
        changed = [text for text in changed if not text.startswith("output")]
        for name in ("max_rounds", "max_labels"):
            before, now = (each.get("rounds", {}).pop(name, None) for each in (old, new))
            if before != now:
                changed.append(f"rounds.{name}: {before} -> {now}")
        for section in sorted((old.keys() | new.keys()) - {"materials", *_MAY_CHANGE}):
            before, now = (_without_timeout(each.get(section)) for each in (old, new))
            if before != now:
                key, was, is_now = _first_difference(section, before, now)
                raise ConfigError(
                    f"{self.path} holds a screening with another {key}: {was}, not {is_now}; give the old value back, or another "
                    "output.directory"
                )
        return changed + self._compare_materials(old["materials"], new["materials"])

    def _compare_materials(self, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
        now = {each["name"]: each for each in new}
        for each in old:
            other = now.get(each["name"])
            if other is None:
                raise ConfigError(f"{self.path} holds a screening with {each['name']}, which the list has no more")
            for key in sorted((each.keys() | other.keys()) - {"file", "source"}):
                if each.get(key) != other.get(key):
                    raise ConfigError(
                        f"{self.path} holds a screening of {each['name']} with another {key}: {each.get(key)}, not "
                        f"{other.get(key)}; give the old value back, or the material another name"
                    )
        added = [name for name in now if name not in {each["name"] for each in old}]
        return [f"materials added: {', '.join(added)}"] if added else []


def files_of(directory: Path, name: str) -> MaterialFiles:
    """Files of a material in the directory of a screening."""
    return MaterialFiles(directory / "materials" / name)


def read_records(directory: Path, settings: ScreeningSettings) -> list[MaterialRecord]:
    """What is known of every material, in the order of the list; nothing is written.

    Raises
    ------
    DataError
        A record is damaged.
    """
    records = []
    for material in settings.materials:
        path = files_of(directory, material.name).record
        waiting = MaterialRecord(material.name, material.elements, Status.WAITING)
        records.append(MaterialRecord.read(path) if path.exists() else waiting)
    return records


def _without_timeout(section: Any) -> Any:
    return {k: v for k, v in section.items() if k != "timeout_s"} if isinstance(section, dict) else section


def _first_difference(section: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return _first_difference(f"{section}.{key}", before.get(key), now.get(key))
    return section, before, now
