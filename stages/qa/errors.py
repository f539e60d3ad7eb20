"""The errors that a user can cause or mend: each is one line and an exit code, never a traceback."""


class UserError(Exception):
    """A fault outside this code, told in one line that names file, field, id and the likely cause."""

    exit_code = 2


class InputError(UserError):
    """Bad parameters or bad data (exit code 2)."""

    exit_code = 2


class IntegrityError(UserError):
    """A download or a stored file that is not what its checksum, size or format says (exit code 3)."""

    exit_code = 3


class NumericsError(UserError):
    """Not-a-number where a number must be, or a fit that missed its tolerance (exit code 4)."""

    exit_code = 4


class ResourceError(UserError):
    """A disk or a memory that is full (exit code 4)."""

    exit_code = 4


class BusyError(UserError):
    """An output that another process is writing (exit code 5)."""

    exit_code = 5
