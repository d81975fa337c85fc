"""Every exception that quorum raises on its own account.

.. code-block:: text

    QuorumError
    ├── ConfigError (ValueError)             variables with bad values, all of them
    │   └── SettingMissingError              a variable without a value was needed
    ├── LoadError (RuntimeError)             load() was called wrongly
    ├── NotLoadedError (RuntimeError)        no app is loaded
    ├── AppAmbiguousError (RuntimeError)     several are, and no context says which
    ├── ExecutionDisabledError (RuntimeError) tasks may not run in this process
    ├── TaskError (ValueError)               a task cannot be taken as it is
    ├── TaskNotRunError (RuntimeError)       a task was cancelled, or came too late
    ├── UnsupportedError (NotImplementedError) the engine cannot do it
    ├── MissingDependencyError (ImportError) a library of an extra is not installed
    ├── MessageError (ValueError)            a mail cannot be sent as it is
    ├── ConflictError (RuntimeError)         somebody else changed the document first
    ├── DuplicateError (ValueError)          a unique field would have a value twice
    ├── DocumentError (ValueError)           a stored document does not fit its model
    ├── ObjectIdError (ValueError)           something is no object id
    ├── SessionValueError (ValueError)       a value of the session cannot be stored
    └── ServiceError                         a server did not do its part
        ├── ServiceUnavailableError (ConnectionError)   trying again may help
        ├── MailUncertainError                          it may have done it or not
        └── ServiceRefusedError                         trying again will not help
            └── ReceiversRefusedError               for some receivers of a mail

The arguments of each are the facts and ``str()`` is the sentence, so that all of
them can be pickled.
"""

import typing as t
from collections.abc import Mapping

DISTRIBUTION: t.Final = "quorum-flask"


class QuorumError(Exception):
    """The base of all of quorum's errors."""

    #: Whether the same call may work later; a task with retries looks at it.
    retryable: bool = False


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


class ExecutionDisabledError(QuorumError, RuntimeError):
    """Raised when a task would run in a process that was told to run none.

    :param name: Name of the app.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"The app '{self.name}' was loaded with execution=False, and QUEUE_URL is "
            "'thread:'. Set QUEUE_URL to a queue, or load it with execution=True."
        )


class TaskError(QuorumError, ValueError):
    """Raised when a task cannot be taken as it is.

    :param name: What the log would call the task.
    :param reason: What is wrong, and what would be right.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"The task '{self.name}' cannot be taken. {self.reason}."


class TaskNotRunError(QuorumError, RuntimeError):
    """Raised when the result is wanted of a task that did not run to its end.

    :param name: What the log calls the task.
    :param state: ``'cancelled'`` or ``'dropped'``.
    """

    def __init__(self, name: str, state: str) -> None:
        super().__init__(name, state)
        self.name = name
        self.state = state

    def __str__(self) -> str:
        return f"The task '{self.name}' was {self.state}, so there is no result."


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


class MessageError(QuorumError, ValueError):
    """Raised when a mail cannot be sent as it is; nothing has been sent.

    :param argument: The argument of ``send_mail`` that is at fault.
    :param reason: What is wrong and what would be right.
    """

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(argument, reason)
        self.argument = argument
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.argument}: {self.reason}"


class ConflictError(QuorumError, RuntimeError):
    """Raised when somebody else changed or deleted a document since it was loaded.

    :param model: Name of the model.
    :param id: The document's id, as text.
    """

    def __init__(self, model: str, id: str) -> None:
        super().__init__(model, id)
        self.model = model
        self.id = id

    def __str__(self) -> str:
        return (
            f"The {self.model} with the id {self.id} was changed or deleted since it "
            "was loaded. Load it again and repeat the change."
        )


class DuplicateError(QuorumError, ValueError):
    """Raised when two documents would have the same value in a unique field.

    :param model: Name of the model.
    :param field: Name of the field; a nested one has dots. Those of an index of
        several have a comma between them. Empty when it is not known.
    """

    def __init__(self, model: str, field: str) -> None:
        super().__init__(model, field)
        self.model = model
        self.field = field

    def __str__(self) -> str:
        what = f"'{self.field}'" if self.field else "value in a field"
        return (
            f"More than one {self.model} would have the same {what}, which is unique. "
            "Choose another value."
        )


class DocumentError(QuorumError, ValueError):
    """Raised when a stored document does not fit its model.

    :param model: Name of the model.
    :param id: The document's id, as text.
    :param reason: What does not fit, without the values.
    """

    def __init__(self, model: str, id: str, reason: str) -> None:
        super().__init__(model, id, reason)
        self.model = model
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The stored {self.model} with the id {self.id} does not fit the model: "
            f"{self.reason}. Change the document, or give the model room for it."
        )


class ObjectIdError(QuorumError, ValueError):
    """Raised when something that should be an object id is none.

    :param value: What was given instead, shortened.
    """

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return f"{self.value} is no object id, which is 24 hexadecimal digits."


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


class ReceiversRefusedError(ServiceRefusedError):
    """Raised when a mail server did not take some or all receivers of a mail.

    :param service: The service, as ``flask quorum check`` names it.
    :param host: Host of the server.
    :param port: Port of the server.
    :param refused: The server's answers by the addresses that it refused.
    :param accepted: The addresses that have the mail.
    """

    args: tuple[t.Any, ...]
    retryable: bool

    def __init__(
        self,
        service: str,
        host: str,
        port: int,
        refused: Mapping[str, str],
        accepted: tuple[str, ...] = (),
    ) -> None:
        answers = "; ".join(f"{who} ({answer})" for who, answer in refused.items())
        others = f"the other {len(accepted)} have it" if accepted else "nobody has it"
        reason = f"the mail was refused for {answers}; {others}"
        super().__init__(service, host, port, reason)
        self.args = (service, host, port, refused, accepted)
        self.refused = refused
        self.accepted = accepted
        #: Nobody has the mail, and each refusal was a temporary one.
        self.retryable = not accepted and all(
            answer.startswith("4") for answer in refused.values()
        )


class MailUncertainError(ServiceError):
    """Raised when the answer to a complete mail was lost.

    The server may have taken the mail or not, so sending it again may deliver it
    twice.
    """

    _remedy = "It may have been sent: sending it again may deliver it twice."
