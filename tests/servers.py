"""Real servers for tests, benchmarks and examples, one class each.

All have the shape of :class:`tests.servers_process.Server`::

    with RedisServer(password="secret") as server:
        client = redis.Redis.from_url(server.url)
        server.kill()
        server.restart()

A server listens on a loopback port of its own and keeps its files in a
temporary folder of its own. Whatever was started is stopped by its process id:
by ``stop()``, when a start fails half way, and at the latest when the
interpreter exits.
"""

import os
import shutil
import signal
import subprocess
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .servers_mail import PostfixServer, Received, SmtpServer
from .servers_process import (
    HOST,
    Process,
    Server,
    ServerError,
    exchange,
    find_absent,
    find_port,
    join_credentials,
)

__all__ = [
    "MongoServer",
    "PostfixServer",
    "RabbitServer",
    "Received",
    "RedisServer",
    "S3Server",
    "Server",
    "ServerError",
    "SmtpServer",
    "SwiftServer",
]

SWIFT_PROGRAM: t.Final = Path(__file__).with_name("servers_swift.py")


def find_cache() -> Path:
    """Find the folder of what tests/install_servers has built."""
    cache = os.environ.get("QUORUM_TEST_CACHE") or "~/.cache/quorum-tests"
    return Path(cache).expanduser()


