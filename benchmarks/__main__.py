# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""python -m benchmarks: each figure beside its references, measured in the same run.

The exit status is 0 if every target was met and nothing became slower than --compare allows,
1 if not, and 2 if a case could not run.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from benchmarks import comparison, contenders, plots, report, stored
from benchmarks.cases import CASES
from benchmarks.figures import Case, Plan, Row
from benchmarks.packets import GearmanError
from benchmarks.processes import ServerError


def main() -> int:
    arguments = _parse_arguments()
    results: dict[Case, list[Row]]
    if arguments.install_help:
        print(contenders.INSTALL_HELP)
        return 0
    if arguments.stored:
        results = stored.read(arguments.stored)
        for case, rows in results.items():
            _show(case.name, case.what, rows)
        if arguments.plots:
            plots.draw(results, arguments.plots)
        return _compare(results, arguments.compare)
    # Blocks end the servers that they started, and a signal alone would not leave them.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    skipped = contenders.missing(arguments.contenders)
    for name, why in skipped.items():
        print(f"skipped: {name}: {why} (see --install-help)")
    results = {}
    status = 0
    for case in CASES:
        if arguments.cases and case.name not in arguments.cases:
            continue
        start = time.monotonic()
        plan = Plan(
            arguments.repetitions or (1 if arguments.quick else case.repetitions),
            arguments.quick,
            arguments.contenders,
        )
        try:
            rows = case.run(plan)
        except (GearmanError, ServerError, OSError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            status = 2
            continue
        except Exception:
            # The other cases, an hour of measuring, are not to be lost.
            print(f"{case.name}: {traceback.format_exc()}", file=sys.stderr)
            status = 2
            continue
        results[case] = rows
        _show(case.name, f"{case.what} ({time.monotonic() - start:.0f} s)", rows)
        if not all(row.target_met for row in rows):
            status = status or 1
        if arguments.json:
            arguments.json.write_text(report.as_json(results, arguments.quick, skipped))
    if arguments.plots:
        plots.draw(results, arguments.plots)
    return status or _compare(results, arguments.compare)


def _compare(results: Mapping[Case, Sequence[Row]], path: pathlib.Path | None) -> int:
    """Return 1 if something became slower than in the results stored there."""
    if path is None:
        return 0
    lines = comparison.slower(results, stored.read(path))
    print("\n" + "\n".join(lines or ["nothing became slower"]))
    return 1 if lines else 0


def _show(name: str, what: str, rows: Sequence[Row]) -> None:
    print(f"\n{name}: {what}")
    print(report.table(rows))
    if spent := report.processor_time(rows):
        print(f"\nµs of processor time for one (of it in the kernel)\n{spent}")
    sys.stdout.flush()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures gearhorn beside its peers and beside bare sockets, on servers that "
        "it starts itself.",
        epilog="\n".join(f"{case.name:<16} {case.what}" for case in CASES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="one of those below; default all")
    parser.add_argument(
        "--contenders",
        type=_names,
        metavar="NAME,...",
        help="measure gearhorn beside these only, and the bare sockets: "
        + ", ".join(contenders.names()),
    )
    parser.add_argument(
        "--repetitions", type=_positive, metavar="N", help="runs of each case, taking turns"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small loads, once each: to see that all works"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--plots", type=pathlib.Path, metavar="DIR", help="draw the results there, as SVG"
    )
    parser.add_argument(
        "--from",
        dest="stored",
        type=pathlib.Path,
        metavar="FILE",
        help="measure nothing: show, and draw, what --json wrote",
    )
    parser.add_argument(
        "--compare",
        type=pathlib.Path,
        metavar="FILE",
        help="name what became slower than "
        f"{comparison.SLOWER} of the results that --json wrote there",
    )
    parser.add_argument(
        "--install-help", action="store_true", help="how to get the contenders on Debian"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - {case.name for case in CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if arguments.compare and arguments.quick:
        parser.error("the small loads of --quick compare with nothing")
    return arguments


def _names(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if unknown := names - set(contenders.names()):
        raise argparse.ArgumentTypeError(f"no such contender: {', '.join(sorted(unknown))}")
    return names


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
