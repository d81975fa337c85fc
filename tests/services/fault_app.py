"""An app whose tasks leave traces in files, so that a test can count them."""

import os
import pathlib
import signal
import time

import flask

import quorum


def create_app() -> flask.Flask:
    """Make the app; its queue is told by the environment."""
    app = quorum.load(name="faults")
    if "FAULT_TICKS" in os.environ:
        quorum.background(1)(tick)
    return app


def work(folder: str, number: int, seconds: float = 0) -> None:
    """Leave a trace before and after a while."""
    leave(folder, "started", number)
    if seconds:
        time.sleep(seconds)
    leave(folder, "done", number)


def die(folder: str, number: int) -> None:
    """Leave a trace, and end the process as the kernel does."""
    leave(folder, "started", number)
    os.kill(os.getpid(), signal.SIGKILL)


def tick() -> None:
    """Leave a trace of periodic work."""
    leave(os.environ["FAULT_TICKS"], "ticks", os.getpid())


def leave(folder: str, name: str, number: int) -> None:
    """Append a line, whole, also when others do the same."""
    file = os.open(pathlib.Path(folder, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{number}\n".encode())
    os.close(file)
