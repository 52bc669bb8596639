from __future__ import annotations

import sys
from pathlib import Path

# Workers unpickle functions by the name of their module, so the tasks are a plain module that they can import.
sys.path.insert(0, str(Path(__file__).parent))
