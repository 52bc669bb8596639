from __future__ import annotations

import sys
from pathlib import Path

# The stand-ins are imported by the tests and by the processes that the kill test starts, so they are a plain module.
sys.path.insert(0, str(Path(__file__).parent))
