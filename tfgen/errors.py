"""The error that tfgen raises for invalid input."""


class InputError(ValueError):
    """The input cannot be used; the message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2. Any other exception is a bug in
    tfgen and keeps its traceback.

    Example:

    >>> import tfgen
    >>> tfgen.zoo.load("no-such-model")
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: ...
    """
