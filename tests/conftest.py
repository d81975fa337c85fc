"""What all tests share: apps that are unloaded, and an environment of their own."""

import os
import pathlib
import typing as t
from collections.abc import Callable, Iterator

import flask
import pytest

import quorum
from quorum import config, state
from quorum.loading import RUN_FUNCTIONS
from quorum.tasks import REPEATED

pytest.register_assert_rewrite("tests.sessions_contract")

MakeApp: t.TypeAlias = Callable[..., flask.Flask]

#: What an engineer's shell may have set, and no test must see.
_SHARED = ("DEBUG", "HOST", "LEVEL", "NAME", "PORT", "SECRET_KEY", "FLASK_DEBUG")


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable comes in from outside, and nothing that a test loads stays."""
    for name in os.environ:
        declared = name.removesuffix("_FILE") in config.SPELLINGS
        if declared or name in _SHARED or name.startswith("AWS_"):  # boto3 reads those
            monkeypatch.delenv(name)
    variables, spellings = dict(config.VARIABLES), dict(config.SPELLINGS)
    yield
    for known in state.loaded_states():
        quorum.unload(app=known.app)
    RUN_FUNCTIONS.clear()
    REPEATED.clear()
    for registry, before in (
        (config.VARIABLES, variables),
        (config.SPELLINGS, spellings),
    ):
        registry.clear()
        registry.update(before)


@pytest.fixture
def make_app(tmp_path: pathlib.Path) -> MakeApp:
    """Return a maker of loaded apps whose folder is the test's own."""

    def make(name: str = "shop", **keywords: t.Any) -> flask.Flask:
        app = flask.Flask(name, root_path=str(tmp_path))
        return quorum.load(app, **keywords)

    return make
