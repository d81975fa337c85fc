"""The state of one app, which app is meant, and the identifier of the request."""

import contextlib
import contextvars
import os
import re
import threading
import types
import typing as t
from collections.abc import Callable

import flask
import flask.globals

from quorum import parsers
from quorum.calls import find_module
from quorum.config import DECLARED, VARIABLES, Found, Settings, Variable
from quorum.errors import AppAmbiguousError, NotLoadedError
from quorum.service import E, Handle, S, Service
from quorum.sources import Sources

G = t.TypeVar("G", bound=Settings)

#: The context variable of Flask's application context: its proxy costs much more.
app_context: contextvars.ContextVar[t.Any] = t.cast(
    t.Any, flask.globals.app_ctx
).__wrapped__

KEY: t.Final = "quorum"


class State:
    """Everything that quorum keeps for one app; it lives in ``app.extensions``.

    :param app: The app.
    :param sources: Where its configuration comes from.
    """

    def __init__(self, app: flask.Flask, sources: Sources) -> None:
        self.app = app
        self.sources = sources
        self.found: dict[str, Found] = sources.find_all()
        #: What ``conf`` returns, by name, by alias and by variable.
        self.values: dict[object, t.Any] = {}
        #: What ``conf`` returns with a cast, by name and then by cast.
        self.casts: dict[object, dict[object, t.Any]] = {}
        #: What ``confs`` has set, by name.
        self.overrides: dict[str, Found] = {}
        #: What must not be seen in a log: the values of secret variables.
        self.secrets: set[str] = set()
        self.stack: contextlib.ExitStack = contextlib.ExitStack()
        self.execution = True
        #: The packages that the app consists of: a worker may run their functions.
        self.packages: set[str] = set()
        self.mongo_database: str | None = None
        self.models: types.ModuleType | None = None
        self.run_functions: list[Callable[[], object]] = []
        #: Functions to repeat, with the seconds from one start to the next.
        self.repeated: list[tuple[Callable[[], object], float | None]] = []
        self._lock = threading.RLock()
        self._settings: dict[type[Settings], Settings] = {}
        self._handles: dict[str, Handle[t.Any, t.Any]] = {}
        for name, found in self.found.items():
            self._keep(VARIABLES[name], found)

    @property
    def name(self) -> str:
        """The name of the app: NAME, else the one that Flask gives it.

        A program has the name here that it is imported by elsewhere, as by a worker.
        """
        name = self.app.import_name
        default = find_module(name) if name == "__main__" else self.app.name
        return self.values.get("NAME") or default

    def find(self, variable: Variable[t.Any]) -> Found:
        """Return the value of a variable; one declared after the load is read now.

        :param variable: The variable.
        :returns: Its value.
        :raises ConfigError: If its value is bad.
        """
        found = self.found.get(variable.name)
        if found is None:
            found = self.sources.find(variable)
            self.found[variable.name] = found
            self._keep(variable, found)
        return found

    def override(
        self, name: str, variable: Variable[t.Any] | None, found: Found | None
    ) -> None:
        """Change what ``conf`` returns for a name; settings stay as they are.

        :param name: The name.
        :param variable: Its declaration, if there is one.
        :param found: The new value; None stands for the one that was loaded.
        """
        with self._lock:
            if found is None:
                self.overrides.pop(name, None)
            else:
                self.overrides[name] = found
            # Copies, as other threads may be about to keep an older value.
            self.casts = {}
            self.values = dict(self.values)
            if variable is None:
                self.values.pop(name, None)
            else:
                self._keep(variable, found or self.find(variable))

    def _keep(self, variable: Variable[t.Any], found: Found) -> None:
        """Make a value the one that ``conf`` returns."""
        if variable.secret:
            self.secrets.update(parsers.secret_texts(found.value))
        kept = dict.fromkeys(variable.spellings, found.value)
        if found.source == "not set":
            self.values.pop(variable, None)
            self.values.update(kept)
        else:
            self.values.update({**kept, variable: found.value})

    def settings(self, cls: type[G]) -> G:
        """Return the settings of a class, made on first use."""
        made = self._settings.get(cls)
        if made is None:
            with self._lock:
                found = {item.name: self.find(item) for item in cls.variables}
                values = {
                    name: item.value
                    for name, item in found.items()
                    if item.source != "not set"
                }
                made = self._settings.setdefault(cls, cls(values))
        return t.cast(G, made)

    def handle(self, service: Service[S, E]) -> Handle[S, E]:
        """Return the handle of a service, made on first use."""
        handle = self._handles.get(service.name)
        if handle is None:
            with self._lock:
                settings = self.settings(service.settings)
                handle = self._handles.get(service.name)
                if handle is None:
                    handle = self._handles[service.name] = Handle(service, settings)
                    self.stack.callback(handle.close)
        return handle

    def after_fork(self) -> None:
        """Start anew in a child process: another thread may have held the lock."""
        self._lock = threading.RLock()
        for handle in self._handles.values():
            handle.after_fork()

    def register(self) -> None:
        """Make the app known as loaded, until the stack is unwound."""
        with load_lock:
            _loaded.append(self)
            self.app.extensions[KEY] = self
            _choose_only()
        self.stack.callback(self._unregister)

    def _unregister(self) -> None:
        with load_lock:
            _loaded.remove(self)
            self.app.extensions.pop(KEY, None)
            _choose_only()


