"""The benchmarks that need real servers run; their times are not asserted."""

import math

import pytest

from tests.benchmarks import find_benchmarks
from tests.benchmarks.measuring import SERVED, Effort
from tests.servers import RabbitServer, SwiftServer
from tests.test_benchmarks import PAGE, find_false

BENCHMARKS = find_benchmarks()


@pytest.mark.parametrize("name", sorted(SERVED))
def test_benchmark_on_a_server_gives_its_rows(name: str) -> None:
    for kind in (RabbitServer, SwiftServer):
        if reason := kind.missing():
            pytest.skip(reason)

    rows = list(BENCHMARKS[name](Effort(seconds=0, rounds=1)))

    assert rows
    assert len({row.name for row in rows}) == len(rows)
    assert all(math.isfinite(row.value) for row in rows)
    assert find_false(PAGE.read_text(), name, rows) == set()
