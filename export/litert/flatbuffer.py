"""Rewriting TFLite files to make them smaller, with the same operations on the same numbers."""

from __future__ import annotations

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

# Operations whose second input, the weights, LiteRT's kernels accept as float16 constants.
WITH_WEIGHTS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
SMALLEST_HALVED = 256  # numbers; below, a float16 constant costs more bytes than it saves
DEQUANTIZE_OF_FLOAT16 = 3  # the first version of the operation that accepts float16


def compact(content: bytes) -> bytes:
    """The file without metadata and names of inner tensors, and with each constant stored once.

    These names are only used for debugging, and take up a third of the file of a small flow.
    Signatures keep the names of their inputs and outputs.

    Args:
        content: bytes of a TFLite file.

    Returns:
        The bytes of a TFLite file that computes the same.
    """
    model = _read(content)
    _compact(model)
    return _written(model)


def halve_weights(content: bytes) -> bytes:
    """The file with the large weights of convolutions and dense layers stored as float16.

    Computation stays in float32: the weights are converted when the file is loaded. The converter's
    own float16 mode also rounds biases, 1x1 convolutions of few channels and constants of the
    likelihood, which saves little space and causes most of the error.

    Args:
        content: bytes of a float32 TFLite file.

    Returns:
        The bytes of the smaller file.
    """
    model = _read(content)
    for graph in model.subgraphs:
        weights = {op.inputs[1] for op in graph.operators if _kind(model, op) in WITH_WEIGHTS}
        for index in sorted(weights):
            if _is_large_constant(model, graph.tensors[index]):
                _halve(model, graph, index)
    _compact(model)
    return _written(model)


def operations(content: bytes) -> set[str]:
    """The names of the operations in a TFLite file, "CUSTOM" and "FLEX..." among them."""
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    return {
        code.customCode.decode() if code.customCode else names[_builtin(code)]
        for code in _read(content).operatorCodes
    }


def _read(content):
    return flatbuffer_utils.convert_bytearray_to_object(bytearray(content))


def _written(model):
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _kind(model, operator):
    return _builtin(model.operatorCodes[operator.opcodeIndex])


def _builtin(code):
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def _is_large_constant(model, tensor):
    data = model.buffers[tensor.buffer].data
    is_float = tensor.type == schema.TensorType.FLOAT32
    return is_float and data is not None and len(data) >= 4 * SMALLEST_HALVED


def _halve(model, graph, index):
    """Make the beginning of the graph compute the tensor from a float16 constant.

    Operations that read it still read float32.
    """
    tensor = graph.tensors[index]
    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), "<f4")
    constant = schema.TensorT()
    constant.shape, constant.type = tensor.shape, schema.TensorType.FLOAT16
    constant.buffer, tensor.buffer = len(model.buffers), 0
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype("<f2").tobytes(), "uint8")
    model.buffers.append(buffer)
    graph.tensors.append(constant)
    operator = schema.OperatorT()
    operator.opcodeIndex = _dequantize(model)
    operator.inputs = np.array([len(graph.tensors) - 1], "int32")
    operator.outputs = np.array([index], "int32")
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    graph.operators.insert(0, operator)


def _dequantize(model):
    """The index of the operation among those of the model."""
    for i, code in enumerate(model.operatorCodes):
        if (_builtin(code), code.version) == (
            schema.BuiltinOperator.DEQUANTIZE,
            DEQUANTIZE_OF_FLOAT16,
        ):
            return i
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = DEQUANTIZE_OF_FLOAT16
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _compact(model):
    model.description = model.metadata = model.metadataBuffer = None
    buffers, indices = [model.buffers[0]], {}
    for graph in model.subgraphs:
        graph.name = None
        for tensor in graph.tensors:
            tensor.name = None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data):
                tensor.buffer = 0  # by convention the empty buffer
                continue
            data = bytes(data)
            if data not in indices:
                indices[data] = len(buffers)
                buffers.append(model.buffers[tensor.buffer])
            tensor.buffer = indices[data]
    model.buffers = buffers
