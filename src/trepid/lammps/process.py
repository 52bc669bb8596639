"""LAMMPS as a program of its own, on one process or several: started in a folder, watched, ended."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from trepid.errors import ConfigError
from trepid.lammps.installation import Installation
from trepid.lammps.session import error_line
from trepid.processes import Dependent

SCREEN_FILE = "lammps.out"
"""What LAMMPS and MPI print, in the folder of the run."""
GRACE_S = 5.0
"""Time between SIGTERM and SIGKILL, s."""


class Process:
    """One running `lmp -in FILE`.

    Parameters
    ----------
    installation : Installation
    input_file : str
        Relative to `directory`, where LAMMPS runs.
    directory : Path
    ranks : int
        MPI processes.
    variables : mapping of str to str
        Values of the index variables of the input.
    inherited : sequence of int
        File descriptors that LAMMPS inherits, such as that of a lock.

    Raises
    ------
    ConfigError
        Several ranks without mpiexec, or fewer than one rank.
    """

    def __init__(
        self,
        installation: Installation,
        input_file: str,
        *,
        directory: Path,
        ranks: int = 1,
        variables: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        command = command_line(installation, input_file, ranks=ranks, variables=variables)
        self._screen = directory / SCREEN_FILE
        with open(self._screen, "wb") as screen:
            # In a group of its own: Ctrl-C goes to trepid alone, which ends LAMMPS in order.
            self._process = Dependent(
                command,
                pass_fds=inherited,
                cwd=directory,
                env=installation.environment(),
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
            )

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Exit code; None if it still runs after `timeout_s`."""
        try:
            return self._process.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Send SIGTERM, and after a while SIGKILL."""
        if self._process.popen.poll() is None:
            self._process.terminate()
            self.wait(GRACE_S)
        self._process.end()

    def screen(self) -> str:
        """What it has printed."""
        return self._screen.read_text(encoding="utf-8", errors="replace")

    def error(self) -> str:
        """Why it failed, in one line, after it has ended with another code than 0; empty if it printed nothing."""
        text = self.screen()
        if "ERROR" in text:
            return error_line(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        code = self._process.popen.returncode
        if code is not None and code < 0:
            return f"it was ended by signal {-code}"
        return lines[-1] if lines else f"exit code {code}"


def command_line(
    installation: Installation, input_file: str, *, ranks: int = 1, variables: Mapping[str, str] | None = None
) -> list[str]:
    """Arguments of the command that runs an input file; see `Process`."""
    if ranks < 1:
        raise ConfigError(f"{ranks} MPI processes: give 1 or more")
    program = [str(installation.program), "-in", input_file, "-log", "none", "-nocite"]
    for name, value in (variables or {}).items():
        program += ["-var", name, value]
    if ranks == 1:
        return program
    if installation.mpiexec is None:
        raise ConfigError(f"{ranks} MPI processes need mpiexec, which was not found; pip install 'mpich>=5'")
    return [str(installation.mpiexec), "-n", str(ranks), *program]
