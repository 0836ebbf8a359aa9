"""What every test needs."""

import gc
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from adversaries.common import stock
from harness.fast import library
from scenarios.indexing import update

FIRST = "tests/integration/test_fast_engine.py"
"""Compiles most kernels, which takes a minute where nobody has. Other workers find them when they come to need them."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off what was imported: it would look through it whenever an engine is closed."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def _modules_aside() -> list[int]:
    """Number of modules when they were last kept from the collector."""
    return [len(sys.modules)]


@pytest.fixture(scope="module", autouse=True)
def _imported_since_aside(_modules_aside: list[int]) -> None:
    """The same of libraries that tests before imported: PyTorch's optimisers bring hundreds of modules."""
    if len(sys.modules) > _modules_aside[-1] + 100:
        gc.collect()
        gc.freeze()
        _modules_aside.append(len(sys.modules))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that compile kernels before all others."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.fixture(scope="session", autouse=True)
def _caches_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept of scenes and networks that live for one test must not fill the user's cache."""
    folder: Path = tmp_path_factory.mktemp("cache")
    usual = update.cache_folder
    update.cache_folder = stock.cache_folder = library.cache_folder = lambda part: folder / part
    yield
    update.cache_folder = stock.cache_folder = library.cache_folder = usual
