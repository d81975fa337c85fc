import typing as t

import flask
import models
import pydantic
from models import Member

import quorum

FILTERS = ("name", "age", "address.city")


def create_app(**variables: t.Any) -> flask.Flask:
    app = quorum.load(flask.Flask(__name__), models=models, **variables)
    app.add_url_rule("/members", view_func=show)
    app.add_url_rule("/members", view_func=add, methods=["POST"])
    app.add_url_rule("/members/<id>", view_func=change, methods=["PATCH"])
    app.register_error_handler(pydantic.ValidationError, refuse)
    app.register_error_handler(quorum.DuplicateError, tell)
    app.register_error_handler(quorum.ConflictError, tell)
    return app


def show() -> list[dict[str, t.Any]]:
    sent = flask.request.args
    wanted: dict[str, t.Any] = {name: sent[name] for name in FILTERS if name in sent}
    found = Member.find(sort="name", limit=50, **wanted)
    return [member.model_dump(mode="json") for member in found]


def add() -> tuple[dict[str, t.Any], int]:
    member = Member(**flask.request.get_json()).save()
    return member.model_dump(mode="json"), 201


def change(id: str) -> dict[str, t.Any]:
    member = Member.get(id=id)
    if member is None:
        flask.abort(404)
    for name, value in flask.request.get_json().items():
        if name not in ("name", "age", "address"):
            flask.abort(400)
        setattr(member, name, value)
    return member.save().model_dump(mode="json")


def refuse(error: pydantic.ValidationError) -> tuple[dict[str, t.Any], int]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return {"faults": faults}, 400


def tell(error: quorum.QuorumError) -> tuple[dict[str, t.Any], int]:
    return {"error": str(error)}, 409


if __name__ == "__main__":
    create_app()
    quorum.run()
