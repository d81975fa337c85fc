"""Model classes on a real server, and what happens when it fails."""

from collections.abc import Iterator

import flask
import pymongo.monitoring
import pytest

import quorum
from tests.conftest import MakeApp
from tests.contract_models import Commands, ModelContract
from tests.servers import MongoServer

COMMANDS = Commands()
pymongo.monitoring.register(COMMANDS)


@pytest.fixture
def url(mongo_server: MongoServer) -> str:
    return mongo_server.url


@pytest.fixture
def commands() -> Commands:
    return COMMANDS


@pytest.fixture
def app(make_app: MakeApp, url: str) -> Iterator[flask.Flask]:
    app = make_app(MONGOHQ_URL=url)
    quorum.drop_mongo_db()
    yield app
    quorum.unload()


class TestServer(ModelContract):
    """The contract on the server."""
