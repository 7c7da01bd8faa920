package digits.server;

import io.netty.channel.EventLoopGroup;
import io.prometheus.client.Counter;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A thread with a Python process, which can be ended between two batches, and is when it is stuck in one. */
final class DrainingWorkerThread extends WorkerThread {
    private static final Logger LOGGER = LoggerFactory.getLogger(DrainingWorkerThread.class);

    /** Checks, one a second, that find a process idle with a batch in its hands, before it is ended. */
    private static final int IDLE_CHECKS = 3;

    private final Counter.Child starts;
    private final ReentrantLock activity = new ReentrantLock();
    private volatile boolean hasLoaded;
    private volatile boolean hasEnded;
    private List<Object> lastSeen = List.of();
    private int idleChecks;

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
        // With a delay, not at a rate: checks that the server itself missed are not made up for at once.
        Future<?> watch =
                ModelManager.getInstance()
                        .getScheduler()
                        .scheduleWithFixedDelay(DigitServer.guard(this::endIfStuck), 1, 1, TimeUnit.SECONDS);
        try {
            starts.inc();
            super.run();
            hasEnded = true;
        } finally {
            watch.cancel(false);
            activity.unlock();
        }
    }

    /**
     * Ends the process if it has a batch and uses no processor: it is stopped, or waits for what does not come.
     *
     * <p>One that works without end, ends itself: handler/limit.py.
     */
    private void endIfStuck() {
        long batch = ((EagerBatchAggregator) aggregator).batch();
        Optional<Duration> used =
                batch == 0 ? Optional.empty()
                        : ProcessHandle.of(getPid()).flatMap(process -> process.info().totalCpuDuration());
        List<Object> seen = List.of(batch, used);
        idleChecks = used.isPresent() && seen.equals(lastSeen) ? idleChecks + 1 : 0;
        lastSeen = seen;
        if (idleChecks == IDLE_CHECKS) {
            LOGGER.error("Worker {} does nothing, with a batch in its hands; it is ended.", getPid());
            ((DrainingLifeCycle) lifeCycle).kill();
        }
    }

    @Override
    public void setState(WorkerState newState, int status) {
        super.setState(newState, status);
        hasLoaded |= newState == WorkerState.WORKER_MODEL_LOADED;
    }

    /** Tells whether TorchServe will not start the worker again, or need not, as it never loaded the model. */
    boolean isGivenUp() {
        boolean cannotLoad = !hasLoaded && hasEnded;
        return cannotLoad || !activity.isLocked() && !isHealthy();
    }

    /** Ends the worker after the batch in its hands, or as a model's last one when no request waits. */
    void retire(boolean isLast) {
        if (getState() == WorkerState.WORKER_MODEL_LOADED) {
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
