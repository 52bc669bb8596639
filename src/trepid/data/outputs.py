"""Outputs of electronic structure codes: steps that were begun and not read, and steps that did not converge.

The readers of ASE drop a step that is cut off, and take the forces of a step whose electrons did not converge like any
other. Both are written in the file, and this counts them there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from trepid.data.findings import Finding, Level

VASP_XML, OUTCAR, AIMS, ESPRESSO, LAMMPS_DUMP, XDATCAR = (
    "vasp-xml",
    "vasp-out",
    "aims-output",
    "espresso-out",
    "lammps-dump-text",
    "vasp-xdatcar",
)
"""Names of the formats in ASE."""
CODES = (VASP_XML, OUTCAR, AIMS, ESPRESSO)
_MAGIC = (
    (re.compile(rb"<modeling>"), VASP_XML),
    (re.compile(rb"^\s*vasp\.\d[\s\S]{0,400}executed on", re.MULTILINE), OUTCAR),
    (re.compile(rb"Invoking FHI-aims"), AIMS),
    (re.compile(rb"Program PWSCF"), ESPRESSO),
    (re.compile(rb"\A\s*ITEM: (TIMESTEP|UNITS|TIME)\b"), LAMMPS_DUMP),
)


@dataclass
class Step:
    """A step of the atoms in an output.

    Attributes
    ----------
    problem : str
        Why its electrons count as not converged; empty where they converged.
    complete : bool
        Whether it has its results; a step that is not is left out by the reader.
    """

    problem: str = ""
    complete: bool = True


def format_of(head: bytes) -> str | None:
    """Name of the format in ASE by the content of a file, None where it does not tell."""
    return next((name for pattern, name in _MAGIC if pattern.search(head)), None)


def before_last_step(text: str, format_name: str) -> str | None:
    """The part of an output before its last step, whose tables may be cut; None where it has no earlier one."""
    mark = {AIMS: "Begin self-consistency loop: Re-initialization", ESPRESSO: "\nATOMIC_POSITIONS"}.get(format_name)
    end = -1 if mark is None else text.rfind(mark)
    return None if end < 0 else text[:end]


def inspect_output(lines: Iterable[str], format_name: str, n_read: int) -> list[Finding]:
    """Steps lost and steps not converged.

    Parameters
    ----------
    lines : iterable of str
        Of the file.
    format_name : str
        Of the format in ASE; others than those of this file give nothing.
    n_read : int
        Frames that the reader found.
    """
    if format_name not in _STEPS:
        return []
    return findings_of_steps(list(_STEPS[format_name](lines)), n_read)


def findings_of_steps(steps: Sequence[Step], n_read: int) -> list[Finding]:
    """Steps lost and steps not converged, where `n_read` frames were read."""
    findings = []
    kept = [step for step in steps if step.complete]
    lost = len(steps) - n_read
    if lost > 0:
        findings.append(cut_off(n_read, len(steps)))
    if n_read == len(kept) or lost > 0:
        findings += [
            Finding(Level.WARNING, number, f"the electrons did not converge: {step.problem}")
            for number, step in enumerate(kept[:n_read])
            if step.problem
        ]
    elif problems := [step for step in kept if step.problem]:
        findings.append(
            Finding(
                Level.WARNING, None, f"the electrons did not converge in {len(problems)} steps: {problems[0].problem}"
            )
        )
    return findings


def cut_off(n_read: int, n_begun: int) -> Finding:
    """Fewer steps were read than the file begins."""
    lost = n_begun - n_read
    return Finding(
        Level.WARNING,
        None,
        f"{n_read} of {n_begun} steps are read: the file is cut off, and the last {lost} that it begins "
        f"{'is' if lost == 1 else 'are'} incomplete",
    )


def _vasp_xml(lines: Iterable[str]) -> Iterator[Step]:
    token = re.compile(r"<calculation|</calculation>|<scstep|<i[^>]*name=\"NELM\"[^>]*>\s*(\d+)")
    limit, n_electronic, open_step = 0, 0, False
    for line in lines:
        for match in token.finditer(line):
            if match[1] is not None:
                limit = int(match[1])
            elif match[0] == "<calculation":
                n_electronic, open_step = 0, True
            elif match[0] == "<scstep":
                n_electronic += 1
            elif open_step:
                yield Step(_used_all(n_electronic, limit))
                open_step = False
    if open_step:
        yield Step(complete=False)


def _used_all(n_electronic: int, limit: int) -> str:
    """VASP ends a step after NELM electronic steps, converged or not; one that converged rarely needs all of them."""
    return f"all {limit} electronic steps (NELM) were used" if limit > 1 and n_electronic >= limit else ""


def _outcar(lines: Iterable[str]) -> Iterator[Step]:
    iteration = re.compile(r"Iteration\s+(\d+)\(\s*(\d+)\)")
    nelm = re.compile(r"^\s*NELM\s*=\s*(\d+)")
    limit, number, n_electronic, reached, missed, complete = 0, None, 0, False, False, False

    def step() -> Step:
        problem = "EDIFF was not reached" if missed else "" if reached else _used_all(n_electronic, limit)
        return Step(problem, complete)

    for line in lines:
        if (match := iteration.search(line)) is not None:
            if number is not None and match[1] != number:
                yield step()
                reached = missed = complete = False
            number, n_electronic = match[1], int(match[2])
        elif "EDIFF is reached" in line:
            reached = True
        elif "EDIFF was not reached" in line:
            missed = True
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            complete = True
        elif limit == 0 and (match := nelm.search(line)) is not None:
            limit = int(match[1])
    if number is not None:
        yield step()


def _aims(lines: Iterable[str]) -> Iterator[Step]:
    begun = converged = missed = same = False
    complete = False

    def step() -> Step:
        return Step("" if converged and not missed else "the self-consistency cycle did not converge", complete)

    for line in lines:
        if "Begin self-consistency loop:" in line:
            if begun and not same:
                yield step()
                converged = missed = complete = False
            begun, same = True, False
        elif "not yet converged" in line:
            same = True  # the mixer restarts on the same atoms
        elif "Self-consistency cycle converged." in line:
            converged, missed = True, False
        elif "cycle not converged" in line.lower() or "did not converge" in line.lower():
            missed = True
        elif "Total atomic forces" in line:
            complete = True
    if begun:
        yield step()


def _espresso(lines: Iterable[str]) -> Iterator[Step]:
    begun = complete = missed = False

    def step() -> Step:
        return Step("convergence NOT achieved" if missed else "", complete)

    for line in lines:
        if "Program PWSCF" in line or line.startswith("ATOMIC_POSITIONS"):
            if begun:
                yield step()
            begun = complete = missed = False
        elif "Self-consistent Calculation" in line:
            begun = True
        elif "convergence NOT achieved" in line:
            missed = True
        elif "convergence has been achieved" in line:
            missed = False
        elif "Forces acting on atoms" in line or line.startswith("!    total energy"):
            complete = True
    if begun:
        yield step()


def _marked(mark: str) -> Callable[[Iterable[str]], Iterator[Step]]:
    """Steps of a format that begins each with the same words."""

    def steps(lines: Iterable[str]) -> Iterator[Step]:
        return (Step() for line in lines if mark in line)

    return steps


_STEPS: dict[str, Callable[[Iterable[str]], Iterator[Step]]] = {
    VASP_XML: _vasp_xml,
    OUTCAR: _outcar,
    AIMS: _aims,
    ESPRESSO: _espresso,
    LAMMPS_DUMP: _marked("ITEM: TIMESTEP"),
    XDATCAR: _marked("configuration="),
}
