"""What goes over the wire is what was meant, or nothing goes."""

import email
import email.header
import email.policy
import re
import typing as t
from email.headerregistry import Address
from email.message import EmailMessage, MIMEPart

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorum.errors import MessageError
from quorum.messages import Attachment, Envelope, compose, parse_mailbox


def send(**arguments: t.Any) -> tuple[EmailMessage, Envelope]:
    """Compose a message of the least arguments, and of the given ones."""
    least: dict[str, t.Any] = {
        "subject": "Hello",
        "sender": "shop@example.org",
        "receivers": "ann@example.org",
        "text": "On its way.",
        "rich": None,
        "cc": (),
        "bcc": (),
        "reply_to": (),
        "attachments": (),
        "headers": {},
    }
    return compose(**(least | arguments))


def read(envelope: Envelope) -> EmailMessage:
    """Read a message as the receiver's mail program does."""
    content = envelope.content.replace(b"\r\n", b"\n")
    if envelope.international:  # the standard library reads no UTF-8 bytes in headers
        found = email.message_from_string(content.decode(), policy=email.policy.default)
    else:
        found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def receive(**arguments: t.Any) -> EmailMessage:
    return read(send(**arguments)[1])


def test_no_line_is_longer_than_smtp_takes() -> None:
    many = [f"{'n' * 60} {number} <a{number}@example.org>" for number in range(200)]

    _, envelope = send(
        sender=Address("n" * 1200, "shop", "example.org"),
        receivers=many,
        subject="long " * 400,
        text="x" * 5000,
        rich="ü" * 5000,
        attachments=[Attachment("f" * 255, b"\0" * 5000)],
        headers={"X-Long": "y" * 5000},
    )

    assert max(map(len, envelope.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(("length", "kept"), [(998, True), (999, False)])
def test_a_line_of_text_is_encoded_if_it_is_too_long_only(
    length: int, kept: bool
) -> None:
    _, envelope = send(text="x\n" * 999 + "x" * length)

    assert (b"\r\n" + b"x" * length + b"\r\n" in envelope.content) is kept
    assert (read(envelope)["Content-Transfer-Encoding"] == "7bit") is kept


@pytest.mark.parametrize(
    ("subject", "kept"),
    [("x" * 989, True), ("x" * 990, False), ("x" * 1200 + " y", False)],
    ids=["longest", "too long", "two words"],
)
def test_a_subject_is_encoded_if_its_line_is_too_long_only(
    subject: str, kept: bool
) -> None:
    _, envelope = send(subject=subject)

    assert (f"\r\nSubject: {subject}\r\n".encode() in envelope.content) is kept


def test_a_header_that_is_encoded_is_in_lines_of_at_most_78_characters() -> None:
    """RFC 5322, section 2.1.1; its name is part of the first line."""
    name, long = "ü" * 100, "X-Name-Of-A-Header-That-Is-Rather-Long"

    _, envelope = send(
        subject=name,
        sender=Address(name, "shop", "example.org"),
        reply_to=Address(name, "shop", "example.org"),
        headers={long: name},
    )

    for header in ("Subject", "From", "Reply-To", long):
        pattern = rf"^{header}: =\?.*$".encode()
        (line,) = re.findall(pattern, envelope.content, re.MULTILINE)
        assert len(line.rstrip()) <= 78


def test_lines_end_with_crlf_only() -> None:
    _, envelope = send(text="one\ntwo\rthree\r\nfour", subject="ü" * 200)

    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", envelope.content)
    assert read(envelope).get_content() == "one\ntwo\nthree\nfour\n"


def test_what_goes_out_is_ascii_unless_an_address_is_not() -> None:
    _, envelope = send(
        subject="Grüße",
        receivers="Zoë <zoe@bücher.example>",
        text="ü",
        rich="<p>ü",
        attachments=[Attachment("ü.txt", "ü")],
    )

    assert envelope.content.isascii()
    assert not envelope.international
    assert envelope.receivers == ("zoe@xn--bcher-kva.example",)


@pytest.mark.parametrize("argument", ["sender", "receivers", "cc", "bcc", "reply_to"])
def test_an_address_that_is_not_ascii_needs_smtputf8(argument: str) -> None:
    _, envelope = send(**{argument: "Zoë <zoë@example.org>"})

    assert envelope.international
    name = {"sender": "From", "receivers": "To", "reply_to": "Reply-To"}.get(argument)
    if argument != "bcc":
        header = read(envelope)[name or argument]
        assert header.addresses[0].username == "zoë"
        assert header.addresses[0].display_name == "Zoë"


def test_bcc_is_in_the_envelope_only() -> None:
    message, envelope = send(cc="bob@example.org", bcc=["eve@example.org"])

    assert envelope.receivers == (
        "ann@example.org",
        "bob@example.org",
        "eve@example.org",
    )
    assert "Bcc" not in message
    assert b"eve" not in envelope.content


def test_an_address_header_has_everybody_as_simply_as_can_be() -> None:
    message, _ = send(
        receivers=["ann@example.org", "Bob B <bob@example.org>", "eve@example.org"],
        cc='"Carl, Jr." <carl@example.org>',
    )

    assert message["To"] == (
        "ann@example.org, Bob B <bob@example.org>, eve@example.org"
    )
    assert message["Cc"] == '"Carl, Jr." <carl@example.org>'
    assert "Reply-To" not in message


def test_a_message_says_what_it_is() -> None:
    assert receive()["MIME-Version"] == "1.0"


def test_who_is_named_twice_gets_it_once() -> None:
    _, envelope = send(receivers=["ann@example.org", "Ann <ann@example.org>"])

    assert envelope.receivers == ("ann@example.org",)


def test_each_message_has_a_date_and_an_identifier_of_its_own() -> None:
    first, second = receive(), receive()

    assert first["Date"].datetime.utcoffset() is not None
    assert re.fullmatch(r"<[^<>@ ]+@example\.org>", first["Message-ID"])
    assert first["Message-ID"] != second["Message-ID"]


def test_the_identifier_of_a_sender_at_an_ip_address_is_well_formed() -> None:
    """Its right side is a literal in brackets, as in RFC 5322, section 3.6.4."""
    message = receive(sender="shop@[IPv6:2001:db8::1]")

    assert message["Message-ID"].endswith("@[IPv6:2001:db8::1]>")
    assert not message["Message-ID"].defects


def test_they_can_be_given_too() -> None:
    given = {"Message-ID": "<a@b>", "date": "Sun, 22 Nov 2026 16:00:00 +0000"}

    message = receive(headers=given)

    assert message.get_all("Message-ID") == ["<a@b>"]
    assert message.get_all("Date") == ["Sun, 22 Nov 2026 16:00:00 +0000"]


@pytest.mark.parametrize(
    ("parts", "structure"),
    [
        ({}, "text/plain"),
        ({"text": None, "rich": "<p>"}, "text/html"),
        ({"rich": "<p>"}, "multipart/alternative(text/plain text/html)"),
        (
            {"attachments": [Attachment("a.pdf", b"%PDF")]},
            "multipart/mixed(text/plain application/pdf)",
        ),
        (
            {
                "rich": "<img src='cid:logo'>",
                "attachments": [
                    Attachment("a.txt", "ü"),
                    Attachment("logo.png", b"\x89PNG", content_id="logo"),
                ],
            },
            (
                "multipart/mixed(multipart/alternative(text/plain "
                "multipart/related(text/html image/png)) text/plain)"
            ),
        ),
    ],
)
def test_a_message_has_the_parts_that_exist(
    parts: dict[str, t.Any], structure: str
) -> None:
    def describe(part: MIMEPart) -> str:
        inner = " ".join(describe(each) for each in part.iter_parts())
        return f"{part.get_content_type()}{f'({inner})' if inner else ''}"

    assert describe(receive(**parts)) == structure


def test_the_picture_of_the_html_part_is_found_by_its_identifier() -> None:
    logo = Attachment("logo.png", b"\x89PNG", content_id="logo@shop")

    message = receive(rich="<img src='cid:logo@shop'>", attachments=[logo])

    (picture,) = (p for p in message.walk() if p.get_content_type() == "image/png")
    assert picture["Content-ID"] == "<logo@shop>"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_payload(decode=True) == b"\x89PNG"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("a", "application/octet-stream"),
        ("a.unknown-ending", "application/octet-stream"),
        ("a.eml", "application/octet-stream"),
        ("data.csv.gz", "application/octet-stream"),
    ],
)
def test_the_ending_of_the_name_tells_the_media_type(name: str, kind: str) -> None:
    message = receive(attachments=[Attachment(name, b"x")])

    (part,) = message.iter_attachments()
    assert part.get_content_type() == kind


