"""The methods of TF Serving's two services, which REST and gRPC share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from tfgen.export.serving.deadlines import Deadline
from tfgen.export.serving.limits import NUMBER, Turn, check_result
from tfgen.export.serving.manager import Manager
from tfgen.export.serving.proto_tensors import Arrays
from tfgen.export.serving.servable import Servable
from tfgen.export.serving.statuses import ServingError, invalid

SIGNATURE_DEF = "signature_def"
SHORT = 64 * 2**10  # bytes that are read or written in less than a millisecond


def find(manager: Manager, spec: model_pb2.ModelSpec) -> Servable:
    """The servable that a `ModelSpec` refers to."""
    kind = spec.WhichOneof("version_choice")
    return manager.find(
        spec.name,
        version=spec.version.value if kind == "version" else None,
        label=spec.version_label if kind == "version_label" else None,
    )


async def predict(
    servable: Servable,
    read: Callable[[Servable], tuple[str, Arrays, Sequence[str]]],
    write: Callable[[Servable, Arrays], Any],
    pool: Executor,
    num_bytes: int,
    deadline: Deadline,
    turn: Turn,
) -> Any:
    """Answer a Predict request without blocking the event loop.

    `read` returns the signature's name, the inputs, and the names of the requested outputs; `write`
    returns the answer. Large requests are read and written in the pool; without batching, the pool
    also runs them.

    Source: `apis/prediction_service.proto` of tensorflow/serving.
    """
    signature_name, inputs, names = await in_pool(pool, num_bytes, read, servable)
    numbers = servable.admit(signature_name, {n: a.shape for n, a in inputs.items()}, names)
    if turn.needed(numbers * NUMBER):
        await turn.take()
    future = servable.submit(signature_name, inputs, names, deadline=deadline, pool=pool)
    del inputs
    outputs = await asyncio.wrap_future(future)
    num_bytes = sum(array.nbytes for array in outputs.values())
    check_result(num_bytes, servable.limits)
    return await in_pool(pool, num_bytes, write, servable, outputs)


async def in_pool(pool: Executor, num_bytes: int, call: Callable, *arguments: Any) -> Any:
    """The result of a function, which runs in a pool if it reads or writes many bytes."""
    if num_bytes <= SHORT:
        return call(*arguments)
    return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)


def metadata(
    manager: Manager, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Answer a `GetModelMetadataRequest`: the signatures of a model."""
    if not request.metadata_field:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise invalid(f"Metadata field {field} is not supported")
    servable = find(manager, request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def status(
    manager: Manager, request: get_model_status_pb2.GetModelStatusRequest
) -> get_model_status_pb2.GetModelStatusResponse:
    """Answer a `GetModelStatusRequest`. A label is ignored, as TF Serving ignores it here."""
    spec = request.model_spec
    number = spec.version.value if spec.HasField("version") else None
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in manager.versions(spec.name, number):
        entry = response.model_version_status.add(version=version.number, state=version.state)
        _fill(entry.status, version.error)
    return response


def reload_config(
    manager: Manager, request: model_management_pb2.ReloadConfigRequest
) -> model_management_pb2.ReloadConfigResponse:
    """Answer a `ReloadConfigRequest`: models that are not in the new configuration are unloaded."""
    response = model_management_pb2.ReloadConfigResponse()
    try:
        manager.reload(request.config)
        _fill(response.status, None)
    except ServingError as error:
        _fill(response.status, error)
    return response


def _fill(status, error):
    status.SetInParent()
    if error is not None:
        status.error_code = error.number
        status.error_message = error.message
