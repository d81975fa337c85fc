"""An app whose stores live in the memory of the process."""

import flask

import quorum

app = quorum.load(name=__name__, REDISTOGO_URL="memory:", MONGOHQ_URL="memory:shop")


@app.route("/visits")
def visits() -> flask.Response:
    return flask.jsonify(visits=quorum.get_redis().incr("visits"))