def test_text_that_is_attached_says_that_it_is_utf_8() -> None:
    message = receive(attachments=[Attachment("a.txt", "ü"), Attachment("b.txt", b"x")])

    text, data = message.iter_attachments()
    assert text.get_content_charset() == "utf-8"
    assert text.get_content() == "ü"
    assert data.get_content_charset() is None
    assert "Content-ID" not in text


def test_text_that_is_attached_as_another_type_says_nothing_of_its_letters() -> None:
    message = receive(attachments=[Attachment("a.json", '"ü"')])

    (part,) = message.iter_attachments()
    assert part.get_content_charset() is None
    assert part.get_content() == '"ü"'.encode()


@pytest.mark.parametrize(
    "name", ["a.pdf", "ü.pdf", "=?utf-8?q?x?=", 'a"b.pdf', "a;b=c.pdf", "a b.pdf"]
)
def test_a_file_keeps_its_name(name: str) -> None:
    _, envelope = send(attachments=[Attachment(f" {name} ", b"x")])

    (part,) = read(envelope).iter_attachments()
    assert part.get_filename() == name


def test_a_name_that_means_itself_is_written_as_every_mail_program_reads_it() -> None:
    _, envelope = send(attachments=[Attachment("a.pdf", b"x")])

    assert b'filename="a.pdf"' in envelope.content


