"""The handler from the archive, for all tests of this folder."""

import zipfile
from pathlib import Path

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import TsModelLoader
from ts.service import Service

from operate.config import ROOT


@pytest.fixture(scope="package")
def loaded(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The model as a worker has it after loading."""
    folder = tmp_path_factory.mktemp("model")
    with zipfile.ZipFile(built) as mar:
        mar.extractall(folder)
    metrics = MetricsCacheYamlImpl(str(ROOT / "metrics.yaml"))
    metrics.initialize_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return TsModelLoader().load("mnist", str(folder), "digit_handler.py", None, 64, None, metrics_cache=metrics)
