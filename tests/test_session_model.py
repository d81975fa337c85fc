"""Requests of several clients, begun and ended in any order, beside a model."""

import copy
import dataclasses
import typing as t

import flask
import hypothesis.stateful as hs
from flask.ctx import RequestContext
from hypothesis import settings
from hypothesis import strategies as st
from werkzeug.http import parse_cookie
from werkzeug.test import create_environ

import quorum
from quorum.sessiondata import RedisSession

Data: t.TypeAlias = "dict[str, list[int]]"

ACTS = ["put", "put", "change inside", "remove", "log out", "rotate", "log in"]

CLIENTS = st.integers(0, 1)
NUMBERS = st.integers(0, 9)
KEYS = st.sampled_from("ab")
USERS = st.sampled_from(["ann", "bob"])

#: Where a request context keeps its session; Flask 3.1.3 has a property before it.
SESSION: t.Final = "_session" if hasattr(RequestContext, "session") else "session"


@dataclasses.dataclass(eq=False)
class Stored:
    """What the model says that Redis has."""

    data: Data = dataclasses.field(default_factory=dict)
    user: str = ""
    deleted: bool = False


class Underway:
    """A request between its first look at the session and its response."""

    def __init__(self, context: RequestContext, client: int, known: Stored | None):
        self.context = context
        self.client = client
        self.known = known
        self.before: Data = copy.deepcopy(known.data) if known else {}
        self.data: Data = copy.deepcopy(self.before)
        self.ended: Stored | None = None
        self.rotated = False
        self.user = ""


class Sessions(hs.RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.app = quorum.load(
            flask.Flask("shop"),
            redis_session=True,
            secret_key="key",
            REDISTOGO_URL="memory:",
        )
        self.cookies = [""] * 2
        self.stored: dict[str, Stored | None] = {"": None}
        self.underway: list[Underway] = []

    def teardown(self) -> None:
        quorum.unload(app=self.app)

    def is_live(self, known: Stored | None) -> bool:
        return known is not None and not known.deleted

    def open(self, cookie: str) -> RequestContext:
        headers = {"Cookie": f"session={cookie}"} if cookie else {}
        context = RequestContext(self.app, create_environ(headers=headers))
        session = self.app.session_interface.open_session(self.app, context.request)
        setattr(context, SESSION, session)
        return context

    def session_of(self, request: Underway) -> RedisSession:
        return t.cast(RedisSession, getattr(request.context, SESSION))

    @hs.rule(client=CLIENTS)
    def begin(self, client: int) -> None:
        cookie = self.cookies[client]
        known = self.stored[cookie]
        request = Underway(
            self.open(cookie), client, known if self.is_live(known) else None
        )

        assert dict(self.session_of(request)) == request.data

        self.underway.append(request)

    # One rule for all that a view does, as whole rules are left out of many runs.
    @hs.rule(number=NUMBERS, act=st.sampled_from(ACTS), key=KEYS, user=USERS)
    def act(self, number: int, act: str, key: str, user: str) -> None:
        if not self.underway:
            self.begin(number % 2)
        request = self.underway[number % len(self.underway)]
        session = self.session_of(request)
        if act == "put":
            session[key], request.data[key] = [number], [number]
        elif act == "change inside":
            assert (key in session) is (key in request.data)
            if key in request.data:
                session[key].append(number)
                request.data[key].append(number)
        elif act == "remove":
            assert session.pop(key, None) == request.data.pop(key, None)
        elif act == "log out":
            session.clear()
            request.ended = request.known or request.ended
            request.known = None
            request.before, request.data = {}, {}
            request.rotated, request.user = False, ""
        elif act == "rotate":
            with request.context:
                quorum.rotate_session()
            request.rotated = True
        else:
            with request.context:
                quorum.bind_session(user)
            request.user = user

    @hs.rule(user=USERS)
    def revoke(self, user: str) -> None:
        with self.app.app_context():
            quorum.revoke_sessions(user)
        for known in self.stored.values():
            if known is not None and known.user == user:
                known.deleted = True

    @hs.rule(number=NUMBERS)
    def end(self, number: int) -> None:
        if not self.underway:
            return
        request = self.underway.pop(number % len(self.underway))
        response = self.app.response_class()
        with request.context:
            self.app.process_response(response)
        header = response.headers.get("Set-Cookie")
        cookie = None if header is None else parse_cookie(header).get("session", "")

        kept, moved = self.finish(request)

        assert (cookie is not None) is moved
        if cookie is not None:
            assert bool(cookie) is bool(kept)
            for old in [old for old, known in self.stored.items() if known is kept]:
                self.stored[old] = None
            self.stored[cookie] = kept
            self.cookies[request.client] = cookie

    def finish(self, request: Underway) -> tuple[Stored | None, bool]:
        """Do in the model what the end of a request does."""
        if request.ended:
            request.ended.deleted = True
        known = request.known
        if known is None:
            if not request.data and not request.user:
                return None, bool(request.ended)
            known = Stored()
        elif (
            request.data == request.before and not request.user and not request.rotated
        ) or known.deleted:
            return known, False
        elif request.user or request.rotated:
            # Whoever comes with the old cookie finds nothing.
            gone, known = known, copy.copy(known)
            gone.deleted = True
        for key in request.before.keys() - request.data.keys():
            known.data.pop(key, None)
        for key, value in request.data.items():
            if value != request.before.get(key):
                known.data[key] = value
        if request.user:
            known.user = request.user
        fresh = request.known is None or bool(request.user) or request.rotated
        return known, fresh

    @hs.invariant()
    def every_cookie_finds_what_the_model_has(self) -> None:
        for cookie, known in self.stored.items():
            session = getattr(self.open(cookie), SESSION)
            wanted = known.data if known and self.is_live(known) else {}

            assert dict(t.cast(RedisSession, session)) == wanted


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    deadline=None, max_examples=100, stateful_step_count=40
)
