"""Objects in a folder, and what concerns every store."""

import io
import os
import pathlib
import subprocess
import sys
import threading

import pytest

import quorum
from quorum import amazon
from quorum.engines.folder import AmazonFolder
from quorum.state import get_handle
from tests.conftest import MakeApp
from tests.contract_amazon import AmazonContract

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "objects of mine"


@pytest.fixture
def bucket(make_app: MakeApp, folder: pathlib.Path) -> quorum.AmazonBucket:
    make_app(
        AMAZON_ENDPOINT=f"file:{str(folder).replace(' ', '%20')}", AMAZON_BUCKET="shop"
    )
    return quorum.get_amazon_bucket()


def everything(folder: pathlib.Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class TestFolder(AmazonContract):
    def test_no_name_leaves_the_folder(
        self, folder: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.write_bytes(b"mine")
        names = ["../outside", "../../outside", str(outside), "x/../../outside", ".."]

        for name in names:
            assert not quorum.exists_amazon_key(name)
            quorum.get_amazon_key(name).set_contents_from_string(b"yours")
            quorum.delete_amazon_key(name)

        assert outside.read_bytes() == b"mine"
        assert everything(tmp_path) == {"outside", folder.name, f"{folder.name}/shop"}

    @pytest.mark.parametrize("link", ["file", "folder", "nowhere"])
    def test_a_symbolic_link_is_no_object_and_is_not_followed(
        self, folder: pathlib.Path, tmp_path: pathlib.Path, link: str
    ) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"object")
        (path,) = (folder / "shop").iterdir()
        outside = tmp_path / link
        if link == "folder":
            outside.mkdir()
        elif link == "file":
            outside.write_bytes(path.read_bytes())
        path.unlink()
        path.symlink_to(outside)

        assert not quorum.exists_amazon_key("a")
        assert self.names() == []
        quorum.get_amazon_key("a").set_contents_from_string(b"mine")

        assert quorum.get_amazon_key("a").get_contents_as_string() == b"mine"
        assert not path.is_symlink()
        assert b"mine" not in outside.read_bytes() if link == "file" else True

    def test_files_of_others_are_no_objects(self, folder: pathlib.Path) -> None:
        for name, content in {
            "README": b"read me",
            ".abc.part": b"",
            "long": bytes(100),
            "odd": b"[]" + (2).to_bytes(8, "big") + b"quorum-1",
            "far": b"[]" + (200).to_bytes(8, "big") + b"quorum-1",
            "numbers": b"[1, 2, 3]" + (9).to_bytes(8, "big") + b"quorum-1",
        }.items():
            (folder / "shop" / name).write_bytes(content)
        (folder / "shop" / "sub").mkdir()

        assert self.names() == []

    def test_a_copy_of_an_object_is_none(self, folder: pathlib.Path) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"object")
        (path,) = (folder / "shop").iterdir()
        path.with_name("backup").write_bytes(path.read_bytes())

        assert self.names() == ["a"]
        quorum.clear_amazon_bucket()

        assert self.names() == []

    def test_an_object_that_lacks_a_part_is_none(self, folder: pathlib.Path) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"object")
        (path,) = (folder / "shop").iterdir()
        path.write_bytes(path.read_bytes()[3:])

        with pytest.raises(quorum.ServiceRefusedError, match="'a': there is no such"):
            quorum.get_amazon_key("a").get_contents_as_string()

    def test_a_pipe_is_no_object_and_is_not_waited_for(
        self, folder: pathlib.Path
    ) -> None:
        os.mkfifo(folder / "shop" / "pipe")
        names: list[str] = []
        looking = threading.Thread(target=lambda: names.extend(["-", *self.names()]))

        looking.start()
        looking.join(30)

        waited = looking.is_alive()
        if waited:  # lets the thread end
            os.close(os.open(folder / "shop" / "pipe", os.O_RDWR | os.O_NONBLOCK))
        assert (waited, names) == (False, ["-"])

    def test_what_is_half_written_is_not_seen(self, folder: pathlib.Path) -> None:
        quorum.get_amazon_key("a").set_contents_from_string(b"before")
        seen: list[object] = []

        names = self.names

        class Watched(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                found = quorum.get_amazon_key("a").get_contents_as_string()
                seen.append((found, names()))
                return super().read(size)

        quorum.get_amazon_key("a").set_contents_from_file(Watched(b"after"))

        assert seen == [(b"before", ["a"])] * 2
        assert len(list((folder / "shop").iterdir())) == 1

    def test_what_is_replaced_or_deleted_can_be_read_to_its_end(self) -> None:
        key = quorum.get_amazon_key("a")
        key.set_contents_from_string(b"x" * (3 * 1024 * 1024))
        engine = get_handle(amazon.SERVICE).engine

        _, chunks = engine.read("a")
        first = next(chunks)
        key.set_contents_from_string(b"other")
        key.delete()

        assert first + b"".join(chunks) == b"x" * (3 * 1024 * 1024)

    def test_two_processes_and_many_threads_see_whole_objects_only(
        self, folder: pathlib.Path
    ) -> None:
        program = "import sys; from tests.test_amazon import write_many as f; "
        command = [sys.executable, "-c", f"{program}f(sys.argv[1], 100)", str(folder)]
        process = subprocess.Popen(command, cwd=ROOT)
        threads = [
            threading.Thread(target=write_many, args=(str(folder), number))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        seen = set()
        while process.poll() is None or any(item.is_alive() for item in threads):
            key = self.shop.get_key("a")
            if key is not None:
                content = key.get_contents_as_string()
                assert len(set(content)) == 1
                assert len(content) == int(key.metadata["size"])
                seen.add(content[:1])

        assert process.returncode == 0
        assert seen
        assert self.names() == ["a"]
        assert len(list((folder / "shop").iterdir())) == 1

    def test_what_only_a_server_can_do_is_an_error(self) -> None:
        with pytest.raises(quorum.UnsupportedError, match="get_amazon_key"):
            quorum.get_amazon()
        with pytest.raises(quorum.UnsupportedError, match="which nobody serves"):
            quorum.get_amazon_key("a").generate_url(60)

    def test_a_folder_that_is_gone_is_an_error(self, folder: pathlib.Path) -> None:
        (folder / "shop").rmdir()

        with pytest.raises(quorum.ServiceRefusedError, match="the folder is not there"):
            get_handle(amazon.SERVICE).engine.ping()
        with pytest.raises(quorum.ServiceUnavailableError, match="'a': No such file"):
            quorum.get_amazon_key("a").set_contents_from_string(b"1")

    def test_a_full_disk_is_an_error_and_leaves_the_object(
        self, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = quorum.get_amazon_key("a")
        key.set_contents_from_string(b"before")

        def fail(file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(quorum.ServiceUnavailableError, match="'a': No space left"):
            key.set_contents_from_string(b"after")

        assert key.get_contents_as_string() == b"before"
        assert len(list((folder / "shop").iterdir())) == 1

    def test_the_ping_is_answered(self) -> None:
        get_handle(amazon.SERVICE).engine.ping()


def write_many(folder: str, number: int) -> None:
    """Write one object again and again, each time with another letter and length."""
    values = {"AMAZON_BUCKET": "shop", "AMAZON_TIMEOUT": 1.0}
    endpoint = quorum.parsers.URL(f"file:{folder.replace(' ', '%20')}")
    settings = amazon.AmazonSettings({**values, "AMAZON_ENDPOINT": endpoint})
    engine = AmazonFolder(settings)
    for turn in range(60):
        size = 1 + (number + turn) * 997
        body = io.BytesIO(bytes([65 + turn % 26]) * size)
        engine.write("a", body, "text/plain", {"size": str(size)})


def test_a_folder_that_cannot_be_made_is_an_error(
    make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("")
    make_app(AMAZON_ENDPOINT=f"file:{tmp_path}/file", AMAZON_BUCKET="shop")

    with pytest.raises(quorum.ServiceRefusedError, match="Not a directory"):
        quorum.get_amazon_bucket()


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"AMAZON_ENDPOINT": "file:"}, "AMAZON_ENDPOINT"),
        ({"AMAZON_ENDPOINT": "file://host/path"}, "AMAZON_ENDPOINT"),
        ({"AMAZON_ENDPOINT": "file:a?b"}, "AMAZON_ENDPOINT"),
        ({"AMAZON_BUCKET": ".."}, "AMAZON_BUCKET"),
        ({"AMAZON_BUCKET": "."}, "AMAZON_BUCKET"),
        ({"AMAZON_BUCKET": "a/b"}, "AMAZON_BUCKET"),
        ({"AMAZON_BUCKET": "/etc"}, "AMAZON_BUCKET"),
        ({"AMAZON_BUCKET": "a\0"}, "AMAZON_BUCKET"),
    ],
)
def test_a_place_that_cannot_be_is_an_error_of_its_variable(
    make_app: MakeApp, tmp_path: pathlib.Path, variables: dict[str, str], name: str
) -> None:
    place = {"AMAZON_ENDPOINT": f"file:{tmp_path}", "AMAZON_BUCKET": "shop"}
    make_app(**{**place, **variables})

    with pytest.raises(quorum.ConfigError) as caught:
        quorum.get_amazon_bucket()

    assert [problem.name for problem in caught.value.problems] == [name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"AMAZON_ID": "shop"}, "AMAZON_SECRET"),
        ({"AMAZON_ID": "shop", "AMAZON_SECRET": " "}, "AMAZON_SECRET"),
        ({"AMAZON_SECRET": "sesame-open"}, "AMAZON_ID"),
        ({"AMAZON_ID": "", "AMAZON_SECRET": "sesame-open"}, "AMAZON_ID"),
    ],
)
def test_one_key_without_the_other_is_an_error_of_the_load(
    make_app: MakeApp, variables: dict[str, str], missing: str
) -> None:
    with pytest.raises(quorum.ConfigError) as caught:
        make_app(**variables)

    assert [problem.name for problem in caught.value.problems] == [missing]
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("variables", [{}, {"AMAZON_ID": "", "AMAZON_SECRET": ""}])
def test_no_keys_at_all_are_left_to_boto3(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-boto3s-chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    make_app(AMAZON_BUCKET="shop", **variables)

    url = quorum.get_amazon_key("a").generate_url(60)

    assert "from-boto3s-chain" in url
    assert "eu-west-1" in url


def test_without_any_keys_a_call_says_so(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    make_app(AMAZON_BUCKET="shop", AMAZON_REGION="eu-west-1")

    for call in (
        lambda: quorum.exists_amazon_key("a"),
        lambda: quorum.get_amazon_key("a").generate_url(60),
    ):
        with pytest.raises(quorum.ServiceRefusedError, match="there are no keys"):
            call()


def test_a_url_of_the_endpoint_with_a_password_is_masked(make_app: MakeApp) -> None:
    make_app(
        AMAZON_BUCKET="shop",
        AMAZON_ENDPOINT="http://shop:hunter22@127.0.0.1:1",
        AMAZON_REGION="eu-west-1",
        AMAZON_ID="shop",
        AMAZON_SECRET="hunter23",
    )

    with pytest.raises(quorum.ServiceUnavailableError) as caught:
        quorum.exists_amazon_key("a")

    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1/shop" in str(caught.value)


def test_a_region_that_cannot_be_is_an_error_of_ours(make_app: MakeApp) -> None:
    make_app(AMAZON_BUCKET="shop", AMAZON_REGION="eu west", AMAZON_ENDPOINT="http://x")

    with pytest.raises(quorum.QuorumError, match="region"):
        quorum.get_amazon_bucket()
