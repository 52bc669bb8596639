"""The audits of `audits.py`: settings are chosen on those of `choose`, figures are quoted for those of the other groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from _audit_models import hill, naive, networks, other, repaired, well  # first: one thread

# isort: split

from _audit_scenes import Scene, System, bond_switch, diamond, eam, frenkel, toy, vacancy_hop

from trepid.audit import AuditedModel


@dataclass(frozen=True, eq=False)
class Case:
    """One audit."""

    name: str
    system: System
    scene: Callable[[], Scene]
    model: Callable[[Scene], AuditedModel]
    probe: bool = False


def choose() -> Iterator[Case]:
    """Cases on which settings are chosen."""
    agi = toy()
    for what, scene in (("vacancy", lambda: vacancy_hop(agi)), ("frenkel", lambda: frenkel(agi, "empty 4Ag6I"))):
        yield Case(f"toy {what}, right", agi, scene, other(agi))
        yield Case(f"toy {what}, iodine 1.3", agi, scene, other(toy(iodine=1.3)))
        yield Case(f"toy {what}, silver 0.8", agi, scene, other(toy(silver=0.8)))
        yield Case(f"toy {what}, naive", agi, scene, naive(agi, 1, 400.0))
        yield Case(f"toy {what}, repaired", agi, scene, repaired(agi, 1, what))
    copper = eam("Cu", "Cu_u3.eam", 900.0)
    yield Case("Cu vacancy, right", copper, lambda: vacancy_hop(copper), other(copper))
    yield Case(
        "Cu vacancy, smf7", copper, lambda: vacancy_hop(copper), other(eam("Cu", "Cu_smf7.eam", 900.0, truth=False))
    )
    yield Case("Cu vacancy, naive", copper, lambda: vacancy_hop(copper), naive(copper, 1, 900.0))
    yield Case("Cu vacancy, repaired", copper, lambda: vacancy_hop(copper), repaired(copper, 1, "vacancy"))
    silicon = diamond("Si", "Si.tersoff", 1000.0)
    yield Case(
        "Si vacancy, Tersoff by SW",
        silicon,
        lambda: vacancy_hop(silicon),
        other(diamond("Si", "Si.sw", 1000.0, truth=False)),
    )
    yield Case("Si vacancy, repaired", silicon, lambda: vacancy_hop(silicon), repaired(silicon, 1, "vacancy"))
    yield Case("Si frenkel, SW", silicon, lambda: frenkel(silicon), other(diamond("Si", "Si.sw", 1000.0, truth=False)))


METALS = (
    ("Ni", "Ni_u3.eam", ("Ni_smf7.eam",), 1200.0),
    ("Al", "Al_jnp.eam", ("Al_mm.eam.fs", "AlCu.eam.alloy", "Al_zhou.eam.alloy"), 600.0),
    ("Cu", "Cu_smf7.eam", ("Cu_u6.eam", "AlCu.eam.alloy", "Cu_mishin1.eam.alloy", "Cu_zhou.eam.alloy"), 900.0),
    ("Ag", "Ag_u3.eam", (), 900.0),
    ("Pd", "Pd_u3.eam", (), 1200.0),
    ("Au", "Au_u3.eam", (), 900.0),
    ("Pt", "Pt_u3.eam", (), 1200.0),
)
"""Element, truth, wrong models, and temperature (K)."""


def quote() -> Iterator[Case]:
    """Cases that figures are quoted for: classical models first, which are cheap, then Bayesian force fields."""
    for element, file, wrongs, temperature in METALS:
        metal = eam(element, file, temperature)
        scene = lambda metal=metal: vacancy_hop(metal)  # noqa: E731
        yield Case(f"{element} vacancy, right", metal, scene, other(metal))
        for wrong in wrongs:
            yield Case(
                f"{element} vacancy, {wrong}", metal, scene, other(eam(element, wrong, temperature, truth=False))
            )
    for lattice, silver, iodine in ((6.4, 1.0, 1.0), (6.6, 1.0, 1.0), (6.5, 1.1, 1.0), (6.5, 1.0, 1.3)):
        agi = toy(lattice, silver, iodine)
        for what, scene in (
            ("vacancy", lambda agi=agi: vacancy_hop(agi)),
            ("frenkel", lambda agi=agi: frenkel(agi, "empty 4Ag6I")),
        ):
            yield Case(f"{agi.name} {what}, right", agi, scene, other(agi))
            for factor in (0.6, 1.9):
                wrong = toy(lattice, silver, round(factor * iodine, 3))
                yield Case(f"{agi.name} {what}, iodine x {factor}", agi, scene, other(wrong))
    for lattice, silver, iodine in ((6.4, 1.0, 1.0), (6.6, 1.0, 1.0), (6.5, 1.1, 1.0), (6.5, 1.0, 1.3)):
        agi = toy(lattice, silver, iodine)
        scene = lambda agi=agi: frenkel(agi, "empty 4Ag6I")  # noqa: E731
        for depth in (0.4, 0.6):
            yield Case(f"{agi.name} frenkel, well {depth}", agi, scene, well(agi, depth))
    stiff = toy(6.5, 1.0, 2.2)
    for iodine in (1.0, 1.3):
        yield Case(
            f"{stiff.name} frenkel, iodine {iodine}",
            stiff,
            lambda: frenkel(stiff, "empty 4Ag6I"),
            other(toy(6.5, 1.0, iodine)),
        )
    yield from bonded(("Si", "Si.tersoff", "Si.sw"), ("Si", "Si.sw", "Si.tersoff"))
    for element, file, _, temperature in METALS[:4]:
        metal = eam(element, file, temperature)
        scene = lambda metal=metal: vacancy_hop(metal)  # noqa: E731
        for seed in (2, 3):
            yield Case(f"{element} vacancy, repaired {seed}", metal, scene, repaired(metal, seed, "vacancy"))
            yield Case(f"{element} vacancy, naive {seed}", metal, scene, naive(metal, seed, temperature))
    for lattice, silver, iodine in ((6.4, 1.0, 1.0), (6.5, 1.0, 1.3)):
        agi = toy(lattice, silver, iodine)
        scene = lambda agi=agi: frenkel(agi, "empty 4Ag6I")  # noqa: E731
        for seed in (2, 3):
            yield Case(f"{agi.name} frenkel, naive {seed}", agi, scene, naive(agi, seed, 400.0))
            yield Case(f"{agi.name} frenkel, repaired {seed}", agi, scene, repaired(agi, seed, "frenkel"))
    yield from bonded(("Ge", "Ge.tersoff", "Ge_Zuo_JPCA2020"), ("Si", "Si_Zuo_JPCA2020", "Si.sw"))


def bonded(*pairs: tuple[str, str, str]) -> Iterator[Case]:
    """Vacancy, interstitial and bond switch of the diamond structure: element, truth, and wrong model."""
    for element, file, wrong in pairs:
        for what, temperature in (("vacancy", 1000.0), ("frenkel", 1000.0), ("bond switch", 2000.0)):
            crystal = diamond(element, file, temperature)
            event = {"vacancy": vacancy_hop, "frenkel": frenkel, "bond switch": bond_switch}[what]
            scene = lambda crystal=crystal, event=event: event(crystal)  # noqa: E731
            yield Case(f"{file} {what}, right", crystal, scene, other(crystal))
            yield Case(
                f"{file} {what}, {wrong}", crystal, scene, other(diamond(element, wrong, temperature, truth=False))
            )


def network_cases() -> Iterator[Case]:
    """Committees of networks: on frames without the event, and with it."""
    copper, agi = eam("Cu", "Cu_u3.eam", 900.0), toy(6.4)
    for system, what, scene in (
        (copper, "vacancy", lambda: vacancy_hop(copper)),
        (agi, "frenkel", lambda: frenkel(agi, "empty 4Ag6I")),
    ):
        for seed in (1, 2):
            for fixed in (False, True):
                kind = "repaired" if fixed else "naive"
                model = networks(system, seed, repaired=fixed)
                yield Case(f"{system.name} {what}, networks {kind} {seed}", system, scene, model)


def overlooked() -> Iterator[Case]:
    """Models from which an event of the truth is removed: probes."""
    for element, file, _, temperature in METALS:
        metal = eam(element, file, temperature)
        yield Case(
            f"{element} vacancy, hill",
            metal,
            lambda metal=metal: vacancy_hop(metal),
            hill(metal),
            probe=True,
        )
    for lattice in (6.4, 6.5, 6.6):
        agi = toy(lattice)
        yield Case(
            f"{agi.name} vacancy, hill",
            agi,
            lambda agi=agi: vacancy_hop(agi),
            hill(agi),
            probe=True,
        )
