"""What the example of photos does, whatever keeps the objects."""

import json
import pathlib
import urllib.error
import urllib.request

import pytest

from tests.processes import free_port, get, running

PHOTOS = pathlib.Path(__file__).parent.parent / "examples" / "photos" / "photos.py"


def ask(method: str, url: str, body: bytes | None = None) -> tuple[str, bytes]:
    request = urllib.request.Request(
        url, body, {"Content-Type": "image/png"}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        return answer.headers["Content-Type"], answer.read()


def check_photos(cwd: pathlib.Path, env: dict[str, str]) -> None:
    """Run the program, and keep, list, get and delete a photo with it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/photos"
    with running(str(PHOTOS), cwd=cwd, env={**env, "PORT": str(port)}) as process:
        assert json.loads(get(url, process)) == {}
        ask("PUT", f"{url}/ann.png?owner=Ann", b"content")

        assert json.loads(ask("GET", url)[1]) == {"ann.png": 7}
        assert ask("GET", f"{url}/ann.png") == ("image/png", b"content")

        ask("DELETE", f"{url}/ann.png")
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask("GET", f"{url}/ann.png")
        assert caught.value.code == 404
        caught.value.close()
