"""The page and the JSON of a phonon calculation, for `trepid phonons`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trepid.data.atomic import write_text_atomic
from trepid.data.cell_change import CellChange
from trepid.data.formula import formula_of
from trepid.phonons.drawn import Drawn
from trepid.phonons.phonopy_output import write_phonopy_files
from trepid.quantities import with_bar
from trepid.report.json_text import json_text
from trepid.report.page import Headline, Section, Table, draw, now, render_page

if TYPE_CHECKING:
    from ase import Atoms

    from trepid.phonons.analysis import PhononAnalysis
    from trepid.phonons.effective import EffectivePhonons
    from trepid.phonons.volume import QuasiHarmonic
    from trepid.runs.crystal_at_rest import CrystalAtRest

PAGE, JSON = "phonons.html", "phonons.json"
"""Files in the output directory, beside those of phonopy."""
RELAXED = "relaxed.extxyz"
"""The crystal relaxed on the model, in the output directory."""
SHOWN_K = (0.0, 100.0, 200.0, 300.0, 500.0, 800.0, 1000.0)
"""Temperatures of the table, as far as they were computed."""


@dataclass(frozen=True)
class PhononPage:
    """All that one call has computed.

    Attributes
    ----------
    model : str
        How the page calls the model.
    result : PhononAnalysis
    volume : QuasiHarmonic or None
    effective : EffectivePhonons or None
        Where `result` is of effective force constants.
    at_rest : CrystalAtRest or None
        What the model says of the crystal; None for a source without bars, and for a trajectory.
    given : Atoms or None
        The crystal before it was relaxed on the model; None where it was not.
    structure : str
        Its file, for the advice.
    """

    model: str
    result: PhononAnalysis
    volume: QuasiHarmonic | None = None
    effective: EffectivePhonons | None = None
    at_rest: CrystalAtRest | None = None
    given: Atoms | None = None
    structure: str = "STRUCTURE"

    @property
    def crystal(self) -> Atoms:
        """The unit cell."""
        return self.result.harmonic.unitcell or self.result.harmonic.supercell

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the crystal on this model, with what to do."""
        file = self.structure if self.given is None else RELAXED
        return [] if self.at_rest is None else self.at_rest.warnings("phonons", file, model=self.model)

    @property
    def remarks(self) -> list[str]:
        """All others, the most important first."""
        first = [] if self.effective is None else [self.effective.verdict, *self.effective.remarks]
        return [*first, *self.result.remarks, *(() if self.volume is None else self.volume.remarks)]


def write_phonons(page: PhononPage, directory: Path) -> list[Path]:
    """Write phonopy's files, phonons.json and the page into an existing directory, each atomically; returns their names."""
    written = write_phonopy_files(page.result.phonon, directory)
    write_text_atomic(directory / JSON, json_text(facts(page)))
    write_text_atomic(directory / PAGE, render_phonons(page))
    return [*written, directory / JSON, directory / PAGE]


def drawn_facts(found: Drawn) -> dict[str, Any]:
    """Value and 95 % bar as lists."""
    bar = found.bar()
    return {"value": found.value.tolist(), "bar": None if bar is None else bar.tolist()}


def facts(page: PhononPage) -> dict[str, Any]:
    """Everything as plain types."""
    result = page.result
    crystal, settings, mesh = page.crystal, result.settings, result.mesh
    return {
        "kind": "phonons",
        "model": page.model,
        "crystal": formula_of(crystal),
        "n_atoms": len(crystal),
        "volume_A3": float(crystal.cell.volume),
        "cell": crystal.cell.cellpar().tolist(),
        "at_rest": None if page.at_rest is None else page.at_rest.as_dict(),
        "supercell": np.asarray(result.harmonic.supercell_matrix).tolist(),
        "displacement_A": settings.displacement_A,
        "residual_force_eV_per_A": result.harmonic.residual_force_eV_per_A,
        "n_draws": len(result.draws),
        "level": 0.95,
        "stable": result.stable,
        "lowest_THz": drawn_facts(result.lowest_THz),
        "highest_THz": drawn_facts(mesh.highest_THz),
        "imaginary_share": mesh.imaginary_share,
        "bands": {
            "segments": [
                {
                    "from": result.bands.path.ends[k][0],
                    "to": result.bands.path.ends[k][1],
                    "qpoints": segment.tolist(),
                    "distances_per_A": result.bands.distances[k].tolist(),
                    "frequencies_THz": drawn_facts(result.bands.segment(k)),
                }
                for k, segment in enumerate(result.bands.path.segments)
            ]
        },
        "dos": {"frequencies_THz": mesh.dos.frequencies_THz.tolist(), "states_per_THz": drawn_facts(mesh.dos.density)},
        "thermal": {
            "atoms_per_primitive_cell": len(result.phonon.primitive),
            "temperatures_K": mesh.thermal.temperatures_K.tolist(),
            "free_energy_kJ_per_mol": drawn_facts(mesh.thermal.free_energy),
            "entropy_J_per_K_mol": drawn_facts(mesh.thermal.entropy),
            "heat_capacity_J_per_K_mol": drawn_facts(mesh.thermal.heat_capacity),
        },
        "quasi_harmonic": None if page.volume is None else _volume_facts(page.volume),
        "effective": None if page.effective is None else _effective_facts(page.effective),
        "remarks": [*page.warnings, *page.remarks],
    }


