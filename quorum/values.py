"""Reads configuration values of the app in use, and changes them while it runs."""

import contextlib
import typing as t
from collections.abc import Callable, Hashable, Iterator

from quorum import state as states
from quorum.config import SPELLINGS, VARIABLES, Found, Settings, Variable, parse
from quorum.errors import SettingMissingError
from quorum.parsers import as_parser
from quorum.state import State, get_state

T = t.TypeVar("T")
D = t.TypeVar("D")
G = t.TypeVar("G", bound=Settings)

#: How many values ``conf`` keeps of undeclared names, and how many casts of a name.
_MOST_KEPT: t.Final = 1000

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
        value = found.values[name] if cast is None else found.casts[name][cast]
    except (AttributeError, KeyError, TypeError):
        pass  # to go on in here would show this error beside the one of _find
    else:
        return default if value is None else value
    value = _find(get_state(), name, cast)
    return default if value is None else value


def confs(name: str | Variable[t.Any], value: object) -> None:
    """Set the value that :func:`conf` returns, in the app in use, while it runs.

    Services keep the settings that they had when the app was loaded.

    :param name: The name, an alias, or the declaration itself.
    :param value: The value, typed or as text.
    :raises ConfigError: If the variable does not take the value.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    _override(get_state(), name, value)


def confr(name: str | Variable[t.Any]) -> None:
    """Remove the value that :func:`conf` returns, in the app in use, while it runs.

    A declared variable has its default again; any other name has no value.

    :param name: The name, an alias, or the declaration itself.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    _override(get_state(), name, None)


def confd() -> dict[str, t.Any]:
    """Return every name that has a value, with what :func:`conf` returns for it.

    That is the whole environment too, and the values of secrets: do not print it.
    Its own ``repr()`` shows names only.

    :returns: A new dictionary, in the order of the names.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    names = (state.sources.names() | set(state.overrides)) - set(SPELLINGS)
    undeclared = {name: _find_undeclared(state, name) for name in names}
    declared = {name: state.find(item) for name, item in list(VARIABLES.items())}
    found = {**undeclared, **declared, **state.overrides}
    values = ((name, item.value) for name, item in sorted(found.items()))
    return Values((name, value) for name, value in values if value is not None)


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
def conf_override(name: str | Variable[t.Any], value: object) -> Iterator[None]:
    """Set the value that :func:`conf` returns for the length of a ``with`` block.

    All threads see it. What the name had before, a value or none, it has afterwards.

    :param name: The name, an alias, or the declaration itself.
    :param value: The value, typed or as text; None removes it.
    :raises ConfigError: If the variable does not take the value.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    state = get_state()
    main, variable = _resolve(name)
    before = state.overrides.get(main)
    _override(state, name, value)
    try:
        yield
    finally:
        state.override(main, variable, before)


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
    """Return what ``conf`` has not kept yet, and keep it.

    What another thread changes meanwhile replaces the dictionaries, so that nothing
    that was overtaken is kept.
    """
    values, casts = state.values, state.casts
    main, variable = _resolve(name)
    if variable is None:
        found = _find_undeclared(state, main)
        secret = True  # nobody knows
    else:
        found = state.overrides.get(variable.name) or state.find(variable)
        secret = variable.secret
    if cast is None:
        if isinstance(name, Variable) and found.source == "not set":
            raise SettingMissingError(name.name, name.hint)
        if variable is not None or len(values) < _MOST_KEPT:
            values[name] = found.value
        return found.value
    raw = found.value if found.raw is None else found.raw
    if raw is None:
        return None
    value: object = str(raw)
    if cast is not str:
        value = parse(main, as_parser(cast), raw, found.source, secret)
    if isinstance(t.cast(object, cast), Hashable):
        kept = casts.setdefault(name, {})
        if len(kept) >= _MOST_KEPT:
            kept.clear()  # to keep no more would have others done at each call
        kept[cast] = value
    return value


def _find_undeclared(state: State, name: str) -> Found:
    """Return the value of a name that nobody declared."""
    found = state.overrides.get(name)
    if found is None:
        raw, source = state.sources.find_undeclared(name)
        found = Found(None if raw is None else str(raw), raw, source)
    return found


def _override(state: State, name: str | Variable[t.Any], value: object) -> None:
    main, variable = _resolve(name)
    if value is not None:
        typed = str(value) if variable is None else variable.parse(value, "confs")
        found = Found(typed, value, "confs")
    elif variable is not None and variable.has_default:
        found = Found(variable.default, None, "default")
    else:
        found = Found(None, None, "not set")
    state.override(main, variable, found)


def _resolve(name: str | Variable[t.Any]) -> tuple[str, Variable[t.Any] | None]:
    """Return the name that a value is kept under, and the declaration if any."""
    variable = name if isinstance(name, Variable) else SPELLINGS.get(name)
    return (str(name), None) if variable is None else (variable.name, variable)
