import io.prometheus.client.CollectorRegistry;
import io.prometheus.client.Histogram;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.pytorch.serve.metrics.IMetric;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.metrics.format.prometheous.PrometheusHistogram;
import org.pytorch.serve.util.ConfigManager;

/** Tells TorchServe's metric cache what happens, as metrics.yaml declares it. */
final class Metrics {
    /** Upper ends of the buckets of histograms, by the end of their names. */
    private static final Map<String, double[]> BUCKETS =
            Map.of(
                    "_ms", new double[] {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000},
                    "_requests", new double[] {1, 2, 4, 8, 16, 24, 32, 48, 64});

    private Metrics() {}

    /** Gives the declared histograms buckets of their own: those of TorchServe all end at 10. */
    static void init() {
        Map<String, IMetric> metrics =
                Reflection.value(MetricCache.class, "metricsFrontend", MetricCache.getInstance());
        metrics.forEach(
                (name, metric) -> {
                    double[] buckets = BUCKETS.get(name.substring(Math.max(0, name.lastIndexOf('_'))));
                    if (metric instanceof PrometheusHistogram && buckets != null) {
                        setBuckets(name, metric, buckets);
                    }
                });
    }

    private static void setBuckets(String name, IMetric metric, double... buckets) {
        List<String> labels = Reflection.value(IMetric.class, "dimensionNames", metric);
        Histogram before = Reflection.value(PrometheusHistogram.class, "histogram", metric);
        CollectorRegistry.defaultRegistry.unregister(before);
        Histogram after =
                Histogram.build()
                        .name(name)
                        .help("See docs/metrics.md.")
                        .labelNames(labels.toArray(new String[0]))
                        .buckets(buckets)
                        .register();
        try {
            Reflection.field(PrometheusHistogram.class, "histogram").set(metric, after);
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Adds to a counter, sets a gauge or observes a value of a histogram of metrics.yaml's ts_metrics. */
    static void tell(String name, double value, String... labels) {
        IMetric metric = MetricCache.getInstance().getMetricFrontend(name);
        if (metric != null) {
            metric.addOrUpdate(Arrays.asList(labels), value);
        }
    }

    /** Counts a request that never reaches a worker, beside those that the workers refuse. */
    static void tellRefused(String reason) {
        IMetric metric = MetricCache.getInstance().getMetricBackend("digit_refused_total");
        if (metric != null) {
            metric.addOrUpdate(Arrays.asList(reason, "", ConfigManager.getInstance().getHostName()), 1);
        }
    }
}
