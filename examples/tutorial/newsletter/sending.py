"""The tasks: one lists the readers of an issue, and there is one for each reader.

A task may run twice, so each looks first at what has been done.
"""

import quorum

from .models import Delivery, Issue, Reader
from .settings import NewsletterSettings


def list_readers(id: str) -> None:
    issue = Issue.get(id=id)
    if issue is None:
        return
    number = 0
    for reader in Reader.find(confirmed=True):
        key = f"{issue.id}-{reader.id}"
        delivery = Delivery.get(key=key)
        if delivery is None:
            delivery = Delivery(key=key, issue=issue.id, reader=reader.id).save()
        quorum.run_background(deliver, [str(delivery.id)], retries=5)
        number += 1
    issue.readers = number
    issue.save()
    quorum.info("'%s' has %d receivers.", issue.title, number)


def deliver(id: str) -> None:
    delivery = Delivery.get(id=id)
    if delivery is None or delivery.done:
        return
    issue = Issue.get(id=delivery.issue)
    reader = Reader.get(id=delivery.reader)
    if issue and reader:  # who has left by now gets nothing
        leave = f"{quorum.get_settings(NewsletterSettings).url}/leave/{reader.token}"
        quorum.send_mail(
            subject=issue.title,
            receivers=reader.email,
            plain="issue.txt.tpl",
            context={"issue": issue, "leave": leave},
            headers={"List-Unsubscribe": f"<{leave}>"},
        )
    delivery.done = True
    delivery.save()
