"""Reads configuration values of the app in use, and changes them while it runs."""

import contextlib
import typing as t
from collections.abc import Callable, Iterator

from quorum import state as states
from quorum.config import SPELLINGS, Settings, Variable, parse
from quorum.errors import SettingMissingError
from quorum.parsers import as_parser
from quorum.sources import Found
from quorum.state import State, get_state

T = t.TypeVar("T")
D = t.TypeVar("D")
G = t.TypeVar("G", bound=Settings)

_UNKNOWN: t.Final = object()

_context_get = states.app_context.get


class Values(dict[str, t.Any]):
    """Names and values whose ``repr()`` shows the names only, as some are secrets."""

    def __repr__(self) -> str:
        return f"<values of {', '.join(sorted(self))}>"


@t.overload
def conf(name: Variable[T]) -> T: ...
@t.overload
def conf(name: str, default: str) -> str: ...
@t.overload
def conf(name: str, default: object = None, cast: None = None) -> t.Any: ...
@t.overload
def conf(
    name: str, default: None = None, *, cast: Callable[[t.Any], T]
) -> T | None: ...
@t.overload
def conf(name: str, default: None, cast: Callable[[t.Any], T]) -> T | None: ...
@t.overload
def conf(name: str, default: D, cast: Callable[[t.Any], T]) -> T | D: ...
def conf(
    name: str | Variable[t.Any],
    default: object = None,
    cast: Callable[[t.Any], t.Any] | None = None,
) -> t.Any:
    """Return the value of a configuration variable in the app in use.

    A declared variable comes back typed, with its declared default; any other name
    comes from the same sources as text. Nothing is read from the environment after
    :func:`load`, and a cast is done once for each value.

    :param name: The name, an alias, or the declaration itself.
    :param default: What to return, as it is, when there is no value.
    :param cast: Makes the value of its text: ``bool``, ``int``, ``float``, ``str``, a
        parser of :mod:`quorum.parsers`, or a function that raises ``ValueError``.
    :returns: The value.
    :raises ConfigError: If the cast does not take the value; it names the variable.
    :raises SettingMissingError: If a declaration was passed and it has no value.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    context = _context_get(None)
    found: t.Any  # None ends in _find, which tells why
    if context is None:
        found = states.only_state
    else:
        found = context.app.extensions.get("quorum")
    try:
        value = found.values[name] if cast is None else found.casts[name, cast]
    except (AttributeError, KeyError, TypeError):
        value = _UNKNOWN
    if value is _UNKNOWN:  # not in the handler, whose error would be shown as well
        value = _find(get_state(), name, cast)
    return default if value is None else value


def confs(name: str, value: object) -> None:
    """Set the value that :func:`conf` returns, in the app in use, while it runs.

    Services keep the settings that they had when the app was loaded.

    :param name: The name.
    :param value: The value, typed or as text.
    :raises ConfigError: If the variable does not take the value.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    _override(get_state(), name, value)


def confr(name: str) -> None:
    """Remove the value that :func:`conf` returns, in the app in use, while it runs.

    A declared variable has its default again; any other name has no value.

    :param name: The name.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    _override(get_state(), name, None)


def confd() -> dict[str, t.Any]:
    """Return every name that has a value, with what :func:`conf` returns for it.

    That is the whole environment too, and the values of secrets: do not print it.
    Its own ``repr()`` shows names only.

    :returns: A new dictionary.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    names = (state.sources.names() | set(state.overrides)) - set(SPELLINGS)
    undeclared = {name: _find_raw(state, name)[0] for name in names}
    values = {name: str(raw) for name, raw in undeclared.items() if raw is not None}
    typed = {name: found.value for name, found in state.found.items()}
    return Values({**values, **{k: v for k, v in typed.items() if v is not None}})


def conf_prefix(prefix: str) -> dict[str, t.Any]:
    """Return the part of :func:`confd` whose names start with a prefix.

    :param prefix: How the names start.
    :returns: A new dictionary.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return Values((k, v) for k, v in confd().items() if k.startswith(prefix))


def conf_suffix(suffix: str) -> dict[str, t.Any]:
    """Return the part of :func:`confd` whose names end with a suffix.

    :param suffix: How the names end.
    :returns: A new dictionary.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return Values((k, v) for k, v in confd().items() if k.endswith(suffix))


@contextlib.contextmanager
def conf_override(name: str, value: object) -> Iterator[None]:
    """Set the value that :func:`conf` returns for the length of a ``with`` block.

    All threads see it. What the name had before, a value or none, it has afterwards.

    :param name: The name.
    :param value: The value, typed or as text; None removes it.
    :raises ConfigError: If the variable does not take the value.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    found = get_state()
    variable = SPELLINGS.get(name)
    key = name if variable is None else variable.name
    had, before = key in found.overrides, found.overrides.get(key)
    _override(found, name, value)
    try:
        yield
    finally:
        if had:
            _override(found, name, before)
        else:
            del found.overrides[key]
            _forget(found, name)


def get_settings(cls: type[G]) -> G:
    """Return the typed settings of a class in the app in use.

    :param cls: The subclass of :class:`Settings`.
    :returns: Its instance, the same one at each call.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    return get_state().settings(cls)


def _find(
    state: State, name: str | Variable[t.Any], cast: Callable[[t.Any], object] | None
) -> object:
    """Return what ``conf`` has not kept yet, and keep it."""
    if isinstance(name, Variable):
        variable: Variable[t.Any] | None = name
    else:
        variable = SPELLINGS.get(name)
    if variable is None:
        return _find_undeclared(state, str(name), cast)
    found = state.find(variable)
    if cast is not None:
        raw = found.value if found.raw is None else found.raw
        value = None
        if raw is not None:
            value = _cast(variable.name, cast, raw, found.source, variable.secret)
        state.casts[name, cast] = value
        return value
    if name is variable and found.source == "not set":
        raise SettingMissingError(variable.name, variable.hint)
    return found.value


def _find_undeclared(
    state: State, name: str, cast: Callable[[t.Any], object] | None
) -> object:
    value, source = _find_raw(state, name)
    if value is not None:
        value = _cast(name, cast or str, value, source, secret=True)
    if cast is None:
        state.values[name] = value
    else:
        state.casts[name, cast] = value
    return value


def _find_raw(state: State, name: str) -> tuple[object, str]:
    """Return the value of an undeclared name as it was found, and its source."""
    if name in state.overrides:
        return state.overrides[name], "confs"
    return state.sources.find_undeclared(name)


def _cast(
    name: str, cast: Callable[[t.Any], object], raw: object, source: str, secret: bool
) -> object:
    if cast is str:
        return str(raw)
    return parse(name, as_parser(cast), raw, source, secret)


def _override(state: State, name: str, value: object) -> None:
    variable = SPELLINGS.get(name)
    if variable is None:
        state.overrides[name] = value
        _forget(state, name)
        return
    if value is not None:
        found = Found(variable.parse(value, "confs"), value, "confs")
    elif variable.has_default:
        found = Found(variable.default, None, "default")
    else:
        found = Found(None, None, "not set")
    state.overrides[variable.name] = value
    _forget(state, name)
    state.keep(variable, found)


def _forget(state: State, name: str) -> None:
    """Drop what ``conf`` has kept for a name, and look for it in the sources again."""
    variable = SPELLINGS.get(name)
    names: set[object] = {name} if variable is None else {variable, *variable.spellings}
    for kept in [key for key in state.casts if key[0] in names]:
        state.casts.pop(kept, None)
    if variable is None:
        state.values.pop(name, None)
    else:
        state.keep(variable, state.sources.find(variable))
