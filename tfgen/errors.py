"""The one error that callers cause."""


class InputError(ValueError):
    """What the caller gave cannot be used; the message says what, where, and what to do.

    The command line prints it as one line and exits with code 2. Everything else that is raised
    is a defect of tfgen and keeps its traceback.

    Example:

    >>> import tfgen
    >>> tfgen.zoo.load("no-such-model")
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: ...
    """
