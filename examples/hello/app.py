import flask

import quorum

app = quorum.load(name=__name__)


@app.route("/", methods=["GET"])
def index() -> str:
    visitor = flask.request.args.get("visitor", "world")
    return flask.render_template("index.html.tpl", visitor=visitor)


if __name__ == "__main__":
    quorum.run()
