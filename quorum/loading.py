"""Wires an app to its configuration and services, releases it again, and serves it."""

import contextlib
import ipaddress
import socket
import sys
import threading
import types
import typing as t
from collections.abc import Callable, Iterator

import click
import flask

# Each of these declares variables, which load() has to know.
from quorum import amazon, amqp, mail, mongodb, parsers, redisdb, sessions, tasks
from quorum import state as states
from quorum.calls import find_module
from quorum.config import Settings, Variable, variable
from quorum.errors import (
    ConfigError,
    LoadError,
    NotLoadedError,
    Problem,
    QuorumError,
    ServiceUnavailableError,
    UnsupportedError,
)
from quorum.extras import require
from quorum.logs import LOGGER, start_log
from quorum.service import Service
from quorum.sources import Sources
from quorum.state import KEY, State, get_state

F = t.TypeVar("F", bound=Callable[..., object])

#: The recipes of all services, in the order in which people read about them.
# Not Final: pyright would know each one's type, and no common one.
SERVICES: tuple[Service[t.Any, t.Any], ...] = (
    mail.SERVICE,
    redisdb.SERVICE,
    mongodb.SERVICE,
    amqp.SERVICE,
    amazon.SERVICE,
    tasks.SERVICE,
)


class AppSettings(Settings):
    """The app itself, and the server that ``run()`` starts."""

    debug: Variable[bool] = variable(
        "DEBUG",
        bool,
        default=False,
        since="0.1.0",
        help="Whether the app runs in debug mode.",
    )
    host: Variable[str] = variable(
        "HOST",
        parsers.host,
        default="127.0.0.1",
        since="0.1.0",
        help="Host name or IP address that the server of run() listens on.",
    )
    port: Variable[int] = variable(
        "PORT",
        parsers.port,
        default=5000,
        since="0.1.0",
        help="TCP port that the server of run() listens on.",
    )
    name: Variable[str | None] = variable(
        "NAME",
        str,
        default=None,
        since="0.2.0",
        help="Name of the app wherever quorum has to tell apps apart.",
    )
    secret_key: Variable[str | bytes | None] = variable(
        "SECRET_KEY",
        parsers.key,
        default=None,
        secret=True,
        since="0.2.0",
        help="Seed of the app's cryptographic operations, such as signed cookies.",
    )


def load(
    app: flask.Flask | None = None,
    name: str | None = None,
    secret_key: str | bytes | None = None,
    execution: bool = True,
    redis_session: bool = False,
    mongo_database: str | None = None,
    logger: str | None = None,
    models: types.ModuleType | None = None,
    **kwargs: object,
) -> flask.Flask:
    r"""Load quorum into an app: read its configuration, and wire up its services.

    Nothing connects, and no thread starts, before the first use. A load that fails
    leaves the app as it was.

    :param app: The app; without one, a new ``flask.Flask`` is made.
    :param name: Name of the app wherever quorum has to tell apps apart, and the
        import name of a new app; by default the caller's ``__name__``.
    :param secret_key: Seed of the app's cryptographic operations, such as signed
        cookies. All the processes that serve the app must share it.
    :param execution: Whether background tasks may run in threads of this process.
    :param redis_session: Whether sessions are kept on the server, in Redis.
    :param mongo_database: Name of the MongoDB database to use when MONGOHQ_URL names
        none.
    :param logger: Name of the log file, in the folder LOG_FOLDER; without it, records
        go to the standard error stream.
    :param models: The module that has the model classes.
    :param \*\*kwargs: Values of declared variables and of Flask's own settings, above
        those of all other sources.
    :returns: The app that was passed, or else the new one.
    :raises ConfigError: If values are bad; it lists all of them.
    :raises LoadError: If the app is loaded already or has served a request, or an
        argument is of the wrong type.
    :raises MissingDependencyError: If there is a ``.env`` file and python-dotenv is
        not installed.
    :raises SettingMissingError: If ``redis_session`` is asked for and REDISTOGO_URL or
        SECRET_KEY has no value.
    """
    _check("app", app, flask.Flask)
    _check("name", name, str)
    _check("mongo_database", mongo_database, str)
    _check("logger", logger, str)
    _check("models", models, types.ModuleType)
    caller = sys._getframe(1).f_globals.get("__name__") or "__main__"
    own = {caller} if app is None else {caller, app.import_name}
    if app is None:
        app = flask.Flask(name or caller)
    for keyword, value in (("NAME", name), ("SECRET_KEY", secret_key)):
        if value is not None and kwargs.setdefault(keyword, value) != value:
            fault = f"{keyword.lower()}= and {keyword}= have different values."
            raise ConfigError(Problem(keyword, "keyword", f"{fault} Keep one."))
    with states.load_lock:
        _check_loadable(app)
        state = State(app, Sources(app, kwargs))
        state.execution = execution
        for module in own:  # not a mere name, which could be that of any module
            state.packages.add(find_module(module).partition(".")[0])
        state.mongo_database = mongo_database
        state.models = models
        state.run_functions.extend(RUN_FUNCTIONS)
        try:
            _set_flask(state, kwargs)
            _set_autoescape(state)
            start_log(state, logger)
            for function, seconds in tasks.REPEATED:
                tasks.add_repeated(state, function, seconds)
            if redis_session:
                sessions.start_sessions(state)
            state.register()
        except BaseException:
            state.stack.close()
            raise
    with app.app_context():
        for sentence in state.sources.find_unread():
            LOGGER.warning(sentence)
    return app


