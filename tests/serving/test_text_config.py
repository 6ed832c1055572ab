"""Bad configuration files are reported as TF Serving reports them, with line and column."""

import re

import pytest
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tfgen.errors import InputError
from tfgen.export.serving import text_config

KINDS = {
    "ModelServerConfig": ModelServerConfig,
    "BatchingParameters": text_config.BatchingParameters,
    "MonitoringConfig": text_config.MonitoringConfig,
}


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (
            "ModelServerConfig",
            "model_config_list {\n  config {\n    nam: 'x' } }",
            '3:5: Message type "tensorflow.serving.ModelConfig" has no field named "nam".',
        ),
        ("ModelServerConfig", "a: 1", '1:1: Message type "tensorflow.serving.ModelServerConfig"'),
        ("ModelServerConfig", "model_config_list {\n config {", '2:9: Expected "}".'),
        ("ModelServerConfig", "model_config_list: 3", '1:20: Expected "{".'),
        ("ModelServerConfig", "{", "1:1: Expected identifier or number, got {."),
        ("BatchingParameters", "\nmax_batch_size: 3", '2:17: Expected "{".'),
        ("BatchingParameters", "x: 1", '1:1: Message type "tensorflow.serving.BatchingParameters"'),
        (
            "MonitoringConfig",
            "prometheus_config { enabled: true }",
            '1:21: Message type "tensorflow.serving.PrometheusConfig" has no field',
        ),
        ("MonitoringConfig", b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_errors_have_the_form_of_tf_serving(kind, text, reason, tmp_path):
    file = tmp_path / "config"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = f"Error parsing text-format tensorflow.serving.{kind}: {reason}"
    with pytest.raises(InputError, match=f"^{re.escape(start)}.*{re.escape(str(file))}"):
        text_config.read(file, KINDS[kind]())


def test_good_files_are_read(tmp_path):
    file = tmp_path / "config"
    file.write_text("max_batch_size { value: 8 } allowed_batch_sizes: [2, 8]")
    found = text_config.read(file, text_config.BatchingParameters())
    assert (found.max_batch_size.value, [*found.allowed_batch_sizes]) == (8, [2, 8])
    file.write_text('prometheus_config { enable: true path: "/m" }')
    found = text_config.read(file, text_config.MonitoringConfig())
    assert found.prometheus_config.path == "/m"
