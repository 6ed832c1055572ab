"""TF Serving's configuration files whose messages its wheel leaves out: batching, monitoring.

They are in protocol buffers' text format, in which the numbers of fields do not occur; the names
and types are those of `servables/tensorflow/session_bundle_config.proto` and
`config/monitoring_config.proto` of tensorflow/serving.
"""

from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from tfgen.errors import InputError

_FIELDS = {
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": ".tfgen.serving.PrometheusConfig"},
}


def read(path, name):
    """The message in a file.

    Args:
        path: of a text file.
        name: "BatchingParameters" or "MonitoringConfig".

    Raises:
        InputError: it cannot be read, or holds something else.

    Example:

    >>> import pathlib, tempfile
    >>> from tfgen.export.serving import text_config
    >>> path = pathlib.Path(tempfile.mkdtemp(), "batching.config")
    >>> _ = path.write_text("max_batch_size { value: 32 } allowed_batch_sizes: [8, 32]")
    >>> message = text_config.read(path, "BatchingParameters")
    >>> message.max_batch_size.value, list(message.allowed_batch_sizes)
    (32, [8, 32])
    """
    try:
        return text_format.Parse(Path(path).read_text("utf-8"), _MESSAGES[name]())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{path} holds no {name} in text format: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _messages():
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"bool": kinds.TYPE_BOOL, "string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64}
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="tfgen/serving.proto",
        package="tfgen.serving",
        syntax="proto3",
        dependency=[wrappers.name],
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            entry = message.field.add(name=field, number=number)
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            entry.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in scalars:
                entry.type = scalars[kind]
            else:
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(wrappers)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfgen.serving.{name}"))
        for name in _FIELDS
    }


_MESSAGES = _messages()