def _volume_facts(found: QuasiHarmonic) -> dict[str, Any]:
    return {
        "temperatures_K": found.temperatures_K.tolist(),
        "volumes_A3": found.volumes_A3.tolist(),
        "energies_eV": drawn_facts(found.energies_eV),
        "volume_A3": drawn_facts(found.volume_A3),
        "expansion_per_K": drawn_facts(found.expansion_per_K),
        "bulk_modulus_GPa": drawn_facts(found.bulk_modulus_GPa),
        "heat_capacity_P_J_per_K_mol": drawn_facts(found.heat_capacity_P),
        "gruneisen": drawn_facts(found.gruneisen),
    }


def _effective_facts(found: EffectivePhonons) -> dict[str, Any]:
    model = None if found.model is None else found.model.bar()
    return {
        "n_frames": found.n_frames,
        "converged": found.converged,
        "verdict": found.verdict,
        "explained": found.explained,
        "bars": "statistical",
        "model_bar_THz": None if model is None else model.tolist(),
    }


def number(found: Drawn, index: int | None = None) -> str:
    """A value with its bar, as text."""
    bar = found.bar()
    value = float(found.value if index is None else found.value[index])
    return with_bar(value, None if bar is None else float(bar if index is None else bar[index]))


def rows(page: PhononPage) -> list[tuple[str, str]]:
    """The result in a few lines."""
    result = page.result
    lowest, mesh = result.lowest_THz, result.mesh
    thermal = mesh.thermal
    k = int(np.argmin(np.abs(thermal.temperatures_K - 300.0)))
    at = f"at {thermal.temperatures_K[k]:g} K"
    return [
        (
            "lowest frequency",
            "0 THz, the translations" if result.stable else f"{number(lowest)} THz (negative: imaginary)",
        ),
        ("highest frequency", f"{number(mesh.highest_THz)} THz"),
        (f"free energy {at}", f"{number(thermal.free_energy, k)} kJ/mol of primitive cells"),
        (f"heat capacity {at}", f"{number(thermal.heat_capacity, k)} J/K/mol of primitive cells"),
        ("bar", _kind_of_bar(page)),
        *(() if page.volume is None else _volume_rows(page.volume)),
    ]


def _kind_of_bar(page: PhononPage) -> str:
    if page.effective is not None:
        return f"95 %, statistical, {page.effective.n_frames} frames"
    return f"95 %, of {len(page.result.draws)} draws" if page.result.draws else "none"


def _volume_rows(found: QuasiHarmonic) -> list[tuple[str, str]]:
    k = int(np.argmin(np.abs(found.temperatures_K - 300.0)))
    at = f"at {found.temperatures_K[k]:g} K"
    return [
        (f"volume {at}", f"{number(found.volume_A3, k)} A^3 per primitive cell"),
        (f"expansion {at}", f"{number(found.expansion_per_K.times(1e6), k)} 1e-6/K, of the volume"),
        (f"bulk modulus {at}", f"{number(found.bulk_modulus_GPa, k)} GPa"),
        (f"Grueneisen {at}", number(found.gruneisen, k)),
    ]


