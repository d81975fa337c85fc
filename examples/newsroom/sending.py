"""The tasks: one lists the readers of an issue, then there is one for each reader.

Any of them may run twice, after a worker was killed for instance. Who has got the
mail is remembered, so only a worker that ends between the two sends it again.
"""

import datetime as dt
import typing as t
import urllib.parse

import quorum

from .models import Delivery, Issue, Reader, now
from .settings import NewsroomSettings, make_link

#: When a task that gives no sign of life is submitted again.
_LOST = dt.timedelta(minutes=30)

#: After how many readers it is noted how far the listing is.
_BATCH = 100


def submit_issue(issue: Issue) -> None:
    quorum.run_background(
        list_readers,
        [str(issue.id)],
        description=f"list the readers of '{issue.title}'",
        retries=5,
    )


def submit_delivery(delivery: Delivery) -> None:
    quorum.run_background(
        deliver,
        [str(delivery.id)],
        description=f"deliver {delivery.key}",
        retries=quorum.get_settings(NewsroomSettings).retries,
    )


def list_readers(id: str) -> None:
    """Submit a delivery for each reader, going on from where the last run ended."""
    issue = Issue.get(id=id)
    if issue is None or issue.state != "sending" or issue.readers is not None:
        return
    try:
        while readers := find_next(issue):
            for reader in readers:
                list_reader(issue, reader)
            issue.listed, issue.changed = readers[-1].id, now()
            issue.save()
        issue.readers = Delivery.count(issue=issue.id)
        issue.save()
    except quorum.ConflictError:
        return  # another worker lists them too
    quorum.info("'%s' goes to %d readers.", issue.title, issue.readers)


def find_next(issue: Issue) -> list[Reader]:
    after: dict[str, t.Any] = {}
    if issue.listed:
        after = {"id": quorum.where(gt=issue.listed)}
    return list(Reader.find(state="confirmed", sort="id", limit=_BATCH, **after))


def list_reader(issue: Issue, reader: Reader) -> None:
    """Submit one delivery; that it was submitted before does no harm."""
    key = f"{issue.id}-{reader.id}"
    delivery = Delivery(key=key, issue=issue.id, reader=reader.id)
    try:
        delivery.save()
    except quorum.DuplicateError:
        delivery = Delivery.get(key=key) or delivery
    if delivery.state == "waiting":
        submit_delivery(delivery)


def deliver(id: str) -> None:
    """Send an issue to one reader, who may have left by now."""
    delivery = Delivery.get(id=id)
    if delivery is None or delivery.state == "sent":
        return
    issue = Issue.get(id=delivery.issue)
    reader = Reader.get(id=delivery.reader)
    if issue is None or reader is None:
        delivery.delete()
        return
    delivery.tries += 1
    delivery.changed = now()
    try:
        send(issue, reader, delivery)
    except Exception as error:
        is_ours = isinstance(error, quorum.QuorumError)
        delivery.reason = str(error) if is_ours else type(error).__name__
        last = delivery.tries > quorum.get_settings(NewsroomSettings).retries
        if last or not getattr(error, "retryable", True):
            delivery.state = "failed"
        delivery.save()
        raise
    delivery.state, delivery.reason = "sent", ""
    delivery.save()


def send(issue: Issue, reader: Reader, delivery: Delivery) -> None:
    title = quorum.get_settings(NewsroomSettings).title
    leave = make_link("readers.leave", token=reader.token)
    host = urllib.parse.urlsplit(leave).hostname
    picture = make_link("issues.picture", id=str(issue.id)) if issue.picture else ""
    quorum.send_mail(
        subject=issue.title,
        receivers=reader.email,
        plain="mail/issue.txt.tpl",
        rich="mail/issue.html.tpl",
        context={"issue": issue, "picture": picture, "leave": leave, "title": title},
        headers={
            # The same if it has to be sent again, so that mail programs see it.
            "Message-ID": f"<{delivery.id}@{host}>",
            "List-Unsubscribe": f"<{leave}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )


def retry(issue: Issue) -> int:
    """Try the failed deliveries of an issue again; return how many there are."""
    number = 0
    for delivery in list(Delivery.find(issue=issue.id, state="failed")):
        delivery.state, delivery.tries, delivery.changed = "waiting", 0, now()
        delivery.save()
        submit_delivery(delivery)
        number += 1
    return number


def finish_issues() -> None:
    """Note which issues have been sent, and submit again what was lost."""
    for issue in list(Issue.find(state="sending")):
        overdue = quorum.where(lt=now() - _LOST)
        if issue.readers is None:
            if issue.changed < now() - dt.timedelta(minutes=1):
                submit_issue(issue)
        elif Delivery.exists(issue=issue.id, state="waiting"):
            late = Delivery.find(issue=issue.id, state="waiting", changed=overdue)
            for delivery in list(late):
                delivery.changed = now()
                delivery.save()
                submit_delivery(delivery)
        else:
            issue.state = "sent"
            try:
                issue.save()
            except quorum.ConflictError:
                continue  # another process was first
            tell("issue.sent", issue=str(issue.id), **count(issue))


def count(issue: Issue) -> dict[str, int]:
    """Return how many deliveries of an issue are in which state."""
    states = ("waiting", "sent", "failed")
    return {name: Delivery.count(issue=issue.id, state=name) for name in states}


def tell(event: str, **facts: t.Any) -> None:
    """Tell other programs of an event, if there is a broker to tell it to."""
    quorum.info("Event: %s %s", event, facts)
    if quorum.conf("CLOUDAMQP_URL"):
        quorum.run_background(publish, [event, facts], retries=8)


def publish(event: str, facts: dict[str, t.Any]) -> None:
    queue = "newsroom.events"
    channel = quorum.get_amqp().channel()
    channel.queue_declare(queue, durable=True)
    channel.close()
    quorum.publish_amqp({"event": event, **facts}, queue)
