"""What MongoDB keeps."""

import datetime as dt
import secrets
import typing as t

import quorum


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Reader(quorum.Model, collection="readers"):
    """Somebody who has asked for the newsletter, and may have confirmed it."""

    email: str = quorum.field(
        unique=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
    )
    #: Is in the links of this reader's mail, and nobody else knows it.
    token: str = quorum.field(
        default_factory=lambda: secrets.token_urlsafe(24), unique=True
    )
    state: t.Literal["asked", "confirmed"] = quorum.field(default="asked", index=True)
    asked: dt.datetime = quorum.field(default_factory=now)


class Editor(quorum.Model, collection="editors"):
    """Somebody who may write and send."""

    name: str = quorum.field(unique=True, min_length=1, max_length=80)
    #: A salted hash of it.
    password: str


class Issue(quorum.Model, collection="issues"):
    """A piece of news, and how far its sending is."""

    title: str = quorum.field(min_length=1, max_length=120, pattern=r"^[^\r\n]*$")
    text: str = quorum.field(min_length=1, max_length=50_000)
    #: Name of the picture's object, and what those are told who do not see it.
    picture: str = ""
    description: str = quorum.field(default="", max_length=300)
    state: t.Literal["draft", "sending", "sent"] = quorum.field(
        default="draft", index=True
    )
    editor: str
    changed: dt.datetime = quorum.field(default_factory=now)
    #: How many readers it goes to; None while they are being listed.
    readers: int | None = None
    #: The last of them so far.
    listed: quorum.Id | None = None
    #: How many of them have got it, when the sending is over.
    delivered: int = 0
    version: int = quorum.field(default=0, version=True)