def render_phonons(page: PhononPage) -> str:
    """The page as text: one self-contained file."""
    result, effective = page.result, page.effective
    crystal = page.crystal
    mesh, thermal = result.mesh, result.mesh.thermal
    k = int(np.argmin(np.abs(thermal.temperatures_K - 300.0)))
    bar = "Shaded: 95 % interval of the model." if result.draws else "Without a bar of the model."
    origin = (
        f"Supercell of {len(result.harmonic.supercell)} atoms, displacements of {result.settings.displacement_A:g} Å."
    )
    if effective is not None:
        bar = "Shaded: 95 % statistical interval, from blocks of the trajectory."
        origin = (
            f"Effective force constants of {effective.n_frames} frames; they explain {100 * effective.explained:.1f} % of the mean "
            f"squared force.{_model_bar(effective)}"
        )
    table = Table(
        ("T, K", "free energy, kJ/mol", "entropy, J/K/mol", "heat capacity, J/K/mol"),
        tuple(
            (
                f"{thermal.temperatures_K[i]:g}",
                number(thermal.free_energy, i),
                number(thermal.entropy, i),
                number(thermal.heat_capacity, i),
            )
            for i in _shown(thermal.temperatures_K)
        ),
    )
    sections = [
        Section(
            "Bands and density of states",
            f"{bar} Wave vectors along the path of the crystal's symmetry; negative frequencies are imaginary. {origin}",
            draw(
                (
                    "bands",
                    "trepid.report.phonon_plots",
                    lambda plots: plots.bands_picture(result),
                    "Frequencies along the path, and density of states.",
                )
            ),
            wide=True,
        ),
        Section(
            "Thermal properties",
            f"Harmonic, at constant volume, with quantum statistics, per mole of primitive cells of {len(result.phonon.primitive)} "
            f"atoms; {mesh.n_qpoints} irreducible wave vectors. {bar}",
            draw(
                (
                    "thermal",
                    "trepid.report.phonon_plots",
                    lambda plots: plots.thermal_picture(result),
                    "Free energy, entropy and heat capacity.",
                )
            ),
            wide=True,
            table=table,
        ),
        *(() if page.volume is None else (_volume_section(page.volume),)),
        _crystal_section(page),
    ]
    return render_page(
        title=f"{'Phonons' if effective is None else 'Effective phonons'} of {formula_of(crystal, reduced=True)}",
        subtitle=f"{formula_of(crystal)}, {crystal.cell.volume / len(crystal):.4g} Å³ per atom, on {page.model}",
        headlines=[
            Headline("none" if result.stable else f"{100 * mesh.imaginary_share:.2g} %", "", "imaginary modes"),
            Headline(f"{mesh.highest_THz.value:.4g}", "THz", f"highest frequency{_half(mesh.highest_THz)}"),
            Headline(
                f"{thermal.heat_capacity.value[k]:.4g}",
                "J/K/mol",
                f"heat capacity at {thermal.temperatures_K[k]:g} K{_half(thermal.heat_capacity.at(k))}",
            ),
            Headline(str(len(result.draws)), "", "draws of the model")
            if effective is None
            else Headline(str(effective.n_frames), "", "frames"),
        ],
        sections=sections,
        sentences=[*page.warnings, *page.remarks],
        grade=_grade(page),
        footer=f"trepid phonons, {now()}",
    )


def _grade(page: PhononPage) -> str:
    if not page.result.stable or (page.at_rest is not None and page.at_rest.extrapolates):
        return "poor"
    return "good" if page.effective is None or page.effective.converged else "fair"


def _crystal_section(page: PhononPage) -> Section:
    crystals = [("given", page.given), ("relaxed on the model", page.crystal)]
    if page.given is None:
        crystals = [("as given", page.crystal)]
    rows = tuple(
        (
            name,
            *(f"{x:.4f}" for x in atoms.cell.lengths()),
            *(f"{x:.2f}" for x in atoms.cell.angles()),
            f"{atoms.cell.volume:.3f}",
        )
        for name, atoms in crystals
        if atoms is not None
    )
    change = "" if page.given is None else f"Change by the relaxation: {CellChange.between(page.given, page.crystal)}. "
    pressure = None if page.at_rest is None else page.at_rest.pressure
    pressed = "" if pressure is None else f"Pressure on the model: {pressure}, one standard deviation."
    text = f"{change}{pressed}"
    return Section(
        "Crystal", text, (), table=Table(("", "a, Å", "b, Å", "c, Å", "α, °", "β, °", "γ, °", "volume, Å³"), rows)
    )


def _model_bar(effective: EffectivePhonons) -> str:
    bar = None if effective.model is None else effective.model.bar()
    return "" if bar is None else f" Largest 95 % bar of the model on these frames: {float(bar.max()):.2g} THz."


def _volume_section(found: QuasiHarmonic) -> Section:
    bar = "Shaded: 95 % interval of the model." if found.volume_A3.draws is not None else "Without a bar of the model."
    return Section(
        "Quasi-harmonic expansion and Grüneisen parameters",
        f"Phonons at {len(found.volumes_A3)} volumes, Vinet equation of state at every temperature, zero pressure. {bar}",
        draw(
            (
                "volume",
                "trepid.report.phonon_plots",
                lambda plots: plots.volume_picture(found),
                "Volume, thermal expansion and bulk modulus.",
            ),
            (
                "gruneisen",
                "trepid.report.phonon_plots",
                lambda plots: plots.gruneisen_picture(found),
                "Grüneisen parameters: of modes, and of the crystal with the heat capacities of the modes as weights.",
            ),
        ),
        wide=True,
        table=Table(
            (
                "T, K",
                "volume, Å³",
                "expansion, 10⁻⁶/K",
                "bulk modulus, GPa",
                "heat capacity at constant pressure",
                "Grüneisen",
            ),
            tuple(
                (
                    f"{found.temperatures_K[k]:g}",
                    number(found.volume_A3, k),
                    number(found.expansion_per_K.times(1e6), k),
                    number(found.bulk_modulus_GPa, k),
                    number(found.heat_capacity_P, k),
                    number(found.gruneisen, k),
                )
                for k in _shown(found.temperatures_K)
                if found.temperatures_K[k] > 0
            ),
        ),
    )


def _half(found: Drawn) -> str:
    bar = found.bar()
    return "" if bar is None else f" (± {float(bar):.2g})"


def _shown(temperatures: np.ndarray) -> list[int]:
    wanted = [int(np.argmin(np.abs(temperatures - t))) for t in SHOWN_K if t <= temperatures[-1]]
    return sorted(set(wanted))
