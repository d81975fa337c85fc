"""Log records of the app in use: where they go, and what every one of them says."""

import contextlib
import datetime
import json
import logging
import logging.handlers
import math
import pathlib
import re
import sys
import time
import typing as t
from collections.abc import Callable, Collection

from quorum import parsers
from quorum.config import Settings, Variable, variable
from quorum.errors import ConfigError, Problem
from quorum.state import State, find_state, get_request_id

LOGGER: t.Final = logging.getLogger("quorum")


class LogSettings(Settings):
    """What is logged, where, and how."""

    level: Variable[str] = variable(
        "LEVEL",
        parsers.choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        default="WARNING",
        since="0.2.0",
        help="Least severity of the log records that are kept.",
    )
    format: Variable[str] = variable(
        "LOG_FORMAT",
        parsers.choice("text", "json"),
        default="text",
        since="0.2.0",
        help="Form of a log record: a line of text, or a JSON object on one line.",
    )
    folder: Variable[str] = variable(
        "LOG_FOLDER",
        str,
        default=".",
        since="0.2.0",
        help="Folder of the log file that load(logger=…) names.",
    )


def get_log() -> logging.Logger:
    """Return quorum's logger; it exists before an app is loaded too.

    Records of the loggers below it, as in ``logging.getLogger("quorum.shop")``, go to
    the same places.

    :returns: The logger named ``'quorum'``.
    """
    return LOGGER


def debug(message: object, *args: object, **kwargs: t.Any) -> None:
    r"""Log a message for whoever hunts a fault.

    :param message: The message, with ``%s`` where the arguments go.
    :param \*args: The arguments.
    :param \*\*kwargs: As :meth:`logging.Logger.debug` takes them.
    """
    _log(logging.DEBUG, message, args, kwargs)


def info(message: object, *args: object, **kwargs: t.Any) -> None:
    r"""Log that something worked as it should.

    :param message: The message, with ``%s`` where the arguments go.
    :param \*args: The arguments.
    :param \*\*kwargs: As :meth:`logging.Logger.info` takes them.
    """
    _log(logging.INFO, message, args, kwargs)


def warning(message: object, *args: object, **kwargs: t.Any) -> None:
    r"""Log that something is odd, though the work goes on.

    :param message: The message, with ``%s`` where the arguments go.
    :param \*args: The arguments.
    :param \*\*kwargs: As :meth:`logging.Logger.warning` takes them.
    """
    _log(logging.WARNING, message, args, kwargs)


def error(message: object, *args: object, **kwargs: t.Any) -> None:
    r"""Log that something could not be done.

    :param message: The message, with ``%s`` where the arguments go.
    :param \*args: The arguments.
    :param \*\*kwargs: As :meth:`logging.Logger.error` takes them.
    """
    _log(logging.ERROR, message, args, kwargs)


def critical(message: object, *args: object, **kwargs: t.Any) -> None:
    r"""Log that the program cannot go on.

    :param message: The message, with ``%s`` where the arguments go.
    :param \*args: The arguments.
    :param \*\*kwargs: As :meth:`logging.Logger.critical` takes them.
    """
    _log(logging.CRITICAL, message, args, kwargs)


def _log(
    level: int, message: object, args: tuple[object, ...], kwargs: dict[str, t.Any]
) -> None:
    # Two levels up stands who called debug(), and so on.
    kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 2
    LOGGER.log(level, message, *args, **kwargs)


def start_log(state: State, name: str | None) -> None:
    """Add the handlers of an app to quorum's logger; the app's stack removes them.

    :param state: The state of the app.
    :param name: Name of the log file; without one, records go to the standard error
        stream, unless the program has set up logging of its own.
    :raises ConfigError: If the file cannot be opened.
    """
    settings = state.settings(LogSettings)
    redact = Redactor(state.secrets)
    make = JSONFormatter if settings.format == "json" else TextFormatter
    handler = _FallbackHandler() if name is None else _open_file(settings, name)
    state.stack.callback(_remove, handler)
    handler.setFormatter(make(redact))
    handler.addFilter(_Stamp(state))
    handler.setLevel(settings.level)
    LOGGER.addHandler(handler)
    _choose_level()


class Redactor:
    """Masks passwords in URLs, and the values of an app's secret variables.

    :param secrets: The values; those of fewer than six characters are left alone, as
        masking them would make everything else unreadable.
    """

    def __init__(self, secrets: Collection[str]) -> None:
        self.secrets = secrets
        self._count = -1
        self._pattern = re.compile("")

    def __call__(self, text: str) -> str:
        """Return the text with its secrets masked."""
        if self._count != len(self.secrets):  # an app may get more while it runs
            known = sorted(self.secrets, key=len, reverse=True)
            self._count = len(known)
            long = [re.escape(secret) for secret in known if len(secret) >= _SHORTEST]
            masked = "|".join(long) or "(?!)"
            # A password ends at the last '@' before the path: it may hold one itself.
            self._pattern = re.compile(rf"(://[^\s/:@]*:)[^\s/]+(?=@)|{masked}")
        return self._pattern.sub(_mask, text)


