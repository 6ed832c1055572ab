"""TF Serving's status codes: one error, and what it is called in gRPC and in HTTP."""

HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
NUMBERS = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
NAMES = {number: name for name, number in NUMBERS.items()}
LONGEST = 1024  # characters of an error text in TF Serving's answers


class ServingError(Exception):
    """A request that fails with one of the canonical status codes.

    Args:
        code: its name, such as "INVALID_ARGUMENT".
        message: for the client; cut at 1024 characters as TF Serving does.

    Source: `model_servers/grpc_status_util.cc`, `model_servers/http_server.cc` of
        tensorflow/serving.

    Example:

    >>> from tfgen.export.serving.statuses import ServingError
    >>> error = ServingError("NOT_FOUND", "Servable not found for request: Latest(glow)")
    >>> error.http_status, error.number
    (404, 5)
    """

    def __init__(self, code, message):
        if len(message) > LONGEST:
            message = message[:LONGEST] + "...TRUNCATED"
        super().__init__(message)
        self.code = code
        self.message = message
        self.number = NUMBERS[code]
        self.http_status = HTTP[code]

    def __str__(self):
        return f"{self.code}: {self.message}"


def invalid(*parts):
    """`ServingError` for INVALID_ARGUMENT, of the parts of its text."""
    return ServingError("INVALID_ARGUMENT", "".join(map(str, parts)))
