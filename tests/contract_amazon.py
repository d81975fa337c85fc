"""What every store of objects promises: the folder, and real servers."""

import datetime
import hashlib
import io
import pathlib
import random
import string
import typing as t

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import quorum

#: What a part has at least; anything larger goes up in several.
PART = 12 * 1024 * 1024

CONTROLS = {"min_codepoint": 0x20, "exclude_categories": ["Cs", "Cc"]}
NAMES = st.text(
    st.characters(**t.cast(t.Any, CONTROLS), exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=200,
).filter(lambda name: len(name.encode()) <= 1024)
METADATA = st.dictionaries(
    st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    max_size=4,
)

some = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
)

ODD_NAMES = [
    *("a", "a/b", "a/b/c", "A", "a//b", "/a", "a/", "/", ".", "..", "../../x"),
    *("a/../../b", "./a", "/etc/passwd", "~", "-", "a b", " ", "a+b", "a%2Fb"),
    *("?q=1&x", "#h", "'\"<>&", "ümläut €", "n" * 1024, "é" * 512, "\U0001f600"),
    *("con", "nul.txt", "a\\b", "C:x", "*", "\u00e9", "e\u0301"),
]


class AmazonContract:
    """Tests that need the fixture ``bucket``: an app with an empty bucket."""

    @pytest.fixture(autouse=True)
    def use(self, bucket: quorum.AmazonBucket) -> None:
        self.shop = bucket

    @pytest.fixture
    def own(self, tmp_path: pathlib.Path) -> pathlib.Path:
        folder = tmp_path / "own"
        folder.mkdir()
        return folder

    def names(self, prefix: str = "") -> list[str]:
        return [key.name for key in self.shop.list(prefix)]

    def test_what_was_written_is_read(self) -> None:
        key = quorum.get_amazon_key("letters/1.txt")

        size = key.set_contents_from_string("Grüße")

        again = quorum.get_amazon_key("letters/1.txt")
        assert size == 7
        assert again.get_contents_as_string() == "Grüße".encode()
        assert again.get_contents_as_string(encoding="utf-8") == "Grüße"
        assert again.etag == f'"{hashlib.md5("Grüße".encode()).hexdigest()}"'
        assert again.etag == key.etag
        assert again.size == 7

    def test_nothing_is_known_of_a_key_before_it_was_seen(self) -> None:
        key = quorum.get_amazon_key("a")

        assert (key.size, key.etag, key.last_modified, key.metadata) == (
            None,
            None,
            None,
            {},
        )
        assert repr(key) == "<AmazonKey 'a'>"

    def test_exists_tells_what_is_known(self) -> None:
        key = quorum.get_amazon_key("a")
        assert not key.exists()
        assert not quorum.exists_amazon_key("a")
        assert self.shop.get_key("a") is None
        key.content_type = "text/x-shop"
        key.metadata = {"Owner": "Ann"}
        key.set_contents_from_string(b"content")

        found = self.shop.get_key("a")

        assert quorum.exists_amazon_key("a")
        assert found is not None
        assert (found.size, found.etag) == (7, key.etag)
        assert found.content_type == "text/x-shop"
        assert found.metadata == key.metadata == {"owner": "Ann"}
        assert found.last_modified is not None
        now = datetime.datetime.now(datetime.UTC)
        assert abs(now - found.last_modified) < datetime.timedelta(minutes=2)

    def test_an_object_that_is_written_again_is_another(self) -> None:
        key = quorum.get_amazon_key("a")
        key.metadata = {"first": "1"}
        key.set_contents_from_string(b"first, and longer")

        quorum.get_amazon_key("a").set_contents_from_string(b"second")

        found = self.shop.get_key("a")
        assert found is not None
        assert found.get_contents_as_string() == b"second"
        assert (found.size, found.metadata) == (6, {})

    def test_an_empty_object_is_one(self) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"")

        assert quorum.get_amazon_key("a").get_contents_as_string() == b""
        assert quorum.exists_amazon_key("a")

    def test_the_content_type_is_guessed_from_the_file(
        self, tmp_path: pathlib.Path
    ) -> None:
        path = tmp_path / "ann.png"
        path.write_bytes(b"png")
        guessed, given, unknown = (quorum.get_amazon_key(name) for name in "abc")
        given.content_type = "image/x-own"

        guessed.set_contents_from_filename(path)
        given.set_contents_from_filename(str(path))
        unknown.set_contents_from_string(b"png")

        found = [self.shop.get_key(name) for name in "abc"]
        assert [key.content_type for key in found if key] == [
            "image/png",
            "image/x-own",
            "application/octet-stream",
        ]

    def test_a_file_goes_from_its_position_and_stays_open(self) -> None:
        file = io.BytesIO(b"0123456789")
        file.seek(4)

        size = quorum.get_amazon_key("a").set_contents_from_file(file)

        target = io.BytesIO(b"")
        quorum.get_amazon_key("a").get_contents_to_file(target)
        assert (size, target.getvalue()) == (6, b"456789")
        assert not file.closed
        assert not target.closed

    def test_a_large_object_goes_through_in_parts(self, own: pathlib.Path) -> None:
        content = random.Random(1).randbytes(2 * PART + 5)
        source, target = own / "source", own / "target"
        source.write_bytes(content)
        key = quorum.get_amazon_key("large")
        key.metadata = {"a": "1"}
        key.content_type = "text/plain"

        size = key.set_contents_from_filename(source)
        key.get_contents_to_filename(target)

        assert size == len(content)
        assert target.read_bytes() == content
        assert key.metadata == {"a": "1"}
        assert key.content_type == "text/plain"
        assert [found.size for found in self.shop.list()] == [len(content)]
        assert sorted(own.iterdir()) == [source, target]

    def test_a_source_may_give_its_content_in_small_pieces(self) -> None:
        class Slow(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(min(size or 0, 3))

        quorum.get_amazon_key("a").set_contents_from_file(Slow(b"0123456789"))

        assert quorum.get_amazon_key("a").get_contents_as_string() == b"0123456789"

    def test_a_source_that_fails_leaves_the_object_as_it_was(self) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                piece = super().read(size)
                if not piece:
                    raise ValueError("the source fails")
                return piece

        key = quorum.get_amazon_key("a")
        key.set_contents_from_string(b"before")

        with pytest.raises(ValueError, match="the source fails"):
            key.set_contents_from_file(Failing(bytes(PART)))

        assert key.get_contents_as_string() == b"before"
        assert self.names() == ["a"]

    def test_deleting_is_done_once_and_asked_for_often(self) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"1")

        for _ in range(2):
            quorum.delete_amazon_key("a")
            self.shop.delete_key("a")

        assert not quorum.exists_amazon_key("a")

    def test_no_object_is_an_error_that_names_it(self, own: pathlib.Path) -> None:
        target = own / "target"
        target.write_bytes(b"before")
        key = quorum.get_amazon_key("letters/none")

        for read in (
            key.get_contents_as_string,
            lambda: key.get_contents_to_filename(target),
        ):
            with pytest.raises(quorum.ServiceRefusedError) as caught:
                read()
            assert "'letters/none': there is no such key" in str(caught.value)
            assert self.shop.name in str(caught.value)

        assert target.read_bytes() == b"before"
        assert list(own.iterdir()) == [target]

    def test_any_name_is_one_object_and_the_listing_is_in_order(self) -> None:
        for name in ODD_NAMES:
            quorum.get_amazon_key(name).set_contents_from_string(name)

        assert self.names() == sorted(ODD_NAMES, key=str.encode)
        for name in ODD_NAMES:
            found = quorum.get_amazon_key(name).get_contents_as_string()
            assert found == name.encode()

    def test_a_prefix_chooses(self) -> None:
        for name in ("a", "a/b", "a/c", "ab", "b"):
            quorum.get_amazon_key(name).set_contents_from_string(name)

        assert self.names("a/") == ["a/b", "a/c"]
        assert self.names("a") == ["a", "a/b", "a/c", "ab"]
        assert self.names("c") == []
        (key,) = self.shop.list("b")
        assert (key.size, key.get_contents_as_string()) == (1, b"b")
        assert key.last_modified is not None

    def test_the_bucket_is_cleared(self) -> None:
        for name in ("a", "a/b", "b"):
            quorum.get_amazon_key(name).set_contents_from_string(name)

        quorum.clear_amazon_bucket()
        quorum.clear_amazon_bucket()

        assert self.names() == []
        assert quorum.get_amazon_bucket().name == self.shop.name

    @some
    @given(NAMES, METADATA, st.binary(max_size=2000))
    @example("a", {"a": "100%41 %zz", "b": " x  y "}, b"")
    def test_names_metadata_and_bodies_survive(
        self, name: str, metadata: dict[str, str], body: bytes
    ) -> None:
        key = quorum.get_amazon_key(name)
        key.metadata = metadata
        if sum(len(k) + 12 * len(v) for k, v in metadata.items()) > 2048:
            return

        key.set_contents_from_string(body)

        found = self.shop.get_key(name)
        assert found is not None
        assert found.metadata == metadata
        assert found.get_contents_as_string() == body
        assert found.metadata == metadata
        assert name in self.names(name)

    @some
    @given(
        st.one_of(
            st.just(""),
            st.builds(
                "{}{}{}".format,
                NAMES,
                st.sampled_from("\x00\x01\n\r\x7f\x85\ud800\udfff\ufffe\uffff"),
                NAMES,
            ),
            st.text("aé€", min_size=1025, max_size=1100),
        )
    )
    def test_a_name_that_cannot_be_is_refused(self, name: str) -> None:
        with pytest.raises(quorum.ServiceRefusedError, match="name has"):
            quorum.get_amazon_key(name)
        with pytest.raises(quorum.ServiceRefusedError, match="name has"):
            quorum.delete_amazon_key(name)

    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            ({"a b": "1"}, "the name 'a b'"),
            ({"": "1"}, "the name ''"),
            ({"a\n": "1"}, "the name"),
            ({"ä": "1"}, "the name"),
            ({"a": "\ud800"}, "cannot be encoded"),
            ({"a": "1", "A": "2"}, "case only"),
            ({"a": "x" * 2048}, "more than 2048 bytes"),
            ({"a": 1}, "the metadata 'a' are not text"),
            ({1: "a"}, "the metadata 1 are not text"),
        ],
    )
    def test_metadata_that_cannot_be_are_refused(
        self, metadata: dict[t.Any, t.Any], reason: str
    ) -> None:
        key = quorum.get_amazon_key("a")
        key.metadata = metadata

        with pytest.raises(quorum.ServiceRefusedError, match=reason):
            key.set_contents_from_string(b"1")

        assert not key.exists()

    @pytest.mark.parametrize("kind", ["text/plain\r\nx: y", " text", "täxt", "a\x00"])
    def test_a_content_type_that_cannot_be_is_refused(self, kind: str) -> None:
        key = quorum.get_amazon_key("a")
        key.content_type = kind

        with pytest.raises(quorum.ServiceRefusedError, match="content type"):
            key.set_contents_from_string(b"1")

    @pytest.mark.parametrize(
        ("seconds", "method"),
        [
            (0, "GET"),
            (604801, "GET"),
            (60.0, "GET"),
            ("60", "GET"),
            (True, "GET"),
            (60, "POST"),
            (60, "get"),
        ],
    )
    def test_a_url_that_cannot_be_is_refused(self, seconds: t.Any, method: str) -> None:
        with pytest.raises(quorum.ServiceRefusedError, match="a URL is good for"):
            quorum.get_amazon_key("a").generate_url(seconds, method)
