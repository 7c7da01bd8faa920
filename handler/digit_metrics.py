"""What the worker tells of its answers: how many of each digit and confidence, and why pictures were refused."""

import logging
import threading
import time
from bisect import bisect_right
from collections import Counter

from ts.metrics.metric_cache_abstract import MetricCacheAbstract
from ts.metrics.metric_type_enum import MetricTypes

from digit_image import BadImage
from digit_requests import Answer

TELL_S = 1.0
# A confidence at the border of two bands counts in the upper one.
BORDERS = (0.5, 0.8, 0.9, 0.95, 0.99)
BANDS = [f"{low}-{high}" for low, high in zip((0.0, *BORDERS), (*BORDERS, 1.0), strict=True)]


class Tally:
    """Counts answers, and tells TorchServe's counters of them each second: a line for each would take longer."""

    def __init__(self, metrics: MetricCacheAbstract, version: str) -> None:
        self.metrics, self.version = metrics, version
        self.lock = threading.Lock()
        self.counts: Counter[tuple[str, ...]] = Counter()
        # Metrics reach the front end by way of the log.
        log = logging.getLogger("ts.metrics.caching_metric")
        log.setLevel(logging.INFO)
        # TorchServe's own for every batch costs as much as reading ten pictures.
        log.addFilter(lambda line: "]PredictionTime." not in line.msg)
        threading.Thread(target=self.tell_for_ever, daemon=True).start()

    def add(self, answers: list[Answer | BadImage]) -> None:
        """Count the answers of a batch."""
        with self.lock:
            for answer in answers:
                if isinstance(answer, BadImage):
                    self.counts["digit_refused_total", answer.reason] += 1
                else:
                    certain = "true" if answer["certain"] else "false"
                    self.counts["digit_answers_total", str(answer["digit"]), certain] += 1
                    self.counts["digit_confidence_total", BANDS[bisect_right(BORDERS, answer["confidence"])]] += 1

    def tell_for_ever(self) -> None:
        """Tell what was counted, each second."""
        while True:
            time.sleep(TELL_S)
            self.tell()

    def tell(self) -> None:
        """Tell what was counted since the last time."""
        with self.lock:
            counts, self.counts = self.counts, Counter()
        for (name, *labels), count in counts.items():
            self.metrics.get_metric(name, MetricTypes.COUNTER).add_or_update(count, [*labels, self.version])
