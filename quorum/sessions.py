"""Flask's ``session``, kept on the server, in Redis."""

import base64
import functools
import hashlib
import hmac
import logging
import os
import secrets
import time
import typing as t
import uuid
from collections.abc import Sequence

import flask
import werkzeug.exceptions
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import (
    SessionInterface,
    SessionMixin,
    session_json_serializer,
)

from quorum import parsers, redisdb, sessionstore
from quorum.config import Settings, Variable, variable
from quorum.errors import (
    ServiceUnavailableError,
    SettingMissingError,
    UnsupportedError,
)
from quorum.extras import require
from quorum.sessiondata import Changes, Codec, RedisSession
from quorum.state import State, get_state

_LOGGER = logging.getLogger("quorum.sessions")


class SessionSettings(Settings):
    """Sessions on the server."""

    idle: Variable[float] = variable(
        "SESSION_IDLE",
        parsers.seconds,
        default=86400.0,
        since="0.2.0",
        help="Seconds that a session lives without being looked at.",
    )
    lifetime: Variable[float] = variable(
        "SESSION_LIFETIME",
        parsers.seconds,
        default=2678400.0,
        since="0.2.0",
        help="Seconds that a session lives at most, from its start or its login.",
    )
    limit: Variable[int] = variable(
        "SESSION_LIMIT",
        parsers.count,
        default=1_000_000,
        since="0.2.0",
        help="Most bytes that the stored values of a session may have together.",
    )


_SWAP: t.Final = redisdb.Script(sessionstore.SWAP)
_WRITE: t.Final = redisdb.Script(sessionstore.WRITE)
_REVOKE: t.Final = redisdb.Script(sessionstore.REVOKE)


#: How identifiers begin, so that it is known before a read how long to renew.
_PASSING: t.Final = "s"
_PERMANENT: t.Final = "p"


class _UnavailableError(
    ServiceUnavailableError, werkzeug.exceptions.ServiceUnavailable
):
    """Makes Flask answer 503 to a request whose session cannot be had."""

    response = None
    retry_after = 1


