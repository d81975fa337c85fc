"""Finds the values of configuration variables, once for each app, in ``load``.

The sources, highest first: the keywords of ``load``, what the app itself has set in
``app.config``, the process environment, ``.env`` and ``quorum.json`` in the folder
``app.root_path``, and the declared default. Nothing is written to the environment.
"""

import json
import os
import pathlib
import typing as t
from collections.abc import Mapping

import flask

from quorum.config import SPELLINGS, VARIABLES, Found, Variable, did_you_mean
from quorum.errors import ConfigError, Problem
from quorum.extras import require


class Source(t.NamedTuple):
    """One place that values come from."""

    name: str
    values: Mapping[str, object]


class Sources:
    """All the sources of one app, as they were when it was loaded.

    :param app: The app.
    :param keywords: The keywords of ``load`` that name variables or settings.
    """

    def __init__(self, app: flask.Flask, keywords: Mapping[str, object]) -> None:
        self.folder: pathlib.Path = pathlib.Path(app.root_path)
        self.problems: list[Problem] = []
        given = {name: item for name, item in keywords.items() if item is not None}
        dotenv = self._read(".env", _read_dotenv)
        # What a tool copied from .env to the environment still counts as of .env.
        environment = {k: v for k, v in os.environ.items() if dotenv.get(k) != v}
        self.sources: tuple[Source, ...] = (
            Source("keyword", given),
            Source("app.config", _set_by_app(app)),
            Source("environment", environment),
            Source(".env", dotenv),
            Source("quorum.json", self._read("quorum.json", _read_json)),
        )
        self._names = self.names()
        for name in keywords:
            if not _is_declared(name) and name not in app.default_config:
                fault = "it is no declared variable and none of Flask's settings."
                hint = did_you_mean(name, [*SPELLINGS, *app.default_config])
                self.problems.append(Problem(name, "keyword", f"{fault}{hint}"))

    def find_all(self) -> dict[str, Found]:
        """Find every declared variable.

        :returns: The values by the names of the variables.
        :raises ConfigError: If any value is bad; it lists all of them.
        """
        found: dict[str, Found] = {}
        problems = list(self.problems)
        for variable in list(VARIABLES.values()):
            try:
                found[variable.name] = self.find(variable)
            except ConfigError as error:
                problems.extend(error.problems)
        if not problems:
            owners = dict.fromkeys(v.owner for v in VARIABLES.values() if v.owner)
            problems = [item for owner in owners for item in owner._settle(found)]
        if problems:
            raise ConfigError(*problems)
        return found

    def find(self, variable: Variable[t.Any]) -> Found:
        """Find the value of one variable.

        :param variable: The variable.
        :returns: Its value.
        :raises ConfigError: If its value is bad.
        """
        # Most are set nowhere: to look into each source would cost ten times as much.
        unset = self._names.isdisjoint(variable.keys)
        for source in () if unset else self.sources:
            spelled = self._spelled(variable, source)
            if not spelled:
                continue
            raw = next(iter(spelled.values()))
            if any(other != raw for other in spelled.values()):
                names = " and ".join(spelled)
                fault = f"{names} mean the same and have different values. Keep one."
                raise ConfigError(Problem(variable.name, source.name, fault))
            if _is_empty(raw):
                break  # an empty value unsets what the lower sources say
            return Found(variable.parse(raw, source.name), raw, source.name)
        if variable.has_default:
            return Found(variable.default, None, "default")
        return Found(None, None, "not set")

    def find_undeclared(self, name: str) -> tuple[object, str]:
        """Return the value of a name that nobody declared, None when it has none.

        :param name: The name.
        :returns: The value, mostly text, and the name of its source.
        """
        for source in self.sources:
            if name in source.values:
                return source.values[name], source.name
        return None, "not set"

    def names(self) -> set[str]:
        """Return every name that has a value in any source."""
        return {name for source in self.sources for name in source.values}

    def find_unread(self) -> list[str]:
        """Return a sentence for each name in the files that somebody thinks is read."""
        sentences = []
        given = {name for source in self.sources[:2] for name in source.values}
        for source in self.sources[-2:]:
            for name in source.values:
                if _is_declared(name) or name in given:
                    continue
                if name in flask.Flask.default_config:
                    fault = f"{source.name}: '{name}' is a setting of Flask, which has"
                    hint = " to be given to load() or put into app.config."
                    sentences.append(f"{fault}{hint}")
                elif hint := did_you_mean(name, SPELLINGS):
                    fault = f"{source.name}: '{name}' is no declared variable."
                    sentences.append(f"{fault}{hint}")
        return sentences

    def _spelled(self, variable: Variable[t.Any], source: Source) -> dict[str, object]:
        """Return the values that a source has for a variable, the empty ones last."""
        values = source.values
        found = {name: values[name] for name in variable.spellings if name in values}
        if variable.secret:
            for name in variable.spellings:
                path = values.get(f"{name}_FILE")
                if path:
                    found[f"{name}_FILE"] = self._read_secret(name, source.name, path)
        filled = {name: raw for name, raw in found.items() if not _is_empty(raw)}
        return filled or found

    def _read_secret(self, name: str, source: str, path: object) -> str:
        """Return the content of the file that ``<NAME>_FILE`` names."""
        try:
            content = (self.folder / str(path)).read_text("utf-8")
        except OSError as error:
            reason = error.strerror
        except UnicodeDecodeError:
            reason = "it is not UTF-8 text"
        except ValueError as error:
            reason = str(error)
        else:
            return content.removesuffix("\n")
        # Raised here, as the cause of a decoding error holds the content.
        fault = f"the file {str(path)!r} cannot be read: {reason}."
        raise ConfigError(Problem(f"{name}_FILE", source, fault))

    def _read(
        self, name: str, read: t.Callable[[pathlib.Path], Mapping[str, object]]
    ) -> Mapping[str, object]:
        """Read a file of the app's folder; its faults join the problems."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            return read(path)
        except OSError as error:
            fault = f"it cannot be read: {error.strerror}."
        except UnicodeDecodeError:
            fault = "it is not UTF-8 text."
        except json.JSONDecodeError as error:
            fault = f"line {error.lineno}, column {error.colno}: {error.msg}."
        except (RecursionError, ValueError) as error:
            fault = f"{error}."
        self.problems.append(Problem(name, str(self.folder), fault))
        return {}


def _is_declared(name: str) -> bool:
    secret = SPELLINGS.get(name.removesuffix("_FILE"))
    return name in SPELLINGS or (secret is not None and secret.secret)


def _is_empty(raw: object) -> bool:
    return isinstance(raw, str) and not raw.strip()


def _set_by_app(app: flask.Flask) -> dict[str, object]:
    """Return what differs from Flask's defaults; Flask sets DEBUG to False itself."""
    defaults = {**app.default_config, "DEBUG": False}
    return {
        name: value
        for name, value in app.config.items()
        if value is not None and value != defaults.get(name)
    }


def _read_dotenv(path: pathlib.Path) -> dict[str, object]:
    values = require("dotenv:dotenv_values")(path)
    return {name: value for name, value in values.items() if value is not None}


def _read_json(path: pathlib.Path) -> dict[str, object]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is not an object of names and values")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in content.items()
        if value is not None
    }
