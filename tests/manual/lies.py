"""Lies to plant in a copy of the project, one for each way to make the manual false."""

import typing as t

API = "doc/source/api.rst"
CHANGELOG = "doc/source/changelog.rst"
CONFIGURATION = "doc/source/configuration.rst"
CONFIGURING = "doc/source/howto/configuring.rst"
GLOSSARY = "doc/source/glossary.rst"
LOADING = "quorum/loading.py"
PERMALINKS = "doc/permalinks.txt"
SERVICES = "doc/source/howto/services.rst"
VALUES = "quorum/values.py"


class Lie(t.NamedTuple):
    """One edit, and what the build has to say to it."""

    #: The code of the only warning.
    code: str
    #: The file that is edited, and the text that is replaced in it, once.
    file: str
    old: str
    new: str
    #: File and text of the line that the warning points to; without a text it is
    #: the line of the edit, without a file the edited one.
    where: str = ""
    where_file: str = ""


LIES = [
    # The manual on variables.
    Lie("config-type", CONFIGURATION, "integer", "string", ".. confval:: PORT"),
    Lie("config-value", CONFIGURATION, "to 65535", "to 1024", ".. confval:: PORT"),
    Lie(
        "config-value", CONFIGURATION, "text, json", "text, xml", "confval:: LOG_FORMAT"
    ),
    Lie("config-default", CONFIGURATION, "``5000``", "``5001``", ".. confval:: PORT"),
    Lie("config-default", CONFIGURATION, "``5000``", "``'5000'``", ".. confval:: PORT"),
    Lie("config-default", CONFIGURATION, "``False``", "``0``", ".. confval:: DEBUG"),
    Lie(
        "config-default",
        CONFIGURATION,
        "   :default: ``'text'``\n",
        "",
        ".. confval:: LOG_FORMAT",
    ),
    Lie(
        "config-since",
        CONFIGURATION,
        "5000``\n   :since: 0.1.0",
        "5000``\n   :since: 0.1.5",
        ".. confval:: PORT",
    ),
    Lie(
        "config-secret",
        CONFIGURATION,
        "   :secret:\n   :aliases: REDIS_URL",
        "   :aliases: REDIS_URL",
        ".. confval:: REDISTOGO_URL",
    ),
    Lie(
        "config-aliases",
        CONFIGURATION,
        "MONGO_URL, MONGOLAB_URI",
        "MONGO_URL",
        ".. confval:: MONGOHQ_URL",
    ),
    Lie(
        "config-help",
        CONFIGURATION,
        "Seconds to wait for the Redis",
        "Milliseconds to wait for the Redis",
        ".. confval:: REDIS_TIMEOUT",
    ),
    Lie(
        "config-help",
        CONFIGURATION,
        "TCP port that the server",
        "TCP host that the server",
        ".. confval:: PORT",
    ),
    Lie(
        "config-unknown",
        CONFIGURATION,
        "RabbitMQ / AMQP\n",
        ".. confval:: REDIS_COLOUR\n\n   What nobody declares.\n\nRabbitMQ / AMQP\n",
        ".. confval:: REDIS_COLOUR",
    ),
    Lie(
        "config-twice",
        CONFIGURATION,
        "RabbitMQ / AMQP\n",
        ".. confval:: REDIS_TIMEOUT\n   :no-index:\n   :type: number\n"
        "   :value: a number of seconds above 0\n   :default: ``10.0``\n"
        "   :since: 0.2.0\n\n   Seconds to wait for the Redis server.\n\n"
        "RabbitMQ / AMQP\n",
        ".. confval:: REDIS_TIMEOUT\n   :no-index:",
    ),
    Lie(
        "config-planned",
        CONFIGURATION,
        "``5000``",
        "``5000``\n   :status: planned",
        ".. confval:: PORT",
    ),
    # The code on variables.
    Lie(
        "config-undocumented",
        "quorum/redisdb.py",
        "class RedisDB(",
        'variable("REDIS_COLOUR", str, since="0.2.0")\n\n\nclass RedisDB(',
    ),
    Lie(
        "config-default",
        LOADING,
        "default=5000",
        "default=8000",
        ".. confval:: PORT",
        CONFIGURATION,
    ),
    Lie(
        "config-value",
        "quorum/logs.py",
        'parsers.choice("text", "json")',
        'parsers.choice("text", "json", "xml")',
        ".. confval:: LOG_FORMAT",
        CONFIGURATION,
    ),
    Lie(
        "config-type",
        "quorum/parsers.py",
        '@parser("integer", "a whole number from',
        '@parser("number", "a whole number from',
        ".. confval:: PORT",
        CONFIGURATION,
    ),
    Lie(
        "config-secret",
        "quorum/amazon.py",
        "default=None,\n        secret=True",
        "default=None",
        ".. confval:: AMAZON_SECRET",
        CONFIGURATION,
    ),
    Lie(
        "config-help",
        "quorum/mail.py",
        "Seconds to wait for the mail",
        "Minutes to wait for the mail",
        ".. confval:: SMTP_TIMEOUT",
        CONFIGURATION,
    ),
    Lie(
        "config-read",
        "quorum/redisdb.py",
        "    return get_handle(SERVICE).engine.client",
        '    import os\n\n    os.getenv("REDIS_COLOUR")\n'
        "    return get_handle(SERVICE).engine.client",
        'os.getenv("REDIS_COLOUR")',
    ),
    Lie(
        "config-read",
        "quorum/cli.py",
        "def _show(",
        'def _read() -> None:\n    conf("QUORUM_COLOUR")\n\n\ndef _show(',
        'conf("QUORUM_COLOUR")',
    ),
    # The API reference.
    Lie("api-signature", API, "load(app=None, name", "load(application=None, name"),
    Lie("api-signature", API, "execution=True", "execution=False"),
    Lie("api-signature", API, "run(server='base')", "run(server='waitress')"),
    Lie("api-signature", API, "unload(*, app=None)", "unload(app=None)"),
    Lie("api-signature", API, "confs(name, value)", "confs(value, name)"),
    Lie("api-signature", API, "get_log() -> logging.Logger", "get_log() -> str"),
    Lie("api-signature", API, "get_log() -> logging.Logger", "get_log()"),
    Lie("api-signature", API, "get_log() -> logging.Logger", "get_log"),
    Lie("api-signature", API, "models=None, **kwargs)", "models=None)"),
    Lie(
        "api-undocumented",
        "quorum/parsers.py",
        '    "key",\n',
        '    "key",\n    "mask_url",\n',
        "def mask_url(",
    ),
    Lie(
        "api-private",
        API,
        ".. autofunction:: get_redis() -> redis.Redis\n",
        ".. autofunction:: get_redis() -> redis.Redis\n\n.. function:: get_cache()\n",
        ".. function:: get_cache",
    ),
    Lie(
        "api-planned",
        API,
        ".. autofunction:: get_redis() -> redis.Redis\n",
        ".. planned::\n\n   .. autofunction:: get_redis() -> redis.Redis\n",
        "   .. autofunction:: get_redis",
    ),
    # The code of the API.
    Lie(
        "api-signature",
        LOADING,
        'def run(server: str = "base")',
        'def run(server: str = "waitress")',
        ".. autofunction:: run",
        API,
    ),
    Lie(
        "api-signature",
        "quorum/state.py",
        "def get_request_id() -> str | None:",
        "def get_request_id() -> str | int | None:",
        ".. autofunction:: get_request_id",
        API,
    ),
    Lie(
        "api-undocumented",
        "quorum/config.py",
        "    def has(self, variable",
        '    def has_not(self) -> None:\n        """Say no."""\n\n'
        "    def has(self, variable",
        ".. autoclass:: Settings",
        API,
    ),
    Lie(
        "api-params",
        VALUES,
        "    :param value: The value, typed or as text.\n",
        "    :param text: The value, typed or as text.\n",
        "def confs(",
    ),
    Lie(
        "api-returns",
        VALUES,
        "    :returns: Its instance, the same one at each call.\n",
        "",
        "def get_settings(",
    ),
    Lie(
        "api-raises",
        LOADING,
        "    :raises UnsupportedError: If it is neither of these servers.\n",
        "",
        "def run(",
    ),
    Lie(
        "api-raises",
        VALUES,
        "    :returns: Its instance, the same one at each call.\n"
        "    :raises NotLoadedError: If no app is loaded.\n",
        "    :returns: Its instance, the same one at each call.\n",
        "def get_settings(",
    ),
    Lie(
        "api-raises",
        VALUES,
        "    :returns: Its instance, the same one at each call.\n",
        "    :returns: Its instance, the same one at each call.\n"
        "    :raises Settings: Never.\n",
        "def get_settings(",
    ),
    # Versions, words and examples.
    Lie(
        "changelog-version",
        "quorum/__init__.py",
        '"0.2.0"',
        '"0.3.0"',
        "0.2.0\n-----",
        CHANGELOG,
    ),
    Lie(
        "changelog-version",
        CHANGELOG,
        "0.1.4\n-----",
        "0.1.6\n-----",
        "0.1.6\n-----\n\n* Values",
    ),
    Lie(
        "version-unknown",
        API,
        ".. autofunction:: get_redis() -> redis.Redis\n",
        ".. autofunction:: get_redis() -> redis.Redis\n\n   .. versionadded:: 0.1.9\n",
        "   .. versionadded:: 0.1.9",
    ),
    Lie(
        "glossary-unused",
        GLOSSARY,
        "   engine\n",
        "   carriage\n      A word that no page needs.\n\n   engine\n",
        "   carriage",
    ),
    Lie(
        "example-not-run",
        SERVICES,
        "When things connect\n",
        ".. code-block:: python\n\n   quorum.no_such_name\n\nWhen things connect\n",
        ".. code-block:: python",
    ),
    Lie(
        "example-not-run",
        SERVICES,
        "When things connect\n",
        "Like so::\n\n   quorum.no_such_name\n\nWhen things connect\n",
        "Like so::",
    ),
    Lie(
        "example-not-run",
        SERVICES,
        "When things connect\n",
        ".. code-block:: python-console\n\n   >>> quorum.no_such_name\n\n"
        "When things connect\n",
        ".. code-block:: python-console",
    ),
    Lie(
        "example-skipped",
        SERVICES,
        '>>> quorum.get_redis().incr("visits")',
        '>>> quorum.get_redis().incr("visits")  # doctest: +SKIP',
    ),
    Lie(
        "version-unknown",
        API,
        ".. autofunction:: get_redis() -> redis.Redis\n",
        ".. autofunction:: get_redis() -> redis.Redis\n\n   .. deprecated:: 0.1.9\n",
        "   .. deprecated:: 0.1.9",
    ),
    Lie(
        "api-private",
        API,
        ".. autofunction:: get_redis() -> redis.Redis\n",
        ".. autofunction:: get_redis() -> redis.Redis\n\n.. py:function:: get_it()\n",
        ".. py:function:: get_it",
    ),
    Lie(
        "api-params",
        "quorum/config.py",
        "        :param variable: One of the variables of this class.\n",
        "",
        "def has(",
    ),
    Lie(
        "api-raises",
        VALUES,
        "    :param name: The name, an alias, or the declaration itself.\n"
        "    :raises NotLoadedError: If no app is loaded.\n",
        "    :param name: The name, an alias, or the declaration itself.\n",
        "def confr(",
    ),
    Lie(
        "config-undocumented",
        "quorum/cli.py",
        "def _show(",
        'variable("QUORUM_LIMIT", int)\n\n\ndef _show(',
        'variable("QUORUM_LIMIT"',
    ),
    Lie(
        "config-undocumented",
        CONFIGURATION,
        ".. confval:: PORT\n",
        ".. only:: nobody\n\n .. confval:: PORT\n",
        "    port: Variable[int] = variable(",
        LOADING,
    ),
    Lie(
        "config-read",
        "quorum/redisdb.py",
        "import typing as t",
        "import os as _os\nimport typing as t\n\n_os.environ",
        "_os.environ",
    ),
    Lie("page-todo", SERVICES, "The default is 10.", "The default is TBD."),
    Lie("page-todo", SERVICES, "The default is 10.", "The default is TODO."),
    Lie("permalink-gone", PERMALINKS, "api#quorum.load\n", "api#quorum.start\n"),
    Lie(
        "permalink-gone",
        CONFIGURING,
        ".. _variables-of-your-own:\n\n",
        "",
        "howto/configuring#variables-of-your-own",
        PERMALINKS,
    ),
    # What Sphinx itself finds, as the build is nitpicky.
    Lie("ref.confval", SERVICES, ":confval:`REDIS_TIMEOUT`", ":confval:`REDIS_TIME`"),
    Lie(
        "ref.func",
        SERVICES,
        ":func:`quorum.unload`",
        ":func:`quorum.reload`",
        "A process that was forked off",  # Sphinx tells where the paragraph begins
    ),
    Lie("ref.term", SERVICES, ":term:`engine`", ":term:`motor`"),
]

#: Found by the examples of the pages, when they are run.
FALSE_EXAMPLES = [
    Lie(
        "",
        SERVICES,
        '   >>> quorum.get_redis().incr("visits")\n   1\n',
        '   >>> quorum.get_redis().incr("visits")\n   2\n',
    ),
    Lie("", CONFIGURING, "8080 INFO 127.0.0.1", "8080 WARNING 127.0.0.1"),
    Lie("", CONFIGURING, "Did you mean 'SMTP_HOST'?", "Did you mean 'SMTP_USER'?"),
    Lie("", "quorum/errors.py", "it has no value, and", "it is empty, and"),
    Lie("", LOADING, "default=5000", "default=5001"),
]
