"""Results as JSON text."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(found: dict[str, Any]) -> str:
    """JSON without numbers that it does not have: nan and infinities become null."""
    return json.dumps(_finite(found), indent=1, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
