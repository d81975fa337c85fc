import configparser
import os
import pathlib
import re
import signal
import sys
import threading
import time

import pytest

import quorum
from quorum import extras
from tests.conftest import MakeApp

SETUP = pathlib.Path(__file__).parents[1] / "setup.cfg"

#: Extras whose libraries no code of quorum imports for its users.
NOT_IMPORTED = {"sphinx"}

#: The sums of other extras, and what the tests need.
SUMS = {"all", "docs", "test"}


def declared() -> dict[str, set[str]]:
    """Return the libraries that each extra of setup.cfg installs."""
    setup = configparser.ConfigParser()
    setup.read(SETUP, encoding="utf-8")
    return {
        extra: {re.split(r"[\[<>=!~; ]", line)[0] for line in lines.split("\n") if line}
        for extra, lines in setup["options.extras_require"].items()
    }


@pytest.fixture
def modules(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Return a folder that modules can be imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def without(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Make a library one that is not installed."""
    monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.parametrize(
    ("library", "extra"), sorted(set(extras.EXTRAS.values())), ids=str
)
def test_every_library_of_the_table_is_in_its_extra(library: str, extra: str) -> None:
    assert library in declared()[extra]


@pytest.mark.parametrize("extra", sorted(declared().keys() - SUMS - NOT_IMPORTED))
def test_every_library_of_an_extra_is_in_the_table(extra: str) -> None:
    known = {library for library, home in extras.EXTRAS.values() if home == extra}

    assert declared()[extra] == known


def test_all_is_the_sum_of_the_extras_for_users() -> None:
    setup = configparser.ConfigParser()
    setup.read(SETUP, encoding="utf-8")

    (found,) = re.findall(r"\[(.+)\]", setup["options.extras_require"]["all"])

    assert set(found.split(",")) == declared().keys() - SUMS


def test_require_returns_the_object() -> None:
    assert extras.require("pathlib:Path") is pathlib.Path


@pytest.mark.parametrize("module", sorted(extras.EXTRAS))
def test_require_names_the_library_and_the_extra_that_are_missing(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, module)

    with pytest.raises(quorum.MissingDependencyError) as caught:
        extras.require(f"{module}:anything")

    library, extra = extras.EXTRAS[module]
    assert (caught.value.library, caught.value.extra) == (library, extra)
    assert f"'{library}' is not installed" in str(caught.value)
    assert f"quorum-flask[{extra}]" in str(caught.value)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_require_names_the_library_that_the_module_wanted_to_import(
    modules: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (modules / "shop_engine.py").write_text("import pika\n")
    without(monkeypatch, "pika")

    with pytest.raises(quorum.MissingDependencyError) as caught:
        extras.require("shop_engine:Engine")

    assert caught.value.extra == "amqp"


def test_require_lets_a_module_that_no_extra_installs_be_missing(
    modules: pathlib.Path,
) -> None:
    (modules / "shop_engine.py").write_text("import shop_nothing\n")

    with pytest.raises(ModuleNotFoundError) as caught:
        extras.require("shop_engine:Engine")

    assert not isinstance(caught.value, quorum.QuorumError)
    assert caught.value.name == "shop_nothing"


@pytest.mark.parametrize(
    "line", ["from pathlib import nothing", "from pika import nothing"]
)
def test_require_lets_a_name_that_a_library_lacks_be_an_import_error(
    line: str, modules: pathlib.Path
) -> None:
    (modules / "shop_engine.py").write_text(line)

    with pytest.raises(ImportError, match="cannot import name 'nothing'") as caught:
        extras.require("shop_engine:Engine")

    assert not isinstance(caught.value, quorum.QuorumError)


def test_require_lets_a_module_that_a_library_lacks_be_missing(
    modules: pathlib.Path,
) -> None:
    """The library is installed, and to install it would not help."""
    (modules / "shop_engine.py").write_text("import pika.nothing")

    with pytest.raises(ModuleNotFoundError) as caught:
        extras.require("shop_engine:Engine")

    assert not isinstance(caught.value, quorum.QuorumError)


def test_require_lets_the_errors_of_a_module_pass(modules: pathlib.Path) -> None:
    (modules / "shop_engine.py").write_text("raise KeyError('shop')\n")

    with pytest.raises(KeyError, match="shop"):
        extras.require("shop_engine:Engine")


@pytest.mark.parametrize(
    ("variable", "value", "getter", "library", "extra"),
    [
        ("REDISTOGO_URL", "redis://localhost", "get_redis", "redis", "redis"),
        ("REDISTOGO_URL", "memory:", "get_redis", "fakeredis", "embedded"),
        ("MONGOHQ_URL", "mongodb://localhost", "get_mongo", "pymongo", "mongodb"),
        ("MONGOHQ_URL", "memory:", "get_mongo", "mongomock_ng", "embedded"),
        ("CLOUDAMQP_URL", "amqp://localhost", "get_amqp", "pika", "amqp"),
        ("AMAZON_BUCKET", "shop", "get_amazon", "boto3", "amazon"),
    ],
)
def test_every_service_names_the_extra_that_it_needs(
    variable: str,
    value: str,
    getter: str,
    library: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    make_app: MakeApp,
) -> None:
    make_app(**{variable: value})
    for name in [name for name in sys.modules if name.startswith("quorum.engines.")]:
        monkeypatch.delitem(sys.modules, name)
    without(monkeypatch, library)

    with pytest.raises(quorum.MissingDependencyError) as caught:
        getattr(quorum, getter)()

    assert caught.value.extra == extra


def test_waitress_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, make_app: MakeApp
) -> None:
    make_app()
    without(monkeypatch, "waitress")

    with pytest.raises(quorum.MissingDependencyError, match=r"quorum-flask\[server\]"):
        quorum.run("waitress")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_waits_for_the_import_of_another_thread(modules: pathlib.Path) -> None:
    (modules / "slow.py").write_text("import time\ntime.sleep(0.5)\nspeed = 1\n")
    thread = threading.Thread(target=extras.require, args=["slow:speed"])
    thread.start()
    while "slow" not in sys.modules:
        time.sleep(0.001)

    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        os._exit(extras.require("slow:speed"))
    _, status = os.waitpid(child, 0)
    thread.join()

    assert os.waitstatus_to_exitcode(status) == 1