def unload(*, app: flask.Flask | None = None) -> None:
    """Release what :func:`load` and the app's services took, and forget the app.

    Background tasks have QUEUE_DRAIN seconds to come to their end, and the names of
    those that do not are logged. Connections and files are closed, threads joined,
    handlers removed, and the app is as it was before it was loaded. Unloading what is
    not loaded does nothing.

    :param app: The app; without it, the app in use.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    try:
        state = get_state(app)
    except NotLoadedError:
        return
    state.stack.close()


def onrun(function: F) -> F:
    """Register a function to be called once, when the app in use starts to run.

    It is called in the app's context, by :func:`run` or :func:`call_run`. Registered
    while no app is loaded, it counts for every app that is loaded later.

    :param function: The function; it takes no arguments.
    :returns: The same function, so that this can be a decorator.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    try:
        get_state().run_functions.append(function)
    except NotLoadedError:
        RUN_FUNCTIONS.append(function)
    return function


def call_run() -> None:
    """Call the functions of :func:`onrun`, each once, in the order of registration.

    :func:`run` does so itself. Under another WSGI server the app calls this when it
    starts. A function that raises stops the call; it and those behind it are called
    by the next one.

    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    with state.app.app_context():
        while state.run_functions:
            state.run_functions[0]()
            del state.run_functions[0]


def check_services() -> dict[str, QuorumError | None]:
    """Ask every configured service of the app in use for an answer, in turn.

    Each has its own time limit to answer in.

    :returns: For each service, by its name, what was raised, or None if it answered.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    handles = map(get_state().handle, SERVICES)
    return {item.service.name: item.ask() for item in handles if item.configured}


