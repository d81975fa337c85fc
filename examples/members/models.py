import datetime as dt

import pydantic

import quorum


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Address(pydantic.BaseModel, extra="forbid"):
    street: str = ""
    city: str = quorum.field(index=True)


class Member(quorum.Model, collection="members"):
    name: str = quorum.field(max_length=80)
    email: str = quorum.field(unique=True, pattern=r"^\S+@\S+$")
    age: int = quorum.field(default=0, ge=0, index=True)
    joined: dt.datetime = quorum.field(default_factory=now)
    address: Address | None = None
    version: int = quorum.field(default=0, version=True)
