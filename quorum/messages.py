"""Composes mail: addresses, headers, text, HTML and attachments become a message.

Everything that could not go over the wire is found here, before any connection.
"""

import dataclasses
import datetime
import functools
import html
import mimetypes
import re
import secrets
import typing as t
from collections.abc import Iterable, Mapping
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, make_msgid, quote

from quorum.errors import MessageError

#: One mailbox, as in ``'Ann <ann@example.org>'``.
Mailbox: t.TypeAlias = str | Address

#: Gives a part of a message its content.
Fill: t.TypeAlias = t.Callable[[MIMEPart], None]

#: The longest line that SMTP takes (RFC 5321, section 4.5.3.1.6), without its end.
_LONGEST_LINE: t.Final = 998

#: Headers that have an argument of their own, or that quorum writes itself.
_OWN_HEADERS: t.Final = {
    "subject": "subject",
    "from": "sender",
    "sender": "sender",
    "to": "receivers",
    "cc": "cc",
    "bcc": "bcc",
    "reply-to": "reply_to",
    "mime-version": "",
}

_ADDRESSES: t.Final = frozenset({"From", "To", "Cc", "Reply-To"})

# IDNA 2003, which Python has, maps these to other letters, and so to another domain.
_AMBIGUOUS: t.Final = re.compile("[ßς\u200c\u200d]")
_MAILBOX: t.Final = re.compile(r"(?:(.*?)\s*<([^<>]*)>|([^<>]*))")
_ATOM: t.Final = re.compile(
    r"[^\s@\"(),.:;<>\[\\\]\x00-\x20\x7f]+(?:\.[^\s@\"(),.:;<>\[\\\]\x00-\x20\x7f]+)*"
)
_LABEL: t.Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: t.Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[(?:IPv6:)?[0-9A-Fa-f:.]+\]")
_MEDIA_TYPE: t.Final = re.compile(
    r"(?!multipart/|message/)[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII | re.IGNORECASE
)
_CONTROL: t.Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Attachment:
    """A file that goes with a message.

    :param name: File name that the receiver sees.
    :param content: What is in it; text is sent as UTF-8.
    :param content_type: Its media type; by default what the ending of the name says.
    :param content_id: For a picture of the HTML part: the part shows it with
        ``<img src="cid:…">``, and it is not listed as a file.
    """

    name: str
    content: bytes | str
    content_type: str | None = None
    content_id: str | None = None


class Envelope(t.NamedTuple):
    """A message as it goes over the wire, and between whom."""

    sender: str
    receivers: tuple[str, ...]
    #: The message itself, with CRLF at the end of each line.
    content: bytes
    #: Whether an address needs a server with SMTPUTF8 (RFC 6531).
    international: bool


class _Policy(EmailPolicy):
    """Headers that are ready for the wire are written as they are.

    The standard policy takes each header apart when it is set, and again when it is
    written, which costs most of the time of a plain message.
    """

    def header_max_count(self, name: str) -> int | None:
        return _find_max_count(name.lower())

    def header_store_parse(self, name: str, value: t.Any) -> tuple[str, t.Any]:
        # The standard library would fold an address that is not ASCII anew, and lose
        # the quotes of a name, which makes two addresses of one.
        raw = type(value) is str and (value.isascii() or name in _ADDRESSES)
        if raw and _is_folded(value):
            return name, value
        return super().header_store_parse(name, value)


class _Writing(_Policy):
    """Headers are not taken apart either while the generator asks for them."""

    def header_fetch_parse(self, name: str, value: t.Any) -> t.Any:
        return value


#: ``7bit``: non-ASCII bodies are encoded, as not every relay takes eight bits.
POLICY: t.Final = _Policy(linesep="\r\n", cte_type="7bit", refold_source="none")
_WRITING: t.Final = _Writing(linesep="\r\n", cte_type="7bit", refold_source="none")
_WRITING_UTF8: t.Final = _WRITING.clone(utf8=True)


