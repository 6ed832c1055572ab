"""Configuration files in protocol buffers' text format.

TF Serving's wheel omits the messages of two of its files: batching, monitoring. The names and
types here are those of `servables/tensorflow/session_bundle_config.proto` and
`config/monitoring_config.proto` of tensorflow/serving; the text format has no field numbers.
"""

from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers
from google.protobuf.message import Message

from tfgen.errors import InputError

Config = TypeVar("Config", bound=Message)
_INT64, _BOOL = wrappers.Int64Value.DESCRIPTOR.full_name, wrappers.BoolValue.DESCRIPTOR.full_name
_FIELDS = {
    "BatchingParameters": {
        "max_batch_size": _INT64,
        "batch_timeout_micros": _INT64,
        "max_enqueued_batches": _INT64,
        "num_batch_threads": _INT64,
        "thread_pool_name": wrappers.StringValue.DESCRIPTOR.full_name,
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": _BOOL,
        "max_execution_batch_size": _INT64,
    },
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": "tensorflow.serving.PrometheusConfig"},
}


def read(path: str | Path, message: Config) -> Config:
    """Fill a message with the contents of a text file.

    Raises:
        InputError: the file cannot be read, or does not describe such a message; the error begins
            as the one that TF Serving prints, with line and column.

    Source: `TextFormat::Parser` of protobuf, `ParseProtoTextFile` in `model_servers/server.cc` of
        tensorflow/serving.
    """
    kind = message.DESCRIPTOR.full_name
    try:
        text = Path(path).read_text("utf-8")
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        reason = str(error)
        if line is not None:  # Python's parser repeats the line, which C++ does not
            reason = reason.removeprefix(f"{line}:{column} : ")
            reason = reason.removeprefix(f"'{text.split(chr(10))[line - 1]}': ")
            reason = f"{line}:{column}: {reason}"
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start}"
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    raise InputError(f"Error parsing text-format {kind}: {reason} (in {path})")


def _messages():
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"bool": kinds.TYPE_BOOL, "string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(
        name="tfgen/serving.proto", package="tensorflow.serving", syntax="proto3"
    )
    file.dependency.append(wrappers.DESCRIPTOR.name)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            entry = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("repeated "):
                entry.label, kind = kinds.LABEL_REPEATED, kind.removeprefix("repeated ")
            entry.type = scalars.get(kind, kinds.TYPE_MESSAGE)
            if kind not in scalars:
                entry.type_name = f".{kind}"
    pool = descriptor_pool.DescriptorPool()  # its own, in case a wheel has these messages one day
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in ("BatchingParameters", "MonitoringConfig")
    ]


BatchingParameters, MonitoringConfig = _messages()
