"""An app that keeps photos as objects, in a folder or at a server of S3's kind."""

import flask

import quorum

app = quorum.load(name=__name__)


@app.put("/photos/<name>")
def put_photo(name: str) -> flask.Response:
    key = quorum.get_amazon_key(f"photos/{name}")
    key.content_type = flask.request.mimetype or "application/octet-stream"
    key.metadata = {"owner": flask.request.args.get("owner", "nobody")}
    size = key.set_contents_from_file(flask.request.stream)
    return flask.jsonify(name=name, size=size)


@app.get("/photos/<name>")
def get_photo(name: str) -> flask.Response:
    key = quorum.get_amazon_bucket().get_key(f"photos/{name}")
    if key is None:
        flask.abort(404)
    content = key.get_contents_as_string()
    return flask.Response(content, mimetype=key.content_type)


@app.get("/photos")
def list_photos() -> flask.Response:
    keys = quorum.get_amazon_bucket().list("photos/")
    return flask.jsonify({key.name.removeprefix("photos/"): key.size for key in keys})


@app.delete("/photos/<name>")
def delete_photo(name: str) -> str:
    quorum.delete_amazon_key(f"photos/{name}")
    return ""


if __name__ == "__main__":
    quorum.run()
