import collections
import os
import pathlib
import re
import signal
import socket
import sys
import textwrap
import time
import types

import flask
import pytest

import quorum
from quorum.loading import RUN_FUNCTIONS, _is_loopback
from tests.processes import PATIENCE, clean_environment, free_port, get, running

APP = """
    import os, flask, quorum
    app = quorum.load()

    @quorum.onrun
    def start():
        serves = os.environ.get("WERKZEUG_RUN_MAIN", "alone")
        print("started in", quorum.APP.name, serves, flush=True)

    @app.route("/")
    def index():
        return "hello"

    @app.route("/warn")
    def warn():
        quorum.warning("the key is %s.", app.secret_key)
        return ""

    @app.route("/fail")
    def fail():
        raise RuntimeError("on purpose")

    if __name__ == "__main__":
        quorum.run({server!r})
"""


@pytest.fixture(params=["base", "waitress"])
def program(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    source = textwrap.dedent(APP).format(server=request.param)
    path = tmp_path / "program.py"
    path.write_text(source)
    return path


def test_run_serves_on_host_and_port(program: pathlib.Path) -> None:
    port = free_port()
    env = clean_environment(HOST="127.0.0.1", PORT=str(port))

    with running(program.name, cwd=program.parent, env=env) as process:
        page = get(f"http://127.0.0.1:{port}/", process)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert page == "hello"
    assert f" * Running on http://127.0.0.1:{port}\n" in output


def test_run_calls_what_was_registered_once(program: pathlib.Path) -> None:
    port = free_port()

    with running(
        program.name, cwd=program.parent, env=clean_environment(PORT=str(port))
    ) as process:
        get(f"http://127.0.0.1:{port}/", process)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert output.count("started in program") == 1


def test_records_look_the_same_with_either_server(program: pathlib.Path) -> None:
    port = free_port()
    env = clean_environment(PORT=str(port), SECRET_KEY="for the test only")

    with running(program.name, cwd=program.parent, env=env) as process:
        get(f"http://127.0.0.1:{port}/warn", process)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    # The time and the identifier are quorum's, and so is the mask over a secret.
    assert re.search(r"Z WARNING \[\w+\] quorum: the key is \*\*\*\.", output)


def test_run_in_debug_mode_reloads_and_starts_once_in_the_process_that_serves(
    tmp_path: pathlib.Path,
) -> None:
    source = textwrap.dedent(APP).format(server="base")
    (tmp_path / "program.py").write_text(source)
    port = free_port()
    env = clean_environment(PORT=str(port), DEBUG="1", PYTHONWARNINGS="default")

    with running("program.py", cwd=tmp_path, env=env) as process:
        first = get(f"http://127.0.0.1:{port}/", process)
        (tmp_path / "program.py").write_text(source.replace('"hello"', '"changed"'))
        second, deadline = first, time.monotonic() + PATIENCE
        while second == first and time.monotonic() < deadline:
            time.sleep(0.05)  # a line of log a request would fill the pipe
            second = get(f"http://127.0.0.1:{port}/", process)
        os.killpg(process.pid, signal.SIGTERM)
        output = process.stdout.read() if process.stdout else ""

    assert (first, second) == ("hello", "changed")
    # A process before the change and one after; never the one that only watches.
    assert output.count("started in program true") >= 2
    assert "started in program alone" not in output


@pytest.mark.parametrize(
    ("host", "debugger"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_the_debugger_is_for_loopback_hosts(
    host: str, debugger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []
    app = quorum.load(DEBUG=True, HOST=host, PORT=5050)
    monkeypatch.setattr(app, "run", lambda *args, **kwargs: calls.append(kwargs))

    quorum.run()

    (call,) = calls
    assert call["use_debugger"] is debugger
    assert call["use_reloader"] is True
    assert call["load_dotenv"] is False


def test_a_debugger_that_stays_off_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = quorum.load(DEBUG=True, HOST="0.0.0.0")
    monkeypatch.setattr(app, "run", lambda *args, **kwargs: None)

    quorum.run()

    assert "The debugger stays off" in caplog.text


def test_without_debug_mode_neither_reloader_nor_debugger_is_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[dict[str, object]] = []
    app = quorum.load(DEBUG="0", HOST="0.0.0.0")
    monkeypatch.setattr(app, "run", lambda *args, **kwargs: calls.append(kwargs))

    quorum.run()

    assert calls[0]["use_debugger"] is calls[0]["use_reloader"] is False
    assert "debugger" not in caplog.text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example.org", False),
        ("shop.local", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_hosts_are_known(host: str, loopback: bool) -> None:
    assert _is_loopback(host) is loopback


def test_an_unknown_server_names_the_known_ones() -> None:
    quorum.load()

    with pytest.raises(quorum.UnsupportedError, match="'base' or 'waitress'"):
        quorum.run("netius")


def test_waitress_that_is_not_installed_names_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quorum.load()
    monkeypatch.setitem(sys.modules, "waitress", None)

    with pytest.raises(quorum.MissingDependencyError, match=r"\[server\]"):
        quorum.run("waitress")


def test_a_host_that_is_none_is_named() -> None:
    quorum.load(HOST="no-such-host.invalid")

    with pytest.raises(quorum.ConfigError, match=r"HOST \(keyword\)"):
        quorum.run()


def test_waitress_on_a_port_that_is_taken_names_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(APP).format(server="waitress"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        # waitress leaves its half-made socket to the collector, with a warning
        env = clean_environment(PORT=str(port), PYTHONWARNINGS="ignore")
        with running("program.py", cwd=tmp_path, env=env) as process:
            output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert "ServiceUnavailableError: server at 127.0.0.1" in output
    assert f":{port}: it cannot listen there: Address already in use" in output


@pytest.mark.parametrize(
    ("host", "shown"), [("localhost", "localhost:5050"), ("::1", "[::1]:5050")]
)
def test_waitress_is_given_host_and_port_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    shown: str,
) -> None:
    calls: list[object] = []

    def create_server(app: flask.Flask, **kwargs: object) -> types.SimpleNamespace:
        calls.append((app, kwargs))
        return types.SimpleNamespace(run=lambda: calls.append("run"))

    monkeypatch.setattr("waitress.create_server", create_server)
    app = quorum.load(HOST=host, PORT=5050)

    quorum.run("waitress")

    assert calls == [(app, {"host": host, "port": 5050}), "run"]
    assert capsys.readouterr().out == f" * Running on http://{shown}\n"


def test_onrun_returns_the_function() -> None:
    quorum.load()

    def start() -> None: ...

    assert quorum.onrun(start) is start


def test_call_run_calls_each_function_once_in_order() -> None:
    quorum.load()
    calls: list[str] = []

    def register(word: str) -> None:
        @quorum.onrun
        def start() -> None:  # functions of the same name are different functions
            calls.append(f"{word} {flask.current_app.name}")

    register("first")
    register("second")
    quorum.call_run()
    quorum.call_run()

    assert calls == [f"first {__name__}", f"second {__name__}"]


def test_a_function_registered_later_is_called_later() -> None:
    quorum.load()
    calls: collections.Counter[str] = collections.Counter()
    quorum.onrun(lambda: calls.update(["one"]))
    quorum.call_run()
    quorum.onrun(lambda: calls.update(["two"]))

    quorum.call_run()

    assert calls == {"one": 1, "two": 1}


def test_a_function_that_raises_stops_the_start_and_is_called_again() -> None:
    quorum.load()
    calls: list[int] = []

    @quorum.onrun
    def start() -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise OSError("not yet")

    with pytest.raises(OSError, match="not yet"):
        quorum.call_run()
    quorum.call_run()

    assert calls == [0, 1]


def test_a_function_registered_before_any_load_counts_for_every_app() -> None:
    calls: list[str] = []
    quorum.onrun(lambda: calls.append(flask.current_app.name))
    assert RUN_FUNCTIONS

    for name in ("one", "two"):
        with quorum.load(name=name).app_context():
            quorum.call_run()

    assert calls == ["one", "two"]


def test_onrun_with_two_apps_and_no_context_is_ambiguous() -> None:
    quorum.load(name="one")
    quorum.load(name="two")

    with pytest.raises(quorum.AppAmbiguousError):
        quorum.onrun(lambda: None)


def test_call_run_without_an_app_says_so() -> None:
    with pytest.raises(quorum.NotLoadedError):
        quorum.call_run()


def test_a_port_that_is_taken_ends_the_base_server_with_a_message(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(APP).format(server="base"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with running(
            "program.py", cwd=tmp_path, env=clean_environment(PORT=str(port))
        ) as process:
            code = process.wait(PATIENCE)
            output = process.stdout.read() if process.stdout else ""

    assert code == 1
    assert f"Port {port} is in use" in output
    assert "Traceback" not in output


PRELOADED = """
    import os, flask, quorum
    from quorum.state import get_state

    app = quorum.load(flask.Flask(__name__))
    quorum.onrun(lambda: print("started", os.getpid(), flush=True))
    with app.app_context():
        quorum.call_run()
        quorum.get_redis().set("parent", os.getpid())

    @app.route("/")
    def index():
        redis = quorum.get_redis()
        redis.incr("visits")
        return {"pid": os.getpid(), "parent": redis.get("parent"),
                "port": quorum.conf("PORT")}
"""


def test_an_app_loaded_before_gunicorn_forks_works_in_its_workers(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PRELOADED))
    port = free_port()
    arguments = ["-m", "gunicorn", "--preload", "--workers", "2", "--bind"]
    env = clean_environment(REDISTOGO_URL="memory:", PYTHONWARNINGS="default")

    with running(
        *arguments, f"127.0.0.1:{port}", "program:app", cwd=tmp_path, env=env
    ) as process:
        answers = {get(f"http://127.0.0.1:{port}/", process) for _ in range(20)}
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert output.count("started") == 1  # in the parent, before the fork
    # Each worker has a store of its own: the parent's is not shared.
    assert all('"parent":null' in answer.replace(" ", "") for answer in answers)
    assert all('"port":5000' in answer.replace(" ", "") for answer in answers)


def test_a_flask_command_finds_the_commands(tmp_path: pathlib.Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(APP).format(server="base"))

    with running(
        *("-m", "flask", "--app", "program", "quorum", "--help"),
        cwd=tmp_path,
        env=clean_environment(),
    ) as process:
        output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert "config" in output


def test_sigterm_leaves_tasks_the_time_to_end(program: pathlib.Path) -> None:
    port = free_port()
    task = """
    import time
    def work():
        time.sleep(0.5)
        print("it ended", flush=True)
    """
    text = program.read_text()
    text = text.replace("return", "quorum.run_background(work); return", 1)
    program.write_text(textwrap.dedent(task) + text)
    env = clean_environment(PORT=str(port))

    with running(program.name, cwd=program.parent, env=env) as process:
        get(f"http://127.0.0.1:{port}/", process)
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)

    assert "it ended" in output
    assert process.returncode == 0


def test_run_leaves_the_handling_of_signals_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quorum.load(name="shop")
    seen = []
    monkeypatch.setattr(
        flask.Flask, "run", lambda *_, **__: seen.append(signal.getsignal(15))
    )
    before = signal.getsignal(signal.SIGTERM)

    quorum.run()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    quorum.run()
    signal.signal(signal.SIGTERM, before)

    assert before == signal.SIG_DFL
    assert callable(seen[0])
    assert seen[1] == signal.SIG_IGN
