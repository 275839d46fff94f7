from pathlib import Path

import pytest
from tiny_dataset import make_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A prepared data set of three tiny clips; tests only read it."""
    return make_dataset(tmp_path_factory.mktemp("dataset"))
