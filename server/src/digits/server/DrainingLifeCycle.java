package digits.server;

import com.google.common.util.concurrent.Uninterruptibles;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerInitializationException;
import org.pytorch.serve.wlm.WorkerLifeCycle;

/**
 * A worker's Python process, killed only after its output has been read.
 *
 * <p>The process exits when its connection is closed (operate/worker.py) and then prints the reason and its last counts
 * (handler/metrics.py). Killing it would discard unread output.
 */
final class DrainingLifeCycle extends WorkerLifeCycle {
    /** Milliseconds that a process gets to exit by itself. */
    private static final int END_MS = 5000;

    /** Reaches zero when standard output and standard error have ended. */
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

    /** Called with true when the worker has started, and with false when one of its outputs ends. */
    @Override
    public void setSuccess(boolean isStarted) {
        super.setSuccess(isStarted);
        if (!isStarted) {
            outputs.countDown();
        }
    }

    /** Waits for the process to exit by itself, since its connection is closed, then kills it. */
    @Override
    public void exit() {
        // If it is the same as last time, no new one was started.
        if (getProcess() != ended) {
            ended = getProcess();
            Uninterruptibles.awaitUninterruptibly(outputs, END_MS, TimeUnit.MILLISECONDS);
        }
        super.exit();
    }

    /** Kills the process at once. */
    void kill() {
        super.exit();
    }
}
