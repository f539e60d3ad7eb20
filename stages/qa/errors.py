"""Faults that a user can cause or put right. Each becomes one line and an exit code, never a traceback."""


class UserError(Exception):
    """A fault outside this code. Its message is one line: file, field, id and the likely cause."""

    exit_code = 2


class InputError(UserError):
    """Wrong parameters or wrong data (exit code 2)."""


class IntegrityError(UserError):
    """A download or a stored file that is not what its checksum, size or format says (exit code 3)."""

    exit_code = 3


class NumericsError(UserError):
    """A result that is not a finite number, or a fit that missed its tolerance (exit code 4)."""

    exit_code = 4


class ResourceError(UserError):
    """No room left on the disk or in memory (exit code 4)."""

    exit_code = 4


class BusyError(UserError):
    """Another process is at the same work (exit code 5)."""

    exit_code = 5


def one_line(error: BaseException) -> str:
    """The first 300 characters of an error's message, on one line; the name of its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
