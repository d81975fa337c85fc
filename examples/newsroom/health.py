"""For load balancers and the like: does every service answer?"""

import typing as t

import flask

import quorum

pages = flask.Blueprint("health", __name__)


@pages.get("/health")
def health() -> tuple[dict[str, t.Any], int]:
    """Say which services answer; why one does not is for the log only."""
    errors = quorum.check_services()
    for name, error in errors.items():
        if error:
            quorum.warning("The service %s does not answer: %s", name, error)
    words = {name: "failed" if error else "ok" for name, error in errors.items()}
    failed = any(errors.values())
    answer = {"status": "failed" if failed else "ok", "services": words}
    return answer, 503 if failed else 200
