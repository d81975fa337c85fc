"""An app that hands parcels over to a message broker."""

import flask

import quorum

app = quorum.load(name=__name__)


@quorum.onrun
def declare_queue() -> None:
    channel = quorum.get_amqp().channel()
    channel.queue_declare("parcels", durable=True)
    channel.close()


@app.post("/parcels")
def send_parcel() -> tuple[dict[str, str], int]:
    try:
        quorum.publish_amqp(flask.request.get_json(), "parcels")
    except quorum.ServiceUnavailableError:
        return {"status": "try again later"}, 503
    return {"status": "accepted"}, 202


if __name__ == "__main__":
    quorum.run()
