"""Whether the files of a run are those that its ledger knows: settings and labels by check sum, the ledger by the labels.

Found is what a user would not want to go unnoticed: a label whose numbers were changed, a label or the settings that are
gone, a ledger that was emptied. A kill leaves none of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trepid.runs.checksums import file_sha256
from trepid.runs.directory import RunPaths
from trepid.runs.label_files import LABEL_PATTERN, label_numbers
from trepid.runs.ledger import ACCEPT, Entry
from trepid.runs.ledger_events import Accepted, Doubted, Label, SettingsUsed, Start

ADVICE = f"put it back as it was, or {ACCEPT}"


@dataclass(frozen=True)
class Change:
    """A file that is not as the run left it.

    Attributes
    ----------
    path : Path
    problem : str
        In words, without the path.
    label : int or None
        Number of the label, where it is one.
    """

    path: Path
    problem: str
    label: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


def changes(paths: RunPaths, entries: Sequence[Entry]) -> list[Change]:
    """Files of a run that were changed or lost since it wrote them."""
    numbers = label_numbers(paths.labels)
    if not any(isinstance(entry.event, Start) for entry in entries):
        if not numbers and not paths.model.exists() and not paths.state.exists():
            return []
        lost = "is missing" if not paths.ledger.exists() or not entries else "has lost its beginning"
        return [Change(paths.ledger, f"{lost}, and the run has {len(numbers)} labels")]
    return [*_settings(paths, entries), *_labels(paths, entries, numbers)]


def _settings(paths: RunPaths, entries: Sequence[Entry]) -> list[Change]:
    """The settings are noted before they are written: those before the last ones fit too."""
    noted = _noted_settings(entries)
    if not paths.settings.exists():
        return [Change(paths.settings, "is missing: it holds the settings that the labels were made with")]
    if noted and file_sha256(paths.settings) not in noted[-2:]:
        return [Change(paths.settings, "was changed since the run wrote it (another SHA-256)")]
    return []


def _labels(paths: RunPaths, entries: Sequence[Entry], numbers: Sequence[int]) -> list[Change]:
    noted: dict[int, str | None] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, Label):
            noted[event.label] = event.sha256
        elif isinstance(event, Doubted):
            noted.pop(event.label, None)  # the file was removed before this entry
        elif isinstance(event, Accepted):
            for name, digest in event.labels.items():
                if digest is None:
                    noted.pop(int(name), None)
                else:
                    noted[int(name)] = digest
    found = []
    for number, digest in sorted(noted.items()):
        path = paths.labels / LABEL_PATTERN.format(number)
        if not path.exists():
            # Between the doubt about an accepted label and its entry there is the suspect file instead.
            if not path.with_name(path.name.replace(".extxyz", ".suspect.extxyz")).exists():
                found.append(Change(path, "is missing", number))
        elif digest is not None and file_sha256(path) != digest:
            found.append(Change(path, "was changed since the run wrote it (another SHA-256)", number))
    # A label is written before its entry: a kill leaves one without.
    without = [number for number in numbers if number not in noted]
    if len(without) > 1:
        listed = ", ".join(map(str, without[:6])) + (", ..." if len(without) > 6 else "")
        found.insert(0, Change(paths.ledger, f"lacks the entries of labels {listed}: its end was lost"))
    return found


def accepted(paths: RunPaths, found: Sequence[Change], entries: Sequence[Entry]) -> Accepted:
    """The entry with which these changes are no changes any more."""
    noted = {entry.event.label for entry in entries if isinstance(entry.event, Label)}
    numbers = {change.label for change in found if change.label is not None}
    if any(change.path == paths.ledger for change in found):
        numbers |= set(label_numbers(paths.labels)) - noted
    labels = {}
    for number in sorted(numbers):
        path = paths.labels / LABEL_PATTERN.format(number)
        labels[str(number)] = file_sha256(path) if path.exists() else None
    return Accepted([str(change.path.relative_to(paths.path)) for change in found], labels)


def last_settings(entries: Sequence[Entry]) -> str | None:
    """SHA-256 of the settings that were noted last; None in runs of earlier versions."""
    return next(reversed(_noted_settings(entries)), None)


def _noted_settings(entries: Sequence[Entry]) -> list[str]:
    noted: list[str] = []
    for entry in entries:
        event = entry.event
        if isinstance(event, Start) and event.settings_sha256 is not None:
            noted.append(event.settings_sha256)
        elif isinstance(event, SettingsUsed):
            noted.append(event.sha256)
    return noted
