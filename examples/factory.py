"""An app factory that works behind any WSGI server."""

import flask

import quorum


def create_app() -> flask.Flask:
    app = quorum.load(flask.Flask(__name__))

    @app.route("/")
    def index() -> str:
        return f"Hello from {app.name}."

    with app.app_context():
        quorum.onrun(warm_up)
        quorum.call_run()
    return app


def warm_up() -> None:
    quorum.warning("The app starts, once.")
