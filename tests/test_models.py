"""Model classes on the engine in memory, and what needs no engine at all."""

import flask
import pytest

from tests.conftest import MakeApp
from tests.contract_models import (
    Commands,
    ModelContract,
    RoundTripContract,
    run_machine,
)


@pytest.fixture
def url() -> str:
    return "memory:shop"


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def app(make_app: MakeApp, url: str) -> flask.Flask:
    return make_app(MONGOHQ_URL=url)


class TestMemory(ModelContract, RoundTripContract):
    """The contract on ``memory:``."""

    def test_saves_and_deletes_match_a_dictionary(
        self, app: flask.Flask
    ) -> None:
        run_machine(examples=50)
