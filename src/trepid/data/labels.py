"""Labels of one frame: under which names they are, and what they are worth.

Vocabulary
----------
frame        one configuration of atoms, an `ase.Atoms`
label        result of the reference method for a frame: energy (eV), forces (eV/A), stress (eV/A^3, Voigt xx yy zz
             yz xz xy, tension positive as in ASE)
label key    the name a label has in the frame: energy and stress in `atoms.info`, forces in `atoms.arrays`
virial       minus volume times stress, eV: the form in which some codes and data sets give the stress

Labels are read under their keys. A frame without any of them takes those in the results of an attached calculator (a
`SinglePointCalculator`, or one that has been run), which are taken raw: `atoms.get_forces()` would run a calculator, and
zero the forces of atoms that a constraint fixes. Nothing is ever computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from trepid.arrays import FloatArray
from trepid.data.limits import impossible_energy, impossible_forces, impossible_stress
from trepid.errors import ConfigError, DataError

KINDS = ("energy", "forces", "stress")
_STRESS_ASYMMETRY = 1e-3
"""A stress tensor may be unsymmetric by this part of its largest component (numerical noise of a code) ..."""
_STRESS_ROUNDING = 1e-5
"""... or by this, eV/A^3. Codes print stresses to 0.01 kbar = 6e-6 eV/A^3: in a relaxed cell rounding is all there is."""
_GEOMETRY_TOLERANCE = 1e-6
"""A. A frame moved by more since its calculator was run has no labels there."""


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in a frame: `energy` and `stress` in `atoms.info`, `forces` in `atoms.arrays`.

    Attributes
    ----------
    energy, forces, stress : str
    virial : str or None
        Of the virial in `atoms.info`, 6 or 9 components in eV, which gives the stress of a frame that has no `stress`. None:
        the name of the stress with `virial` or `virials` in place of `stress`.

    Raises
    ------
    ConfigError
        The name of the stress is that of a virial.
    """

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"
    virial: str | None = None

    def __post_init__(self) -> None:
        name = self.stress.lower()
        if "virial" in name and "stress" not in name:
            raise ConfigError(
                f"stress key {self.stress!r}: by its name this is a virial (eV), not a stress (eV/A^3); give it as the virial "
                f"key (--virial-key {self.stress}), and it is divided by minus the volume"
            )

    def of(self, kind: str) -> str:
        """Key of the label kind 'energy', 'forces' or 'stress'."""
        if kind not in KINDS:
            raise ValueError(f"label kind {kind!r}; known are {', '.join(KINDS)}")
        return {"energy": self.energy, "forces": self.forces, "stress": self.stress}[kind]

    @property
    def virials(self) -> tuple[str, ...]:
        """Names under which a virial is looked for."""
        if self.virial is not None:
            return (self.virial,)
        if not self.stress.endswith("stress"):
            return ()
        return tuple(f"{self.stress.removesuffix('stress')}{name}" for name in ("virial", "virials"))


DEFAULT_KEYS = LabelKeys()
STANDARD_KEYS = LabelKeys("energy", "forces", "stress")
"""Names of ASE."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Results of a reference method for one frame; None for a missing one.

    Attributes
    ----------
    energy : float or None
        eV, of the whole frame.
    forces : (n_atoms, 3) array or None
        eV/A.
    stress : (6,) array or None
        eV/A^3, Voigt xx yy zz yz xz xy, tension positive.
    """

    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The label kinds present, in the order energy, forces, stress."""
        present = (self.energy is not None, self.forces is not None, self.stress is not None)
        return tuple(kind for kind, there in zip(KINDS, present, strict=True) if there)

    @property
    def n_labels(self) -> int:
        """Number of scalar labels: 1 for the energy, 3 per atom for forces, 6 for the stress."""
        n_forces = 0 if self.forces is None else int(self.forces.size)
        return int(self.energy is not None) + n_forces + 6 * int(self.stress is not None)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a label of a frame is.

    Attributes
    ----------
    name : str
        The key, or the name of the result of a calculator.
    value : object
        What is there, unchecked.
    is_virial : bool
    in_calculator : bool
    """

    name: str
    value: object
    is_virial: bool = False
    in_calculator: bool = False


def bare_copy(atoms: Atoms) -> Atoms:
    """Elements, positions, cell and periodicity, and nothing else."""
    copy = atoms.copy()
    copy.calc = None
    copy.set_constraint()
    copy.info = {}
    for name in [name for name in copy.arrays if name not in ("numbers", "positions")]:
        del copy.arrays[name]
    return copy


