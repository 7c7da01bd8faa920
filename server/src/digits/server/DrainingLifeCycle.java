package digits.server;

import com.google.common.util.concurrent.Uninterruptibles;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerInitializationException;
import org.pytorch.serve.wlm.WorkerLifeCycle;

/**
 * A worker's Python process, which is not killed before all that it has printed is read.
 *
 * <p>The process ends when its connection is closed (operate/worker.py), and as it ends prints why
 * and what it has counted (handler/metrics.py). Killing it closes its outputs, read or not.
 */
final class DrainingLifeCycle extends WorkerLifeCycle {
    /** Milliseconds for a process to end by itself. */
    private static final int END_MS = 5000;

    /** Counts the ends of standard output and standard error. */
    private volatile CountDownLatch outputs = new CountDownLatch(0);

    private Process ended;

    DrainingLifeCycle(ConfigManager config, Model model) {
        super(config, model);
    }

    @Override
    public void startWorker(int port, String deviceIds) throws WorkerInitializationException, InterruptedException {
        outputs = new CountDownLatch(2);
        super.startWorker(port, deviceIds);
    }

    /** Is called with true when the worker has started, and with false for each of its outputs that has ended. */
    @Override
    public void setSuccess(boolean isStarted) {
        super.setSuccess(isStarted);
        if (!isStarted) {
            outputs.countDown();
        }
    }

    /** Gives the process time to end by itself: its connection is closed. */
    @Override
    public void exit() {
        // The same one as before: none could be started.
        if (getProcess() != ended) {
            ended = getProcess();
            Uninterruptibles.awaitUninterruptibly(outputs, END_MS, TimeUnit.MILLISECONDS);
        }
        super.exit();
    }

    /** Ends the process at once. */
    void kill() {
        super.exit();
    }
}
