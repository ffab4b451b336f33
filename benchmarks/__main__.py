"""python -m benchmarks: each figure beside its reference, measured in the same run.

The exit status is 0 if every target was met, 1 if one was missed, 2 if a case could not run.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks.cases import CASES
from benchmarks.packets import GearmanError
from benchmarks.results import Row
from benchmarks.servers import ServerError

_COLUMNS = "{:<46} {:<9} {:>27} {:>27} {:>6}  {}"


def main() -> int:
    arguments = _parse_arguments()
    # Servers are ended by the blocks that started them, which a signal alone would not leave.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    print(_COLUMNS.format("", "", "gearhorn", "reference", "ratio", "target"))
    print(_COLUMNS.format("", "", "median (range)", "median (range)", "", ""))
    all_met = True
    for case in CASES:
        if arguments.cases and case.name not in arguments.cases:
            continue
        try:
            rows = case.run(arguments.repetitions or case.repetitions)
        except (GearmanError, ServerError, OSError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            return 2
        for row in rows:
            print(_format(row), flush=True)
            all_met &= row.target_met
    return 0 if all_met else 1


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures gearhorn beside bare sockets, on servers that it starts itself.",
        epilog="\n".join(f"{case.name:<16} {case.what}" for case in CASES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [case.name for case in CASES]
    parser.add_argument("cases", nargs="*", metavar="CASE", help="one of those below; default all")
    parser.add_argument(
        "--repetitions", type=_positive, metavar="N", help="runs of each case, alternating"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return arguments


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _format(row: Row) -> str:
    verdict = "met" if row.target_met else "MISSED"
    return _COLUMNS.format(
        row.what,
        row.unit,
        _spread(row.figures, row.figure),
        _spread(row.references, row.reference),
        f"{row.ratio:.2f}",
        f"{row.target.text} {verdict}",
    )


def _spread(values: Sequence[float], median: float) -> str:
    def number(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

    if len(values) == 1:
        return number(median)
    return f"{number(median)} ({number(min(values))}-{number(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