#: Of 255 characters, in labels of at most 63.
LONGEST_DOMAIN = ".".join(["d" * 63] * 4)


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [
        ("ann@example.org", "", "ann@example.org"),
        (" <ann@example.org> ", "", "ann@example.org"),
        ("Ann <ann@example.org>", "Ann", "ann@example.org"),
        (" Ann\t< ann@example.org > ", "Ann", "ann@example.org"),
        ('"" <ann@example.org>', "", "ann@example.org"),
        ("x" * 64 + "@example.org", "", "x" * 64 + "@example.org"),
        (f"ann@{LONGEST_DOMAIN}", "", f"ann@{LONGEST_DOMAIN}"),
        ("Ann O'Neill <ann@example.org>", "Ann O'Neill", "ann@example.org"),
        ('"Ann, \\"Jr.\\"" <ann@example.org>', 'Ann, "Jr."', "ann@example.org"),
        ("Zoë <zoe@example.org>", "Zoë", "zoe@example.org"),
        ("root@localhost", "", "root@localhost"),
        ("ann@[127.0.0.1]", "", "ann@[127.0.0.1]"),
        ("a.b+c_d=e@bücher.example", "", "a.b+c_d=e@xn--bcher-kva.example"),
        ("ann@xn--strae-oqa.example", "", "ann@xn--strae-oqa.example"),
    ],
)
def test_an_address_is_read(text: str, name: str, spec: str) -> None:
    found = parse_mailbox("sender", text)

    assert (found.display_name, found.addr_spec) == (name, spec)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@example.org",
        "ann@",
        "ann@example.org, bob@example.org",
        "Ann, Jr. <ann@example.org>",
        "ann@example.org <bob@example.org>",
        "Ann <ann@example.org> Smith",
        "Ann <<ann@example.org>>",
        "<>",
        "Ann <>",
        '" <ann@example.org>',
        'Ann" <ann@example.org>',
        '"Ann <ann@example.org>',
        '"Ann" A <ann@example.org>',
        "an n@example.org",
        "ann@exam ple.org",
        "ann@example..org",
        "ann..b@example.org",
        ".ann@example.org",
        "ann@-example.org",
        "ann@example.org\nBcc: eve@example.org",
        "Ann\r\nBcc: eve@example.org <ann@example.org>",
        "Ann\x00 <ann@example.org>",
        "ann\u2028@example.org",
        "a\x80n@example.org",
        "ann@exa\nmple.org",
        "=?utf-8?q?ann?=@example.org",
        "ann@straße.example",
        "ann@ς.example",
        "ann@a\u200db.example",
        "ü" * 33 + "@example.org",
        "x" * 65 + "@example.org",
        "ann@" + "x." * 130 + "org",
        f"ann@d.{LONGEST_DOMAIN[1:]}",
        "ann@" + "ü" * 64 + ".org",
        "\ud800@example.org",
        "ann@example.org>",
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match=r"receivers: .* is not one address") as info:
        send(receivers=[text])

    assert info.value.argument == "receivers"


