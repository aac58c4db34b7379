"""Where the published exchanges are: not part of this repository; a test that needs them is skipped."""

import os
from pathlib import Path

import pytest

VARIABLE = "PUBLISHED_EXCHANGES"
DEFAULT = Path(__file__).parents[2] / ".." / "shared" / "data"


def published(*parts: str) -> Path:
    """A file or folder among Prozorro's published exchanges."""
    path = Path(os.environ.get(VARIABLE, str(DEFAULT))).joinpath("prozorro", *parts)
    if not path.exists():
        pytest.skip(f"no published exchanges: {VARIABLE} names no folder with prozorro/{'/'.join(parts)}")
    return path
