"""What tests of an app look at."""

import flask

from quorum.engines.mailbox import Delivered, MemoryMailbox
from quorum.errors import UnsupportedError
from quorum.mail import SERVICE
from quorum.state import get_state

__all__ = ["Delivered", "outbox"]


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
    if not isinstance(engine, MemoryMailbox):
        raise UnsupportedError(
            f"An outbox of {engine.address}", "Load the app with SMTP_URL='memory:'."
        )
    return engine.outbox