def test_an_address_object_is_as_good_as_its_text() -> None:
    ann = Address("Ann, Jr.", "ann", "example.org")

    message = receive(receivers=ann, cc=[ann])

    assert message["To"].addresses[0].display_name == "Ann, Jr."
    assert message["Cc"].addresses == (ann,)


@pytest.mark.parametrize(
    ("arguments", "argument", "text"),
    [
        ({"receivers": ()}, "receivers", "there is none"),
        ({"receivers": 5}, "receivers", "not a int"),
        ({"receivers": [None]}, "receivers", "it has a NoneType where"),
        ({"receivers": b"ann@example.org"}, "receivers", "not a bytes"),
        ({"sender": "shop"}, "sender", "'shop' is not one address"),
        ({"receivers": "ann"}, "receivers", "'ann' is not one address"),
        ({"cc": ["ann"]}, "cc", "'ann' is not one address"),
        ({"bcc": ["ann"]}, "bcc", "'ann' is not one address"),
        ({"reply_to": ["ann"]}, "reply_to", "'ann' is not one address"),
        ({"subject": "a\nBcc: eve@example.org"}, "subject", "line break"),
        ({"subject": "a\rb"}, "subject", "line break"),
        ({"subject": "a\x85b"}, "subject", "line break"),
        ({"subject": 5}, "subject", "takes text, not a int"),
        ({"subject": "\udc80"}, "subject", "control character"),
        ({"headers": {"X-A": "a\nBcc: b"}}, "headers", "X-A has a line break"),
        ({"headers": {"X-A\nBcc": "b"}}, "headers", "not the name of a header"),
        ({"headers": {"X A": "b"}}, "headers", "not the name of a header"),
        ({"headers": {"X" * 61: "ü"}}, "headers", "not the name of a header"),
        ({"attachments": Attachment("a", b"")}, "attachments", "put it into a list"),
        ({"attachments": ["a.pdf"]}, "attachments", "it has a str where"),
        ({"attachments": 5}, "attachments", "it has a int where"),
        (
            {"attachments": [Attachment("a", b"", "Multipart/mixed")]},
            "attachments",
            "not the media type",
        ),
        (
            {"attachments": [Attachment("a", b"", "imäge/png")]},
            "attachments",
            "not the media type",
        ),
        ({"headers": {"X-A": 5}}, "headers", "X-A takes text"),
        ({"headers": {"Content-Type": "b"}}, "headers", "cannot be set"),
        ({"text": "\ud800"}, "data", "which is no character"),
        ({"attachments": [Attachment("", b"")]}, "attachments", "no file name"),
        ({"attachments": [Attachment(" ", b"")]}, "attachments", "no file name"),
        (
            {"attachments": [Attachment(t.cast(t.Any, 5), b"")]},
            "attachments",
            "5 is no file name",
        ),
        ({"attachments": [Attachment("a\nb", b"")]}, "attachments", "no file name"),
        ({"attachments": [Attachment("ü" * 128, b"")]}, "attachments", "255 bytes"),
        ({"attachments": [Attachment("a", "\ud800")]}, "attachments", "no character"),
        (
            {"attachments": [Attachment("a", t.cast(t.Any, None))]},
            "attachments",
            "the content of 'a' is a NoneType",
        ),
        (
            {"attachments": [Attachment("a", b"", "text/plain\nX: y")]},
            "attachments",
            "not the media type",
        ),
        (
            {"attachments": [Attachment("a", b"", "message/rfc822")]},
            "attachments",
            "not the media type",
        ),
        (
            {"attachments": [Attachment("a", b"", content_id="a")]},
            "attachments",
            "no HTML part",
        ),
        (
            {"rich": "", "attachments": [Attachment("a", b"", content_id="a b")]},
            "attachments",
            "no content_id",
        ),
        (
            {"rich": "", "attachments": [Attachment("a", b"", content_id="a>b")]},
            "attachments",
            "no content_id",
        ),
        (
            {"rich": "", "attachments": [Attachment("a", b"", content_id="ü")]},
            "attachments",
            "no content_id",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(
    arguments: dict[str, t.Any], argument: str, text: str
) -> None:
    with pytest.raises(MessageError) as info:
        send(**arguments)

    assert info.value.argument == argument
    assert text in str(info.value)


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("subject", " Use the argument 'subject'."),
        ("From", " Use the argument 'sender'."),
        ("Sender", " Use the argument 'sender'."),
        ("To", " Use the argument 'receivers'."),
        ("CC", " Use the argument 'cc'."),
        ("Bcc", " Use the argument 'bcc'."),
        ("Reply-To", " Use the argument 'reply_to'."),
        ("MIME-Version", ""),
        ("Content-Type", ""),
    ],
)
def test_a_header_that_has_an_argument_names_it(header: str, hint: str) -> None:
    with pytest.raises(MessageError) as info:
        send(headers={header: "x"})

    assert str(info.value) == f"headers: {header} cannot be set.{hint}"


def test_an_attachment_is_one_value_that_does_not_change() -> None:
    attachment = Attachment("a.txt", "a")

    assert {attachment, Attachment("a.txt", "a")} == {attachment}
    with pytest.raises(AttributeError):
        t.cast(t.Any, attachment).name = "b.txt"


def test_a_text_with_a_nul_arrives() -> None:
    assert receive(text="a\0b\x1b").get_content() == "a\0b\x1b\r\n"


def test_a_message_can_be_changed_afterwards_as_any_other() -> None:
    message, _ = send()

    message["X-Later"] = "ü"

    assert message["X-Later"] == "ü"
    assert b"=?utf-8?" in message.as_bytes()
    for bad in ("a\nb", "a\n b\nBcc: eve@example.org", "a\n \n b"):
        with pytest.raises(ValueError, match=r"linefeed|newline"):
            message["X-Bad"] = bad
    for name in ("Subject", "from", "To"):
        with pytest.raises(ValueError, match="at most 1"):
            message[name] = "x@example.org"


LINE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
TRICKY = st.text("aü\"\\ ,;:()<>@=?_.'-\u00a0\u3000", max_size=300)
WORD = st.just("=?utf-8?q?x?=") | st.just("ü" * 40) | TRICKY
ANY_LINE = LINE | TRICKY | st.lists(WORD, max_size=6).map(" ".join)


@settings(deadline=None)
@given(subject=ANY_LINE, header=ANY_LINE)
@example(subject="=?utf-8?q?x?=", header=" a")
@example(subject="a ", header="=?utf-8?q?x?=")
def test_any_line_survives_in_a_header(subject: str, header: str) -> None:
    message = receive(subject=subject, headers={"X-Note": header})

    assert not message.defects
    assert (message["Subject"] or "") == subject
    assert message["X-Note"] == header


@pytest.mark.parametrize(
    "name", ["Zoë, eve@evil.test", "ü <boss@bank.example>, x", 'ü" <a@b>', "ü\\"]
)
@pytest.mark.parametrize("argument", ["sender", "receivers", "cc", "reply_to"])
def test_a_name_makes_no_second_address(argument: str, name: str) -> None:
    """The standard library alone drops the quotes beside a non-ASCII address."""
    _, envelope = send(**{argument: Address(name, "zoë", "y.test")})

    header = {"sender": "From", "receivers": "To", "cc": "Cc"}.get(argument, "Reply-To")
    (found,) = read(envelope)[header].addresses
    assert (found.display_name, found.addr_spec) == (name, "zoë@y.test")


def test_long_headers_of_words_are_folded_and_not_encoded() -> None:
    references = " ".join(f"<{number}@example.org>" for number in range(200))

    message, envelope = send(headers={"References": references})

    assert message.as_bytes() == envelope.content
    assert b"=?" not in envelope.content
    assert read(envelope)["References"] == references
    assert max(map(len, envelope.content.split(b"\r\n"))) <= 998


@settings(deadline=None)
@given(ANY_LINE)
def test_any_line_survives_as_a_name(name: str) -> None:
    _, envelope = send(sender=Address(name, "shop", "example.org"))

    (address,) = read(envelope)["From"].addresses
    assert address.addr_spec == "shop@example.org"
    name = " ".join(name.split())
    if address.display_name != name:
        # Before 3.13.2 Python reads a blank between two encoded words of a name,
        # against RFC 2047, section 6.2; its older reader knows better.
        raw = email.message_from_bytes(envelope.content)["From"]
        assert raw.count("=?utf-8?") > 1
        read_well = str(email.header.make_header(email.header.decode_header(raw)))
        assert read_well == f"{name} <shop@example.org>"


@settings(deadline=None)
@given(st.text() | TRICKY | st.text("\r\n .-\t\0", max_size=99))
def test_any_text_survives_in_the_body_or_is_refused(body: str) -> None:
    message = receive(text=body, rich=body, attachments=[Attachment("a.txt", body)])

    text = re.sub(r"\r\n?", "\n", body)
    text = text if text.endswith("\n") else f"{text}\n"
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        assert part.get_content().replace("\r\n", "\n") == text
    (attached,) = message.iter_attachments()
    assert attached.get_payload(decode=True) == body.encode()


@settings(deadline=None)
@given(ANY_LINE)
def test_any_file_name_survives_or_is_refused(name: str) -> None:
    if not name.strip() or len(name.encode()) > 255:
        with pytest.raises(MessageError):
            receive(attachments=[Attachment(name, b"x")])
        return

    (attached,) = receive(attachments=[Attachment(name, b"x")]).iter_attachments()

    # get_filename() would take more quotes off, '<' and '>' too.
    assert attached["Content-Disposition"].params["filename"] == name.strip()


@settings(deadline=None)
@given(st.text(max_size=9), st.sampled_from("\0\n\r\x0b\x1b\x85\u2028"), st.text())
def test_a_control_character_is_refused_wherever_it_stands(
    before: str, control: str, after: str
) -> None:
    text = f"{before}{control}{after}"

    for arguments in (
        {"subject": text},
        {"headers": {"X-Note": text}},
        {"headers": {f"X{text}": "a"}},
        {"attachments": [Attachment(text, b"")]},
        {"sender": f"a{text}b <shop@example.org>"},
        {"receivers": f"a{text}b@example.org"},
    ):
        with pytest.raises(MessageError):
            send(**arguments)


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("a1.-@<>\" ,ü\n\\=?'[]:", max_size=40))
def test_any_text_is_one_address_that_arrives_or_is_refused(text: str) -> None:
    try:
        _, envelope = send(receivers=text)
    except MessageError:
        return
    (address,) = read(envelope)["To"].addresses

    assert (address.addr_spec,) == envelope.receivers
    assert not re.search(r"[\s<>,\x00-\x20]", envelope.receivers[0])
