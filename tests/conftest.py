"""Fixtures every room shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from tracemill.tracer.home import Home

# Tests run side by side, and OpenBLAS's threads would spin for cores that another test has.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No test asserts a time: how long an example takes says how busy the machine is. Where nobody waits for
# the tests, a property that does not say how often is tried twice as often.
EXAMPLES = 100 if os.environ.get("CI") else 50
hypothesis.settings.register_profile("untimed", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("untimed")

# Its asserts are to tell what differs; it must be known before anything imports it.
pytest.register_assert_rewrite("witness")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _new_warehouses_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Spares hundreds of tests the making of the schema."""
    if find_spec("duckdb") is None:  # the tracer is tested without the other rooms too
        yield
        return
    from new_warehouse import copying

    empty = tmp_path_factory.mktemp("warehouse") / "empty.duckdb"
    with pytest.MonkeyPatch.context() as patch:
        for user in ("ingest", "sweep"):
            patch.setattr(f"tracemill.warehouse.{user}.migrate", copying(empty))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty Tracemill home of this test alone."""
    root = tmp_path / "home"
    monkeypatch.setenv("TRACEMILL_HOME", str(root))
    return Home(root)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real sessions beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED_DATA
