"""Where the published exchanges are: not part of this repository; a test that needs them is skipped."""

import os
from pathlib import Path

import pytest

VARIABLE = "PUBLISHED_EXCHANGES"
DEFAULT = Path(__file__).parents[2] / ".." / "shared" / "data"


def published(*parts: str) -> Path:
    """A file or folder among Prozorro's published exchanges."""
    folder = Path(os.environ.get(VARIABLE, str(DEFAULT))).resolve()
    path = folder.joinpath("prozorro", *parts)
    if not path.exists():
        what = f"prozorro/{'/'.join(parts)}"
        pytest.skip(f"no published exchanges: {folder} has no {what}; {VARIABLE} may name another folder")
    return path
