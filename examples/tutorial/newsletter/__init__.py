"""A newsletter: readers subscribe, the editor writes and sends."""

import typing as t

import flask

import quorum

from . import editors, issues, models, readers
from .settings import NewsletterSettings


def create_app(**variables: t.Any) -> flask.Flask:
    app = quorum.load(
        flask.Flask(__name__),
        models=models,
        redis_session=True,
        SESSION_COOKIE_SAMESITE="Lax",  # other sites cannot send forms in its name
        **variables,
    )
    app.context_processor(add_settings)
    app.register_blueprint(readers.pages)
    app.register_blueprint(editors.pages)
    app.register_blueprint(issues.pages)
    return app


def add_settings() -> dict[str, t.Any]:
    """Give the settings to every template."""
    return {"newsletter": quorum.get_settings(NewsletterSettings)}
