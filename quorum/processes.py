"""Keeps processes running: one that dies is replaced, until all are to stop."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

LOGGER = logging.getLogger("quorum.worker")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

#: Seconds before a process that died is replaced.
_PAUSE = 1.0


def supervise(count: int, serve: Callable[[threading.Event], object]) -> None:
    """Run a function in processes that are forked off, until SIGTERM or SIGINT.

    :param count: How many processes.
    :param serve: The function; its argument is set when it has to return.
    """
    children: set[int] = set()
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        for child in children:
            os.kill(child, signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        children.update(_fork(serve) for _ in range(count))
        if stopping.is_set():
            stop()
        while children:
            child, status = os.waitpid(-1, 0)
            if child not in children:
                continue
            children.discard(child)
            if not stopping.is_set():
                code = os.waitstatus_to_exitcode(status)
                LOGGER.error("Worker %d died (%d). It is replaced.", child, code)
                time.sleep(_PAUSE)
                if not stopping.is_set():
                    children.add(_fork(serve))
                    if stopping.is_set():
                        stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fork(serve: Callable[[threading.Event], object]) -> int:
    """Start a process that serves; return its identifier."""
    # A signal that comes before the child has handlers of its own has to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            stop = threading.Event()
            for number in _SIGNALS:
                signal.signal(number, lambda *_: stop.set())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            threading.Thread(target=_watch, args=(parent, stop), daemon=True).start()
            serve(stop)
            code = 0
        except BaseException:
            LOGGER.exception("Worker %d failed.", os.getpid())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return child


def _watch(parent: int, stop: threading.Event) -> None:
    """Stop when the parent has died."""
    while not stop.wait(1) and os.getppid() == parent:
        pass
    stop.set()
