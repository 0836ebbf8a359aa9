"""What every test needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.indexing import update


@pytest.fixture(scope="session", autouse=True)
def _indices_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Indices of folders that live for one test must not fill the user's cache."""
    folder: Path = tmp_path_factory.mktemp("index")
    usual = update.cache_folder
    update.cache_folder = lambda part: folder
    yield
    update.cache_folder = usual
