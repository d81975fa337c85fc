"""People log in, log out, and log out on all of their devices."""

import flask
from werkzeug.security import check_password_hash, generate_password_hash

import quorum

app = quorum.load(
    name=__name__,
    redis_session=True,
    SESSION_COOKIE_SAMESITE="Lax",  # other sites cannot send forms in its name
)

PASSWORDS = {"ann": generate_password_hash("correct horse")}


@app.get("/")
def home() -> str:
    return f"Hello, {flask.session.get('user', 'guest')}."


@app.post("/login")
def login() -> str | tuple[str, int]:
    user = flask.request.form["user"]
    password = flask.request.form["password"]
    if not check_password_hash(PASSWORDS.get(user, ""), password):
        return "Name or password are wrong.", 403
    quorum.bind_session(user)
    flask.session["user"] = user
    return f"Welcome, {user}."


@app.post("/logout")
def logout() -> str:
    flask.session.clear()
    return "Bye."


@app.post("/logout-everywhere")
def logout_everywhere() -> str:
    quorum.revoke_sessions(flask.session["user"])
    flask.session.clear()
    return "Bye, everywhere."
