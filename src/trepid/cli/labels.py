"""Labelled frames for a verb: reads a file, says in one line what it holds, and checks it.

The line and the warnings go to stderr. With `strict` a warning is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trepid.cli.output import say
from trepid.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.data.findings import Finding
    from trepid.data.labelled import LabelledFrames
    from trepid.data.labels import LabelKeys
    from trepid.data.noise_factors import NoiseFactors
    from trepid.inspection import Inspection


def label_keys(energy: str, forces: str, stress: str, virial: str | None) -> LabelKeys:
    """The keys of the options."""
    from trepid.data.labels import LabelKeys

    return LabelKeys(energy=energy, forces=forces, stress=stress, virial=virial)


class LabelFiles:
    """Files of labels of one command: all are read before anything is told of them.

    Parameters
    ----------
    keys : LabelKeys
    check : bool
        Run the checks of `trepid check`; what reading finds is always told.
    strict : bool
        Refuse the files when there is anything to warn of.
    """

    def __init__(self, keys: LabelKeys, *, check: bool = True, strict: bool = False) -> None:
        self.keys, self._check, self._strict = keys, check, strict
        self._read: list[tuple[Path, LabelledFrames]] = []
        self._factors: list[dict[int, NoiseFactors]] = []
        self._bad: list[str] = []

    def read(self, path: Path, *, require: Sequence[str] = ("forces",), index: str = ":") -> list[Atoms]:
        """Frames of one file, their labels under `keys`.

        Raises
        ------
        DataError
            It cannot be read, or a frame lacks a required label.
        """
        from trepid.data.labelled import read_labelled
        from trepid.runs.directory import RunPaths

        if path.is_dir() and RunPaths(path).begun:
            raise DataError(f"{path} is the folder of a run; its labels are the files {path}/labels/label-????.extxyz")
        labelled = read_labelled(path, keys=self.keys, require=require, index=index)
        self._read.append((path, labelled))
        return labelled.frames

    def tell(self) -> None:
        """Write one line and the warnings of every file that was read.

        Raises
        ------
        DataError
            There is a warning, and `strict` was given.
        """
        from trepid.data.findings import Level, located, shortened

        refused: list[str] = []
        for path, labelled in self._read:
            say(labelled.report.line())
            findings = labelled.findings
            if self._check:
                inspection = inspected(labelled, self.keys)
                findings = [*findings, *inspection.findings]
                self._factors.append(inspection.factors)
            texts = [located(finding, labelled.numbers) for finding in findings]
            self._bad += [f"{path}: {text}" for text, f in zip(texts, findings, strict=True) if f.level is Level.ERROR]
            for text in shortened(texts):
                say(f"warning: {path}: {text}")
            refused += [f"{path}: {text}" for text in texts]
        if self._strict and refused:
            more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
            raise DataError(f"--strict: {refused[0]}{more}")

    def require_sound(self) -> None:
        """Raise DataError where a file that was told of has labels on which nothing can rest, by the checks."""
        if self._bad:
            more = f" and {len(self._bad) - 1} more" if len(self._bad) > 1 else ""
            raise DataError(f"{self._bad[0]}{more}")

    def weighted(self, frames: Sequence[Atoms]) -> list[Atoms]:
        """Frames of a file that was read and told of; labels that others contradict count less, which is said.

        Without checks, the frames as they are.
        """
        from trepid.data.noise_factors import with_noise_factors

        for (path, labelled), factors in zip(self._read, self._factors, strict=False):
            if labelled.frames is frames:
                for number, own in sorted(factors.items()):
                    say(f"{path}: frame {labelled.numbers[number]} counts less: {own}")
                return [
                    with_noise_factors(atoms, factors[number]) if number in factors else atoms
                    for number, atoms in enumerate(frames)
                ]
        return list(frames)


def inspected(labelled: LabelledFrames, keys: LabelKeys) -> Inspection:
    """What the checks find."""
    from trepid.inspection import inspect_labels

    return inspect_labels(labelled.frames, keys)


def refused_by_fit(frames: Sequence[Atoms], keys: LabelKeys) -> list[Finding]:
    """What `trepid fit` would refuse in these frames, by the same functions."""
    import numpy as np

    from trepid.data.findings import Finding, Level
    from trepid.data.labels import labels_of
    from trepid.potentials.bayesian.basis import Basis
    from trepid.potentials.bayesian.features import FeatureBuilder

    found = []
    try:
        basis = Basis.create(sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()}))
    except ConfigError as error:
        return [Finding(Level.ERROR, None, str(error))]
    features = FeatureBuilder(basis)
    for number, atoms in enumerate(frames):
        try:
            labels = labels_of(atoms, keys, where="frame")
            if labels.forces is None:
                raise DataError(f"no forces under the key {keys.forces}")
            features.residual(atoms, labels, np.zeros(len(basis.species)))
        except DataError as error:
            found.append(Finding(Level.ERROR, number, str(error).removeprefix("frame: ")))
    return found