def calculator_results(atoms: Atoms, *, where: str = "frame") -> Mapping[str, object]:
    """Results of the attached calculator as they are; empty without one, or where it has not been run.

    Raises
    ------
    DataError
        The results are of another geometry.
    """
    calculator = atoms.calc
    if not isinstance(calculator, BaseCalculator):  # None, or one of the oldest kind, which keeps no results
        return {}
    results = {name: value for name, value in calculator.results.items() if value is not None}
    then = calculator.atoms
    if results and then is not None:
        same = len(then) == len(atoms) and np.array_equal(then.numbers, atoms.numbers)
        if not (
            same
            and np.abs(then.positions - atoms.positions).max(initial=0.0) <= _GEOMETRY_TOLERANCE
            and np.abs(then.cell.array - atoms.cell.array).max() <= _GEOMETRY_TOLERANCE
        ):
            raise DataError(
                f"{where}: the results of the attached calculator are of another geometry: atoms or cell were changed since"
            )
    return results


def places_of(atoms: Atoms, keys: LabelKeys = DEFAULT_KEYS, *, where: str = "frame") -> dict[str, Place]:
    """Where the labels of a frame are, by kind; a kind that is missing has no entry.

    Raises
    ------
    DataError
        Only the attached calculator has labels, and they are of another geometry.
    """
    places: dict[str, Place] = {}
    if keys.energy in atoms.info:
        places["energy"] = Place(keys.energy, atoms.info[keys.energy])
    if keys.forces in atoms.arrays:
        places["forces"] = Place(keys.forces, atoms.arrays[keys.forces])
    if keys.stress in atoms.info:
        places["stress"] = Place(keys.stress, atoms.info[keys.stress])
    else:
        for name in keys.virials:
            if name in atoms.info:
                places["stress"] = Place(name, atoms.info[name], is_virial=True)
                break
    if places:
        return places
    results = calculator_results(atoms, where=where)
    # The forces are the derivative of the free energy, where a calculator tells it from an extrapolated one.
    energies = (keys.energy, "free_energy", "energy")
    for kind, names in (("energy", energies), ("forces", ("forces",)), ("stress", ("stress",))):
        for name in names:
            if name in results:
                places[kind] = Place(name, results[name], in_calculator=True)
                break
    return places


def labels_of(
    atoms: Atoms,
    keys: LabelKeys = DEFAULT_KEYS,
    *,
    where: str = "frame",
    require: Sequence[str] = (),
) -> Labels:
    """Checked labels of a frame.

    Parameters
    ----------
    atoms : Atoms
        With its labels under `keys`, or, if there are none, in the results of an attached calculator.
    keys : LabelKeys
    where : str
        How an error names the frame, such as "train.extxyz: frame 3 (counted from 0)".
    require : sequence of {"energy", "forces", "stress"}
        Labels that must be present.

    Returns
    -------
    Labels
        Copies in float64. A stress given as 3x3 tensor comes back in Voigt order, a virial as stress.

    Raises
    ------
    DataError
        A required label is missing, or a label is not a number, not finite or of the wrong shape.
    """
    places = places_of(atoms, keys, where=where)
    for kind in require:
        if kind not in places:
            raise DataError(f"{where}: {missing(atoms, keys, kind)}")

    energy: float | None = None
    forces: FloatArray | None = None
    stress: FloatArray | None = None
    if (place := places.get("energy")) is not None:
        value = _floats(place, where)
        if value.size != 1:
            raise DataError(f"{where}: {place.name} has {value.size} values; one energy in eV is expected")
        energy = float(value.reshape(()))
        if not np.isfinite(energy):
            raise DataError(f"{where}: {place.name} is {energy}; every label must be finite")
        _refuse(impossible_energy(energy, len(atoms)), f"{where}: {place.name}")
    if (place := places.get("forces")) is not None:
        forces = _floats(place, where)
        if forces.shape != (len(atoms), 3):
            raise DataError(f"{where}: {place.name} has shape {forces.shape}; expected ({len(atoms)}, 3)")
        if not np.isfinite(forces).all():
            atom, axis = (int(i) for i in np.argwhere(~np.isfinite(forces))[0])
            raise DataError(
                f"{where}: {place.name} of atom {atom} (counted from 0), component {'xyz'[axis]}, is "
                f"{forces[atom, axis]}; every label must be finite"
            )
        _refuse(impossible_forces(forces), f"{where}: {place.name}")
    if (place := places.get("stress")) is not None:
        value = _floats(place, where)
        if place.is_virial:
            value = value / -_volume(atoms, place.name, where)
        stress = _voigt(value, place.name, where)
        _refuse(impossible_stress(stress), f"{where}: {place.name}")
    return Labels(energy=energy, forces=forces, stress=stress)


