"""Objects on real servers, what boto 2 says of them, and what goes wrong."""

import contextlib
import datetime
import hashlib
import http.server
import io
import json
import pathlib
import random
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Iterator

import boto3
import botocore.auth
import botocore.config
import pytest

import quorum
from tests.conftest import MakeApp
from tests.contract_amazon import ODD_NAMES, PART, AmazonContract
from tests.cutting import Cutter
from tests.processes import free_port
from tests.servers import S3Server, SwiftServer

Store: t.TypeAlias = S3Server | SwiftServer


def variables(server: Store, **more: t.Any) -> dict[str, t.Any]:
    return {
        "AMAZON_ID": server.access_key,
        "AMAZON_SECRET": server.secret_key,
        "AMAZON_BUCKET": "shop",
        "AMAZON_REGION": server.region,
        "AMAZON_ENDPOINT": server.url,
        "AMAZON_TIMEOUT": 5,
        **more,
    }


@contextlib.contextmanager
def opened(server: Store) -> Iterator[t.Any]:
    """Open a client of boto3 that is not quorum's."""
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=botocore.config.Config(signature_version="s3v4"),
    )
    with contextlib.closing(client):
        yield client


def make_bucket(server: Store) -> None:
    """Make the bucket, or empty it."""
    with opened(server) as client:
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket="shop")
        for upload in client.list_multipart_uploads(Bucket="shop").get("Uploads", ()):
            client.abort_multipart_upload(
                Bucket="shop", Key=upload["Key"], UploadId=upload["UploadId"]
            )
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="shop"):
            for item in page.get("Contents", ()):
                client.delete_object(Bucket="shop", Key=item["Key"])


@pytest.fixture
def swift(swift_server: SwiftServer) -> SwiftServer:
    make_bucket(swift_server)
    return swift_server


class TestSwift(AmazonContract):
    @pytest.fixture
    def bucket(self, swift: SwiftServer, make_app: MakeApp) -> quorum.AmazonBucket:
        make_app(**variables(swift))
        return quorum.get_amazon_bucket()

    def test_a_url_lets_anybody_in_for_a_time(self) -> None:
        key = quorum.get_amazon_key("letters/ä b.txt")
        key.set_contents_from_string(b"content")

        with urllib.request.urlopen(key.generate_url(60)) as answer:
            content = answer.read()
        request = urllib.request.Request(
            key.generate_url(60, "PUT"),
            b"other",
            {"Content-Type": "text/plain"},
            method="PUT",
        )
        urllib.request.urlopen(request).close()

        assert content == b"content"
        assert key.get_contents_as_string() == b"other"

    def test_a_url_is_good_for_its_time_and_its_method_only(self) -> None:
        key = quorum.get_amazon_key("a")
        key.set_contents_from_string(b"content")
        short, put = key.generate_url(1), key.generate_url(60, "PUT")
        time.sleep(2.5)

        for url in (short, put):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(url)
            assert caught.value.code == 403
            caught.value.close()

    def test_the_wrong_secret_is_refused_and_not_shown(
        self, swift: SwiftServer, make_app: MakeApp
    ) -> None:
        quorum.unload()
        make_app(**variables(swift, AMAZON_SECRET="wrong-sesame"))
        key = quorum.get_amazon_key("letters/1")

        for call in (
            key.exists,
            key.delete,
            key.get_contents_as_string,
            lambda: key.set_contents_from_string(b"1"),
            lambda: key.set_contents_from_string(bytes(PART)),
            lambda: list(quorum.get_amazon_bucket().list("letters/1")),
        ):
            with pytest.raises(quorum.ServiceRefusedError, match="keys are not") as it:
                call()
            assert "/shop: 'letters/1': " in str(it.value)
            assert "sesame" not in str(it.value)

    def test_a_bucket_that_is_missing_is_named(
        self, swift: SwiftServer, make_app: MakeApp
    ) -> None:
        quorum.unload()
        make_app(**variables(swift, AMAZON_BUCKET="no-bucket"))
        key = quorum.get_amazon_key("letters/1")

        for call in (
            key.exists,
            key.get_contents_as_string,
            lambda: key.set_contents_from_string(b"1"),
            lambda: key.set_contents_from_string(bytes(PART)),
            quorum.clear_amazon_bucket,
        ):
            with pytest.raises(
                quorum.ServiceRefusedError, match="no such bucket"
            ) as it:
                call()
            assert "/no-bucket: " in str(it.value)

    def test_a_clock_that_is_wrong_is_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = botocore.auth.get_current_datetime

        def late(*arguments: t.Any, **options: t.Any) -> t.Any:
            return now(*arguments, **options) - datetime.timedelta(hours=2)

        monkeypatch.setattr(botocore.auth, "get_current_datetime", late)

        with pytest.raises(quorum.ServiceRefusedError, match="clock") as caught:
            quorum.get_amazon_key("letters/1").set_contents_from_string(b"1")

        assert "'letters/1'" in str(caught.value)

    def test_what_others_named_with_a_control_character_is_listed_and_cleared(
        self,
    ) -> None:
        client: t.Any = quorum.get_amazon()
        for name in ("a\x01b", "a\x02b", "b"):
            client.put_object(Bucket="shop", Key=name, Body=b"")

        assert self.names() == ["a\x01b", "a\x02b", "b"]
        quorum.clear_amazon_bucket()
        assert self.names() == []


