"""The program that :class:`tests.servers.SwiftServer` runs in a process of its own.

It is OpenStack Swift with its S3 interface: the proxy and the three kinds of store
behind it, which are four processes in real life, as green threads of one.
"""

# pyright: reportMissingImports=false
# What this imports is installed for this program only.

import configparser
import getpass
import sys
from pathlib import Path

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from swift.common import constraints, utils  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.utils import NullLogger  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

STORES = ("account", "container", "object")
FILTERS = (
    *("catch_errors", "gatekeeper", "cache", "listing_formats", "s3api", "tempauth"),
    *("copy", "slo", "dlo", "versioned_writes", "symlink"),
)


def write_settings(path: Path, sections: dict[str, dict[str, str]]) -> None:
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    with path.open("w") as file:
        parser.write(file)


def write_ring(folder: Path, store: str, host: str, port: int) -> None:
    """Tell the proxy where the only store of a kind is."""
    ring = RingBuilder(4, 1, 0)
    place = {"region": 1, "zone": 1, "ip": host, "port": port, "device": "d1"}
    ring.add_dev({**place, "id": 0, "weight": 1.0, "meta": ""})
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{store}.ring.gz"))


def write_all(
    folder: Path, host: str, key: str, secret: str, port: int, *store_ports: int
) -> list[Path]:
    """Write what the four servers read."""
    account, _, user = key.partition(":")
    common = {"bind_ip": host, "swift_dir": str(folder), "user": getpass.getuser()}
    common |= {"log_address": "/nonexistent", "workers": "0"}
    write_settings(
        folder / "swift.conf",
        {
            "swift-hash": {
                "swift_hash_path_prefix": "a",
                "swift_hash_path_suffix": "b",
            },
            "storage-policy:0": {"name": "gold", "default": "yes"},
            "swift-constraints": {},
        },
    )
    files = []
    for store, number in zip(STORES, store_ports, strict=True):
        write_ring(folder, store, host, number)
        own = {"devices": str(folder / "dev"), "mount_check": "false"}
        own |= {"bind_port": str(number), "recon_cache_path": str(folder / "recon")}
        files.append(folder / f"{store}-server.conf")
        sections = {
            "DEFAULT": common | own,
            "pipeline:main": {"pipeline": f"{store}-server"},
            f"app:{store}-server": {"use": f"egg:swift#{store}"},
        }
        write_settings(files[-1], sections)
    sections = {f"filter:{name}": {"use": f"egg:swift#{name}"} for name in FILTERS}
    sections["filter:cache"] = {
        "use": "egg:swift#memcache",
        "memcache_servers": "127.0.0.1:1",
    }
    sections["filter:s3api"] |= {"location": "us-east-1", "check_bucket_owner": "false"}
    sections["filter:tempauth"][f"user_{account}_{user}"] = f"{secret} .admin"
    sections |= {
        "DEFAULT": common | {"bind_port": str(port)},
        "pipeline:main": {"pipeline": " ".join([*FILTERS, "proxy-server"])},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "allow_account_management": "true",
            "account_autocreate": "true",
        },
    }
    files.append(folder / "proxy-server.conf")
    write_settings(files[-1], sections)
    return files


def serve(path: Path) -> None:
    parser = configparser.RawConfigParser()
    parser.read(path)
    place = (parser["DEFAULT"]["bind_ip"], parser.getint("DEFAULT", "bind_port"))
    app = loadapp(str(path), global_conf={"log_name": path.stem})
    wsgi.server(
        eventlet.listen(place, backlog=256),
        app,
        NullLogger(),
        protocol=SwiftHttpProtocol,
        # Clients of S3 look for 'ETag', and not for 'Etag'.
        capitalize_response_headers=False,
        url_length_limit=constraints.MAX_REQUEST_LINE,
    )


def main() -> None:
    where, host, key, secret, *ports = sys.argv[1:]
    folder = Path(where)
    (folder / "dev" / "d1").mkdir(parents=True, exist_ok=True)
    (folder / "recon").mkdir(exist_ok=True)
    files = write_all(folder, host, key, secret, *map(int, ports))
    utils.set_swift_dir(str(folder))
    for thread in [eventlet.spawn(serve, path) for path in files]:
        thread.wait()


if __name__ == "__main__":
    main()
