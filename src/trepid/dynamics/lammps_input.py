"""The input file behind `trepid md --engine lammps`: stock LAMMPS commands that run without trepid, on any machine.

lmp -in in.lammps                                      mpiexec -n 4 lmp -in in.lammps
lmp -in in.lammps -var resume checkpoint.1000.restart -var seed 1234
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from trepid.choices import GuardAction, Thermostat
from trepid.data.atomic import write_text_atomic
from trepid.dynamics.guard import MD_LIMITS
from trepid.dynamics.lammps_engine import MODEL_FILE, motion_commands
from trepid.dynamics.record import TraceRow
from trepid.dynamics.settings import MDSettings
from trepid.lammps.kspace import Electrostatics
from trepid.lammps.session import NEIGHBOR, pair_commands
from trepid.lammps.system import System

INPUT_FILE = "in.lammps"
DATA_FILE = "start.data"
TRAJECTORY_FILE = "trajectory.lammpstrj"
UNTRUSTED_FILE = "untrusted.lammpstrj"
STOPPED_FRAME, STOPPED_RESTART = "stopped.lammpstrj", "stopped.restart"
CHECKPOINT = "checkpoint.*.restart"
"""LAMMPS puts the step in place of the star."""
TRACE_HEADER = ",".join(field.name for field in fields(TraceRow))


def write_input(
    directory: Path,
    system: System,
    settings: MDSettings,
    *,
    threshold: float,
    n_labels: int,
    rng: np.random.Generator,
    electrostatics: Electrostatics | None = None,
) -> None:
    """Write in.lammps.

    Parameters
    ----------
    directory : Path
        The folder of the data file and the model.
    system : System
        The atoms of the data file.
    settings : MDSettings
        What to run.
    threshold : float
        Largest trusted force uncertainty of an atom, eV/A.
    n_labels : int
        Frames the model was trained on; a column of the trace.
    rng : numpy.random.Generator
        Draws the seed of the noise.
    electrostatics : Electrostatics, optional
        Of a model with charges.

    Raises
    ------
    DataError
        Charges in a box that is not periodic in all directions.
    """
    seed = int(rng.integers(1, 800_000_000))
    text = _INPUT.format(
        boundary=system.box.boundary,
        volume=f"{float(np.linalg.det(system.box.vectors)):.9g}",
        largest=f"{MD_LIMITS.max_volume_factor:g}",
        sort=settings.checkpoint_every if settings.pressure_GPa is None else 0,
        sorting=_SORTED if settings.pressure_GPa is None else _UNSORTED,
        data=DATA_FILE,
        style="atomic" if electrostatics is None else "charge",
        pair=pair_commands(MODEL_FILE, system, electrostatics=electrostatics),
        neighbor=NEIGHBOR,
        timestep=repr(settings.timestep_fs / 1000),
        motion=_motion(settings),
        seed=seed,
        check=settings.check_every,
        sample=settings.sample_every,
        checkpoint=settings.checkpoint_every,
        checkpoints=CHECKPOINT,
        threshold=repr(float(threshold)),
        n_steps=settings.n_steps,
        target=_target(settings),
        timestep_fs=repr(settings.timestep_fs),
        elements=" ".join(system.elements),
        hottest=f"{MD_LIMITS.max_temperature_factor:g}",
        header=TRACE_HEADER,
        n_labels=n_labels,
        trajectory=TRAJECTORY_FILE,
        untrusted=UNTRUSTED_FILE,
        stop=f"fix leave all halt {settings.check_every} v_trusted == 0 error continue\n"
        if settings.guard is GuardAction.STOP
        else "",
        stopped_restart=STOPPED_RESTART,
        stopped_frame=STOPPED_FRAME,
    )
    write_text_atomic(directory / INPUT_FILE, text)


def _motion(settings: MDSettings) -> str:
    start, end = _ends(settings)
    text = motion_commands(settings.parameters, start=start, end=end, seed=1)
    # The seed stays a variable, so that a resumed run does not repeat its noise.
    return text.replace(" 1 zero yes", " ${seed} zero yes") if settings.thermostat is Thermostat.LANGEVIN else text


def _ends(settings: MDSettings) -> tuple[str, str]:
    return repr(settings.temperature_at(0)), repr(settings.temperature_at(settings.n_steps))


def _target(settings: MDSettings) -> str:
    start, end = _ends(settings)
    return start if start == end else f"{start}+({end}-{start})*step/{settings.n_steps}"


_SORTED = "Sorting at every checkpoint makes what follows it independent of earlier steps."
_UNSORTED = (
    "The bins of a sort would be those of the box at the start, which a resumed run does not know: the order stays."
)

_INPUT = """\
# Molecular dynamics on model.trepid with its uncertainty as a guard, written by trepid. LAMMPS runs it by itself:
#   lmp -in in.lammps     or     mpiexec -n 4 lmp -in in.lammps
# and continues from a checkpoint with: -var resume checkpoint.STEP.restart -var seed SOME_NUMBER

log log.lammps append
variable resume index none
variable seed index {seed}
variable resuming equal is_file(${{resume}})

units metal
atom_style {style}
# {sorting}
atom_modify map yes sort {sort} 0.0
newton on
boundary {boundary}
if "${{resuming}}" then "read_restart ${{resume}}" else "read_data {data}"

{pair}{neighbor}
timestep {timestep}
{motion}
# Uncertainty of the model: force uncertainty of every atom (eV/A, one standard deviation), and its maximum.
fix u all pair {check} trepid uncertainty 1
compute u_max all reduce max f_u
variable u_max equal c_u_max
variable trusted equal "v_u_max <= {threshold}"

variable temp equal temp
variable pe equal pe
variable etotal equal etotal
variable press equal press*1e-4
variable volume equal vol/{volume}
variable target equal {target}
variable time equal step*{timestep_fs}
variable columns string {header}
fix trace all print {check} &
  "$(step),${{time}},0,$(v_target:%.8g),$(v_temp:%.8g),$(v_pe:%.8g),$(v_etotal:%.8g),$(v_u_max:%.8g),{n_labels},&
$(v_press:%.8g),$(vol:%.8g),$(cella:%.8g),$(cellb:%.8g),$(cellc:%.8g),&
$(cellalpha:%.8g),$(cellbeta:%.8g),$(cellgamma:%.8g)" &
  append trace.csv screen no title ${{columns}}

# Atoms outside the trusted region, at every check that finds some.
dump outside all custom {check} {untrusted} id element xu yu zu f_u
dump_modify outside element {elements} sort id append yes format float %.9g thresh f_u > {threshold} skip v_trusted
dump trajectory all custom {sample} {trajectory} id element xu yu zu vx vy vz f_u
dump_modify trajectory element {elements} sort id append yes format float %.9g

# A run that is not finite, far too hot, or whose volume is far from that at the start has become unstable.
variable hot equal "v_temp > {hottest}*v_target || !(abs(v_pe) < 1e300) || !(abs(v_temp) < 1e300)"
variable unstable equal "v_hot || v_volume > {largest} || v_volume < 1/{largest}"
fix unstable all halt {check} v_unstable != 0 error continue
{stop}
thermo {checkpoint}
thermo_style custom step time temp pe etotal press
restart {checkpoint} {checkpoints}
run {n_steps} upto start 0 stop {n_steps}

variable stopped equal "step < {n_steps}"
if "${{stopped}}" then &
  "write_restart {stopped_restart}" &
  "write_dump all custom {stopped_frame} id element xu yu zu vx vy vz f_u modify element {elements} sort id" &
else &
  "write_restart {checkpoints}"
"""
