"""Loads what an extra installs, or says which extra is missing."""

import importlib
import os
import threading
import typing as t

from quorum.errors import MissingDependencyError

#: Importable name of each library: the name it is installed under, and its extra.
EXTRAS: t.Final = {
    "redis": ("redis", "redis"),
    "ormsgpack": ("ormsgpack", "redis"),
    "pymongo": ("pymongo", "mongodb"),
    "bson": ("pymongo", "mongodb"),
    "pydantic": ("pydantic", "mongodb"),
    "pika": ("pika", "amqp"),
    "boto3": ("boto3", "amazon"),
    "botocore": ("boto3", "amazon"),
    "dramatiq": ("dramatiq", "queue"),
    "fakeredis": ("fakeredis", "embedded"),
    "mongomock_ng": ("mongomock-ng", "embedded"),
    "waitress": ("waitress", "server"),
    "dotenv": ("python-dotenv", "dotenv"),
}


def require(path: str) -> t.Any:
    """Import an object, on first use, from a module that may need an extra.

    :param path: ``'module:name'``.
    :returns: The object.
    :raises MissingDependencyError: If a library of an extra is not installed.
    """
    module, _, name = path.partition(":")
    try:
        with _lock:
            return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise  # also for a module that an installed library lacks
        raise MissingDependencyError(*EXTRAS[error.name]) from error


#: Held during an import. A fork waits for it: a child that was forked in the midst of
#: an import of another thread would wait for the end of that for ever.
_lock = threading.RLock()

if hasattr(os, "fork"):
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_lock.release,
    )
