"""Every program of ``examples/``, run as it stands."""

import email
import email.message
import email.policy
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.examples_photos import check_photos
from tests.processes import PATIENCE, clean_environment, free_port, get, running

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"

SCRIPT = "%3Cscript%3E"

LOGIN_SAYS = [
    *["Welcome, ann.", "Welcome, ann.", "Hello, ann."],
    *["Bye.", "Hello, guest.", "Hello, ann."],
    *["Welcome, ann.", "Bye, everywhere.", "Hello, guest.", "Hello, guest."],
]


def log_in_and_out(url: str) -> list[str]:
    """Return what the example says to somebody with two browsers."""
    first, second = (
        urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        for _ in range(2)
    )
    ann = b"user=ann&password=correct+horse"
    steps: list[tuple[urllib.request.OpenerDirector, str, bytes | None]] = [
        *[(first, "login", ann), (second, "login", ann), (first, "", None)],
        *[(first, "logout", b""), (first, "", None), (second, "", None)],
        *[(first, "login", ann), (second, "logout-everywhere", b"")],
        *[(first, "", None), (second, "", None)],
    ]
    said = []
    for browser, page, data in steps:
        with browser.open(f"{url}/{page}", data, timeout=PATIENCE) as answer:
            said.append(answer.read().decode())
    return said


@pytest.mark.parametrize("debug", ["", "1"])
def test_hello_serves_its_page_escaped(debug: str) -> None:
    port = free_port()
    env = clean_environment(PORT=str(port), DEBUG=debug, PYTHONWARNINGS="default")

    with running("app.py", cwd=EXAMPLES / "hello", env=env) as process:
        page = get(f"http://127.0.0.1:{port}/?visitor={SCRIPT}", process)

    assert "<h1>Hello, &lt;script&gt;!</h1>" in page


def test_hello_is_found_from_another_folder(tmp_path: pathlib.Path) -> None:
    port = free_port()
    path = str(EXAMPLES / "hello" / "app.py")

    with running(path, cwd=tmp_path, env=clean_environment(PORT=str(port))) as process:
        page = get(f"http://127.0.0.1:{port}/", process)

    assert "<h1>Hello, world!</h1>" in page


def test_factory_serves_behind_gunicorn() -> None:
    port = free_port()
    arguments = [
        "-m",
        "gunicorn",
        "--bind",
        f"127.0.0.1:{port}",
        "factory:create_app()",
    ]

    with running(*arguments, cwd=EXAMPLES, env=clean_environment()) as process:
        page = get(f"http://127.0.0.1:{port}/", process)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert page == "Hello from factory."
    assert output.count("The app starts, once.") == 1


def test_shop_counts_visits() -> None:
    arguments = ["-m", "flask", "--app", "shop", "run", "--port", str(free_port())]

    with running(*arguments, cwd=EXAMPLES, env=clean_environment()) as process:
        pages = [get(f"http://127.0.0.1:{arguments[-1]}/visits", process) for _ in "12"]

    assert [page.strip() for page in pages] == ['{"visits":1}', '{"visits":2}']


def test_login_ends_sessions_here_and_everywhere() -> None:
    port = free_port()
    env = clean_environment(SECRET_KEY="key", REDISTOGO_URL="memory:")
    arguments = ["-m", "flask", "--app", "login", "run", "--port", str(port)]

    with running(*arguments, cwd=EXAMPLES, env=env) as process:
        url = f"http://127.0.0.1:{port}"
        get(f"{url}/", process)
        said = log_in_and_out(url)

    assert said == LOGIN_SAYS


def test_photos_are_kept_in_a_folder(tmp_path: pathlib.Path) -> None:
    check_photos(tmp_path, clean_environment())

    assert (tmp_path / "objects" / "shop").is_dir()


def test_parcels_are_not_accepted_without_a_broker(tmp_path: pathlib.Path) -> None:
    url = f"amqp://127.0.0.1:{free_port()}"
    environment = clean_environment(CLOUDAMQP_URL=url, PYTHONPATH=str(EXAMPLES))
    program = (
        "import dispatch\n"
        "answer = dispatch.app.test_client().post('/parcels', json={'photo': 1})\n"
        "print(answer.status_code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "503\n", done.stderr


def test_the_shop_confirms_orders(tmp_path: pathlib.Path) -> None:
    """The folder ``orders`` is served; its mail goes to files."""
    port = free_port()
    env = clean_environment(PORT=str(port), SMTP_URL=f"file:{tmp_path}")
    url = f"http://127.0.0.1:{port}/orders"

    with running("orders.py", cwd=EXAMPLES / "orders", env=env) as process:
        with pytest.raises(urllib.error.HTTPError, match="405"):
            get(url, process)
        form = b"address=Ann%20%3Cann@example.org%3E&item=%3Cb%3Etea"
        with urllib.request.urlopen(url, data=form) as answer:
            assert answer.status == 202
        with pytest.raises(urllib.error.HTTPError) as info:
            urllib.request.urlopen(url, data=b"address=ann&item=tea")
        assert "&#39;ann&#39; is not one address" in info.value.read().decode()
        process.terminate()  # its tasks are done before it ends
        process.wait(PATIENCE)

    (file,) = tmp_path.glob("*.eml")
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert message["From"] == "Shop <shop@example.org>"
    parts = [part.get_content() for part in message.iter_parts()]
    assert "You have ordered: <b>tea." in parts[0]
    assert "You have ordered: <b>&lt;b&gt;tea</b>." in parts[1]


def test_the_members_are_served_and_their_models_set_up() -> None:
    folder, port = EXAMPLES / "members", free_port()
    env = clean_environment(PORT=str(port))

    with running("members.py", cwd=folder, env=env) as process:
        page = get(f"http://127.0.0.1:{port}/members?age=3", process)
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "members", "quorum", "setup"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    indexes = ["email_1,", "age_1,", "address.city_1"]
    assert page.strip() == "[]"
    assert done.stdout.split() == ["Member", "ok", *indexes], done.stderr


@pytest.mark.parametrize(
    ("folder", "path"),
    [
        (".", "test_shop.py"),
        ("members", "test_members.py"),
        ("tutorial", "test_newsletter.py"),
        (".", "newsroom/test_newsroom.py"),
    ],
)
def test_the_tests_among_the_examples_pass(folder: str, path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", path],
        cwd=EXAMPLES / folder,
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_no_example_is_left_out() -> None:
    source = pathlib.Path(__file__).read_text()

    paths = [path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*.py")]
    names = {path.stem if len(path.parts) == 1 else path.parts[0] for path in paths}

    assert {name for name in names if name not in source} == set()
