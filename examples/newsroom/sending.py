"""The tasks: one lists the readers of an issue, then there is one for each reader.

Any of them may run twice, after a worker was killed for instance. Who has got the
mail is remembered, so only a worker that ends between the two sends it again.
"""

import datetime as dt
import typing as t
import urllib.parse

import quorum

from .deliveries import Deliveries
from .models import Issue, Reader, now
from .settings import NewsroomSettings, make_link

#: When listing the readers is taken for lost if it gives no sign of life.
_LOST = dt.timedelta(minutes=1)

#: After how many readers it is noted how far the listing is.
_BATCH = 100


def submit_issue(issue: Issue) -> None:
    quorum.run_background(
        list_readers,
        [str(issue.id)],
        description=f"list the readers of '{issue.title}'",
        retries=5,
    )


def submit_delivery(issue: Issue, reader: str) -> None:
    quorum.run_background(
        deliver,
        [str(issue.id), reader],
        description=f"deliver '{issue.title}' to {reader}",
        retries=quorum.get_settings(NewsroomSettings).retries,
    )


def list_readers(id: str) -> None:
    """Submit a delivery for each reader, going on from where the last run ended."""
    issue = Issue.get(id=id)
    if issue is None or issue.state != "sending" or issue.readers is not None:
        return
    deliveries = Deliveries(issue.id)
    deliveries.note_life()
    try:
        while readers := find_next(issue):
            for reader in readers:
                if deliveries.add(str(reader.id)):
                    submit_delivery(issue, str(reader.id))
            issue.listed, issue.changed = readers[-1].id, now()
            issue.save()
        issue.readers = sum(deliveries.count().values())
        issue.save()
    except quorum.ConflictError:
        return  # another worker lists them too
    quorum.info("'%s' goes to %d readers.", issue.title, issue.readers)


def find_next(issue: Issue) -> list[Reader]:
    after: dict[str, t.Any] = {}
    if issue.listed:
        after = {"id": quorum.where(gt=issue.listed)}
    return list(Reader.find(state="confirmed", sort="id", limit=_BATCH, **after))


def deliver(issue_id: str, reader_id: str) -> None:
    """Send an issue to one reader, who may have left by now."""
    issue, reader = Issue.get(id=issue_id), Reader.get(id=reader_id)
    if issue is None:
        return
    deliveries = Deliveries(issue.id)
    if not deliveries.is_waiting(reader_id):
        return
    if reader is None:
        deliveries.remove(reader_id)
        return
    try:
        send(issue, reader)
    except Exception as error:
        is_ours = isinstance(error, quorum.QuorumError)
        reason = str(error) if is_ours else type(error).__name__
        tries = deliveries.count_try(reader_id, reason)
        last = tries > quorum.get_settings(NewsroomSettings).retries
        if last or not getattr(error, "retryable", True):
            deliveries.note_failed(reader_id)
        raise
    deliveries.note_sent(reader_id)


def send(issue: Issue, reader: Reader) -> None:
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
            "Message-ID": f"<{issue.id}.{reader.id}@{host}>",
            "List-Unsubscribe": f"<{leave}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
    )


def retry(issue: Issue) -> int:
    """Try the failed deliveries of an issue again; return how many there are."""
    deliveries = Deliveries(issue.id)
    deliveries.note_life()
    readers = deliveries.retry()
    # Not before some wait, or it would be taken for sent at once.
    if readers and issue.state == "sent":
        issue.state, issue.changed = "sending", now()
        issue.save()
    for reader in readers:
        submit_delivery(issue, reader)
    return len(readers)


def finish_issues() -> None:
    """Note which issues have been sent, and submit again what was lost."""
    for issue in list(Issue.find(state="sending")):
        deliveries = Deliveries(issue.id)
        counts = deliveries.count()
        if issue.readers is None:
            if issue.changed < now() - _LOST:
                submit_issue(issue)
        elif not counts["waiting"]:
            issue.state, issue.delivered = "sent", counts["sent"]
            try:
                issue.save()
            except quorum.ConflictError:
                continue  # another process was first
            deliveries.close()
            tell("issue.sent", issue=str(issue.id), **counts)
        elif deliveries.is_lost():
            deliveries.note_life()
            for reader in deliveries.list_waiting():
                submit_delivery(issue, reader)


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
