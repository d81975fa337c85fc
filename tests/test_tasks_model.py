"""Whatever is asked of the threads, in whatever order, they do as a simple model."""

import contextlib
import pathlib
import time
import typing as t

import flask
import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

import quorum
from tests.processes import PATIENCE

ERRORS: dict[str, type[BaseException]] = {"raise": ValueError, "exit": SystemExit}


class Item:
    """A task, what is asked of it, and how often it ran."""

    def __init__(self, kind: str, moment: float | None, far: bool) -> None:
        self.kind = kind
        self.far = far
        self.runs = 0
        self.told: list[BaseException | None] = []
        self.state = ""
        self.task = quorum.run_background(
            self.run, target_time=moment, callback=self.tell
        )

    def run(self) -> str:
        self.runs += 1
        if self.kind in ERRORS:
            raise ERRORS[self.kind]("on purpose")
        return self.kind

    def tell(self, error: BaseException | None) -> None:
        self.told.append(error)

    def check(self) -> None:
        """Wait for the end, and compare it with what has to be."""
        state = self.state or {"return": "done"}.get(self.kind, "failed")
        expected: t.Any
        if state in ("cancelled", "dropped"):
            expected = pytest.raises(quorum.TaskNotRunError)
        elif self.kind in ERRORS:
            expected = pytest.raises(ERRORS[self.kind])
        else:
            expected = contextlib.nullcontext()
        with expected:
            assert self.task.result(PATIENCE) == "return"
        assert self.task.state == state
        ran = state in ("done", "failed")
        assert self.runs == ran
        assert [type(error) for error in self.told] == (
            [ERRORS.get(self.kind, type(None))] if ran else []
        )


class Threads(RuleBasedStateMachine):
    items: Bundle[Item] = Bundle("items")

    @initialize()
    def load(self) -> None:
        app = flask.Flask("model", root_path=str(pathlib.Path(__file__).parent))
        quorum.load(app, QUEUE_URL="thread:?workers=2", LEVEL="CRITICAL")
        self.known: list[Item] = []

    def keep(self, item: Item) -> Item:
        self.known.append(item)
        return item

    @rule(target=items, kind=st.sampled_from(["return", "raise", "exit"]))
    def submit(self, kind: str) -> Item:
        return self.keep(Item(kind, None, far=False))

    @rule(
        target=items,
        kind=st.sampled_from(["return", "raise", "exit"]),
        wait=st.sampled_from([-1.0, 0.0, 0.001, 0.01]),
    )
    def plan_soon(self, kind: str, wait: float) -> Item:
        return self.keep(Item(kind, time.time() + wait, far=False))

    @rule(target=items)
    def plan_late(self) -> Item:
        return self.keep(Item("return", time.time() + 3600, far=True))

    @rule(item=items)
    def cancel(self, item: Item) -> None:
        cancelled = item.task.cancel()

        if item.far and item.state != "dropped":
            assert cancelled
        if cancelled:
            item.state = "cancelled"

    @rule(item=consumes(items))
    def wait(self, item: Item) -> None:
        if item.state or not item.far:
            item.check()

    @rule()
    def drain(self) -> None:
        quorum.unload()
        for item in self.known:
            if item.far and not item.state:
                item.state = "dropped"
            item.check()
        self.load()

    @invariant()
    def nothing_runs_twice(self) -> None:
        assert all(item.runs <= 1 for item in getattr(self, "known", []))

    def teardown(self) -> None:
        if hasattr(self, "known"):
            self.drain()
            quorum.unload()


Threads.TestCase.settings = hypothesis.settings(
    deadline=None, max_examples=40, stateful_step_count=30
)
TestThreads = Threads.TestCase