class TestMoto(AmazonContract):
    @pytest.fixture
    def bucket(self, s3_server: S3Server, make_app: MakeApp) -> quorum.AmazonBucket:
        make_bucket(s3_server)
        make_app(**variables(s3_server))
        return quorum.get_amazon_bucket()

    def test_more_objects_than_a_page_are_listed_and_cleared(self) -> None:
        # Upstream cleared the first 1000, and left the others.
        client: t.Any = quorum.get_amazon()

        def put(start: int) -> None:
            for number in range(start, 1010, 4):
                client.put_object(Bucket="shop", Key=f"{number:04}", Body=b"")

        threads = [threading.Thread(target=put, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert self.names() == [f"{number:04}" for number in range(1010)]
        quorum.clear_amazon_bucket()
        assert self.names() == []


def test_a_region_that_is_not_the_buckets_is_named(
    swift: SwiftServer, make_app: MakeApp
) -> None:
    make_app(**(variables(swift) | {"AMAZON_REGION": "eu-central-1"}))

    with pytest.raises(quorum.ServiceRefusedError, match=r"'a': .*AMAZON_REGION"):
        quorum.get_amazon_bucket().get_key("a")
    # Asked for the bucket, the server names its region, and boto3 goes on with that.
    assert quorum.check_services()["amazon"] is None
    assert quorum.get_amazon_bucket().get_key("a") is None


# What boto 2 itself does, in a process of its own: it is too old for our warnings.

BOTO = """
import json, sys
import boto
from boto.s3.connection import OrdinaryCallingFormat, S3Connection

host, port, key, secret, names = json.load(sys.stdin)
connection = S3Connection(
    key, secret, host=host, port=port, is_secure=False,
    calling_format=OrdinaryCallingFormat(),
)
bucket = connection.get_bucket("shop")
for name in names:
    written = bucket.new_key("boto/" + name)
    written.content_type = "text/x-boto"
    written.set_metadata("owner", "Ann \\u00e9  x")
    written.set_contents_from_string(name.encode() * 3)
found = []
for item in bucket.list():
    whole = bucket.get_key(item.name)
    found.append([
        item.name, whole.get_contents_as_string().decode("latin-1"), item.etag,
        whole.etag, whole.size, whole.content_type, whole.metadata,
    ])
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", ["swift", "moto"])
def test_boto_2_and_quorum_see_the_same(
    kind: str, request: pytest.FixtureRequest, make_app: MakeApp
) -> None:
    name = "swift_server" if kind == "swift" else "s3_server"
    server: Store = request.getfixturevalue(name)
    make_bucket(server)
    make_app(**variables(server))
    # boto 2 itself cannot send dots alone, and moto takes no leading slash from it.
    odd = {"/", "/a", "/etc/passwd", ".", "..", "a//b"}
    names = [item for item in ODD_NAMES if item not in odd and len(item) < 500]
    for item in names:
        key = quorum.get_amazon_key(f"quorum/{item}")
        key.content_type = "text/x-quorum"
        key.metadata = {"owner": "Ann é  x", "share": "100%41"}
        key.set_contents_from_string(item.encode() * 3)

    # moto takes a signature with four slashes, as one in 1,600 has, for one of a newer
    # kind, and answers 500. With more slashes it does not; and it checks none.
    login = "quorum/////" if kind == "moto" else server.access_key
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BOTO],
        input=json.dumps([server.host, server.port, login, server.secret_key, names]),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    ours = []
    for listed in quorum.get_amazon_bucket().list():
        whole = quorum.get_amazon_bucket().get_key(listed.name)
        assert whole is not None
        content = whole.get_contents_as_string().decode("latin-1")
        facts = (listed.etag, whole.etag, whole.size, whole.content_type)
        ours.append([listed.name, content, *facts, whole.metadata])
    assert len(ours) == 2 * len(names)
    assert json.loads(done.stdout) == ours


# Memory.

STREAM = """
import json, resource, sys, quorum

SIZE = 1024 * 1024 * 1024

class Source:
    left = SIZE
    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        return bytes(size)

class Sink:
    taken = 0
    def write(self, data):
        self.taken += len(data)
        return len(data)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

quorum.load(name="shop", **json.load(sys.stdin))
key = quorum.get_amazon_key("huge")
key.set_contents_from_string(b"warm")
before = peak()
key.set_contents_from_file(Source())
up = peak()
sink = Sink()
key.get_contents_to_file(sink)
assert sink.taken == key.size == SIZE
print(before, up, peak())
"""


def test_a_gibibyte_goes_through_in_a_hundred_mebibytes(
    swift: SwiftServer, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        # The peak of who starts a program counts as the program's: here that of sh.
        ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, STREAM],
        input=json.dumps(variables(swift, AMAZON_TIMEOUT=60)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    before, up, down = map(int, done.stdout.split())
    make_bucket(swift)
    with capsys.disabled():
        sys.stdout.write(f"\n1 GiB: {before} MiB before, {up} up, {down} down\n")
    assert down - before <= 48


# Connections that break.


@pytest.fixture
def cutter(swift: SwiftServer, make_app: MakeApp) -> Iterator[Cutter]:
    with Cutter(swift.port) as cutter:
        endpoint = f"http://127.0.0.1:{cutter.port}"
        make_app(**variables(swift, AMAZON_ENDPOINT=endpoint))
        yield cutter
        quorum.unload()


def seen_by_others(server: Store) -> dict[str, bytes]:
    with opened(server) as client:
        items = client.list_objects_v2(Bucket="shop").get("Contents", ())
        assert not client.list_multipart_uploads(Bucket="shop").get("Uploads")
        return {
            item["Key"]: client.get_object(Bucket="shop", Key=item["Key"])[
                "Body"
            ].read()
            for item in items
        }


CONTENT = random.Random(2).randbytes(2 * PART + 1000)


@pytest.mark.parametrize("content", [CONTENT[:500_000], CONTENT], ids=["one", "parts"])
def test_a_connection_that_breaks_in_mid_upload_is_replaced(
    cutter: Cutter, swift: SwiftServer, content: bytes
) -> None:
    # In parts, the first connection begins the upload, and may do no more.
    cutter.cuts = [("up", 300_000)] * 2

    quorum.get_amazon_key("a").set_contents_from_string(content)

    assert cutter.done >= 1
    assert seen_by_others(swift) == {"a": content}


@pytest.mark.parametrize("content", [CONTENT[:500_000], CONTENT], ids=["one", "parts"])
def test_an_upload_that_cannot_be_finished_leaves_nothing(
    cutter: Cutter, swift: SwiftServer, content: bytes
) -> None:
    quorum.get_amazon_key("a").set_contents_from_string(b"before")
    cutter.cuts = [("up", 300_000)] * 30
    cutter._open[0].shutdown(2)  # the connection that is kept

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        quorum.get_amazon_key("a").set_contents_from_string(content)

    assert "/shop: 'a': " in str(caught.value)
    cutter.cuts = []
    assert seen_by_others(swift) == {"a": b"before"}
    quorum.get_amazon_key("a").set_contents_from_string(content)
    assert seen_by_others(swift) == {"a": content}


def test_a_connection_that_breaks_in_mid_download_is_replaced(
    cutter: Cutter, tmp_path: pathlib.Path
) -> None:
    key = quorum.get_amazon_key("a")
    key.set_contents_from_string(CONTENT[:5_000_000])
    cutter._open[0].shutdown(2)
    cutter.cuts = [("down", 2_000_000), ("down", 1_500_000)]

    key.get_contents_to_filename(tmp_path / "target")

    assert cutter.done == 2
    assert (tmp_path / "target").read_bytes() == CONTENT[:5_000_000]


def test_a_download_that_cannot_be_finished_leaves_the_file(
    cutter: Cutter, tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    key = quorum.get_amazon_key("a")
    key.set_contents_from_string(CONTENT[:5_000_000])
    cutter._open[0].shutdown(2)
    cutter.cuts = [("down", 100_000)] * 30

    for read in (
        lambda: key.get_contents_to_filename(target),
        key.get_contents_as_string,
    ):
        with pytest.raises(quorum.ServiceUnavailableError, match="/shop: 'a': "):
            read()

    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


# What a server says that is ill, or lies.


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers what the test has put into the server."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        server: t.Any = self.server
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.requests.append((self.command, dict(self.headers)))
        status, headers, body = server.answers[
            min(len(server.requests), len(server.answers)) - 1
        ]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def scripted(make_app: MakeApp) -> Iterator[t.Any]:
    server: t.Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.requests, server.answers = [], []
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    make_app(
        AMAZON_ID="shop",
        AMAZON_SECRET="sesame-open",
        AMAZON_BUCKET="shop",
        AMAZON_REGION="us-east-1",
        AMAZON_ENDPOINT=f"http://127.0.0.1:{server.server_port}",
        AMAZON_TIMEOUT=2,
    )
    yield server
    quorum.unload()
    server.shutdown()
    server.server_close()


def fault(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    text = f"<Error><Code>{code}</Code><Message>Told so</Message></Error>"
    return status, {"Content-Type": "application/xml"}, text.encode()


def content(body: bytes, etag: str) -> tuple[int, dict[str, str], bytes]:
    when = "Sun, 22 Nov 2026 10:00:00 GMT"
    return 200, {"ETag": etag, "Last-Modified": when}, body


SLOW = fault(503, "SlowDown")


def test_a_server_that_is_overrun_is_tried_again(scripted: t.Any) -> None:
    scripted.answers = [SLOW, (200, {"ETag": '"e"'}, b"")]

    quorum.get_amazon_key("a").set_contents_from_string(b"1")

    assert len(scripted.requests) == 2


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", quorum.ServiceUnavailableError),
        (500, "InternalError", quorum.ServiceUnavailableError),
        (400, "RequestTimeout", quorum.ServiceUnavailableError),
        (400, "BadDigest", quorum.ServiceUnavailableError),
        (400, "XAmzContentSHA256Mismatch", quorum.ServiceUnavailableError),
        (404, "NoSuchUpload", quorum.ServiceUnavailableError),
        (429, "TooManyRequests", quorum.ServiceUnavailableError),
        (403, "RequestTimeTooSkewed", quorum.ServiceRefusedError),
        (403, "AccessDenied", quorum.ServiceRefusedError),
        (400, "EntityTooLarge", quorum.ServiceRefusedError),
        (404, "NoSuchBucket", quorum.ServiceRefusedError),
    ],
)
def test_what_a_server_says_is_one_of_two_errors(
    scripted: t.Any, status: int, code: str, kind: type[quorum.ServiceError]
) -> None:
    scripted.answers = [fault(status, code)]

    with pytest.raises(kind) as caught:
        quorum.get_amazon_key("letters/1").set_contents_from_string(b"1")

    assert "/shop: 'letters/1': " in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_an_object_that_may_not_be_deleted_is_named(scripted: t.Any) -> None:
    listing = (
        "<ListBucketResult><IsTruncated>false</IsTruncated>"
        + "".join(
            f"<Contents><Key>{name}</Key><Size>1</Size><ETag>e</ETag>"
            "<LastModified>2026-11-22T10:00:00.000Z</LastModified></Contents>"
            for name in "ab"
        )
        + "</ListBucketResult>"
    )
    result = (
        "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code>"
        "<Message>Told so</Message></Error></DeleteResult>"
    )
    scripted.answers = [(200, {}, listing.encode()), (200, {}, result.encode())]

    with pytest.raises(quorum.ServiceRefusedError, match="'b': Told so"):
        quorum.clear_amazon_bucket()


def test_content_that_was_changed_on_the_way_is_not_taken(
    scripted: t.Any, tmp_path: pathlib.Path
) -> None:
    etag = f'"{hashlib.md5(b"stored").hexdigest()}"'
    scripted.answers = [content(b"chaned", etag)]

    for read in (
        quorum.get_amazon_key("a").get_contents_as_string,
        lambda: quorum.get_amazon_key("a").get_contents_to_filename(tmp_path / "a"),
    ):
        with pytest.raises(quorum.ServiceUnavailableError, match="'a': what arrived"):
            read()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("etag", "more"),
    [
        ('"d41d8cd98f00b204e9800998ecf8427e-2"', {}),
        (
            '"d41d8cd98f00b204e9800998ecf8427e"',
            {"x-amz-server-side-encryption": "aws:kms"},
        ),
    ],
)
def test_an_etag_that_is_no_hash_of_the_content_is_not_compared(
    scripted: t.Any, etag: str, more: dict[str, str]
) -> None:
    status, headers, body = content(b"stored", etag)
    scripted.answers = [(status, {**headers, **more}, body)]

    assert quorum.get_amazon_key("a").get_contents_as_string() == b"stored"


def test_an_upload_tells_the_server_its_hash(scripted: t.Any) -> None:
    scripted.answers = [(200, {"ETag": '"e"'}, b"")]

    quorum.get_amazon_key("a").set_contents_from_string(b"content")

    ((_, headers),) = scripted.requests
    assert headers["X-Amz-Content-SHA256"] == hashlib.sha256(b"content").hexdigest()


def test_a_rest_that_is_not_the_rest_is_not_taken(scripted: t.Any) -> None:
    status, headers, whole = content(b"0123456789", '"of-parts-2"')
    broken = {**headers, "Content-Length": "10", "Connection": "close"}
    scripted.answers = [(status, broken, whole[:5]), (status, headers, whole)]

    with pytest.raises(quorum.ServiceUnavailableError, match="'a': what arrived"):
        quorum.get_amazon_key("a").get_contents_as_string()

    assert scripted.requests[1][1]["Range"] == "bytes=5-"


def test_a_server_that_is_not_there_is_named(make_app: MakeApp) -> None:
    port = free_port()
    make_app(**variables(S3Server(), AMAZON_ENDPOINT=f"http://127.0.0.1:{port}"))

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        quorum.get_amazon_key("letters/1").set_contents_from_file(io.BytesIO(b"1"))

    assert f"127.0.0.1:{port}/shop: 'letters/1': " in str(caught.value)