def attach_labels(atoms: Atoms, labels: Labels, keys: LabelKeys = DEFAULT_KEYS) -> Atoms:
    """Copy of a frame with these labels and no others under `keys`, without calculator and constraints.

    Raises
    ------
    ValueError
        The labels are not of this frame (shape).
    """
    labelled = atoms.copy()
    labelled.calc = None
    labelled.set_constraint()
    for key in (keys.energy, keys.stress, *keys.virials):
        labelled.info.pop(key, None)
    labelled.arrays.pop(keys.forces, None)
    if labels.energy is not None:
        labelled.info[keys.energy] = float(labels.energy)
    if labels.forces is not None:
        if labels.forces.shape != (len(atoms), 3):
            raise ValueError(f"forces of shape {labels.forces.shape} for a frame of {len(atoms)} atoms")
        labelled.arrays[keys.forces] = np.array(labels.forces, dtype=np.float64)
    if labels.stress is not None:
        if labels.stress.shape != (6,):
            raise ValueError(f"stress of shape {labels.stress.shape}; expected (6,)")
        labelled.info[keys.stress] = np.array(labels.stress, dtype=np.float64)
    return labelled


def _refuse(impossible: str, where: str) -> None:
    if impossible:
        raise DataError(f"{where}: {impossible}")


def _volume(atoms: Atoms, name: str, where: str) -> float:
    if atoms.cell.rank < 3:
        raise DataError(f"{where}: {name} is a virial, but the frame has no cell volume to divide it by")
    return float(abs(atoms.cell.volume))


def _floats(place: Place, where: str) -> FloatArray:
    """A label as float64 array."""
    array = np.asarray(place.value)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {place.name} is {str(place.value)[:40]!r}, not a number")
    return np.array(array, dtype=np.float64)


def _voigt(stress: FloatArray, key: str, where: str) -> FloatArray:
    """A stress of 6 or 9 components in Voigt order."""
    if not np.isfinite(stress).all():
        raise DataError(f"{where}: {key} is {stress.ravel().tolist()}; every label must be finite")
    if stress.shape == (6,):
        return stress
    if stress.shape not in ((9,), (3, 3)):
        raise DataError(
            f"{where}: {key} has shape {stress.shape}; expected 6 Voigt components (xx yy zz yz xz xy) or 3x3"
        )
    tensor = stress.reshape(3, 3)
    asymmetry = float(np.abs(tensor - tensor.T).max())
    if asymmetry > max(_STRESS_ASYMMETRY * float(np.abs(tensor).max()), _STRESS_ROUNDING):
        raise DataError(f"{where}: {key} is not symmetric (differs from its transpose by {asymmetry:.3g} eV/A^3)")
    return np.asarray(full_3x3_to_voigt_6_stress(0.5 * (tensor + tensor.T)), dtype=np.float64)


def missing(atoms: Atoms, keys: LabelKeys, kind: str = "forces") -> str:
    """Message for a missing label, with similar keys of the frame."""
    key = keys.of(kind)
    per_atom = kind == "forces"
    own, other = (atoms.arrays, atoms.info) if per_atom else (atoms.info, atoms.arrays)
    place = "arrays" if per_atom else "info"
    if key in other:
        return f"{key!r} is in atoms.{'info' if per_atom else 'arrays'}, but {kind} belong in atoms.{place}"
    if atoms.calc is not None:
        return (
            f"no {key!r} in {place}, and the results of the attached calculator hold no {kind} that could be taken: run it "
            f"first (it is not run here), or leave the frame without other labels"
        )
    names = [str(name) for name in own]
    stem = kind.rstrip("s")
    similar = [name for name in names if stem in name.lower()]
    similar += [name for name in get_close_matches(key, names, n=3, cutoff=0.7) if name not in similar]
    if similar:
        return f"no {key!r} in {place}; similar keys there: {', '.join(sorted(similar))}"
    rest = sorted(name for name in names if name not in ("numbers", "positions"))
    crystal = "" if keys.energy in atoms.info else "; to start from a crystal without labels: trepid init"
    return f"no {key!r} in {place} and nothing similar; {place} has: {', '.join(rest) if rest else 'nothing'}{crystal}"
