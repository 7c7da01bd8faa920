package digits.server;

import static org.junit.Assert.assertTrue;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.junit.Test;

/** The tasks that the server repeats. */
public final class DrainingWorkerThreadTest {
    @Test
    public void aRepeatedTaskGoesOnAfterAnException() throws InterruptedException {
        TorchServe.start();
        CountDownLatch runs = new CountDownLatch(3);
        Runnable task =
                DrainingWorkerThread.guard(
                        () -> {
                            runs.countDown();
                            throw new IllegalStateException("thrown by the test");
                        });
        ScheduledExecutorService scheduler = Executors.newScheduledThreadPool(1);
        scheduler.scheduleAtFixedRate(task, 0, 1, TimeUnit.MILLISECONDS);
        assertTrue(runs.await(30, TimeUnit.SECONDS));
        scheduler.shutdownNow();
    }
}
