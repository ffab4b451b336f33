# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""All metrics in the format of Prometheus.

prometheus_client writes the format and has the numbers of the process and of Python. The
daemon counts in plain integers, which are put into its classes only when they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gearhorn.daemon.numbers.family import Family
from gearhorn.wire.tally import Histogram

PREFIX = "gearhorn_"

KIND: str = CONTENT_TYPE_LATEST


class _Collector(Collector):
    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that no metric is collected only to learn its name."""
        return ()

    def collect(self) -> Iterator[Metric]:
        return map(_metric, self._families())


class Exposition:
    """The metrics of a process.

    :param families: returns those of the daemon, as they are now.
    """

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(families))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        """Return all metrics as they are now."""
        return generate_latest(self._registry)


def _metric(family: Family) -> Metric:
    name = PREFIX + family.name
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
        for values, value in family.samples.items():
            assert isinstance(value, Histogram)
            bounds = [*map(repr, map(float, value.bounds)), "+Inf"]
            buckets = list(zip(bounds, accumulate(value.counts), strict=True))
            histogram.add_metric(values, buckets, value.total)
        return histogram
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily
    metric = make(name, family.help, labels=family.labels)
    for values, value in family.samples.items():
        assert not isinstance(value, Histogram)
        metric.add_metric(values, value)
    return metric
