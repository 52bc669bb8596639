"""Barostats of ASE: the integrators of Martyna, Tobias and Klein, with everything that the next step depends on.

They sample the isothermal-isobaric ensemble (G. J. Martyna, D. J. Tobias and M. L. Klein, J. Chem. Phys. 101, 4177 (1994)),
with one Nose-Hoover chain on the atoms and one on the cell. The centre of mass rests, so that the atoms have 3 N - 3 degrees
of freedom; the classes of ASE count 3 N and are given N - 1 atoms for it. They have no public access to their variables:
private names are used, and tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKBarostat, IsotropicMTKNPT, MaskedMTKNPT, MTKBarostat

from trepid.choices import Barostat
from trepid.dynamics.ase_thermostats import CHAIN_LENGTH, Adapter, thermostat_chain
from trepid.dynamics.driver import MDParameters
from trepid.potentials.base import FloatArray

_SYMMETRIC = 6
"""Degrees of freedom of a cell that cannot turn: the stress is symmetric, and so are the momenta of the cell."""
_ALL_AXES = (True, True, True)


class _BarostatAdapter(Adapter):
    """What the three barostats share: the chains, and the targets."""

    def __init__(self, dynamics: IsotropicMTKNPT | MTKNPT, p: MDParameters) -> None:
        self._dynamics = dynamics
        self._temperature_damping = p.relaxation_time_fs * units.fs
        self._pressure_damping = p.pressure_time_fs * units.fs
        self._eta, self._p_eta, self._xi, self._p_xi = (np.zeros(CHAIN_LENGTH) for _ in range(4))
        dynamics._num_atoms_global -= 1
        self.set_temperature(p.temperature_K)

    def set_temperature(self, temperature_K: float) -> None:
        # Chains and barostat have masses that go with the temperature; their variables stay, shared and changed in place.
        chain = thermostat_chain(self._dynamics.masses, temperature_K, self._temperature_damping)
        chain._eta, chain._p_eta = self._eta, self._p_eta
        barostat = self._barostat(temperature_K)
        barostat._xi, barostat._p_xi = self._xi, self._p_xi
        self._dynamics._thermostat, self._dynamics._barostat = chain, barostat

    def set_pressure(self, pressure_GPa: float) -> None:
        self._dynamics._pressure_au = pressure_GPa * units.GPa

    def get(self) -> dict[str, FloatArray]:
        chains = {"eta": self._eta, "p_eta": self._p_eta, "xi": self._xi, "p_xi": self._p_xi}
        return {name: np.array(value, dtype=np.float64) for name, value in (chains | self._cell()).items()}

    def put(self, variables: Mapping[str, FloatArray]) -> None:
        self._eta[:], self._p_eta[:] = variables["eta"], variables["p_eta"]
        self._xi[:], self._p_xi[:] = variables["xi"], variables["p_xi"]
        self._put_cell(variables)

    def _barostat(self, temperature_K: float) -> IsotropicMTKBarostat | MTKBarostat:
        raise NotImplementedError

    def _cell(self) -> dict[str, FloatArray | float]:
        """Variables of the cell."""
        raise NotImplementedError

    def _put_cell(self, variables: Mapping[str, FloatArray]) -> None:
        raise NotImplementedError


class _IsotropicAdapter(_BarostatAdapter):
    """The cell is `first_cell` exp(strain)."""

    _dynamics: IsotropicMTKNPT

    def _barostat(self, temperature_K: float) -> IsotropicMTKBarostat:
        return IsotropicMTKBarostat(
            self._dynamics._num_atoms_global, temperature_K, self._pressure_damping, pchain=CHAIN_LENGTH
        )

    def _cell(self) -> dict[str, FloatArray | float]:
        d = self._dynamics
        return {"first_cell": d._cell0, "strain": d._eps, "p_strain": d._p_eps}

    def _put_cell(self, variables: Mapping[str, FloatArray]) -> None:
        d = self._dynamics
        d._cell0 = np.array(variables["first_cell"])
        d._volume0 = abs(np.linalg.det(d._cell0))
        d._eps, d._p_eps = float(variables["strain"]), float(variables["p_strain"])


class _AxesAdapter(_BarostatAdapter):
    """The three lengths change along `directions`."""

    _dynamics: MaskedMTKNPT

    def _barostat(self, temperature_K: float) -> MTKBarostat:
        return MTKBarostat(
            self._dynamics._num_atoms_global,
            temperature_K,
            self._pressure_damping,
            pchain=CHAIN_LENGTH,
            mask=_ALL_AXES,
        )

    def _cell(self) -> dict[str, FloatArray | float]:
        d = self._dynamics
        return {"cell": d._h, "directions": d._h0_basis, "p_lengths": d._p_c}

    def _put_cell(self, variables: Mapping[str, FloatArray]) -> None:
        d = self._dynamics
        d._h, d._h0_basis = np.array(variables["cell"]), np.array(variables["directions"])
        d._p_c = np.array(variables["p_lengths"])


class _FullAdapter(_BarostatAdapter):
    _dynamics: MTKNPT

    def _barostat(self, temperature_K: float) -> MTKBarostat:
        barostat = MTKBarostat(
            self._dynamics._num_atoms_global, temperature_K, self._pressure_damping, pchain=CHAIN_LENGTH
        )
        # ASE counts nine; the cell would then be kept hotter than the atoms.
        barostat._R[0] *= _SYMMETRIC / barostat._cell_dof
        barostat._cell_dof = _SYMMETRIC
        return barostat

    def _cell(self) -> dict[str, FloatArray | float]:
        return {"cell": self._dynamics._h, "p_cell": self._dynamics._p_g}

    def _put_cell(self, variables: Mapping[str, FloatArray]) -> None:
        self._dynamics._h, self._dynamics._p_g = np.array(variables["cell"]), np.array(variables["p_cell"])


def _isotropic(atoms: Atoms, p: MDParameters) -> tuple[MolecularDynamics, Adapter]:
    dynamics = IsotropicMTKNPT(atoms, **_arguments(p))
    return dynamics, _IsotropicAdapter(dynamics, p)


def _axes(atoms: Atoms, p: MDParameters) -> tuple[MolecularDynamics, Adapter]:
    dynamics = MaskedMTKNPT(atoms, mask=_ALL_AXES, **_arguments(p))
    return dynamics, _AxesAdapter(dynamics, p)


def _full(atoms: Atoms, p: MDParameters) -> tuple[MolecularDynamics, Adapter]:
    dynamics = MTKNPT(atoms, **_arguments(p))
    return dynamics, _FullAdapter(dynamics, p)


def _arguments(p: MDParameters) -> dict[str, float]:
    assert p.pressure_GPa is not None
    return {
        "timestep": p.timestep_fs * units.fs,
        "temperature_K": p.temperature_K,
        "pressure_au": p.pressure_GPa * units.GPa,
        "tdamp": p.relaxation_time_fs * units.fs,
        "pdamp": p.pressure_time_fs * units.fs,
    }


BAROSTATS: Mapping[Barostat, Callable[[Atoms, MDParameters], tuple[MolecularDynamics, Adapter]]] = {
    Barostat.ISOTROPIC: _isotropic,
    Barostat.AXES: _axes,
    Barostat.FULL: _full,
}
"""Integrators at a constant pressure."""

_CHAINS = frozenset({"eta", "p_eta", "xi", "p_xi"})
BAROSTAT_VARIABLES: Mapping[Barostat, frozenset[str]] = {
    Barostat.ISOTROPIC: _CHAINS | {"first_cell", "strain", "p_strain"},
    Barostat.AXES: _CHAINS | {"cell", "directions", "p_lengths"},
    Barostat.FULL: _CHAINS | {"cell", "p_cell"},
}
"""Names of the internal variables."""