def run(server: str = "base") -> None:
    """Serve the app in use on HOST and PORT, until the process is stopped.

    :param server: ``'base'`` for Flask's development server, which reloads changed
        code in debug mode, or ``'waitress'``, for production.
    :raises ConfigError: If HOST names no host.
    :raises MissingDependencyError: If waitress is asked for and not installed.
    :raises ServiceUnavailableError: If waitress cannot listen on HOST and PORT.
    :raises UnsupportedError: If it is neither of these servers.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    serve = _SERVERS.get(server)
    if serve is None:
        names = " or ".join(repr(name) for name in _SERVERS)
        raise UnsupportedError(f"The server {server!r}", f"Choose {names}.")
    settings = state.settings(AppSettings)
    try:
        socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError as error:
        source = state.found["HOST"].source
        fault = f"{settings.host!r} is no host that can be listened on: {error}."
        raise ConfigError(Problem("HOST", source, fault)) from error
    with _ending_well():
        serve(state, settings)


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """Have SIGTERM end the program as any other end does, with its tasks done."""
    import signal  # most apps are served by something else

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if ours:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run_base(state: State, settings: AppSettings) -> None:
    from werkzeug.serving import is_running_from_reloader

    app = state.app
    local = _is_loopback(settings.host)
    if app.debug and not local:
        LOGGER.warning(
            "The debugger stays off, as HOST is %s and whoever reaches it could run "
            "code. Set HOST to 127.0.0.1 to have it.",
            settings.host,
        )
    if not app.debug or is_running_from_reloader():
        _start(state)  # the process that only watches the files serves nothing
    app.run(
        settings.host,
        settings.port,
        debug=app.debug,
        load_dotenv=False,  # it would write to the environment
        use_reloader=app.debug,
        use_debugger=app.debug and local,
    )


def _run_waitress(state: State, settings: AppSettings) -> None:
    # waitress.serve() would set up logging, and quorum's handler give way to that.
    create_server = require("waitress:create_server")
    _start(state)
    host, port = settings.host, settings.port
    try:
        server = create_server(state.app, host=host, port=port)
    except OSError as error:
        reason = f"it cannot listen there: {error.strerror}"
        raise ServiceUnavailableError("server", host, port, reason) from error
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    click.echo(f" * Running on http://{place}")
    server.run()


_SERVERS: t.Final = {"base": _run_base, "waitress": _run_waitress}

#: Registered by ``onrun`` while no app was loaded.
RUN_FUNCTIONS: t.Final[list[Callable[..., object]]] = []


def _start(state: State) -> None:
    with state.app.app_context():
        call_run()
        tasks.start_repeated(state)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(argument: str, value: object, wanted: type) -> None:
    if value is not None and not isinstance(value, wanted):
        given = type(value).__name__
        fault = f"load({argument}=…) takes a {wanted.__name__}, not a {given}."
        raise LoadError(fault)


def _check_loadable(app: flask.Flask) -> None:
    if KEY in app.extensions:
        raise LoadError(
            f"The app '{app.name}' is loaded already. "
            "Call quorum.unload(app=…) first to load it anew."
        )
    if app._got_first_request:
        raise LoadError(
            f"The app '{app.name}' has served a request already. "
            "Load it where it is made, before it serves."
        )


def _set_flask(state: State, keywords: dict[str, object]) -> None:
    """Give Flask what is its own: its settings, DEBUG and SECRET_KEY."""
    app = state.app
    wanted = {
        name: value
        for name, value in keywords.items()
        if name in app.default_config and name not in state.found
    }
    for name in ("DEBUG", "SECRET_KEY"):
        found = state.found[name]
        if found.source not in ("default", "not set"):
            wanted[name] = found.value
    for name, value in wanted.items():
        state.stack.callback(_set_config, app, name, app.config[name])
        _set_config(app, name, value)


def _set_config(app: flask.Flask, name: str, value: t.Any) -> None:
    app.config[name] = value
    if name == "DEBUG" and "jinja_env" in vars(app):
        app.debug = value  # templates are reloaded in debug mode


#: Endings of the templates that are escaped, also with ``.tpl`` behind them.
_ESCAPED: t.Final = (".html", ".htm", ".xml", ".xhtml", ".svg")


def _set_autoescape(state: State) -> None:
    """Have the values in ``index.html.tpl`` escaped, which Flask alone does not."""
    app = state.app
    before = app.select_jinja_autoescape
    # An app may have a function of its own, set on it and not on its class.
    own = vars(app).get("select_jinja_autoescape")

    def select(filename: str) -> bool:
        known = (filename or "").lower().removesuffix(".tpl").endswith(_ESCAPED)
        return known or before(filename)

    def restore() -> None:
        vars(app).pop("select_jinja_autoescape", None)
        if own is not None:
            vars(app)["select_jinja_autoescape"] = own
        _use_autoescape(app, select, before)

    vars(app)["select_jinja_autoescape"] = select
    _use_autoescape(app, before, select)
    state.stack.callback(restore)


def _use_autoescape(app: flask.Flask, old: object, new: Callable[[str], bool]) -> None:
    """Change it in the app's Jinja environment, if there is one already."""
    environment = vars(app).get("jinja_env")
    if environment is not None and environment.autoescape == old:
        environment.autoescape = new
        if environment.cache is not None:
            environment.cache.clear()  # templates are compiled for one of the two
