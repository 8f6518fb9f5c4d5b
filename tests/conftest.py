"""Shared fixtures. Other helpers: add yours below, keep these."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of shared test data (IFQUANT_DATA, default ../shared/data); skips without it, fails without it under CI=true."""
    folder = Path(os.environ.get("IFQUANT_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"no test data in {folder}; set IFQUANT_DATA to a copy of shared/data"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
