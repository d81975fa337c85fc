"""The functions of MongoDB that need no server."""

import datetime as dt
import json

import bson
import pymongo.errors
import pytest

import quorum
from quorum.engines.pymongo import talk
from tests.conftest import MakeApp

DIGITS = "6b031a82b089c967c135a2d2"


def test_an_object_id_is_made_of_its_text() -> None:
    made = quorum.object_id(DIGITS)

    assert made == bson.ObjectId(DIGITS)
    assert quorum.object_id(made) == made


@pytest.mark.parametrize("value", ["", "x" * 24, DIGITS[1:], b"x" * 12, 5, None, {}])
def test_what_is_no_object_id_is_a_clear_error(value: object) -> None:
    with pytest.raises(quorum.ObjectIdError, match="24 hexadecimal digits") as caught:
        quorum.object_id(value)

    assert repr(value)[:10] in str(caught.value)


def test_a_long_text_that_is_no_object_id_is_shortened() -> None:
    with pytest.raises(ValueError, match="no object id") as caught:
        quorum.object_id("x" * 1000)

    assert len(str(caught.value)) < 120


def test_documents_become_json() -> None:
    document = {
        "_id": bson.ObjectId(DIGITS),
        "at": dt.datetime(2026, 4, 24, tzinfo=dt.UTC),
        "data": b"abc",
    }

    assert json.loads(quorum.dumps_mongo([document])) == [
        {
            "_id": {"$oid": DIGITS},
            "at": {"$date": "2026-04-24T00:00:00Z"},
            "data": {"$binary": {"base64": "YWJj", "subType": "00"}},
        }
    ]


def test_dropping_the_database_leaves_nothing(make_app: MakeApp) -> None:
    make_app(MONGOHQ_URL="memory:shop")
    quorum.get_mongo_db().people.insert_one({"name": "Ann"})

    quorum.drop_mongo_db()

    assert quorum.get_mongo_db().list_collection_names() == []


def test_the_database_must_be_named(make_app: MakeApp) -> None:
    make_app(MONGOHQ_URL="memory:")

    for function in (quorum.get_mongo_db, quorum.drop_mongo_db):
        with pytest.raises(quorum.SettingMissingError, match=r"load\(mongo_database="):
            function()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymongo.errors.ExecutionTimeout("too slow", 50), True),
        (pymongo.errors.NetworkTimeout("no answer"), True),
        (pymongo.errors.OperationFailure("not allowed", 13), False),
        (pymongo.errors.InvalidOperation("not like this"), False),
    ],
    ids=["limit", "network", "refusal", "wrong use"],
)
def test_what_may_work_later_is_told_from_what_never_will(
    error: pymongo.errors.PyMongoError, expected: bool
) -> None:
    with pytest.raises(quorum.ServiceError) as caught, talk("mongodb", "db1", 27017):
        raise error

    assert caught.value.retryable is expected
    assert isinstance(caught.value, quorum.ServiceUnavailableError) is expected
    assert str(error).partition(",")[0] in str(caught.value)
