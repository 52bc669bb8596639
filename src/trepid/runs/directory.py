"""The run directory of a campaign: the paths of its files, the lock on it, and the settings it may be continued with."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from trepid.config import AnyCampaign
from trepid.config.loading import read_mapping
from trepid.data.atomic import remove_stale_temporaries, write_text_atomic
from trepid.data.lock import RunLock
from trepid.errors import ConfigError, DataError, cannot_write
from trepid.runs.ledger import ACCEPT

"""Packages that compute in every run, beside those of the references."""

_MAY_CHANGE = (
    "structure.file",
    "learning",
    "output",
    "dynamics.stages",
    "reference.timeout_s",
    "rounds",
    "execution",
    "walkers.duration_ps",
    "acquisition.least_probability",
    "acquisition.floor_noise",
)
"""Settings that may differ from those a run began with, in rounds from the next round on; the structure itself is compared by its
content."""
_MUST_STAY = ("learning.initial_frames", "learning.initial_displacement_A", "learning.initial_strain")


class RunPaths:
    """Paths of a run directory; nothing is made or changed.

    Parameters
    ----------
    path : Path
    """

    settings_name: ClassVar[str] = "campaign.yaml"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings, self.versions = path / self.settings_name, path / "versions.json"
        self.ledger, self.labels, self.rounds = path / "ledger.jsonl", path / "labels", path / "rounds"
        self.model, self.state = path / "model.trepid", path / "state.npz"
        self.trace, self.trajectory = path / "trace.csv", path / "trajectory.extxyz"
        self.report, self.reference = path / "report.html", path / "reference"

    @property
    def begun(self) -> bool:
        """Whether a learning run was started here."""
        return self.ledger.is_file()


def require_usable(path: Path) -> None:
    """Test whether a run directory can be made here or continued; nothing is left behind.

    Raises
    ------
    ConfigError
        It holds files, but no learning run.
    DataError
        It cannot be made or written to.
    """
    _refuse_other_files(RunPaths(path))
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".trepid-", dir=existing))
    except OSError as error:
        raise DataError(f"output.directory: cannot write to {existing}: {error.strerror}; give another") from error


def _refuse_other_files(paths: RunPaths) -> None:
    # The reference, which is made and checked before the run, may have put its files there; campaign.yaml may be the user's own.
    others = [
        entry.name
        for entry in (paths.path.iterdir() if paths.path.is_dir() else ())
        if not entry.name.startswith(".") and entry != paths.reference
    ]
    run = paths.ledger.exists() or (paths.settings.exists() and (paths.versions.exists() or paths.labels.is_dir()))
    if others and not run:
        raise ConfigError(
            f"output.directory: {paths.path} holds files ({sorted(others)[0]}, ...) but no learning run; give another"
        )


class RunDirectory(RunPaths):
    """A run directory that this process writes to; no other process can at the same time.

    Parameters
    ----------
    path : Path
        Made when missing.

    Raises
    ------
    ConfigError
        It holds files, but no learning run.
    DataError
        Another process uses it, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        _refuse_other_files(self)
        self._lock = RunLock(path)
        remove_stale_temporaries(path)

    def compare(self, campaign: AnyCampaign, *, n_stages_entered: int) -> list[str]:
        """Check that the run can be continued with `campaign`; nothing to compare with in a new one.

        Parameters
        ----------
        campaign : Campaign or RoundsCampaign
        n_stages_entered : int
            Stages that the MD has entered; those must be unchanged.

        Returns
        -------
        list of str
            Settings that differ from those the run was last started with, as 'key: old -> new'.

        Raises
        ------
        ConfigError
            A setting differs on which the labels or the MD so far depend.
        DataError
            The settings of the run are damaged.
        """
        if not self.settings.exists():
            return []
        return self._compare(self._read(), campaign, n_stages_entered)

    def _read(self) -> dict[Any, Any]:
        try:
            return read_mapping(self.settings, what="campaign", origin="every run has one", keys=("structure", "..."))
        except ConfigError as error:
            raise DataError(f"{error}; put the settings of the run back, or {ACCEPT}") from error

    def write(self, settings_text: str, versions: Mapping[str, str]) -> None:
        """Write settings and versions (`trepid.runs.versions`)."""
        write_text_atomic(self.settings, settings_text)
        write_text_atomic(self.versions, json.dumps(dict(versions), indent=2) + "\n")

    def _compare(self, found: Any, campaign: AnyCampaign, n_stages_entered: int) -> list[str]:
        old, new = _flat(found), _flat(campaign.to_file_json())
        for section in (old, new):
            section.pop("structure.file", None)
            section.pop("output.directory", None)
            section.setdefault("potential.kind", "bayesian")  # runs of earlier versions do not name it
        changed = []
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) == new.get(key) or (key not in old and new[key] == _default(campaign, key)):
                continue
            difference = f"{key}: {old.get(key)} -> {new.get(key)}"
            free = any(key == name or key.startswith(f"{name}.") for name in _MAY_CHANGE)
            if not free or key in _MUST_STAY:
                raise ConfigError(
                    f"{self.path} holds a run with another {key}: {old.get(key)}, not {new.get(key)}; "
                    "give the old value back, or another output.directory"
                )
            if key == "dynamics.stages" and _begun(old, n_stages_entered) != _begun(new, n_stages_entered):
                raise ConfigError(
                    f"dynamics.stages: the run in {self.path} has begun {n_stages_entered} of its stages, which must "
                    "stay as they are; change later ones, or give another output.directory"
                )
            changed.append(difference)
        return changed

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


def _begun(settings: dict[str, Any], n: int) -> Any:
    """The stages of flat settings that the MD has entered."""
    stages = settings.get("dynamics.stages")
    return stages[:n] if isinstance(stages, list) else stages


def _default(campaign: AnyCampaign, key: str) -> Any:
    """Default of a setting by its dotted key, None where it has none.

    A run stores every setting that has a value: one that it lacks and that has a default was added in a later version.
    """
    section: Any = campaign
    *path, name = key.split(".")
    for part in path:
        section = getattr(section, part, None)
    field = getattr(type(section), "model_fields", {}).get(name)
    return None if field is None or field.is_required() else field.get_default(call_default_factory=True)


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings under dotted keys; lists stay whole."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat |= _flat(value, name) if isinstance(value, dict) and value else {name: value}
    return flat
