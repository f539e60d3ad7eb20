"""Which of a stage's processes this one is, from the launcher's environment. As a rule there is one process."""

import os


def count() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", 0))