@functools.cache
def _find_max_count(name: str) -> int | None:
    return SMTP.header_max_count(name)


def _is_folded(value: str) -> bool:
    """Return whether a value has line breaks where a header may have them only."""
    if value.isprintable():
        return True
    return all(line.isprintable() and line.strip() for line in value.split("\n "))


def compose(
    *,
    subject: str,
    sender: Mailbox,
    receivers: Mailbox | Iterable[Mailbox],
    text: str | None,
    rich: str | None,
    cc: Mailbox | Iterable[Mailbox],
    bcc: Mailbox | Iterable[Mailbox],
    reply_to: Mailbox | Iterable[Mailbox],
    attachments: Iterable[Attachment],
    headers: Mapping[str, str],
) -> tuple[EmailMessage, Envelope]:
    """Return a message, and what of it goes over the wire.

    :param subject: What it is about.
    :param sender: Whom it is from.
    :param receivers: Whom it is to.
    :param text: The plain text part; None leaves it out.
    :param rich: The HTML part; None leaves it out.
    :param cc: Who else is to see it.
    :param bcc: Who gets it without the others knowing.
    :param reply_to: Whom to answer.
    :param attachments: Files that go with it.
    :param headers: Further headers.
    :returns: The message and its envelope.
    :raises MessageError: If it cannot be sent like that.
    """
    author = parse_mailbox("sender", sender)
    people = {
        "To": _parse_mailboxes("receivers", receivers),
        "Cc": _parse_mailboxes("cc", cc),
        "Bcc": _parse_mailboxes("bcc", bcc),
        "Reply-To": _parse_mailboxes("reply_to", reply_to),
    }
    # A dictionary, as who is named twice gets it once.
    addressed = (*people["To"], *people["Cc"], *people.pop("Bcc"))
    to = tuple(dict.fromkeys(person.addr_spec for person in addressed))
    if not to:
        fault = "there is none. Give at least one address in receivers, cc or bcc."
        raise MessageError("receivers", fault)
    message = EmailMessage(POLICY)
    message["From"] = _write_mailboxes("From", (author,))
    for name, group in people.items():
        if group:
            message[name] = _write_mailboxes(name, group)
    if subject != "":
        message["Subject"] = _write_text("subject", subject, "Subject")
    message["Date"] = format_datetime(datetime.datetime.now(datetime.UTC))
    message["Message-ID"] = make_msgid(domain=author.domain)
    for name, value in headers.items():
        _add_header(message, name, value)
    message["MIME-Version"] = "1.0"
    _fill(message, text, rich, _list_files(attachments))
    everybody = (author, *addressed, *people["Reply-To"])
    international = not all(person.username.isascii() for person in everybody)
    content = message.as_bytes(policy=_WRITING_UTF8 if international else _WRITING)
    return message, Envelope(author.addr_spec, to, content, international)


def parse_mailbox(argument: str, value: object) -> Address:
    """Return the address that a text such as ``Ann <ann@example.org>`` holds.

    The domain comes back in ASCII, by IDNA 2003.

    :param argument: The argument that it is the value of.
    :param value: The text, or an :class:`email.headerregistry.Address`.
    :returns: The address.
    :raises MessageError: If it is not one address.
    """
    if isinstance(value, Address):
        name, spec = value.display_name, value.addr_spec
    elif isinstance(value, str):
        found = _MAILBOX.fullmatch(value.strip())
        if found is None:
            raise MessageError(argument, f"{value!r} {_NO_MAILBOX}")
        name, spec = found[1] or "", (found[2] or found[3] or "").strip()
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        elif re.search(r'[",:;@\\()\[\]]', name):
            raise MessageError(argument, f"{value!r} {_NO_MAILBOX}")
    else:
        fault = f"it has a {type(value).__name__} where an address belongs."
        raise MessageError(argument, fault)
    local, _, domain = spec.rpartition("@")
    if not _AMBIGUOUS.search(domain) and not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError:
            domain = ""
    if (
        _CONTROL.search(name)
        or not _ATOM.fullmatch(local)
        or _CONTROL.search(local)
        or "=?" in local
        or len(local.encode()) > 64
        or not _DOMAIN.fullmatch(domain)
        or len(domain) > 255
    ):
        raise MessageError(argument, f"{value!r} {_NO_MAILBOX}")
    return Address(" ".join(name.split()), local, domain)


