"""How much memory a serialized message takes, before it is parsed."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tfgen.export.serving.limits import MAX_MEMORY
from tfgen.export.serving.statuses import too_large

MAX_FIELDS = 200_000  # submessages and values of their own; packed numbers are one field
_FIXED = {1: 8, 5: 4}  # bytes of a field by its type on the wire
_LENGTH = 2
# Bytes of memory for a byte of packed numbers, whose array doubles while it is read.
_LONG, _SHORT, _BOOL = 24, 12, 3
_PACKED = {
    **dict.fromkeys((FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64), _LONG),
    **dict.fromkeys((FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_UINT32), _SHORT),
    **dict.fromkeys((FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_ENUM), _SHORT),
    FieldDescriptor.TYPE_SINT64: _LONG,
    FieldDescriptor.TYPE_BOOL: _BOOL,
}


def memory(data: bytes, descriptor: Descriptor) -> int:
    """The number of bytes of memory that a message takes, roughly; parsing it costs more time.

    Two bytes are enough for an empty submessage of 40 bytes, one byte for an integer of 64 bits.

    Args:
        data: the message; one that is broken is left to the parser.
        descriptor: its type.

    Raises:
        ServingError: RESOURCE_EXHAUSTED: it takes too much memory, or has too many fields.

    Source: https://protobuf.dev/programming-guides/encoding.
    """
    taken, count = len(data), 0
    parts = [(descriptor, 0, len(data))]
    while parts:
        kind, at, end = parts.pop()
        fields = kind.fields_by_number
        while at < end:
            count += 1
            tag, at = _varint(data, at, end)
            size = _FIXED.get(tag & 7, 0)
            if tag & 7 == 0:
                _, at = _varint(data, at, end)
            elif tag & 7 == _LENGTH:
                size, at = _varint(data, at, end)
                field = fields.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    parts.append((field.message_type, at, min(end, at + size)))
                elif field is not None:
                    taken += size * _PACKED.get(field.type, 1)
            at += size
            if count > MAX_FIELDS or taken > MAX_MEMORY:
                raise too_large(
                    f"A message of {len(data)} bytes takes too much memory: it has more than "
                    f"{MAX_FIELDS} fields, or numbers of more than {MAX_MEMORY} bytes; send "
                    "tensors as tensor_content, or fewer rows at a time"
                )
    return taken


def _varint(data, at, end):
    """A number of variable length and where it ends; the end of the message if it is broken."""
    number = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    return 0, end