class RedisServer(Server):
    """Debian's redis-server, on a TCP port and on a unix socket.

    :param password: What clients must authenticate with, if anything.
    :param appendonly: Whether the data survives the process.
    :param flags: More of redis-server's flags.
    """

    name = "redis-server"

    def __init__(
        self,
        *,
        password: str | None = None,
        appendonly: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.password = password
        self.appendonly = appendonly
        self.flags = tuple(flags)

    @staticmethod
    def missing() -> str | None:
        if shutil.which("redis-server"):
            return None
        return "redis-server is not installed: apt-get install redis-server"

    @property
    def url(self) -> str:
        return f"redis://{self._join_credentials()}{self.host}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Where a client finds the server's unix socket."""
        return f"unix://{self._join_credentials()}{self.folder}/socket?db=0"

    def _join_credentials(self) -> str:
        return "" if self.password is None else join_credentials("", self.password)

    def _get_command(self) -> Sequence[str | Path]:
        command = ["redis-server", "--bind", self.host, "--port", str(self.port)]
        command += ["--unixsocket", f"{self.folder}/socket"]
        command += ["--unixsocketperm", "700", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes" if self.appendonly else "no"]
        if self.password is not None:
            command += ["--requirepass", self.password]
        return [*command, *self.flags]

    def _answers(self) -> bool:
        # Until it has read its data it says -LOADING, but -NOAUTH before that.
        if self.password is None:
            return exchange(self.host, self.port, b"PING\r\n", b"+PONG", b"-NOAUTH")
        password = self.password.encode()
        said = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\nPING\r\n" % (len(password), password)
        return exchange(self.host, self.port, said, b"+OK\r\n+PONG")


class RabbitServer(Server):
    """Debian's rabbitmq-server, as whoever runs the tests.

    Killed within two seconds of the declaration of a queue, RabbitMQ 3.10 forgets
    the queue now and then, and what it confirmed: that the declaration's transaction
    was committed may still wait in a buffer of Mnesia's log. The next declaration
    writes it.

    :param user: Name of the user who may do everything.
    :param password: Password of that user.
    :param tls: Whether it speaks TLS too, on a port of its own.
    """

    name = "rabbitmq-server"
    start_timeout = 60.0
    stop_timeout = 30.0

    def __init__(
        self, *, user: str = "guest", password: str = "guest", tls: bool = False
    ) -> None:
        super().__init__()
        self.user = user
        self.password = password
        self.tls_port = find_port() if tls else 0
        self._mapper: Process | None = None
        self._mapper_port = find_port()
        self._node_port = find_port()

    @staticmethod
    def missing() -> str | None:
        if RabbitServer._find_program():
            return None
        return "rabbitmq-server is not installed: apt-get install rabbitmq-server"

    @property
    def url(self) -> str:
        credentials = join_credentials(self.user, self.password)
        return f"amqp://{credentials}{self.host}:{self.port}/%2F"

    @property
    def tls_url(self) -> str:
        """Where a client finds it over TLS; its certificate is for localhost."""
        credentials = join_credentials(self.user, self.password)
        return f"amqps://{credentials}localhost:{self.tls_port}/%2F"

    @property
    def ca_file(self) -> Path:
        """The certificate of who signed the server's, with TLS."""
        return self.folder / "ca.pem"

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl on the server, and return what it prints.

        :param arguments: The command and what it takes.
        """
        program = self._find_program()
        assert program is not None
        return subprocess.run(
            [program.with_name("rabbitmqctl"), "--quiet", *arguments],
            env=self._get_environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def _write_certificate(self) -> str:
        """Write the certificate, and return the settings that name it."""
        if not self.tls_port:
            return ""
        import trustme  # the server itself works without

        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
        certificate.write_to_path(self.folder / "server.pem")
        return (
            f"listeners.ssl.default = {self.tls_port}\n"
            f"ssl_options.cacertfile = {self.ca_file}\n"
            f"ssl_options.certfile = {self.folder}/server.pem\n"
            f"ssl_options.keyfile = {self.folder}/server.pem\n"
        )

    @staticmethod
    def _find_program() -> Path | None:
        # The one on the PATH changes to the user rabbitmq, which needs root.
        folders = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        programs = (folder / "sbin" / "rabbitmq-server" for folder in folders)
        return next((program for program in programs if program.exists()), None)

    def _get_command(self) -> Sequence[str | Path]:
        program = self._find_program()
        assert program is not None
        return [program]

    def _get_environment(self) -> dict[str, str]:
        return super()._get_environment() | {
            # The cookie of the Erlang node is kept there.
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"quorum{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{self.folder}/logs",
            "RABBITMQ_PID_FILE": f"{self.folder}/pid",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": f"{self.folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/enabled_plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # Idle schedulers sleep rather than spin.
            "RABBITMQ_SERVER_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
            # The script becomes the server instead of staying its parent, so
            # that the process id is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _launch(self, *, is_new: bool) -> None:
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"default_user = {self.user}\n"
            f"default_pass = {self.password}\n"
            "loopback_users = none\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 512MB\n"
            "log.console = true\n"
            "log.console.level = warning\n"
            "log.file = false\n"
            f"{self._write_certificate()}"
        )
        # RabbitMQ would start Erlang's port mapper by itself and leave it behind.
        if self._mapper is None or self._mapper.poll() is not None:
            self._mapper = self._spawn(["epmd"])
            self._wait(
                self._mapper, lambda: exchange(self.host, self._mapper_port, b"")
            )
        super()._launch(is_new=is_new)

    def _answers(self) -> bool:
        return exchange(self.host, self.port, b"AMQP\x00\x00\x09\x01", b"\x01")

    def _discard(self) -> None:
        mapper, self._mapper = self._mapper, None
        super()._discard()
        if mapper is not None:
            mapper.kill()
            mapper.wait()


class S3Server(Server):
    """moto's server: it keeps objects in memory and checks no signature."""

    name = "moto"

    access_key = "quorum"
    secret_key = "secret"
    region = "us-east-1"

    @staticmethod
    def missing() -> str | None:
        return find_absent("moto", "flask", "flask_cors")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _get_command(self) -> Sequence[str | Path]:
        program = [sys.executable, "-P", "-m", "moto.server"]
        return [*program, "-H", self.host, "-p", str(self.port)]


class SwiftServer(Server):
    """OpenStack Swift with its S3 interface, which checks signatures.

    Its files need extended attributes, which the file system of /tmp mostly has.
    """

    name = "swift"

    access_key = "test:tester"
    secret_key = "testing"
    region = "us-east-1"

    def __init__(self) -> None:
        super().__init__()
        self._store_ports = [find_port() for _ in range(3)]

    @staticmethod
    def missing() -> str | None:
        if SwiftServer._find_python().exists():
            return None
        return "swift is not installed: run tests/install_servers"

    @staticmethod
    def _find_python() -> Path:
        return find_cache() / "swift" / "bin" / "python"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def _get_command(self) -> Sequence[str | Path]:
        program = [str(self._find_python()), "-W", "ignore", "-P", str(SWIFT_PROGRAM)]
        login = [self.access_key, self.secret_key]
        ports = map(str, [self.port, *self._store_ports])
        return [*program, str(self.folder), self.host, *login, *ports]


class MongoServer(Server):
    """The server at MONGOHQ_TEST_URL, else mongod, else FerretDB over SQLite.

    The first is somebody else's: starting and stopping it does nothing, and
    whatever would disturb it is refused.

    FerretDB is no judge of concurrency: two updates of one document at the same
    time can both be acknowledged and one be lost, ``$inc`` and updates that are
    conditional on a version included. Unique indexes it keeps. It has no
    transactions, ``$lookup``, change streams or TTL indexes, and ends the
    connection of who writes a Decimal128.

    :param user: Name of the user who may do everything.
    :param password: Password of that user.
    :param database: Name of the database in the URL.
    """

    name = "mongodb"

    def __init__(
        self,
        *,
        user: str = "quorum",
        password: str = "secret",
        database: str = "quorum",
    ) -> None:
        super().__init__()
        self.user = user
        self.password = password
        self.database = database
        self.given = os.environ.get("MONGOHQ_TEST_URL") or None
        if self.given:
            parts = urlsplit(self.given.split(",")[0])
            self.host = parts.hostname or HOST
            self.port = parts.port or 27017
            self.user = unquote(parts.username or "")
            self.password = unquote(parts.password or "")

    @staticmethod
    def missing() -> str | None:
        if os.environ.get("MONGOHQ_TEST_URL") or MongoServer._find_program():
            return None
        return "neither mongod nor ferretdb is installed: run tests/install_servers"

    @staticmethod
    def _find_program() -> str | None:
        built = find_cache() / "bin" / "ferretdb"
        return (
            shutil.which("mongod")
            or shutil.which("ferretdb")
            or shutil.which(built.absolute())
        )

    @property
    def url(self) -> str:
        if self.given:
            return self.given
        where = f"{join_credentials(self.user, self.password)}{self.host}:{self.port}"
        return f"mongodb://{where}/{self.database}?authSource=admin"

    @property
    def kind(self) -> t.Literal["given", "mongod", "ferretdb"]:
        """Which of the three it is."""
        if self.given:
            return "given"
        is_real = Path(self._find_program() or "").name == "mongod"
        return "mongod" if is_real else "ferretdb"

    def start(self) -> None:
        if not self.given:
            super().start()

    def restart(self) -> None:
        self._refuse_given()
        super().restart()

    def _signal(self, number: signal.Signals) -> None:
        self._refuse_given()
        super()._signal(number)

    def _refuse_given(self) -> None:
        if self.given:
            raise ServerError("The server at MONGOHQ_TEST_URL is not ours.")

    def _get_command(self) -> Sequence[str | Path]:
        program = self._find_program()
        assert program is not None
        if self.kind == "mongod":
            where = ["--bind_ip", self.host, "--port", str(self.port)]
            files = [f"--dbpath={self.folder}", f"--unixSocketPrefix={self.folder}"]
            return [program, "--auth", *where, *files]
        return [
            program,
            "--handler=sqlite",
            f"--sqlite-url=file:{self.folder}/",
            f"--state-dir={self.folder}",
            f"--listen-addr={self.host}:{self.port}",
            "--debug-addr=-",
            "--log-level=warn",
            "--telemetry=disable",
            "--test-enable-new-auth",
            "--setup-database=admin",
            f"--setup-username={self.user}",
            f"--setup-password={self.password}",
        ]

    def _launch(self, *, is_new: bool) -> None:
        super()._launch(is_new=is_new)
        if is_new and self.kind == "mongod":
            # The first user of a mongod may be made by anyone on its machine.
            import pymongo

            with pymongo.MongoClient[dict[str, t.Any]](self.host, self.port) as client:
                client.admin.command(
                    "createUser", self.user, pwd=self.password, roles=["root"]
                )
