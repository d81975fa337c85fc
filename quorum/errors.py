"""Every exception that quorum raises on its own account.

.. code-block:: text

    QuorumError
    ├── ConfigError (ValueError)             variables with bad values, all of them
    │   └── SettingMissingError              a variable without a value was needed
    ├── LoadError (RuntimeError)             load() was called wrongly
    ├── NotLoadedError (RuntimeError)        no app is loaded
    ├── AppAmbiguousError (RuntimeError)     several are, and no context says which
    ├── UnsupportedError (NotImplementedError) the engine cannot do it
    ├── MissingDependencyError (ImportError) a library of an extra is not installed
    ├── SessionValueError (ValueError)       a value of the session cannot be stored
    └── ServiceError                         a server did not do its part
        ├── ServiceUnavailableError (ConnectionError)   trying again may help
        └── ServiceRefusedError                         it will not

The arguments of each are the facts and ``str()`` is the sentence, so that all of
them can be pickled.
"""

import typing as t

DISTRIBUTION: t.Final = "quorum-flask"


class QuorumError(Exception):
    """The base of all of quorum's errors."""

    #: Whether the same call may work later; a task with retries looks at it.
    retryable: t.ClassVar[bool] = False


class Problem(t.NamedTuple):
    """One bad value among the configuration variables."""

    #: The variable, or the file, that is at fault.
    name: str
    #: Where the value came from: ``'keyword'``, ``'environment'``, a file's name.
    source: str
    #: What is wrong and what would be right; never the value of a secret.
    text: str

    def __str__(self) -> str:
        return f"{self.name} ({self.source}): {self.text}"


class ConfigError(QuorumError, ValueError):
    r"""Raised when configuration variables have bad values; it lists all of them.

    :param \*problems: What is wrong, one entry for each variable or file.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems: tuple[Problem, ...] = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{len(self.problems)} configuration problems:{lines}"


class SettingMissingError(ConfigError):
    """Raised when something needs a variable that has no value.

    :param name: Name of the variable.
    :param hint: What to set it to, as a sentence.
    """

    args: tuple[t.Any, ...]

    def __init__(self, name: str, hint: str = "") -> None:
        text = f"it has no value, and it is needed here. {hint}".rstrip()
        super().__init__(Problem(name, "not set", text))
        self.args = (name, hint)
        self.name = name
        self.hint = hint


class LoadError(QuorumError, RuntimeError):
    """Raised when ``load()`` cannot be done: called twice, too late, or wrongly."""


class NotLoadedError(QuorumError, RuntimeError):
    """Raised when a function needs a loaded app and there is none.

    :param name: Name of the app of the current context, which quorum did not load;
        empty when no app at all is loaded.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        if self.name:
            return (
                f"The app '{self.name}' is not loaded. Call quorum.load(app=…) first."
            )
        return "No app is loaded. Call quorum.load() first."


class AppAmbiguousError(QuorumError, RuntimeError):
    r"""Raised when several apps are loaded and no context says which one is meant.

    :param \*names: Names of the apps that are loaded.
    """

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names

    def __str__(self) -> str:
        names = ", ".join(f"'{name}'" for name in self.names)
        return (
            f"{len(self.names)} apps are loaded ({names}) and there is no context to "
            "say which is meant. Use 'with app.app_context():'."
        )


class UnsupportedError(QuorumError, NotImplementedError):
    """Raised when the engine in use cannot do what was asked.

    :param what: What was asked.
    :param hint: What to do instead, as a sentence.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} is not supported. {self.hint}".rstrip()


class MissingDependencyError(QuorumError, ImportError):
    """Raised when a library is needed that is not installed.

    :param library: The library, by the name it is installed under.
    :param extra: The extra of ``quorum-flask`` that installs it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(library, extra)
        self.library = library
        self.extra = extra

    def __str__(self) -> str:
        fix = f"pip install '{DISTRIBUTION}[{self.extra}]'"
        return f"'{self.library}' is not installed. Install it with: {fix}."


class SessionValueError(QuorumError, ValueError):
    """Raised after a view that left a value in the session that cannot be stored.

    :param key: The value's key.
    :param reason: Why not.
    """

    def __init__(self, key: object, reason: str) -> None:
        super().__init__(key, reason)
        self.key = key
        self.reason = reason

    def __str__(self) -> str:
        reason = self.reason.rstrip(".")
        return f"The session's {self.key!r} cannot be stored: {reason}."


class ServiceError(QuorumError):
    """Raised when a server did not do its part.

    :param service: The service, as ``flask quorum check`` names it.
    :param host: Host that was asked; empty when there is none.
    :param port: Port that was asked; 0 when there is none.
    :param reason: What happened, without any password.
    """

    _remedy: t.ClassVar[str] = ""
    args: tuple[t.Any, ...]

    def __init__(self, service: str, host: str, port: int, reason: str) -> None:
        # OSError, a base of ServiceUnavailableError, would keep two of four arguments.
        super().__init__()
        self.args = (service, host, port, reason)
        self.service = service
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        place = f" at {self.host}:{self.port}" if self.port else f" at {self.host}"
        what = f"{self.service}{place if self.host else ''}"
        return f"{what}: {self.reason.rstrip('.')}. {self._remedy}".rstrip()


class ServiceUnavailableError(ServiceError, ConnectionError):
    """Raised when a server cannot be reached; trying again later may help."""

    retryable = True
    _remedy = "Trying again may help."


class ServiceRefusedError(ServiceError):
    """Raised when a server refused; trying again will not help."""
