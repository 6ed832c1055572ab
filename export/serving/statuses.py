"""TF Serving's status codes: one error class, and its codes in gRPC and HTTP."""

HTTP = {  # In the order of their numbers in gRPC, from 1 on.
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
NAMES = dict(enumerate(HTTP, start=1))
MAX_LENGTH = 1024  # characters of an error text in TF Serving's answers


class ServingError(Exception):
    """A request that fails with one of the canonical status codes.

    Args:
        code: its name, such as "INVALID_ARGUMENT".
        message: for the client; cut at 1024 characters as TF Serving does.
        http_status: by default that of the code.

    Source: `model_servers/grpc_status_util.cc`, `model_servers/http_server.cc` of
        tensorflow/serving.

    Example:

    >>> from tfgen.export.serving.statuses import ServingError
    >>> error = ServingError("NOT_FOUND", "Servable not found for request: Latest(glow)")
    >>> error.http_status, error.number
    (404, 5)
    """

    def __init__(self, code: str, message: str, http_status: int | None = None):
        if len(message) > MAX_LENGTH:
            message = message[:MAX_LENGTH] + "...TRUNCATED"
        super().__init__(message)
        self.code = code
        self.message = message
        self.number = next(number for number, name in NAMES.items() if name == code)
        self.http_status = http_status or HTTP[code]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(message: str) -> ServingError:
    """`ServingError` for INVALID_ARGUMENT."""
    return ServingError("INVALID_ARGUMENT", message)


def too_large(message: str) -> ServingError:
    """RESOURCE_EXHAUSTED for a request that is refused whenever it is sent: 413 over REST."""
    return ServingError("RESOURCE_EXHAUSTED", message, http_status=413)
