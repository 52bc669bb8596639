"""The content of a model file: the whole state of a Bayesian force field as tensors and settings.

Tensors: the evaluation tables (`table.*`, all that molecular dynamics needs), the coefficients, and the sufficient statistics
(`statistics.KIND.*`, Gram matrices as packed upper triangles) from which the posterior is rebuilt. The settings are JSON in
the header of the container (`container`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from trepid.choices import Triplets
from trepid.data import LabelKeys
from trepid.data.duplicates import FINGERPRINT_SIZE
from trepid.errors import ConfigError, DamagedModelError
from trepid.potentials.base import FloatArray, Noise
from trepid.potentials.bayesian.basis import Basis
from trepid.potentials.bayesian.container import (
    VERSION,
    WITH_CHARGES,
    WITHOUT_MIXED_TRIPLETS,
    Content,
    Tensors,
    encode,
)
from trepid.potentials.bayesian.evidence import Curvature
from trepid.potentials.bayesian.leave_one_out import LeftOut
from trepid.potentials.bayesian.statistics import ForceSum, KindStatistics, LabelKind, SufficientStatistics
from trepid.potentials.bayesian.support import Support, SupportTables
from trepid.potentials.bayesian.terms import Hyperparameters, Tables
from trepid.potentials.bayesian.terms.channels import Channels, RadialChannels
from trepid.potentials.bayesian.terms.charges import Charges
from trepid.potentials.bayesian.terms.coulomb import CoulombTables
from trepid.potentials.bayesian.terms.mixed_triplet import MixedTripletTables
from trepid.potentials.bayesian.terms.quadruplet import QuadrupletTables
from trepid.potentials.bayesian.terms.triplet import TripletTables


@dataclass(frozen=True)
class Training:
    """What training makes of the data; the settings and hyperparameters stand in the header.

    Attributes
    ----------
    reference_energies : (n_species,) array
        eV per atom.
    statistics : SufficientStatistics
        Of all training frames.
    templates : list of Atoms
        Training structures behind the live directions, without labels.
    coefficients : (raw,) array
        Posterior mean; for other programs, since the posterior is rebuilt from the statistics.
    tables : Tables
        Of mean and live directions.
    left_out : dict of LabelKind to LeftOut
        Training labels, predicted without their frame, behind the error bars.
    force_sum : ForceSum
    support : Support or None
        Neighbourhoods of the training data; None in files of earlier versions.
    support_tables : SupportTables
        What follows from them, for molecular dynamics.
    curvature : Curvature or None
        Of the evidence at the last optimisation.
    fingerprints : (n, FINGERPRINT_SIZE) array
        Of the training frames, each once (`trepid.data.duplicates`); none in files of earlier versions.
    """

    reference_energies: FloatArray
    statistics: SufficientStatistics
    templates: list[Atoms]
    coefficients: FloatArray
    tables: Tables
    left_out: dict[LabelKind, LeftOut]
    force_sum: ForceSum
    support: Support | None
    support_tables: SupportTables
    curvature: Curvature | None
    fingerprints: FloatArray


def force_field_bytes(basis: Basis, training: Training, settings: Mapping[str, Any]) -> bytes:
    """The model file of a trained force field; the scalars of the statistics are added to `settings`."""
    tensors = _table_tensors(basis, training.tables)
    tensors["reference_energies"] = training.reference_energies
    tensors["coefficients"] = training.coefficients
    for k, template in enumerate(training.templates):
        tensors[f"template.{k}.numbers"] = template.numbers.astype(np.int64)
        tensors[f"template.{k}.positions"] = template.positions
        tensors[f"template.{k}.cell"] = template.cell[:]
        tensors[f"template.{k}.pbc"] = template.pbc
    scalars: dict[str, dict[str, Any]] = {}
    for kind, s in training.statistics.kinds.items():
        tensors[f"statistics.{kind.value}.gram"] = pack_symmetric(s.gram)
        tensors[f"statistics.{kind.value}.projection"] = s.projection
        scalars[kind.value] = {
            "squared": s.squared.hex(),
            "count": s.count,
            "log_multiplier": s.log_multiplier.hex(),
        }
    for kind, labels in training.left_out.items():
        tensors[f"left_out.{kind.value}"] = labels.array
    if training.support_tables:
        for part in fields(SupportTables):
            tensors[f"support.{part.name}"] = getattr(training.support_tables, part.name)
    if training.support is not None and training.support.counts.any():
        tensors |= {f"support.statistics.{name}": array for name, array in training.support.arrays.items()}
    tensors["fingerprints"] = training.fingerprints
    names: list[str] = []
    if training.curvature is not None:
        tensors["curvature"], names = training.curvature.matrix, list(training.curvature.names)
    force_sum = {"squared": training.force_sum.squared.hex(), "n_atoms": training.force_sum.n_atoms}
    more: dict[str, Any] = {"statistics": scalars, "force_sum": force_sum, "curvature": names}
    if basis.channels is not None:
        more["channels"] = asdict(basis.channels)
    if basis.triplet_channels is not None:
        more["triplet_channels"] = asdict(basis.triplet_channels)
    if basis.charges is not None:
        more["charges"] = asdict(basis.charges)
    return encode(tensors, {**settings, **more}, version=_version(basis))


def tables_bytes(basis: Basis, tables: Tables) -> bytes:
    """A model file of tables alone: molecular dynamics in LAMMPS needs no more; trepid cannot continue training with it."""
    return encode(_table_tensors(basis, tables), {"tables": "alone"}, version=_version(basis))


def _table_tensors(basis: Basis, tables: Tables) -> Tensors:
    absent = _absent(
        mixed=basis.triplet_channels is not None,
        quadruplets=basis.channels is not None,
        charges=basis.charges is not None,
    )
    tensors: Tensors = {f"table.{name}": array for name, array in tables.arrays.items() if name not in absent}
    tensors["table.numbers"] = np.array([atomic_numbers[s] for s in basis.species], dtype=np.int64)
    tensors["table.sizes"] = np.array([basis.n_pair, basis.n_radial, basis.l_max, tables.rank], dtype=np.int64)
    tensors["table.grid"] = np.array([basis.r_min, basis.pair_cutoff, basis.triplet_cutoff])
    return tensors


def _version(basis: Basis) -> int:
    if basis.charges is not None:
        return WITH_CHARGES
    return WITHOUT_MIXED_TRIPLETS if basis.triplet_channels is None else VERSION


def _absent(*, mixed: bool, quadruplets: bool, charges: bool) -> set[str]:
    """Tables that a model does not have."""
    parts: list[type] = [TripletTables if mixed else MixedTripletTables]
    parts += [] if quadruplets else [QuadrupletTables]
    parts += [] if charges else [CoulombTables]
    return {f.name for part in parts for f in fields(part)}


def basis_in_file(basis: Basis, settings: Mapping[str, Any]) -> Basis:
    """The basis with the channels of mixed triplets and of quadruplets, and the charges, that the file has."""
    quadruplets, triplets = settings.get("channels"), settings.get("triplet_channels")
    channels = triplet_channels = None
    if quadruplets is not None:
        radial = _radial(quadruplets)
        centre = np.array(quadruplets["centre"], dtype=np.float64).reshape(radial.shape[1], radial.shape[0])
        channels = Channels.of(radial, centre, float(quadruplets["scale"]))
    if triplets is not None:
        triplet_channels = RadialChannels.from_array(_radial(triplets))
    return replace(basis, channels=channels, triplet_channels=triplet_channels, charges=_charges(settings))


def _radial(entry: Mapping[str, Any]) -> FloatArray:
    return np.array(entry["radial"], dtype=np.float64).reshape([int(size) for size in entry["shape"]])


def _charges(settings: Mapping[str, Any]) -> Charges | None:
    """The formal charges; None without them."""
    entry = settings.get("charges")
    if entry is None:
        return None
    return Charges(tuple(float(q) for q in entry["formal"]), float(entry["width"]))


def _tables(tensors: Tensors) -> Tables:
    absent = _absent(
        mixed="table.mixed_triplet" in tensors,
        quadruplets="table.quadruplet" in tensors,
        charges="table.formal_charges" in tensors,
    )
    arrays = {f.name: tensors[f"table.{f.name}"] for f in fields(Tables) if f.name not in absent}
    rank = arrays["pair_live"].shape[-1]
    for name in absent:
        arrays[name] = np.zeros((0, rank), np.float32) if name.endswith("_live") else np.zeros(0)
    return Tables(**arrays)


def arguments_in_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the force field whose `settings_summary` this is; use it inside `naming_damage`."""
    hyper = dict(settings["hyperparameters"])
    return {
        "species": settings["species"],
        "pair_cutoff": settings["pair_cutoff_A"],
        "triplet_cutoff": settings["triplet_cutoff_A"],
        "n_pair": settings["n_pair"],
        "n_radial": settings["n_radial"],
        "l_max": settings["l_max"],
        "n_channels": settings.get("n_channels", 0),
        "triplets": settings.get("triplets", Triplets.FULL.value),
        "hyperparameters": Hyperparameters(noise=Noise(**hyper.pop("noise")), **hyper),
        "live_rank": settings["live_rank"],
        "keys": LabelKeys(**settings["label_keys"]),
        "seed": settings["seed"],
    }