class RedisSessionInterface(SessionInterface):
    """Keeps the sessions of an app in Redis.

    :param state: The state of the app.
    """

    #: Where an app may register tags of its own, as Flask's own interface has it.
    serializer: TaggedJSONSerializer = session_json_serializer

    def __init__(self, state: State) -> None:
        self._app = state.app
        self._name = state.name
        self._settings = state.settings(SessionSettings)
        self._handle = state.handle(redisdb.SERVICE)
        self._idle = sessionstore.to_milliseconds(self._settings.idle)
        self._lifetime = sessionstore.to_milliseconds(self._settings.lifetime)
        self._derived: dict[str | bytes, bytes] = {}
        self._codec: Codec = require("quorum.engines.packing:Packing")()

    def open_session(self, app: flask.Flask, request: flask.Request) -> RedisSession:
        """Return the session of a request; nothing is read yet.

        :param app: The app.
        :param request: The request.
        :returns: The session.
        """
        return RedisSession(functools.partial(self._read, request), self._codec)

    def save_session(
        self, app: flask.Flask, session: SessionMixin, response: flask.Response
    ) -> None:
        """Store what has changed, and set the cookie if it has to be.

        :param app: The app.
        :param session: The session.
        :param response: The response; if Redis is gone, it becomes one that says so.
        :raises SessionValueError: If a value cannot be stored, or they are too large.
        :raises ServiceRefusedError: If Redis refuses.
        """
        session = t.cast(RedisSession, session)
        if session.opened and not session.saved:
            session.saved = True  # an error below gets a response of its own
            try:
                self._save(session, response)
            except _UnavailableError as error:
                _replace(response, app.make_response(app.handle_http_exception(error)))
        if session.accessed:
            if response.headers.getlist("Vary"):
                response.vary.add("Cookie")
            else:
                response.headers.add("Vary", "Cookie")  # much cheaper

    def get_user_key(self, user: object) -> str:
        """Return the Redis key that the sessions of a user are bound to.

        :param user: The user.
        :returns: The key.
        :raises UnsupportedError: If that names nobody.
        """
        # The text of anything else may be an address, or change with its fields.
        is_name = isinstance(user, str | int | uuid.UUID) or (
            type(user).__module__ == "bson.objectid"
        )
        name = str(user) if is_name else ""
        if not name or any("\ud800" <= sign <= "\udfff" for sign in name):
            shown = repr(user) if is_name else f"of the type {type(user).__name__}"
            hint = "Name the user by text, a whole number, a UUID or an ObjectId."
            raise UnsupportedError(f"A user {shown}", hint)
        return f"{self._name}:user:{sessionstore.hash_text(name)}"

    def revoke(self, user: object) -> None:
        """End all the sessions that are bound to a user.

        :param user: The user.
        :raises UnsupportedError: If that names nobody.
        :raises ServiceRefusedError: If Redis refuses.
        :raises ServiceUnavailableError: If Redis cannot be reached.
        """
        self._run(_REVOKE, [self.get_user_key(user)], [])

    def _read(self, request: flask.Request, session: RedisSession) -> dict[str, bytes]:
        cookie = request.cookies.get(self.get_cookie_name(self._app), "")
        identifier = cookie.rpartition(".")[0]
        if not identifier:
            return {}
        given = cookie.encode()
        for key in self._get_keys():
            # To compare the whole cookie leaves no other spelling of a good one.
            if hmac.compare_digest(self._sign(key, identifier), given):
                break
        else:
            return {}
        idle = self._get_idle(permanent=identifier.startswith(_PERMANENT))
        place = self._key(identifier)
        try:
            stored = self._handle.engine.read(place, idle)
        except ServiceUnavailableError as error:
            raise _as_answer(error) from error
        if stored is None:
            return {}
        try:
            fields = sessionstore.split(stored)
            end = int(fields[b"@end"])
        except (KeyError, ValueError):
            _LOGGER.warning("A stored session cannot be read, and is dropped.")
            session.ended = identifier
            return {}
        if end <= time.time() * 1000:
            return {}
        session.identifier, session.current = identifier, key == self._app.secret_key
        session.key, session.version = place, stored[: sessionstore.VERSION_SIZE]
        values = {}
        for name, raw in fields.items():
            if name.startswith(b"="):
                values[name[1:].decode(errors="replace")] = raw
            else:
                session.kept[name] = raw
        return values

    def _save(self, session: RedisSession, response: flask.Response) -> None:
        app = self._app
        changes = session.changes(self._settings.limit)
        old = new = session.identifier
        permanent = session.permanent
        idle = self._get_idle(permanent)
        kind = _PERMANENT if permanent else _PASSING
        if old:
            fresh = bool(session.user) or session.rotated or not old.startswith(kind)
        else:
            fresh = bool(session.user or session)
        if fresh:
            new = f"{kind}{secrets.token_urlsafe(32)}"
        modified = changes.changed or changes.removed
        done = True
        if fresh or session.ended:
            done = self._write(session, new, idle, changes)
        elif modified:
            done = self._swap(session, idle, changes)
        if not done:
            _LOGGER.warning("A session that had ended meanwhile was not changed.")
            return
        name = self.get_cookie_name(app)
        again = modified or app.config["SESSION_REFRESH_EACH_REQUEST"]
        if new:
            # A cookie that says the same could undo a rotation that has overtaken it.
            if fresh or not session.current or (permanent and again):
                cookie = self._sign(self._get_keys()[0], new).decode()
                expires = self.get_expiration_time(app, session)
                attributes = self._get_attributes()
                response.set_cookie(name, cookie, expires=expires, **attributes)
        elif session.ended:
            response.delete_cookie(name, **self._get_attributes())

    def _swap(self, session: RedisSession, idle: str, changes: Changes) -> bool:
        """Store a session that keeps its identifier; false if it is gone."""
        version = os.urandom(sessionstore.VERSION_SIZE)
        raws = changes.values
        fields = {sessionstore.to_field(name): raws[name] for name in raws}
        stored = sessionstore.join(version, session.kept | fields)
        end = int(session.kept[b"@end"])
        left = str(max(1, min(int(idle), end - int(time.time() * 1000))))
        names = map(sessionstore.to_field, (*changes.changed, *changes.removed))
        values: list[str | bytes] = [session.version, stored, left, *names]
        return bool(self._run(_SWAP, [session.key], values))

    def _write(
        self, session: RedisSession, new: str, idle: str, changes: Changes
    ) -> bool:
        """End, begin or rename; false if the session is gone."""
        keys = [self._key(one) for one in (session.ended, session.identifier, new)]
        values: list[str | bytes] = [os.urandom(sessionstore.VERSION_SIZE), idle]
        values += [self._lifetime, str(2 * len(changes.changed))]
        for name, raw in changes.changed.items():
            values += [sessionstore.to_field(name), raw]
        values += map(sessionstore.to_field, changes.removed)
        return bool(self._run(_WRITE, [*keys, session.user], values))

    def _get_attributes(self) -> dict[str, t.Any]:
        app = self._app
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _run(
        self, script: redisdb.Script, keys: list[str], values: Sequence[str | bytes]
    ) -> t.Any:
        try:
            return self._handle.engine.run(script, keys, values)
        except ServiceUnavailableError as error:
            raise _as_answer(error) from error

    def _key(self, identifier: str) -> str:
        """Return the Redis key of a session, which nobody can turn into a cookie."""
        return (
            identifier and f"{self._name}:session:{sessionstore.hash_text(identifier)}"
        )

    def _get_idle(self, permanent: bool) -> str:
        if not permanent:
            return self._idle
        return sessionstore.to_milliseconds(
            self._app.permanent_session_lifetime.total_seconds()
        )

    def _get_keys(self) -> list[str | bytes]:
        """Return the secret key, and then those that were it before."""
        app = self._app
        return [app.secret_key or "", *(app.config["SECRET_KEY_FALLBACKS"] or ())]

    def _sign(self, key: str | bytes, identifier: str) -> bytes:
        """Return the cookie of an identifier."""
        derived = self._derived.get(key)
        if derived is None:
            secret = key.encode() if isinstance(key, str) else key
            salt = f"quorum.session:{self._name}".encode()
            derived = self._derived[key] = hmac.digest(secret, salt, "sha256")
        text = identifier.encode()
        signature = hashlib.blake2b(text, key=derived, digest_size=32).digest()
        return b"%b.%b" % (text, base64.urlsafe_b64encode(signature).rstrip(b"="))


