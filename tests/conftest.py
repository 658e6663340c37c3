"""What all tests share: Hypothesis profiles, the folder of reference records, one xdist group a tool."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
# Tests that share a tool run on one worker, one after the other, so that two of them never build side by side.
GROUPED_MARKERS = ("rtl", "notebook", "synth", "wheel")

settings.register_profile("dev", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in GROUPED_MARKERS:
            if item.get_closest_marker(marker) and not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(marker))


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds the packages."""
    return ROOT


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of reference records: ``CHIPSMITH_REFERENCE``, else ``../shared/reference`` beside the repository."""
    named = os.environ.get("CHIPSMITH_REFERENCE")
    folder = Path(named) if named else ROOT.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"no reference records at {folder} (set CHIPSMITH_REFERENCE to their folder)")
    return folder
