"""Counts a worker's answers by digit, confidence and truth, those to expect right, numbers, and refused pictures."""

import atexit
import logging
import threading
import time
from bisect import bisect_right
from collections import defaultdict

from ts.metrics.metric_cache_abstract import MetricCacheAbstract
from ts.metrics.metric_type_enum import MetricTypes

from handler.requests import Answer, is_doubted
from model.errors import BadImage

PRINT_S = 1.0
# A confidence at the border of two bands counts in the upper one.
BORDERS = (0.5, 0.8, 0.9, 0.95, 0.99)
BANDS = [f"{low}-{high}" for low, high in zip((0.0, *BORDERS), (*BORDERS, 1.0), strict=True)]


class Tally:
    """Counts answers, and prints TorchServe's counters each second and at the end: once an answer would cost more."""

    def __init__(self, metrics: MetricCacheAbstract, model: str, version: str) -> None:
        self.metrics, self.model = metrics, (model, version)
        self.lock = threading.Lock()
        self.counts: defaultdict[tuple[str, ...], float] = defaultdict(float)
        # The Java server reads metrics from what the worker logs.
        logging.getLogger("ts.metrics.caching_metric").setLevel(logging.INFO)
        threading.Thread(target=self.print_for_ever, daemon=True).start()
        # server/src/digits/server/DrainingWorkerThread.java waits for this when it retires the worker.
        atexit.register(self.print)

    def add(self, answers: list[Answer | BadImage]) -> None:
        """Count the answers of a batch."""
        with self.lock:
            for answer in answers:
                if isinstance(answer, BadImage):
                    self.counts["digit_refused_total", answer.reason] += 1
                    continue
                for number in answer.get("numbers", []):
                    self.counts["digit_numbers_total", "true" if number["certain"] else "false"] += 1
                # The digit of a picture that is read as a number says nothing.
                if answer["certain"] or is_doubted(answer):
                    confidence = answer["confidence"]
                    kind = str(answer["digit"]), "true" if answer["certain"] else "false"
                    self.counts["digit_answers_total", *kind] += 1
                    # Confidences are calibrated: their sum estimates how many answers are right.
                    self.counts["digit_expected_right_total", *kind] += confidence
                    self.counts["digit_confidence_total", BANDS[bisect_right(BORDERS, confidence)]] += 1

    def add_truths(self, answers: list[Answer | BadImage], truths: list[str]) -> None:
        """Count the answers of a batch that have a truth, "" being none."""
        for answer, truth in zip(answers, truths, strict=True):
            if truth and not isinstance(answer, BadImage):
                is_right = truth == str(answer["digit"])
                # Both series begin at once, so that their ratio is there.
                self.count("digit_corrected_total", truth, "true", by=is_right)
                self.count("digit_corrected_total", truth, "false", by=not is_right)
                self.count("digit_corrected_expected_total", truth, by=answer["confidence"])

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter with labels, which model and version follow."""
        with self.lock:
            self.counts[name, *labels] += by

    def print_for_ever(self) -> None:
        """Print what was counted, each second."""
        while True:
            time.sleep(PRINT_S)
            self.print()

    def print(self) -> None:
        """Print what was counted since the last time."""
        # The lock is held meanwhile: at the end nothing may be left in the hands of the other thread.
        with self.lock:
            for (name, *labels), count in self.counts.items():
                self.metrics.get_metric(name, MetricTypes.COUNTER).add_or_update(count, [*labels, *self.model])
            self.counts.clear()
