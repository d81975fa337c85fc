import secrets

import quorum


class Reader(quorum.Model, collection="readers"):
    """Somebody who has asked for the newsletter, and may have confirmed it."""

    email: str = quorum.field(
        unique=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
    )
    #: Is in the links of this reader's mail, and nobody else knows it.
    token: str = quorum.field(default_factory=secrets.token_urlsafe, unique=True)
    confirmed: bool = quorum.field(default=False, index=True)


class Issue(quorum.Model, collection="issues"):
    """A piece of news that is sent."""

    title: str = quorum.field(min_length=1, max_length=120, pattern=r"^[^\r\n]*$")
    text: str = quorum.field(min_length=1)
    #: How many readers it goes to; None while they are being listed.
    readers: int | None = None


class Delivery(quorum.Model, collection="deliveries"):
    """An issue on its way to one reader."""

    #: Issue and reader: nobody is listed twice.
    key: str = quorum.field(unique=True)
    issue: quorum.Id = quorum.field(index=True)
    reader: quorum.Id
    done: bool = quorum.field(default=False, index=True)