def training_in_file(content: Content, *, size: int) -> Training:
    """What `force_field_bytes` wrote, for `size` raw coefficients; use it inside `naming_damage`."""
    tensors, settings = content.tensors, content.settings
    statistics = SufficientStatistics(size, n_frames=settings["n_frames"])
    for name, scalars in settings["statistics"].items():
        statistics.kinds[LabelKind(name)] = KindStatistics(
            unpack_symmetric(tensors[f"statistics.{name}.gram"], size),
            tensors[f"statistics.{name}.projection"],
            float.fromhex(scalars["squared"]),
            scalars["count"],
            float.fromhex(scalars["log_multiplier"]),
        )
    names = sorted({name.rsplit(".", 1)[0] for name in tensors if name.startswith("template.")})
    parts = ("numbers", "positions", "cell", "pbc")
    return Training(
        reference_energies=tensors["reference_energies"],
        statistics=statistics,
        templates=[Atoms(**{part: tensors[f"{name}.{part}"] for part in parts}) for name in names],
        coefficients=tensors["coefficients"],
        tables=_tables(tensors),
        left_out={
            kind: LeftOut.from_array(tensors[f"left_out.{kind.value}"])
            for kind in LabelKind
            if f"left_out.{kind.value}" in tensors
        },
        force_sum=_force_sum(settings.get("force_sum")),
        support=_support(tensors),
        support_tables=_support_tables(tensors),
        curvature=Curvature(tuple(settings["curvature"]), tensors["curvature"]) if "curvature" in tensors else None,
        fingerprints=tensors.get("fingerprints", np.empty((0, FINGERPRINT_SIZE))),
    )


