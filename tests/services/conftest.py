"""The real servers, one of each for all tests; each starts when first asked for.

A server that cannot run here skips the tests that need it. Where the environment
variable CI is set it fails them instead, and so does every other skip: a check
that nobody sees being left out does not exist.
"""

import os
import signal
import typing as t
from collections.abc import Generator, Iterator

import pytest

from tests.servers import (
    MongoServer,
    PostfixServer,
    RabbitServer,
    RedisServer,
    S3Server,
    Server,
    SmtpServer,
    SwiftServer,
)

S = t.TypeVar("S", bound=Server)


def is_ci() -> bool:
    return bool(os.environ.get("CI"))


def run(kind: type[S], **options: t.Any) -> Iterator[S]:
    if reason := kind.missing():
        (pytest.fail if is_ci() else pytest.skip)(reason)
    with kind(**options) as server:
        yield server


@pytest.fixture(scope="package", autouse=True)
def ends_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the tests as Control-C does, so that no server stays behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that wants a password."""
    yield from run(RedisServer, password="secret")


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[RabbitServer]:
    yield from run(RabbitServer)


@pytest.fixture(scope="session")
def smtp_server() -> Iterator[SmtpServer]:
    """A relay that wants STARTTLS and a password."""
    yield from run(SmtpServer, mode="starttls", user="quorum", password="secret")


@pytest.fixture(scope="session")
def postfix_server() -> Iterator[PostfixServer]:
    """A relay that offers STARTTLS and takes mail for y.test only."""
    yield from run(PostfixServer)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    yield from run(S3Server)


@pytest.fixture(scope="session")
def swift_server() -> Iterator[SwiftServer]:
    """A server of objects that checks signatures."""
    yield from run(SwiftServer)


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoServer]:
    """A MongoDB that wants a password."""
    yield from run(MongoServer)


def forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure is reported as skipped too.
    if is_ci() and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        report.outcome = "failed"
        report.longrepr = f"CI is set, so nothing may be skipped here. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    report = yield
    forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    forbid_skip(report)
    return report
