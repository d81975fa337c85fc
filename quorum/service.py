"""What all services share: a recipe, and a handle that connects on first use."""

import threading
import typing as t
from collections.abc import Callable, Mapping

from quorum.config import ServiceSettings
from quorum.errors import ConfigError, Problem, QuorumError
from quorum.extras import require
from quorum.parsers import URL, secret_texts


class Engine(t.Protocol):
    """What stands at the other end of a service; it connects when it has to."""

    #: Where it is, for people: ``host:port``, or ``memory:``; never a password.
    address: str

    def ping(self) -> None:
        """Ask the server for an answer, or raise a ``ServiceError``."""

    def close(self) -> None:
        """Close every connection; a later call may open new ones."""


S = t.TypeVar("S", bound=ServiceSettings)
E = t.TypeVar("E", bound=Engine)


class Service(t.Generic[S, E]):
    """The recipe of a service: its settings, and its engines by URL scheme.

    :param name: Its name, as ``flask quorum check`` shows it.
    :param settings: The class of its settings.
    :param engines: For each scheme the ``'module:class'`` of the engine, which is
        imported on first use and called with the settings.
    """

    def __init__(
        self, name: str, settings: type[S], engines: Mapping[str, str]
    ) -> None:
        self.name = name
        self.settings = settings
        self.engines = engines

    def __repr__(self) -> str:
        return f"<service {self.name}>"


class Handle(t.Generic[S, E]):
    """The live side of a service in one app: it makes the engine on first use.

    Threads share one engine. A process that was forked off makes its own, and leaves
    the connections of its parent alone.

    :param service: The recipe.
    :param settings: The settings of the app.
    """

    def __init__(self, service: Service[S, E], settings: S) -> None:
        self.service = service
        self.settings = settings
        self._lock = threading.Lock()
        self._engine: E | None = None

    @property
    def engine(self) -> E:
        """The engine.

        :raises SettingMissingError: If no variable says where the service is.
        :raises ConfigError: If the library does not take what the variable says.
        :raises MissingDependencyError: If its library is not installed.
        """
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine
                if engine is None:
                    engine = self._engine = self._make()
        return engine

    @property
    def configured(self) -> bool:
        """Whether a variable says where the service is."""
        return self.settings.configured

    def ask(self) -> QuorumError | None:
        """Ask the service for an answer.

        :returns: Why there is none; None when it has answered.
        """
        try:
            self.engine.ping()
        except QuorumError as error:
            return error
        return None

    def close(self) -> None:
        """Close the engine if there is one; until it is closed, no other is made."""
        engine = self._engine
        try:
            if engine is not None:
                engine.close()
        finally:
            self._engine = None

    def after_fork(self) -> None:
        """Start anew in a child process; its parent's engine is kept, unused.

        To collect it could write to sockets that the parent still uses.
        """
        self._lock = threading.Lock()
        _inherited.append(self._engine)
        self._engine = None

    def _make(self) -> E:
        settings = self.settings
        make: Callable[[S], E] = require(self.service.engines[settings.scheme])
        try:
            return make(settings)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            reason = str(error)
            values = vars(settings)
            secrets = (values.get(v.attribute) for v in settings.variables if v.secret)
            texts = {text for value in secrets for text in secret_texts(value) if text}
            for text in sorted(texts, key=len, reverse=True):
                reason = reason.replace(text, "***")
            fault = f"the client library does not take it: {reason.rstrip('.')}."
        # Raised here, as the library's error may hold a password.
        name = "settings"
        if isinstance(settings.location, URL):
            name = type(settings).location.name
        raise ConfigError(Problem(name, self.service.name, fault))


#: Engines of parent processes; see :meth:`Handle.after_fork`.
_inherited: list[object] = []
