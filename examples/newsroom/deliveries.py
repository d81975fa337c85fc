"""Which readers an issue has reached: a set in Redis for each state.

Who changes state moves from one set to another in one step, so that nobody is
counted twice, and counting costs the same for ten readers as for a million.
"""

import datetime as dt

import quorum

_STATES = ("waiting", "sent", "failed")

#: Done by Redis in one step: nobody waits again who is sent the mail at this moment.
_ADD = """
if redis.call('sismember', KEYS[2], ARGV[1]) == 1
    or redis.call('sismember', KEYS[3], ARGV[1]) == 1 then
    return 0
end
redis.call('sadd', KEYS[1], ARGV[1])
return 1
"""

#: Deliveries that give no sign of life for so long are taken for lost.
_LOST = dt.timedelta(minutes=30)

#: How long it is known who got an issue, after all was sent.
_KEPT = dt.timedelta(days=90)


class Deliveries:
    """The deliveries of one issue; readers are known by their identifiers."""

    def __init__(self, issue: quorum.Id) -> None:
        self._redis = quorum.get_redis()
        self._prefix = f"newsroom:deliveries:{issue}"

    def add(self, reader: str) -> bool:
        """Let a reader wait; tell whether one waits who may have been added before."""
        keys = [self._key(state) for state in _STATES]
        return bool(self._redis.eval(_ADD, len(keys), *keys, reader))

    def is_waiting(self, reader: str) -> bool:
        return bool(self._redis.sismember(self._key("waiting"), reader))

    def remove(self, reader: str) -> None:
        """Forget a reader who has left."""
        self._redis.srem(self._key("waiting"), reader)

    def note_sent(self, reader: str) -> None:
        self._move(reader, "waiting", "sent")
        self._redis.hdel(self._key("reasons"), reader)
        self.note_life()

    def note_failed(self, reader: str) -> None:
        self._move(reader, "waiting", "failed")

    def count_try(self, reader: str, reason: str) -> int:
        """Note why sending has failed; return how often it has."""
        self._redis.hset(self._key("reasons"), reader, reason)
        self.note_life()
        return int(self._redis.hincrby(self._key("tries"), reader, 1))

    def retry(self) -> list[str]:
        """Let those wait again who have failed, and return them."""
        readers = self._list("failed")
        for reader in readers:
            self._redis.hdel(self._key("tries"), reader)
            self._move(reader, "failed", "waiting")
        return readers

    def list_waiting(self) -> list[str]:
        return self._list("waiting")

    def list_failures(self, limit: int) -> list[tuple[str, str]]:
        """Return some of the readers who have failed, each with the reason."""
        readers = sorted(self._list("failed"))[:limit]
        reasons = [self._redis.hget(self._key("reasons"), reader) for reader in readers]
        return list(zip(readers, map(_decode, reasons), strict=True))

    def count(self) -> dict[str, int]:
        """Return how many are in which state."""
        # In one transaction: none of them moves in the meantime.
        pipeline = self._redis.pipeline()
        for state in _STATES:
            pipeline.scard(self._key(state))
        return dict(zip(_STATES, pipeline.execute(), strict=True))

    def note_life(self) -> None:
        self._redis.set(self._key("life"), 1, ex=_LOST)

    def is_lost(self) -> bool:
        """Tell whether nothing has happened for long."""
        return not self._redis.exists(self._key("life"))

    def close(self) -> None:
        """Let Redis forget everything in time."""
        for name in (*_STATES, "reasons", "tries"):
            self._redis.expire(self._key(name), _KEPT)

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _move(self, reader: str, source: str, target: str) -> None:
        self._redis.smove(self._key(source), self._key(target), reader)

    def _list(self, state: str) -> list[str]:
        return [_decode(reader) for reader in self._redis.smembers(self._key(state))]


def _decode(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
