"""Runs benchmarks, and prints what they have found."""

import argparse
import json
import sys

from tests.benchmarks import find_benchmarks
from tests.benchmarks.measuring import Effort, Ratio, Row


def main(arguments: list[str] | None = None) -> None:
    """Run benchmarks; a goal that is missed is no failure of the program.

    :param arguments: What stands on the command line.
    """
    known = find_benchmarks()
    names = ", ".join(known)
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"some of {names}")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument(
        "--seconds", type=float, default=Effort().seconds, help="for each comparison"
    )
    chosen = parser.parse_args(arguments)
    for name in chosen.names:
        if name not in known:
            parser.error(f"'{name}' is no benchmark. Choose from {names}.")
    rows: list[tuple[str, Row]] = []
    for name in chosen.names or known:
        for row in known[name](Effort(chosen.seconds)):
            sys.stderr.write(f"{name}: {row.name}: {_shown(row)}\n")
            rows.append((name, row))
    found = json.dumps([_facts(*row) for row in rows], indent=1)
    sys.stdout.write(f"{found if chosen.json else _table(rows)}\n")


def _facts(name: str, row: Row) -> dict[str, object]:
    ratio = row.result if isinstance(row.result, Ratio) else None
    return {
        "benchmark": name,
        "name": row.name,
        "exact": row.exact,
        "value": row.value,
        "itself": ratio and ratio.itself,
        "spread": ratio and ratio.spread,
        "goal": row.goal or None,
        "ok": row.ok,
    }


def _table(rows: list[tuple[str, Row]]) -> str:
    lines = [("benchmark", "measure", "value", "limit/limit", "goal", "")]
    for name, row in rows:
        noise = ""
        if isinstance(row.result, Ratio):
            noise = f"{row.result.itself:.2f} ±{row.result.spread:.2f}"
        verdict = ("ok" if row.ok else "missed") if row.goal else ""
        lines.append((name, row.name, _shown(row), noise, row.goal, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _shown(row: Row) -> str:
    return str(row.result) if row.exact else f"{row.value:.3f}"


if __name__ == "__main__":
    main()
