package digits.server;

import io.netty.channel.EventLoopGroup;
import io.prometheus.client.Counter;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;

/** A thread with a Python process, which can be ended between two batches. */
final class DrainingWorkerThread extends WorkerThread {
    private final Counter.Child starts;
    private final ReentrantLock activity = new ReentrantLock();
    private volatile boolean hasLoaded;

    DrainingWorkerThread(
            ConfigManager config, EventLoopGroup group, int port, int device, Model model,
            WorkerStateListener listener) {
        super(config, group, port, device, model, new EagerBatchAggregator(model), listener);
        lifeCycle = new DrainingLifeCycle(config, model);
        starts = Metrics.WORKER_STARTS.labels(model.getVersion());
    }

    @Override
    public void run() {
        // It may have been retired while it waited to be started again.
        if (getState() == WorkerState.WORKER_SCALED_DOWN) {
            return;
        }
        activity.lock();
        try {
            starts.inc();
            super.run();
        } finally {
            activity.unlock();
        }
    }

    @Override
    public void setState(WorkerState newState, int status) {
        super.setState(newState, status);
        hasLoaded |= newState == WorkerState.WORKER_MODEL_LOADED;
    }

    /** Tells whether TorchServe will not start the worker again, or need not, as it never loaded the model. */
    boolean isGivenUp() {
        boolean cannotLoad = !hasLoaded && getState() == WorkerState.WORKER_STOPPED;
        return cannotLoad || !activity.isLocked() && !isHealthy();
    }

    /** Ends the worker after the batch in its hands, or as a model's last one when no request waits. */
    void retire(boolean isLast) {
        if (getState() == WorkerState.WORKER_MODEL_LOADED) {
            ((DrainingLifeCycle) lifeCycle).retire();
            ((EagerBatchAggregator) aggregator).retire(isLast);
            setState(WorkerState.WORKER_SCALED_DOWN, 200);
        } else {
            kill();
        }
    }

    /** Ends the worker at once, whatever it does. */
    void kill() {
        shutdown();
        ((DrainingLifeCycle) lifeCycle).kill();
    }

    /** Returns when the worker has ended; kills it at a time in milliseconds since 1970. */
    void awaitEnd(long deadline) throws InterruptedException {
        if (activity.tryLock(deadline - System.currentTimeMillis(), TimeUnit.MILLISECONDS)) {
            activity.unlock();
        } else {
            kill();
        }
        model.removeJobQueue(getWorkerId());
    }
}
