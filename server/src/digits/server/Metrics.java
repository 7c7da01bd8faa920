package digits.server;

import io.prometheus.client.Counter;
import io.prometheus.client.Gauge;
import io.prometheus.client.Histogram;
import java.util.List;
import java.util.Objects;
import org.pytorch.serve.metrics.IMetric;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.util.ConfigManager;

/** The metrics that the Java server adds to TorchServe's; docs/metrics.md describes each. */
final class Metrics {
    static final Counter REQUESTS =
            Counter.build("digit_requests_total", "Answers of the inference port.")
                    .labelNames("endpoint", "code")
                    .register();
    static final Histogram REQUEST_MS =
            inMs("digit_request_ms", "From receiving the whole request to writing its answer.")
                    .labelNames("endpoint")
                    .register();
    static final Histogram QUEUE_MS = inMs("digit_queue_ms", "Wait of a request for a worker.").register();
    static final Histogram BATCH_MS = inMs("digit_batch_ms", "A worker's time for a batch.").register();
    static final Histogram BATCH_REQUESTS =
            Histogram.build("digit_batch_requests", "Requests that a worker takes at once.")
                    .buckets(1, 2, 4, 8, 16, 24, 32, 48, 64)
                    .register();
    static final Counter WORKER_STARTS =
            Counter.build("digit_worker_starts_total", "Worker processes started.")
                    .labelNames("model", "version")
                    .register();

    static final Gauge READY_WORKERS = perVersion("digit_ready_workers", "Workers that can read a digit.");
    static final Gauge MIN_WORKERS = perVersion("digit_min_workers", "Workers wanted.");
    static final Gauge WAITING_REQUESTS = perVersion("digit_waiting_requests", "Requests waiting for a worker.");
    static final Gauge QUEUE_CAPACITY = perVersion("digit_queue_places", "Free capacity of the queue, in requests.");
    static final Gauge IS_DEFAULT = perVersion("digit_is_default", "1 for the version that serves.");

    static final List<Gauge> VERSION_GAUGES =
            List.of(READY_WORKERS, MIN_WORKERS, WAITING_REQUESTS, QUEUE_CAPACITY, IS_DEFAULT);

    /** Shared with the workers' refusals, for which metrics.yaml declares it. */
    private static final IMetric REFUSED =
            Objects.requireNonNull(
                    MetricCache.getInstance().getMetricBackend("digit_refused_total"),
                    "metrics.yaml must declare digit_refused_total under model_metrics.");

    private Metrics() {}

    private static Histogram.Builder inMs(String name, String help) {
        return Histogram.build(name, "Milliseconds: " + help)
                .buckets(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000);
    }

    private static Gauge perVersion(String name, String help) {
        return Gauge.build(name, help).labelNames("model", "version").register();
    }

    /** Counts a request refused before it reaches a worker. */
    static void countRefused(String reason) {
        REFUSED.addOrUpdate(List.of(reason, "", "", ConfigManager.getInstance().getHostName()), 1);
    }
}