def start_sessions(state: State) -> None:
    """Keep the sessions of an app in Redis, until the stack is unwound.

    :param state: The state of the app.
    :raises SettingMissingError: If REDISTOGO_URL or SECRET_KEY has no value.
    :raises MissingDependencyError: If ormsgpack is not installed.
    """
    app = state.app
    location = redisdb.RedisSettings.location
    if not state.handle(redisdb.SERVICE).configured:
        raise SettingMissingError(location.name, location.hint)
    if not app.secret_key:
        hint = "Set it to a long random text, the same in all processes of the app."
        raise SettingMissingError("SECRET_KEY", hint)
    own = vars(app).get("session_interface")

    def restore() -> None:
        vars(app).pop("session_interface", None)
        if own is not None:
            app.session_interface = own

    app.session_interface = RedisSessionInterface(state)
    state.stack.callback(restore)


def rotate_session() -> None:
    """Give the current session a new identifier when the response is made.

    Its data is kept, and a copy of the old cookie is worth nothing from then on. What
    a slower request changes in it that came with the old cookie is dropped.

    :raises UnsupportedError: If there is no request, or ``redis_session`` is not on.
    :raises ServiceUnavailableError: If Redis cannot be reached.
    """
    session, _ = _get_current("rotate_session()")
    session.open()
    session.rotated = True


def bind_session(user: object) -> None:
    """Make the current session one of a user, with a new identifier.

    Call it when somebody has logged in. SESSION_LIFETIME begins anew.

    :param user: What names the user for good: text, a whole number, a UUID or an
        ObjectId.
    :raises UnsupportedError: If there is no request, ``redis_session`` is not on, or
        the user is something else, or empty.
    :raises ServiceUnavailableError: If Redis cannot be reached.
    """
    session, interface = _get_current("bind_session()")
    key = interface.get_user_key(user)
    session.open()
    session.user = key


def revoke_sessions(user: object) -> None:
    """End every session that is bound to a user, at once and wherever it is used.

    A request that is under way keeps what it has read, and what it changes is dropped.

    :param user: What :func:`bind_session` was given, or the same as text.
    :raises UnsupportedError: If ``redis_session`` is not on, or the user is something
        else, or empty.
    :raises ServiceRefusedError: If Redis refuses.
    :raises ServiceUnavailableError: If Redis cannot be reached.
    :raises NotLoadedError: If no app is loaded.
    :raises AppAmbiguousError: If several apps are loaded and there is no context.
    """
    _get_interface("revoke_sessions()", get_state().app).revoke(user)


def _get_current(what: str) -> tuple[RedisSession, RedisSessionInterface]:
    if not flask.has_request_context():
        raise UnsupportedError(f"{what} without a request", "Call it in a view.")
    interface = _get_interface(what, flask.current_app)
    return t.cast(RedisSession, flask.session), interface


def _get_interface(what: str, app: flask.Flask) -> RedisSessionInterface:
    interface = app.session_interface
    if not isinstance(interface, RedisSessionInterface):
        hint = "Load the app with redis_session=True."
        raise UnsupportedError(f"{what} on sessions that are in cookies", hint)
    return interface


def _as_answer(error: ServiceUnavailableError) -> _UnavailableError:
    _LOGGER.error("Sessions cannot be had. %s", error)
    return _UnavailableError(*error.args)


def _replace(response: flask.Response, other: flask.Response) -> None:
    """Make a response say what another one says."""
    close = getattr(response.response, "close", None)
    if close is not None:
        close()
    response.direct_passthrough = other.direct_passthrough
    response.response = other.response
    response.headers = other.headers
    response.status = other.status
