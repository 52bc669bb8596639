"""Runs a compiler and appends the memory it needed to a file, kB.

CMAKE_CXX_COMPILER_LAUNCHER="python;measured_compiler.py;FILE" puts it before every call.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run the command after the file name; its exit code."""
    code = subprocess.run(sys.argv[2:], check=False).returncode
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with Path(sys.argv[1]).open("a", encoding="utf-8") as log:
        log.write(f"{peak if sys.platform == 'linux' else peak // 1024}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
