"""How Redis keeps a session: as one string, which these scripts and functions know.

It has one field for each of the session's keys, so that requests that change
different keys at once do not undo each other's work. The fields that start with
``@`` are not the app's: when the session ends, and the user it is bound to. Before
them is a version, random bytes that are new with each write.
"""

import hashlib
import typing as t
from collections.abc import Mapping

VERSION_SIZE: t.Final = 16

_MERGE: t.Final = """
local names, values = {}, {}
local function put(name, value)
  if not values[name] then names[#names + 1] = name end
  values[name] = value
end
local function parse(text, use)
  local place = 17
  while place <= #text do
    local _, head, name, value = string.find(text, '^(%d+) (%d+) ', place)
    place = head + name + value + 1
    use(string.sub(text, head + 1, head + name),
        string.sub(text, head + name + 1, place - 1))
  end
end
local function join(version)
  local parts = {version}
  for _, name in ipairs(names) do
    local value = values[name]
    if value then parts[#parts + 1] = #name .. ' ' .. #value .. ' ' .. name .. value end
  end
  return table.concat(parts)
end
"""

#: Stores a session as one request has left it, or what that has changed if another one
#: has stored it since; 0 if it is gone. What is new comes as a whole, as the strings
#: of a script are copied several times.
SWAP: t.Final = f"""
local key, version, new, life = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if redis.call('GETRANGE', key, 0, 15) == version then
  redis.call('SET', key, new, 'PX', life)
  return 1
end
local stored = redis.call('GET', key)
if not stored then return 0 end
{_MERGE}
local mine = {{}}
parse(stored, put)
parse(new, function(name, value) mine[name] = value end)
for i = 4, #ARGV do put(ARGV[i], mine[ARGV[i]]) end
redis.call('SET', key, join(string.sub(new, 1, 16)), 'PX', life)
return 1
"""

#: Ends a session, and begins one or gives it another identifier; 0 if it is gone. What
#: is new is written before anything is removed, as a full server refuses to write.
WRITE: t.Final = f"""
local ended, old, new, user = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local version, idle, lifetime, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if ended ~= '' then redis.call('DEL', ended) end
if new == '' then return 1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
{_MERGE}
if old ~= '' then
  local stored = redis.call('GET', old)
  -- The answer to a first try may have been lost.
  if not stored then return redis.call('EXISTS', new) end
  parse(stored, put)
end
if old == '' or user ~= '' then put('@end', string.format('%.0f', now + lifetime)) end
if user ~= '' then put('@user', user) end
for i = 5, 4 + count, 2 do put(ARGV[i], ARGV[i + 1]) end
for i = 5 + count, #ARGV do values[ARGV[i]] = nil end
local last = math.min(now + idle, tonumber(values['@end']))
redis.call('SET', new, join(version), 'PXAT', string.format('%.0f', last))
local bound = values['@user']
if bound then
  redis.call('ZREMRANGEBYSCORE', bound, '-inf', string.format('%.0f', now))
  if old ~= '' then redis.call('ZREM', bound, old) end
  redis.call('ZADD', bound, values['@end'], new)
  local latest = redis.call('ZRANGE', bound, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', bound, string.format('%.0f', tonumber(latest)))
end
if old ~= '' then redis.call('DEL', old) end
return 1
"""

REVOKE: t.Final = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1])
"""


def join(version: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    """Return what is stored of a session.

    :param version: Its version.
    :param fields: The values by the names.
    :returns: The stored session.
    """
    parts = [version]
    for name, raw in fields.items():
        parts += [b"%d %d %b" % (len(name), len(raw), name), raw]
    return b"".join(parts)


def split(stored: bytes) -> dict[bytes, bytes]:
    """Return the fields of a stored session.

    :param stored: A version, and for each field two lengths, its name and its value.
    :returns: The values by the names.
    :raises ValueError: If it is not one.
    """
    fields: dict[bytes, bytes] = {}
    place = VERSION_SIZE
    while place < len(stored):
        first = stored.index(b" ", place)
        start = stored.index(b" ", first + 1) + 1
        middle = start + int(stored[place:first])
        place = middle + int(stored[first : start - 1])
        if not start <= middle <= place <= len(stored):
            raise ValueError
        fields[stored[start:middle]] = stored[middle:place]
    return fields


def to_field(key: str) -> bytes:
    """Return the name of the field of a session's key."""
    return f"={key}".encode()


def hash_text(text: str) -> str:
    """Return what stands for a text that Redis must not know."""
    return hashlib.sha256(text.encode()).hexdigest()


def to_milliseconds(seconds: float) -> str:
    """Return a time as Redis takes it; none that is much longer than 300 years."""
    return str(max(1, int(min(seconds, 1e10) * 1000)))
