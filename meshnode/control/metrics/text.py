"""The samples as text in the Prometheus exposition format. Needs `prometheus-client`, the extra `metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from .collect import Sample
from .families import FAMILIES, PREFIX

CONTENT_TYPE = CONTENT_TYPE_LATEST
_KINDS = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}


def exposition(samples: Iterable[Sample]) -> bytes:
    """One scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Samples(samples))
    return bytes(generate_latest(registry))


class _Samples(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def describe(self) -> Iterable[Metric]:
        """Nothing: that would collect once more."""
        return ()

    def collect(self) -> Iterator[Metric]:
        metrics = {
            name: _KINDS[family.kind](f"{PREFIX}{name}", family.help, labels=family.labels)
            for name, family in FAMILIES.items()
        }
        for sample in self._samples:
            metrics[sample.family].add_metric(sample.labels, float(sample.value))
        return (metric for metric in metrics.values() if metric.samples)