_SHORTEST: t.Final = 6


def _mask(match: re.Match[str]) -> str:
    return f"{match[1] or ''}***"


class TextFormatter(logging.Formatter):
    """One line for a record: time, level, request, logger, message.

    :param redact: Masks secrets.
    """

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format: str | None = "%s.%03dZ"

    @staticmethod
    def converter(seconds: float | None = None) -> time.struct_time:
        """Return the time in UTC, as the ``Z`` behind it says."""
        return time.gmtime(seconds)

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s [%(request_id)s] %(name)s: %(message)s"
        )
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with secrets masked; a traceback adds more lines."""
        return self.redact(super().format(record))


_STANDARD = {
    *vars(logging.makeLogRecord({})),
    "message",
    "asctime",
    "request_id",
    "shown",
}


class JSONFormatter(logging.Formatter):
    """One JSON object, on one line, for a record; ``extra=`` becomes keys of it.

    :param redact: Masks secrets.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object, with secrets masked."""
        made = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        shown: dict[str, object] = {
            "time": made.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": getattr(record, "request_id", None),
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            shown["stack"] = self.formatStack(record.stack_info)
        extras = {k: v for k, v in vars(record).items() if k not in _STANDARD}
        return json.dumps(self._masked({**extras, **shown}), ensure_ascii=False)

    def _masked(self, value: object) -> object:
        if value is None or isinstance(value, int):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, dict):
            return {self.redact(str(k)): self._masked(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._masked(item) for item in value]
        return self.redact(str(value))


class _Stamp(logging.Filter):
    """Lets an app's own records through, with the identifier of their request.

    Records of which nobody can say whose they are go to every app.
    """

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = get_request_id() or "-"
        return find_state() in (None, self.state)


class _Careful(logging.Handler):
    """Never raises, and never shows the arguments of what it cannot write."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except Exception:  # a file that cannot be opened again, for instance
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not logging.raiseExceptions:
            return
        redact = t.cast("TextFormatter | JSONFormatter", self.formatter).redact
        error = sys.exception()
        text = f"{type(error).__name__}: {error}"
        place = f"{record.name} ({record.pathname}:{record.lineno})"
        with contextlib.suppress(Exception):
            sys.stderr.write(redact(f"A record of {place} cannot be logged: {text}\n"))


class _FallbackHandler(_Careful, logging.StreamHandler[t.TextIO]):
    """Writes to the standard error stream what no other handler shows."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        others = (item for item in LOGGER.handlers if not _is_ours(item))
        if logging.root.handlers or any(others) or hasattr(record, "shown"):
            return
        record.shown = True  # by one app is enough
        self.stream = sys.stderr  # it may have been replaced since
        super().emit(record)


if sys.platform == "win32":
    _Watched = logging.FileHandler
else:
    _Watched = logging.handlers.WatchedFileHandler


class _FileHandler(_Careful, _Watched):
    """Appends to a file, as other processes may; who rotates it, moves it away."""


def _open_file(settings: LogSettings, name: str) -> logging.Handler:
    if not name or name in (".", "..") or set(name) & {"/", "\\", "\0"}:
        fault = f"{name!r} is no plain file name."
        raise ConfigError(Problem("logger", "keyword", fault))
    file = name if name.endswith(".log") else f"{name}.log"
    path = pathlib.Path(settings.folder, file).absolute()
    try:
        return _FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        fault = f"the log file {str(path)!r} cannot be opened: {error.strerror}."
        raise ConfigError(Problem("LOG_FOLDER", "logger", fault)) from error


def _remove(handler: logging.Handler) -> None:
    LOGGER.removeHandler(handler)
    handler.close()
    _choose_level()


def _choose_level() -> None:
    """Let the logger pass what the least strict of the apps wants.

    Whatever level the logger had before the first app counts again after the last.
    """
    global _level_before
    levels = [item.level for item in LOGGER.handlers if _is_ours(item)]
    if levels and _level_before is None:
        _level_before = LOGGER.level
    if levels:
        LOGGER.setLevel(min(levels))
    elif _level_before is not None:
        LOGGER.setLevel(_level_before)
        _level_before = None


_level_before: int | None = None


def _is_ours(handler: logging.Handler) -> bool:
    return any(isinstance(item, _Stamp) for item in handler.filters)
