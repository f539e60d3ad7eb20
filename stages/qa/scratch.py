"""The old name of `np.full`."""

from typing import Any

import numpy as np


def filled(shape: tuple[int, ...], value: float, dtype: Any) -> np.ndarray:
    """np.full."""
    return np.full(shape, value, dtype)
