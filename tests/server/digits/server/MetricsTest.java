package digits.server;

import static org.junit.Assert.assertEquals;

import io.prometheus.client.CollectorRegistry;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.util.ConfigManager;

/** What /metrics shows. */
public final class MetricsTest {
    private static final CollectorRegistry REGISTRY = CollectorRegistry.defaultRegistry;

    private static DrainingWorkLoadManager workers;

    @BeforeClass
    public static void startTorchServe() {
        workers = TorchServe.start();
    }

    @Test
    public void aRefusedRequestIsCountedBesideThoseThatWorkersRefuse() {
        String[] labels = {"reason", "version", "Hostname"};
        String[] values = {"queue_full", "", ConfigManager.getInstance().getHostName()};
        Double before = REGISTRY.getSampleValue("digit_refused_total", labels, values);
        Metrics.countRefused("queue_full");
        Double after = REGISTRY.getSampleValue("digit_refused_total", labels, values);
        assertEquals(1, after - (before == null ? 0 : before), 0);
    }

    @Test
    public void millisecondsHaveBucketsUpToTenSeconds() {
        Metrics.QUEUE_MS.observe(9000);
        String[] label = {"le"};
        assertEquals(0, REGISTRY.getSampleValue("digit_queue_ms_bucket", label, new String[] {"5000.0"}), 0);
        assertEquals(1, REGISTRY.getSampleValue("digit_queue_ms_bucket", label, new String[] {"10000.0"}), 0);
    }

    @Test
    public void gaugesShowEachVersionAndWhichOneServes() {
        workers.recordGauges();
        assertEquals(1, Metrics.IS_DEFAULT.labels("1.0").get(), 0);
        assertEquals(0, Metrics.IS_DEFAULT.labels("2.0").get(), 0);
        assertEquals(64, Metrics.QUEUE_CAPACITY.labels("2.0").get(), 0);
        assertEquals(0, Metrics.READY_WORKERS.labels("1.0").get(), 0);
    }
}
