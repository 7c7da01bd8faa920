import io.netty.channel.EventLoopGroup;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;

/** A thread with a Python process that can be ended between two batches. */
final class Worker extends WorkerThread {
    private volatile boolean isActive;

    Worker(
            ConfigManager config,
            EventLoopGroup group,
            int port,
            int device,
            Model model,
            WorkerStateListener listener) {
        super(config, group, port, device, model, new Batches(model), listener);
    }

    @Override
    public void run() {
        // It may have been retired while it waited to be started again.
        if (getState() == WorkerState.WORKER_SCALED_DOWN) {
            return;
        }
        isActive = true;
        Metrics.tell("digit_worker_starts_total", 1, model.getVersion());
        try {
            super.run();
        } finally {
            isActive = false;
        }
    }

    /** Tells whether TorchServe starts the worker no more, and it is not just being started for the last time. */
    boolean isGivenUp() {
        return !isActive && !isHealthy();
    }

    /** Lets the worker end after the batch in its hands, or when no request waits any more. */
    void retire(boolean isLast) {
        if (getState() == WorkerState.WORKER_MODEL_LOADED) {
            ((Batches) aggregator).retire(isLast);
            setState(WorkerState.WORKER_SCALED_DOWN, 200);
        } else {
            end();
        }
    }

    /** Ends the worker at once, whatever it does. */
    void end() {
        shutdown();
        getLifeCycle().exit();
    }

    /** Returns when the worker has ended; ends it by force after a time in milliseconds since 1970. */
    void awaitEnd(long deadline) {
        try {
            while (isActive && System.currentTimeMillis() < deadline) {
                Thread.sleep(10);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (isActive) {
            end();
        }
        model.removeJobQueue(getWorkerId());
    }
}