def _support(tensors: Tensors) -> Support | None:
    if not any(name.startswith("support.statistics.") for name in tensors):
        return None
    return Support(**{f.name: tensors[f"support.statistics.{f.name}"] for f in fields(Support)})


def _support_tables(tensors: Tensors) -> SupportTables:
    if not any(name.startswith("support.") and name.count(".") == 1 for name in tensors):
        return SupportTables.empty()
    return SupportTables(**{f.name: tensors[f"support.{f.name}"] for f in fields(SupportTables)})


def _force_sum(entry: Mapping[str, Any] | None) -> ForceSum:
    """Files of earlier versions have none: their models have error bars of scale 1."""
    return ForceSum() if entry is None else ForceSum(float.fromhex(entry["squared"]), int(entry["n_atoms"]))


@contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turn what goes wrong with the content of a model file into a DamagedModelError that names the file."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, ConfigError) as error:
        raise DamagedModelError(f"{name}: damaged: {error}") from error


def pack_symmetric(matrix: FloatArray) -> FloatArray:
    """Upper triangle (n (n + 1) / 2,) of a symmetric matrix (n, n)."""
    return np.concatenate([row[k:] for k, row in enumerate(matrix)])


def unpack_symmetric(packed: FloatArray, n: int) -> FloatArray:
    """The matrix of `pack_symmetric`.

    Raises
    ------
    ValueError
        The triangle is not that of an (n, n) matrix.
    """
    if packed.shape != (n * (n + 1) // 2,):
        raise ValueError(f"{packed.shape} numbers are not the upper triangle of a matrix of {n} rows")
    matrix = np.empty((n, n))
    start = 0
    for k in range(n):
        matrix[k, k:] = matrix[k:, k] = packed[start : start + n - k]
        start += n - k
    return matrix
