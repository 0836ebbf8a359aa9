"""What every test needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adversaries.common import stock
from harness.fast import library
from scenarios.indexing import update


@pytest.fixture(scope="session", autouse=True)
def _caches_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept of scenes and networks that live for one test must not fill the user's cache."""
    folder: Path = tmp_path_factory.mktemp("cache")
    usual = update.cache_folder
    update.cache_folder = stock.cache_folder = library.cache_folder = lambda part: folder / part
    yield
    update.cache_folder = stock.cache_folder = library.cache_folder = usual
