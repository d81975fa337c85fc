"""Calls that travel: a function by its name, its arguments as JSON.

A message of a queue must not be able to call whatever Python can import. So a worker
runs functions only that a module of a list defines at its top, and who submits a task
is told at once what would not run.
"""

import importlib
import math
import pathlib
import re
import sys
import types
import typing as t
from collections.abc import Callable, Iterable

from quorum.errors import TaskError

#: The module of quorum with functions that it submits itself.
_OWN: t.Final = "quorum.mail"


def pack(name: str, function: object, modules: Iterable[str]) -> str:
    """Return what a function is called in a message.

    :param name: What the log calls the task.
    :param function: The function.
    :param modules: Modules whose functions may run, with all that is below them.
    :returns: ``'module:function'``.
    :raises TaskError: If no worker would find or run it.
    """
    if not isinstance(function, types.FunctionType):
        kind = type(function).__name__
        fault = f"A queue takes functions only, and this is a '{kind}'"
        raise TaskError(name, f"{fault}: write a function that does it")
    if function.__qualname__ != function.__name__:
        fault = "A worker could not find it: move it to the top of its module"
        raise TaskError(name, fault)
    module = find_module(function.__module__)
    if module == "__main__":
        fault = "A worker cannot import the program that it is in: move it to a module"
        raise TaskError(name, fault)
    path = f"{module}:{function.__name__}"
    defined = vars(sys.modules[function.__module__]).get(function.__name__)
    if defined is not function:
        fault = f"'{path}' is something else: give the function a name of its own"
        raise TaskError(name, fault)
    _check_module(path, modules, name)
    return path


def unpack(path: str, modules: Iterable[str]) -> Callable[..., t.Any]:
    """Return the function that a message names.

    :param path: ``'module:function'``.
    :param modules: Modules whose functions may run, with all that is below them.
    :returns: The function.
    :raises TaskError: If it may not run, or is none.
    """
    module, _, name = path.partition(":")
    _check_module(path, modules, path)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise TaskError(path, f"Its module cannot be imported: {error}") from error
    # One that the module has only imported, as from os, is not the module's own.
    if not isinstance(found, types.FunctionType) or found.__module__ != module:
        raise TaskError(path, "The module defines no function of that name")
    return found


def find_module(name: str) -> str:
    """Return the name that a module can be imported by.

    :param name: Its name; that of a program is ``'__main__'``.
    :returns: The name, for a program that of its file.
    """
    main = sys.modules["__main__"]
    if name != "__main__":
        return name
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    return pathlib.Path(getattr(main, "__file__", None) or "__main__").stem


def name_queue(app: str) -> str:
    """Return a name for the queue of an app.

    :param app: The app's name.
    :returns: The name, with what a queue's may not have replaced.
    """
    return re.sub(r"[^A-Za-z0-9_-]", "_", re.sub(r"^(?![A-Za-z_])", "_", app))


def check_json(name: str, where: str, value: object) -> None:
    """Make sure that a value comes out of JSON as it went in.

    :param name: What the log calls the task.
    :param where: Which value it is, for people.
    :param value: The value.
    :raises TaskError: If JSON has no such value.
    """
    if value is None or type(value) in (str, int, bool):
        return
    if type(value) is float and math.isfinite(value):
        return
    if type(value) is list:
        for index, item in enumerate(value):
            check_json(name, f"{where}[{index}]", item)
    elif type(value) is dict and all(type(key) is str for key in value):
        for key, item in value.items():
            check_json(name, f"{where}[{key!r}]", item)
    else:
        kind = type(value).__name__
        fault = f"JSON cannot express {where}, a '{kind}'"
        fix = "pass text, numbers, lists and dicts, and make the rest in the task"
        for plain in (str, int, float, list, dict):
            if isinstance(value, plain) and type(value) is not plain:
                fix = f"pass a plain '{plain.__name__}', and make the rest in the task"
        if type(value) is dict:
            fault = f"JSON cannot express the keys of {where}, as not all are text"
        raise TaskError(name, f"{fault}: {fix}")


def _check_module(path: str, modules: Iterable[str], name: str) -> None:
    module = path.partition(":")[0]
    if not any(f"{module}.".startswith(f"{item}.") for item in (_OWN, *modules)):
        fault = f"No worker runs functions of the module '{module}'"
        raise TaskError(name, f"{fault}: QUEUE_MODULES would have to name it")
