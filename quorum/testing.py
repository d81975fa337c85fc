"""What tests of an app look at."""

import flask

from quorum import tasks
from quorum.engines.mailers import Delivered, MemoryMailer
from quorum.engines.threads import ThreadQueue
from quorum.errors import UnsupportedError
from quorum.mail import SERVICE
from quorum.state import get_state

__all__ = ["Delivered", "join_tasks", "outbox"]


def join_tasks(app: flask.Flask | None = None, timeout: float = 10.0) -> None:
    """Wait until all tasks of an app have ended that run in threads.

    Tasks that these submit, and what is tried again after an error, are waited for
    too. Periodic work is not, nor is what starts later than the wait can last.

    :param app: The app; by default the app in use.
    :param timeout: Seconds to wait. When they are over, a ``TimeoutError`` is raised,
        which names the tasks.
    :raises UnsupportedError: If QUEUE_URL is something else than ``thread:``.
    :raises NotLoadedError: If the app, or no app at all, is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    engine = get_state(app).handle(tasks.SERVICE).engine
    if not isinstance(engine, ThreadQueue):
        hint = "Load the app with QUEUE_URL='thread:'."
        raise UnsupportedError("To wait for the tasks of a queue", hint)
    if left := engine.join(timeout):
        names = ", ".join(map(repr, left))
        raise TimeoutError(f"Not ended in {timeout:g} seconds: {names}.")


def outbox(app: flask.Flask | None = None) -> list[Delivered]:
    """Return the messages that an app has sent to ``memory:``, oldest first.

    It is the list itself: ``outbox().clear()`` empties it.

    :param app: The app; by default the app in use.
    :returns: The messages, as a receiver's mail program would read them.
    :raises UnsupportedError: If SMTP_URL is something else.
    :raises SettingMissingError: If neither SMTP_URL nor SMTP_HOST has a value.
    :raises NotLoadedError: If the app, or no app at all, is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    engine = get_state(app).handle(SERVICE).engine
    if not isinstance(engine, MemoryMailer):
        raise UnsupportedError(
            f"An outbox of {engine.address}", "Load the app with SMTP_URL='memory:'."
        )
    return engine.outbox