_NO_MAILBOX: t.Final = (
    "is not one address, as in 'ann@example.org' or 'Ann <ann@example.org>'. "
    "A name with a comma or the like stands in double quotes, and a domain with "
    "letters that IDNA reads in two ways is written in its 'xn--' form."
)


def _parse_mailboxes(argument: str, value: object) -> tuple[Address, ...]:
    if isinstance(value, (str, Address)):
        return (parse_mailbox(argument, value),)
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        fault = f"it takes an address or several, not a {type(value).__name__}."
        raise MessageError(argument, fault)
    return tuple(parse_mailbox(argument, item) for item in value)


def _write_mailboxes(header: str, people: Iterable[Address]) -> str:
    """Return the value of an address header, one address a line."""
    written = []
    for person in people:
        name = person.display_name
        if not name:
            written.append(person.addr_spec)
            continue
        if _is_plain(name) and len(name) <= 255:
            name = name if re.fullmatch(r"[\w ]+", name) else f'"{quote(name)}"'
        else:
            name = Header(name, "utf-8", header_name=header).encode()
        written.append(f"{name} <{person.addr_spec}>")
    return ",\n ".join(written)


def _write_text(argument: str, value: object, header: str) -> str:
    """Return the value of a header that is text, encoded (RFC 2047) if need be."""
    if not isinstance(value, str):
        fault = f"{header} takes text, not a {type(value).__name__}."
        raise MessageError(argument, fault)
    if _CONTROL.search(value):
        fault = f"{header} has a line break or another control character."
        raise MessageError(argument, f"{fault} Take it out.")
    if _is_plain(value):
        folded = re.sub(r"(.{600,900}?) (?=\S)", "\\1\n ", value)
        if max(map(len, folded.split("\n"))) + len(header) + 2 <= _LONGEST_LINE:
            return folded
    return Header(value, "utf-8", header_name=header).encode()


def _is_plain(value: str) -> bool:
    """Return whether a text means itself in a header."""
    return value.isascii() and "=?" not in value and value == value.strip(" ")


def _add_header(message: EmailMessage, name: str, value: str) -> None:
    lower = str(name).lower()
    if not re.fullmatch(r"[!-9;-~]{1,60}", lower):
        raise MessageError("headers", f"{name!r} is not the name of a header.")
    if lower in _OWN_HEADERS or lower.startswith("content-"):
        own = _OWN_HEADERS.get(lower)
        hint = f" Use the argument '{own}'." if own else ""
        raise MessageError("headers", f"{name} cannot be set.{hint}")
    if lower in ("date", "message-id"):
        del message[name]
    message[name] = _write_text("headers", value, name)


def _list_files(attachments: object) -> list[Attachment]:
    """Return the attachments, if that is what they are."""
    given = list(attachments) if isinstance(attachments, Iterable) else [attachments]
    if isinstance(attachments, Attachment):
        raise MessageError("attachments", "it takes several: put it into a list.")
    for file in given:
        if not isinstance(file, Attachment):
            fault = f"it has a {type(file).__name__} where an Attachment belongs."
            raise MessageError("attachments", fault)
    return t.cast(list[Attachment], given)


def _fill(
    message: EmailMessage, text: str | None, rich: str | None, files: list[Attachment]
) -> None:
    """Give a message its body: the least nesting that holds all parts."""
    shown = [file for file in files if file.content_id is not None]
    if shown and rich is None:
        fault = "one has a content_id, but there is no HTML part that could show it."
        raise MessageError("attachments", fault)
    bodies: list[Fill] = []
    if text is not None:
        bodies.append(functools.partial(_set_text, text=text, subtype="plain"))
    if rich is not None:
        part = functools.partial(_set_text, text=rich, subtype="html")
        related = [functools.partial(_set_file, file=file) for file in shown]
        bodies.append(_join("related", [part, *related]))
    body = _join("alternative", bodies)
    listed = [functools.partial(_set_file, file=f) for f in files if f not in shown]
    _join("mixed", [body, *listed])(message)


