"""A shop that confirms orders by mail."""

import flask

import quorum

app = quorum.load(name="orders")


@app.post("/orders")
def order() -> tuple[str, int]:
    try:
        quorum.send_mail_a(
            subject="Your order",
            receivers=flask.request.form["address"],
            plain="order.txt.tpl",
            rich="order.html.tpl",
            context={"item": flask.request.form["item"]},
        )
    except quorum.MessageError as error:
        flask.abort(400, str(error))
    return "We have written to you.", 202


if __name__ == "__main__":
    quorum.run()
