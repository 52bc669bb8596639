"""Outputs of electronic structure codes and sets of training data, written in the form that their programs document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_stress

HA, RY, BOHR = units.Hartree, units.Ry, units.Bohr


def crystal(seed: int) -> Atoms:
    """Two atoms with labels under the names of ASE, of the size that a code prints."""
    rng = np.random.default_rng(seed)
    atoms = bulk("CuI", "zincblende", a=6.1)
    atoms.positions += rng.normal(0.0, 0.05, (2, 3))
    atoms.cell[:] += rng.normal(0.0, 0.02, (3, 3))
    atoms.info["energy"] = -5.0 + 0.1 * seed
    forces = rng.normal(0.0, 0.5, (2, 3))
    atoms.arrays["forces"] = forces - forces.mean(axis=0)
    atoms.info["stress"] = rng.normal(0.0, 0.01, 6)
    return atoms


def rows(array: np.ndarray, digits: int = 8) -> str:
    return "\n".join(" ".join(f"{value: .{digits}f}" for value in row) for row in array)


def outcar(steps: Sequence[Atoms], *, missed: Sequence[int] = ()) -> str:
    text = " vasp.6.4.1 complex\n executed on LinuxGNU date 2024.01.01\n"
    text += " POTCAR:    PAW_PBE Cu 22Jun2005\n POTCAR:    PAW_PBE I 08Apr2002\n" * 2
    text += "   ISPIN  =      1    spin polarized calculation?\n   NELM   =     60;   NELMIN=  2\n"
    text += "   ions per type =               1   1\n"
    text += (
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     12\n"
    )
    text += " k-points in reciprocal lattice and weights: Gamma\n   0.0 0.0 0.0 1.0\n\n"
    for k, atoms in enumerate(steps):
        stress = -np.asarray(atoms.info["stress"])[[0, 1, 2, 5, 3, 4]] / (0.1 * units.GPa)
        energy = atoms.info["energy"]
        text += f"--------------------------- Iteration{k + 1:7d}(   1)  ---------------------------\n"
        text += f"--------------------------- Iteration{k + 1:7d}(  14)  ---------------------------\n"
        text += (
            "----------------- aborting loop EDIFF was not reached (unconverged) -------------\n"
            if k in missed
            else "------------------------ aborting loop because EDIFF is reached ------------------\n"
        )
        text += f"  in kB  {' '.join(f'{value:.5f}' for value in stress)}\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        text += rows(np.hstack([atoms.cell.array, atoms.cell.reciprocal()])) + "\n"
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n" + 83 * "-" + "\n"
        text += rows(np.hstack([atoms.positions, atoms.arrays["forces"]])) + "\n" + 83 * "-" + "\n"
        text += (
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        text += f"  free  energy   TOTEN  =       {energy:.8f} eV\n\n"
        text += f"  energy  without entropy=       {energy + 0.01:.8f}  energy(sigma->0) =       {energy + 0.005:.8f}\n"
    return text


def vasprun(steps: Sequence[Atoms], *, missed: Sequence[int] = ()) -> str:
    def structure(atoms: Atoms, name: str = "") -> str:
        tables = [("basis", atoms.cell.array), ("positions", atoms.get_scaled_positions(wrap=False))]
        basis, positions = (
            f'<varray name="{title}" >\n'
            + "\n".join(f"<v> {' '.join(f'{v:.10f}' for v in row)} </v>" for row in table)
            + "\n</varray>\n"
            for title, table in tables
        )
        return f"<structure{name}><crystal>{basis}</crystal>{positions}</structure>\n"

    text = '<?xml version="1.0"?>\n<modeling>\n<kpoints><varray name="kpointlist" ><v> 0 0 0 </v></varray>'
    text += '<varray name="weights" ><v> 1 </v></varray></kpoints>\n'
    text += '<parameters><separator name="electronic"><i type="int" name="NELM"> 3</i></separator></parameters>\n'
    text += '<atominfo><array name="atoms" ><set><rc><c>Cu</c><c>1</c></rc><rc><c>I </c><c>2</c></rc></set></array></atominfo>\n'
    text += structure(steps[0], ' name="initialpos" ')
    for k, atoms in enumerate(steps):
        energy = atoms.info["energy"]
        energies = (
            f'<energy><i name="e_fr_energy"> {energy:.8f}</i><i name="e_wo_entrp"> {energy + 0.01:.8f}</i>'
            f'<i name="e_0_energy"> {energy + 0.005:.8f}</i></energy>'
        )
        text += "<calculation>\n" + f"<scstep>{energies}</scstep>\n" * (3 if k in missed else 2) + structure(atoms)
        stress = -voigt_6_to_full_3x3_stress(atoms.info["stress"]) / (0.1 * units.GPa)
        for name, table in (("forces", atoms.arrays["forces"]), ("stress", stress)):
            text += f'<varray name="{name}" >\n'
            text += "\n".join(f"<v> {' '.join(f'{v:.8f}' for v in row)} </v>" for row in table) + "\n</varray>\n"
        text += energies + "\n</calculation>\n"
    return text + "</modeling>\n"


def espresso(steps: Sequence[Atoms], *, missed: Sequence[int] = ()) -> str:
    first = steps[0]
    alat = float(first.cell.lengths()[0])
    text = "     Program PWSCF v.7.2 starts on  1Jan2024 at  0: 0: 0\n\n"
    text += f"     number of atoms/cell      =            {len(first)}\n     number of atomic types    =            2\n"
    text += f"     celldm(1)=   {alat / BOHR:.8f}  celldm(2)=   0.000000  celldm(3)=   0.000000\n\n"
    text += "     crystal axes: (cart. coord. in units of alat)\n"
    for k, vector in enumerate(first.cell.array / alat):
        text += f"               a({k + 1}) = ( {' '.join(f'{v:.8f}' for v in vector)} )\n"
    text += "\n     site n.     atom                  positions (alat units)\n"
    for k, atom in enumerate(first):
        place = " ".join(f"{v:.8f}" for v in atom.position / alat)
        text += f"         {k + 1}           {atom.symbol:<2}  tau(   {k + 1}) = (  {place}  )\n"
    for k, atoms in enumerate(steps):
        if k:
            text += f"CELL_PARAMETERS (angstrom)\n{rows(atoms.cell.array, 9)}\n\nATOMIC_POSITIONS (angstrom)\n"
            text += (
                "\n".join(f"{atom.symbol:<2} {' '.join(f'{v:.9f}' for v in atom.position)}" for atom in atoms) + "\n\n"
            )
        text += "     Self-consistent Calculation\n"
        text += (
            "     convergence NOT achieved after 100 iterations: stopping\n"
            if k in missed
            else f"!    total energy              =   {atoms.info['energy'] / RY:.10f} Ry\n"
            "     convergence has been achieved in  10 iterations\n"
        )
        if k in missed:
            text += f"!    total energy              =   {atoms.info['energy'] / RY:.10f} Ry\n"
        text += "     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        for i, force in enumerate(atoms.arrays["forces"] / (RY / BOHR)):
            text += f"     atom    {i + 1} type  {i + 1}   force =  {' '.join(f'{v:.10f}' for v in force)}\n"
        text += "\n     Computing stress (Cartesian axis) and pressure\n\n"
        text += "          total   stress  (Ry/bohr**3)     (kbar)   P= 1.0\n"
        stress = -voigt_6_to_full_3x3_stress(atoms.info["stress"])
        text += rows(np.hstack([stress / (RY / BOHR**3), stress / (0.1 * units.GPa)]), 10) + "\n\n"
    return text


def aims(steps: Sequence[Atoms], *, missed: Sequence[int] = ()) -> str:
    first = steps[0]
    text = "          Invoking FHI-aims ...\n\n  Complete information for previous time-step:\n"
    text += "  | Number of atoms                   :        2\n  | Number of spin channels           :        1\n"
    text += "  The structure contains        2 atoms,  and a total of         36.000 electrons.\n"
    text += (
        "  Number of Kohn-Sham states (occupied + empty):       24\n  | Number of k-points             :         1\n"
    )
    text += "  Occupation type: Gaussian broadening, width =   0.100000E-01 eV.\n  Complete information for molecular dynamics\n"
    text += (
        "  | Unit cell:\n" + "\n".join(f"  |  {' '.join(f'{v:.8f}' for v in row)}" for row in first.cell.array) + "\n"
    )
    text += "  Atomic structure:\n  |       Atom                x [A]            y [A]            z [A]\n"
    for k, atom in enumerate(first):
        text += f"  | {k + 1:4d}: Species {atom.symbol:<2}  {' '.join(f'{v:.8f}' for v in atom.position)}\n"
    for k, atoms in enumerate(steps):
        text += f"          Begin self-consistency loop: {'Re-initialization' if k else 'Initialization'}.\n"
        if not k:
            text += "  Convergence:    q app. |  density  | eigen (eV) | Etot (eV) | forces (eV/A) |   CPU time | Clock time\n"
        text += "  Self-consistency cycle not converged.\n" if k in missed else "  Self-consistency cycle converged.\n"
        text += f"  | Electronic free energy        :         {atoms.info['energy']:.8f} eV\n"
        stress = voigt_6_to_full_3x3_stress(atoms.info["stress"])
        text += "  +-------------------------------------------------------------------+\n"
        text += "  |              Analytical stress tensor - Symmetrized               |\n"
        text += "  |                  Cartesian components [eV/A**3]                   |\n"
        text += "  +-------------------------------------------------------------------+\n"
        text += "  |                x                y                z                |\n"
        text += "  |                                                                   |\n"
        for name, row in zip("xyz", stress, strict=True):
            text += f"  |  {name}  {' '.join(f'{v:.8f}' for v in row)}  |\n"
        text += "  Total atomic forces (unitary forces cleaned) [eV/Ang]:\n"
        for i, force in enumerate(atoms.arrays["forces"]):
            text += f"  |{i + 1:4d}   {' '.join(f'{v:.10E}' for v in force)}\n"
        text += "  Atomic structure (and velocities) as used in the preceding time step:\n"
        text += "\n".join(f"  lattice_vector   {' '.join(f'{v:.8f}' for v in row)}" for row in atoms.cell.array) + "\n"
        text += (
            "\n".join(f"  atom   {' '.join(f'{v:.8f}' for v in atom.position)} {atom.symbol}" for atom in atoms) + "\n"
        )
        text += "  Next atomic structure:\n"
    return text + "          Have a nice day.\n"


def cp2k(steps: Sequence[Atoms], *, missed: Sequence[int] = (), new: bool = False) -> str:
    text = ""
    for k, atoms in enumerate(steps):
        text += " CP2K| version string:                 CP2K version 2024.1\n"
        for name, vector in zip("abc", steps[0].cell.array, strict=True):
            text += f" CELL| Vector {name} [angstrom]:  {' '.join(f'{v:.8f}' for v in vector)}  |{name}| = 4.3\n"
        text += " CELL| Periodicity                                                           XYZ\n"
        text += " MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM\n\n"
        text += "   Atom Kind Element         X             Y             Z       Z(eff)     Mass\n"
        for i, atom in enumerate(atoms):
            place = " ".join(f"{v:.8f}" for v in atom.position)
            text += f"   {i + 1:4d}    {i + 1} {atom.symbol:<2}  {atom.number:3d}  {place}   11.0000  63.5460\n"
        text += (
            "\n  *** SCF run NOT converged ***\n" if k in missed else "\n  *** SCF run converged in    12 steps ***\n"
        )
        energy = atoms.info["energy"] / HA
        text += f" ENERGY| Total FORCE_EVAL ( QS ) energy {'[hartree]' if new else '[a.u.]:'}   {energy:.12f}\n\n"
        forces = atoms.arrays["forces"] / (HA / BOHR)
        if new:
            text += " FORCES| Atomic forces [hartree/bohr]\n FORCES|   Atom     x    y    z    |f|\n"
            for i, force in enumerate(forces):
                text += f" FORCES|  {i + 1:5d} {' '.join(f'{v:.10E}' for v in force)} {np.linalg.norm(force):.8E}\n"
            text += " FORCES| Sum    0.0 0.0 0.0\n"
        else:
            text += " ATOMIC FORCES in [a.u.]\n\n # Atom   Kind   Element          X              Y              Z\n"
            for i, force in enumerate(forces):
                text += (
                    f"      {i + 1}      {i + 1}      {atoms[i].symbol:<2}   {' '.join(f'{v:.10f}' for v in force)}\n"
                )
            text += " SUM OF ATOMIC FORCES           0.0 0.0 0.0     0.0\n"
        unit, name = (1e-4 * units.GPa, "bar") if new else (units.GPa, "GPa")
        stress = -voigt_6_to_full_3x3_stress(steps[k].info["stress"]) / unit
        text += f"\n STRESS| Analytical stress tensor [{name}]\n STRESS|                        x      y      z\n"
        for axis, row in zip("xyz", stress, strict=True):
            text += f" STRESS|      {axis}   {' '.join(f'{v:.8f}' for v in row)}\n"
    return text


def ml_ab(steps: Sequence[Atoms]) -> str:
    stars, double, line = 50 * "*", 50 * "=", 50 * "-"

    def section(title: str, body: str, rule: str = double) -> str:
        return f"     {title}\n{line}\n{body}\n{rule}\n"

    text = f" 1.0 Version\n{stars}\n" + section("The number of configurations", f"     {len(steps)}", stars)
    text += section("The maximum number of atom type", "     2", stars)
    text += section("The atom types in the data file", "     Cu I", stars)
    text += section("Basis set for Cu", "          1      1", stars)
    for k, atoms in enumerate(steps):
        stress = -np.asarray(atoms.info["stress"]) / (0.1 * units.GPa)
        text += f"     Configuration num. {k + 1:6d}\n{double}\n"
        text += section("System name", "     CuI")
        text += section("The number of atom types", "       2") + section("The number of atoms", "         2", stars)
        text += section("Atom types and atom numbers", "     Cu     1\n     I      1") + section(
            "CTIFOR", "   2.0E-002"
        )
        text += section("Primitive lattice vectors (ang.)", rows(atoms.cell.array, 12))
        text += section("Atomic positions (ang.)", rows(atoms.positions, 12))
        text += section("Total energy (eV)", f"  {atoms.info['energy']:.12f}")
        text += section("Forces (eV ang.^-1)", rows(atoms.arrays["forces"], 12))
        text += f"     Stress (kbar)\n{line}\n     XX YY ZZ\n{line}\n{rows(stress[None, :3], 10)}\n{line}\n"
        text += f"     XY YZ ZX\n{line}\n{rows(stress[None, [5, 3, 4]], 10)}\n{stars}\n"
    return text


def deepmd(folder: Path, steps: Sequence[Atoms], *, raw: bool = False) -> None:
    folder.mkdir()
    (folder / "type.raw").write_text("1\n0\n")
    (folder / "type_map.raw").write_text("I\nCu\n")
    n = len(steps)
    virials = [-atoms.cell.volume * voigt_6_to_full_3x3_stress(atoms.info["stress"]) for atoms in steps]
    arrays = {
        "coord": np.array([atoms.positions for atoms in steps]).reshape(n, -1),
        "box": np.array([atoms.cell.array for atoms in steps]).reshape(n, 9),
        "energy": np.array([atoms.info["energy"] for atoms in steps]),
        "force": np.array([atoms.arrays["forces"] for atoms in steps]).reshape(n, -1),
        "virial": np.array(virials).reshape(n, 9),
    }
    if raw:
        for name, array in arrays.items():
            np.savetxt(folder / f"{name}.raw", array, fmt="%.12f")
        return
    for part, chosen in (("set.000", slice(0, 2)), ("set.001", slice(2, None))):
        (folder / part).mkdir()
        for name, array in arrays.items():
            np.save(folder / part / f"{name}.npy", array[chosen])
