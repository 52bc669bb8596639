"""The LAMMPS input of one run: equilibration, then the heat flux without thermostat.

It runs without trepid:

lmp -in in.lammps                                  lmp -in in.lammps -var resume checkpoint.50000.restart
"""

from __future__ import annotations

from trepid.lammps.session import NEIGHBOR
from trepid.lammps.system import System
from trepid.transport.settings import ConductivitySettings

INPUT_FILE, DATA_FILE, FLUX_FILE, FINAL_FILE = "in.lammps", "start.data", "flux.csv", "final.lammpstrj"
CHECKPOINT = "checkpoint.*.restart"
FLUX_COLUMNS = ("step", "jx", "jy", "jz", "temperature_K", "energy_eV")
"""Columns of the flux file, eV A / ps; behind them the sum of velocities of every atom type but the last, vx1, vy1, vz1, ..."""


def flux_columns(n_types: int) -> tuple[str, ...]:
    """Columns of the flux file for a crystal of this many species."""
    return (*FLUX_COLUMNS, *(f"v{axis}{k}" for k in range(1, n_types) for axis in "xyz"))


def flux_input(system: System, settings: ConductivitySettings, *, pair: str, seed: int) -> str:
    """The input file.

    Parameters
    ----------
    system : System
    settings : ConductivitySettings
    pair : str
        pair_style and pair_coeff.
    seed : int
        Of velocities and noise, from 1.
    """
    n_types = len(system.elements)
    velocities = "".join(
        f"group type{k} type {k}\n"
        + "".join(
            f"compute v{axis}{k} type{k} reduce sum v{axis}\nvariable v{axis}{k} equal c_v{axis}{k}\n" for axis in "xyz"
        )
        for k in range(1, n_types)
    )
    more = "".join(f",$(v_v{axis}{k}:%.10g)" for k in range(1, n_types) for axis in "xyz")
    t, tau = f"{settings.temperature_K:.10g}", f"{settings.relaxation_time_fs / 1000:.10g}"
    return _INPUT.format(
        sort=settings.checkpoint_every,
        data=DATA_FILE,
        pair=pair,
        neighbor=NEIGHBOR,
        timestep=f"{settings.timestep_fs / 1000:.10g}",
        twice=f"{2 * settings.temperature_K:.10g}",
        langevin=f"{t} {t} {tau} {seed}",
        seed=seed,
        n_equilibration=settings.n_equilibration,
        velocities=velocities,
        sample=settings.sample_every,
        more=more,
        flux=FLUX_FILE,
        columns=",".join(flux_columns(n_types)),
        checkpoint=settings.checkpoint_every,
        checkpoints=CHECKPOINT,
        n_steps=settings.n_steps,
        final=FINAL_FILE,
    )


_INPUT = """\
# Heat flux of a crystal in equilibrium, written by trepid.

log log.lammps append
variable resume index none
variable resuming equal is_file(${{resume}})

units metal
atom_style atomic
# Sorting at every checkpoint makes what follows it independent of earlier steps.
atom_modify map yes sort {sort} 0.0
newton on
boundary p p p
if "${{resuming}}" then "read_restart ${{resume}}" else "read_data {data}"

{pair}{neighbor}
timestep {timestep}
thermo_style custom step temp pe etotal press
thermo {checkpoint}

# From the crystal to equilibrium: half of the kinetic energy becomes potential energy.
if "!${{resuming}}" then &
  "velocity all create {twice} {seed} mom yes rot no loop geom" &
  "fix motion all nve" &
  "fix heat all langevin {langevin} zero yes" &
  "run {n_equilibration}" &
  "unfix heat" &
  "unfix motion" &
  "velocity all zero linear" &
  "reset_timestep 0"

# The exact heat flux of a many-body potential needs the centroid virial; stress/atom would be wrong.
fix motion all nve
compute ke all ke/atom
compute pe all pe/atom
compute virial all centroid/stress/atom NULL virial
compute flux all heat/flux ke pe virial
variable jx equal c_flux[1]
variable jy equal c_flux[2]
variable jz equal c_flux[3]
variable temp equal temp
variable etotal equal etotal
{velocities}fix flux all print {sample} &
  "$(step),$(v_jx:%.12g),$(v_jy:%.12g),$(v_jz:%.12g),$(v_temp:%.8g),$(v_etotal:%.12g){more}" &
  append {flux} screen no title "{columns}"
restart {checkpoint} {checkpoints}
run {n_steps} upto start 0 stop {n_steps}
write_dump all custom {final} id xu yu zu modify sort id format float %.10g
"""
