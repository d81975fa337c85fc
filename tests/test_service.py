import gc
import os
import pathlib
import threading
import time
import typing as t
import weakref

import pytest

import quorum
from quorum.config import ServiceSettings, Variable, variable
from quorum.parsers import url
from quorum.service import Engine, Handle, Service
from quorum.state import get_handle, get_state
from tests.conftest import MakeApp


class EchoEngine:
    """An engine that tells what is done to it."""

    made: t.ClassVar[list["EchoEngine"]] = []
    slow = 0.0

    def __init__(self, settings: "EchoSettings") -> None:
        time.sleep(self.slow)
        self.address = str(settings.location)
        self.pid = os.getpid()
        self.closed = 0
        self.made.append(self)

    def ping(self) -> None:
        """Answer."""

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class EchoSettings(ServiceSettings):
    location: Variable[t.Any]
    timeout: Variable[float]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Service[t.Any, EchoEngine]:
    class Declared(EchoSettings):
        location: Variable[t.Any] = variable("ECHO_URL", url("echo"), secret=True)
        timeout: Variable[float] = variable("ECHO_TIMEOUT", float, default=10.0)

    monkeypatch.setattr(EchoEngine, "made", [])
    return Service("echo", Declared, {"echo": f"{__name__}:EchoEngine"})


def test_an_engine_is_what_the_protocol_says() -> None:
    engine: type[Engine] = EchoEngine

    assert {"ping", "close"} <= set(dir(engine))


def test_nothing_is_made_before_the_first_use(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")

    handle = get_handle(echo)

    assert handle.configured
    assert EchoEngine.made == []


def test_one_engine_is_made_and_kept(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")

    engine = get_handle(echo).engine

    assert get_handle(echo).engine is engine
    assert EchoEngine.made == [engine]


def test_threads_that_ask_at_once_share_one_engine(
    echo: Service[t.Any, EchoEngine], monkeypatch: pytest.MonkeyPatch, make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    monkeypatch.setattr(EchoEngine, "slow", 0.02)
    ready = threading.Barrier(8)
    found: list[EchoEngine] = []

    def ask() -> None:
        ready.wait()
        found.append(get_handle(echo).engine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(EchoEngine.made) == 1
    assert set(map(id, found)) == {id(EchoEngine.made[0])}


def test_each_app_has_an_engine_of_its_own(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    one, two = make_app("one", ECHO_URL="echo:1"), make_app("two", ECHO_URL="echo:2")

    addresses = [get_state(app).handle(echo).engine.address for app in (one, two)]

    assert addresses == ["echo:1", "echo:2"]


def test_the_unload_closes_the_engine_once(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    engine = get_handle(echo).engine

    quorum.unload()
    quorum.unload()

    assert engine.closed == 1


def test_the_unload_makes_no_engine(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    get_handle(echo)

    quorum.unload()

    assert EchoEngine.made == []


def test_an_engine_that_fails_to_close_does_not_keep_the_others_open(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp, tmp_path: pathlib.Path
) -> None:
    make_app(ECHO_URL="echo:", REDIS_URL="memory:")
    redis = quorum.get_redis()
    engine = get_handle(echo).engine
    engine.close = lambda: (_ for _ in ()).throw(OSError("stuck"))  # type: ignore[method-assign]

    with pytest.raises(OSError, match="stuck"):
        quorum.unload()

    assert quorum.APP is None
    assert redis.connection_pool._available_connections == []


def test_a_closed_handle_can_be_collected(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    handle = weakref.ref(get_handle(echo))

    quorum.unload()
    gc.collect()

    assert handle() is None


def test_a_location_that_is_missing_is_named(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app()

    handle = get_handle(echo)

    assert not handle.configured
    with pytest.raises(quorum.SettingMissingError, match=r"ECHO_URL.*echo:"):
        _ = handle.engine


def _in_child(function: t.Callable[[], object]) -> str:
    """Return the text of what a function gives in a forked-off process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = str(function())
        except BaseException as error:
            answer = repr(error)
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_a_forked_process_makes_an_engine_of_its_own(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    engine = get_handle(echo).engine

    def child() -> object:
        own = get_handle(echo).engine
        return own is not engine, own.pid == os.getpid(), engine.closed

    assert _in_child(child) == "(True, True, 0)"
    assert get_handle(echo).engine is engine


def test_a_fork_while_another_thread_makes_the_engine_does_not_hang(
    echo: Service[t.Any, EchoEngine], monkeypatch: pytest.MonkeyPatch, make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    monkeypatch.setattr(EchoEngine, "slow", 0.5)
    thread = threading.Thread(target=lambda: get_handle(echo).engine)
    thread.start()
    time.sleep(0.1)

    answer = _in_child(lambda: get_handle(echo).engine.pid == os.getpid())
    thread.join()

    assert answer == "True"


def test_an_unload_in_a_child_leaves_the_parents_engine_alone(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo:")
    engine = get_handle(echo).engine

    def child() -> object:
        quorum.unload()
        gc.collect()
        return engine.closed, quorum.APP

    assert _in_child(child) == "(0, None)"
    assert engine.closed == 0


def test_settings_of_a_handle_show_no_secret(
    echo: Service[t.Any, EchoEngine], make_app: MakeApp
) -> None:
    make_app(ECHO_URL="echo://ann:sesame@host")

    handle = get_handle(echo)

    assert isinstance(handle, Handle)
    assert "sesame" not in repr(handle) + repr(handle.settings) + repr(echo)


class TellingEngine(EchoEngine):
    """An engine whose library tells all that it was given."""

    def __init__(self, settings: t.Any) -> None:
        raise ValueError(f"{settings.location} {settings.password} {settings.pin}")


def test_no_secret_of_the_settings_is_in_the_message_of_a_client(
    make_app: MakeApp,
) -> None:
    class Telling(ServiceSettings):
        location: Variable[t.Any] = variable("TELL_URL", url("echo"), secret=True)
        password: Variable[str] = variable("TELL_PASSWORD", str, secret=True)
        pin: Variable[int] = variable("TELL_PIN", int, default=1234, secret=True)
        timeout: Variable[float] = variable("TELL_TIMEOUT", float, default=10.0)

    make_app(TELL_URL="echo://ann:sesame@host", TELL_PASSWORD="open sesame, open")
    service: Service[t.Any, TellingEngine] = Service(
        "telling", Telling, {"echo": f"{__name__}:TellingEngine"}
    )

    with pytest.raises(quorum.ConfigError) as caught:
        _ = get_handle(service).engine

    assert "does not take it: *** *** ***." in str(caught.value)
    assert caught.value.__cause__ is None


def test_services_are_asked_and_what_is_wrong_is_told(make_app: MakeApp) -> None:
    app = make_app(REDISTOGO_URL="memory:", SMTP_URL="smtp://127.0.0.1:1")

    with app.app_context():
        errors = quorum.check_services()

    assert list(errors) == ["mail", "redis", "queue"]
    assert isinstance(errors["mail"], quorum.ServiceUnavailableError)
    assert errors["redis"] is errors["queue"] is None