def _join(subtype: str, parts: list[Fill]) -> Fill:
    """Return what fills a message with parts; a single one needs no container."""
    if len(parts) == 1:
        return parts[0]

    def fill(message: MIMEPart) -> None:
        # The standard library would search all parts for a boundary that is free.
        boundary = f"=_{secrets.token_hex(16)}"
        message["Content-Type"] = f'multipart/{subtype}; boundary="{boundary}"'
        for part in parts:
            made = MIMEPart(POLICY)
            part(made)
            message.attach(made)

    return fill


def _set_text(message: MIMEPart, *, text: str, subtype: str) -> None:
    text = re.sub(r"\r\n?", "\n", text)
    if not text.endswith("\n"):
        text += "\n"
    encoding = "base64" if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) else None
    longest = max(map(len, text.split("\n")))
    if encoding is None and text.isascii() and longest <= _LONGEST_LINE:
        message["Content-Type"] = f'text/{subtype}; charset="utf-8"'
        message["Content-Transfer-Encoding"] = "7bit"
        message.set_payload(text)
        return
    try:
        message.set_content(text, subtype=subtype, cte=encoding)
    except UnicodeEncodeError as error:
        fault = f"the {subtype} text has {text[error.start]!r}, which is no character."
        raise MessageError("data", fault) from error


def _set_file(message: MIMEPart, *, file: Attachment) -> None:
    name: object = file.name
    if not isinstance(name, str) or not name.strip() or _CONTROL.search(name):
        fault = f"{name!r} is no file name: it is empty or has control characters."
        raise MessageError("attachments", fault)
    if len(name.encode()) > 255:
        raise MessageError("attachments", f"the name {name!r} is over 255 bytes long.")
    content: object = file.content
    if not isinstance(content, (bytes, str)):
        fault = f"the content of {name!r} is a {type(content).__name__}, not bytes."
        raise MessageError("attachments", fault)
    kind = file.content_type
    if kind is None:
        kind, packed = mimetypes.guess_type(name)
        # A message must not be sent as base64.
        if kind is None or packed or kind.startswith("message/"):
            kind = "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(kind):
        fault = f"{kind!r} is not the media type of a file, as in 'image/png'."
        raise MessageError("attachments", fault)
    main, _, subtype = kind.partition("/")
    charset = "utf-8" if main == "text" and isinstance(content, str) else None
    try:
        content = content.encode() if isinstance(content, str) else content
    except UnicodeEncodeError as error:
        fault = f"the content of {name!r} has what is no character."
        raise MessageError("attachments", fault) from error
    disposition = "attachment" if file.content_id is None else "inline"
    cid = None
    if file.content_id is not None:
        cid = f"<{file.content_id}>"
        if not re.fullmatch(r"<[\w!#$&*+./=?^{|}~@-]{1,200}>", cid, re.ASCII):
            fault = f"{file.content_id!r} is no content_id."
            raise MessageError("attachments", f"{fault} Use letters and digits.")
    name = name.strip()
    # RFC 2231 keeps what looks like an encoded word as it is.
    shown: t.Any = name if _is_plain(name) else ("utf-8", "", name)
    message.set_content(
        content, main, subtype, disposition=disposition, filename=shown, cid=cid
    )
    if charset:
        message.set_param("charset", charset)


def as_html(data: str) -> str:
    """Return plain text as HTML that shows it with its line breaks.

    :param data: The text.
    :returns: The HTML.
    """
    shown = html.escape(str(data))  # Markup would escape twice
    return f'<div style="white-space: pre-wrap">{shown}</div>\n'
