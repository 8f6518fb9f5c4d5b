"""Shared fixtures, and the rule that nothing is skipped under CI=true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of shared test data (IFQUANT_DATA, default ../shared/data); skips without it, fails
    without it under CI=true.
    """
    folder = Path(os.environ.get("IFQUANT_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"no test data in {folder}; set IFQUANT_DATA to a copy of shared/data"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI=true a skipped test hides a missing part: it counts as a failure."""
    if (
        os.environ.get("CI", "").lower() == "true"
        and _skipped
        and not hasattr(session.config, "workerinput")
    ):
        print(f"\nCI=true: skipped tests count as failures: {', '.join(sorted(set(_skipped)))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
