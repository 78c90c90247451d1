"""The error that a user can act on."""

import traceback
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


class GLIPError(ValueError):
    """An error with a message for the user and a stable code for programs and tests.

    ``code`` is in kebab-case, from the same vocabulary as the code of a data set's finding.
    """

    def __init__(self, message: str, *, code: str) -> None:
        """Make an error.

        Args:
            message: the value, where it stands and what to do about it.
            code: the kind of the error, in kebab-case.
        """
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Keep code and notes when an error is pickled for another process."""
        return _unpickled, (type(self), str(self), self.code), vars(self)


class MissingFile(GLIPError, FileNotFoundError):
    """A file or folder that is not there.

    It is a FileNotFoundError as well, for callers that then look elsewhere.
    """


def _unpickled(kind: type[GLIPError], message: str, code: str) -> GLIPError:
    return kind(message, code=code)


def is_ours(error: BaseException) -> bool:
    """Return whether this package itself raised the error, not a library that it called."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(PACKAGE)
