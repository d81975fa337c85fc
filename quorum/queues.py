"""The settings of background work, and when a task is tried again."""

import logging
import random
import re
import typing as t
import urllib.parse

from quorum import parsers
from quorum.config import ServiceSettings, Variable, variable

LOGGER: t.Final = logging.getLogger("quorum.tasks")

_URL = parsers.url("thread", "redis", "rediss", "amqp", "amqps")
_WORKERS = 4
_LONGEST_BACKOFF = 3600.0


@parsers.parser("string", f"{_URL.expects}, or thread:?workers=N with N above 0")
def queue_url(value: object) -> parsers.URL:
    """Parse the URL of a queue."""
    found = _URL(value)
    if found.scheme == "thread" and _count_workers(found) < 1:
        raise ValueError
    return found


@parsers.parser("list", "names of modules, with commas between them")
def module_names(value: object) -> tuple[str, ...]:
    """Parse a list of modules."""
    names = tuple(name.strip() for name in parsers.text(value).split(","))
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError
    return names


@parsers.parser("string", "ASCII letters, digits and . _ -, a letter or _ first")
def queue_name(value: object) -> str:
    """Parse the name of a queue."""
    name = parsers.text(value).strip()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]{0,99}", name) or name[-3:] in _KEPT:
        raise ValueError
    return name


#: Ends of the names of the queues that dramatiq makes beside each.
_KEPT: t.Final = (".DQ", ".XQ")


class QueueSettings(ServiceSettings):
    """Background work, and the queue that it goes through."""

    location: Variable[parsers.URL] = variable(
        "QUEUE_URL",
        queue_url,
        default=parsers.URL("thread:"),
        secret=True,
        since="0.2.0",
        help="URL of the queue that background tasks go through.",
    )
    name: Variable[str | None] = variable(
        "QUEUE_NAME",
        queue_name,
        default=None,
        since="0.2.0",
        help="Name of the queue on its server.",
    )
    modules: Variable[tuple[str, ...] | None] = variable(
        "QUEUE_MODULES",
        module_names,
        default=None,
        since="0.2.0",
        help="Modules beside the app's own whose functions a worker may run.",
    )
    starts: Variable[int] = variable(
        "QUEUE_STARTS",
        parsers.count,
        default=5,
        since="0.2.0",
        help="How often a task may start without coming to an end.",
    )
    store: Variable[parsers.URL | None] = variable(
        "QUEUE_STATE_URL",
        parsers.url("redis", "rediss", "unix"),
        default=None,
        secret=True,
        since="0.2.0",
        help="URL of the Redis server that counts starts and locks periodic work.",
    )
    timeout: Variable[float] = variable(
        "QUEUE_TIMEOUT",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds to wait for the queue's server.",
    )
    limit: Variable[int] = variable(
        "QUEUE_LIMIT",
        parsers.count,
        default=100_000,
        since="0.2.0",
        help="Most tasks that may wait in the memory of a process.",
    )
    drain: Variable[float] = variable(
        "QUEUE_DRAIN",
        parsers.seconds,
        default=10.0,
        since="0.2.0",
        help="Seconds that tasks have to come to their end when the process ends.",
    )
    backoff: Variable[float] = variable(
        "QUEUE_BACKOFF",
        parsers.seconds,
        default=5.0,
        since="0.2.0",
        help="Seconds before the first retry of a task; each later wait is twice "
        "as long.",
    )

    @property
    def workers(self) -> int:
        """How many threads of this process run tasks."""
        return _count_workers(self.location)

    def of_store(self) -> "QueueSettings":
        """Return the settings of the server that counts starts."""
        return QueueSettings({"QUEUE_URL": self.store, "QUEUE_TIMEOUT": self.timeout})

    def retry_after(
        self, error: BaseException, name: str, tries: int, retries: int
    ) -> float | None:
        """Log what a task raised, and return when to try it again.

        :param error: What it raised.
        :param name: What the log calls it.
        :param tries: How often it has been tried.
        :param retries: How often to try again.
        :returns: Seconds to wait, at random up to the backoff that doubles with each
            try; None to give up.
        """
        may = isinstance(error, Exception) and getattr(error, "retryable", True)
        if tries > retries or not may:
            LOGGER.error("The task '%s' failed.", name, exc_info=error)
            return None
        longest = min(self.backoff * 2.0 ** min(tries - 1, 32), _LONGEST_BACKOFF)
        wait = longest * random.uniform(0.5, 1)  # noqa: S311
        text = "The task '%s' failed, and is tried again in %.1f seconds (%d of %d)."
        LOGGER.warning(text, name, wait, tries, retries, exc_info=error)
        return wait


def _count_workers(url: parsers.URL) -> int:
    """Return the number of threads that a ``thread:`` URL asks for."""
    rest = url.parts
    query = urllib.parse.parse_qs(rest.query, True, True)
    words = query.pop("workers", [str(_WORKERS)])
    if query or rest.path or rest.netloc:
        raise ValueError
    return parsers.integer(words[-1])
