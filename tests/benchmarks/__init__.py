"""What quorum costs, each time as a ratio to what it is built on.

Run it from the root of the repository::

    python -m tests.benchmarks [names…] [--json] [--seconds N]

Every module beside this one may register benchmarks, and needs nothing else to be
found::

    @benchmark("mail")
    def measure_mail(effort: Effort) -> Iterator[Row]:
        yield Row("send_mail()", compare(timed(ours), timed(limit), effort), "<= 2")

The limit is the thinnest use of the library underneath that does the same. Times
change from run to run and between machines, their ratios hardly; the counts are
exact, and the tests hold them to their goals.
"""

import importlib
import pkgutil

from tests.benchmarks.measuring import BENCHMARKS, Benchmark


def find_benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by their names; their modules are imported for that."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return BENCHMARKS