#: Held while an app is loaded; read it anew at each use, as forks replace it.
load_lock: contextlib.AbstractContextManager[object] = threading.RLock()
_loaded: list[State] = []

#: The state of the only app that is loaded; None if it is not the only one.
only_state: State | None = None


def _choose_only() -> None:
    global only_state
    only_state = _loaded[0] if len(_loaded) == 1 else None


def _after_fork() -> None:
    global load_lock
    load_lock = threading.RLock()
    for state in loaded_states():
        state.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


def _forget(variable: Variable[t.Any]) -> None:
    """Have a name read again that was read before it was declared."""
    for state in loaded_states():
        for spelling in variable.spellings if variable.name not in state.found else ():
            before = state.overrides.get(spelling)
            state.override(spelling, None, None)
            if before is not None and before.raw is not None:
                found = before._replace(value=variable.parse(before.raw, "confs"))
                state.override(variable.name, variable, found)


DECLARED.append(_forget)


def loaded_states() -> list[State]:
    """Return the states of all apps that are loaded, in the order of their loading."""
    return list(_loaded)


def find_state() -> State | None:
    """Return the state of the app in use, None when there is none or it is unclear."""
    context = app_context.get(None)
    if context is None:
        return only_state
    state: State | None = context.app.extensions.get(KEY)
    return state


def get_state(app: flask.Flask | None = None) -> State:
    """Return the state of the app in use.

    :param app: The app, when it is known.
    :returns: The state of that app, else of the app of the current context, else of
        the only app loaded.
    :raises NotLoadedError: If that app, or no app at all, is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = find_state() if app is None else app.extensions.get(KEY)
    if state is None:
        raise _why_none(app)
    return t.cast(State, state)


def _why_none(app: flask.Flask | None) -> NotLoadedError | AppAmbiguousError:
    context = app_context.get(None)
    meant = app or (context.app if context is not None else None)
    if meant is not None:
        return NotLoadedError(meant.name)
    states = loaded_states()
    if not states:
        return NotLoadedError()
    return AppAmbiguousError(*(state.name for state in states))


def get_app() -> flask.Flask | None:
    """Return the app in use, None when it is not loaded.

    :returns: The app of the current context, else the only app loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    try:
        return get_state().app
    except NotLoadedError:
        return None


def get_handle(service: Service[S, E]) -> Handle[S, E]:
    """Return the handle of a service in the app in use.

    :param service: The recipe.
    :returns: Its handle.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_state().handle(service)


_REQUEST_KEY = "quorum.request_id"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")

#: The identifier that work outside a request carries on.
carried_id: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "quorum.request_id", default=None
)


def get_request_id() -> str | None:
    """Return the identifier of the current request, to find its log records by.

    It is the request's ``X-Request-ID`` header when that is of 1 to 128 ASCII
    letters, digits and ``. _ ~ + / = : -``, else 32 random hexadecimal digits.

    :returns: The identifier; None outside a request.
    """
    if not flask.has_request_context():
        return carried_id.get()
    environ = flask.request.environ
    known = environ.get(_REQUEST_KEY)
    if known is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        known = given if _WELL_FORMED.fullmatch(given) else os.urandom(16).hex()
        environ[_REQUEST_KEY] = known
    return t.cast(str, known)
