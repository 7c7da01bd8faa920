package digits.server;

import com.google.common.util.concurrent.Uninterruptibles;
import io.netty.channel.EventLoopGroup;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerInitializationException;
import org.pytorch.serve.wlm.WorkerLifeCycle;
import org.pytorch.serve.wlm.WorkerState;
import org.pytorch.serve.wlm.WorkerStateListener;
import org.pytorch.serve.wlm.WorkerThread;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A worker that can be retired between two batches, and is killed when it is stuck in one. */
final class DrainingWorkerThread extends WorkerThread {
    private static final Logger LOGGER = LoggerFactory.getLogger(DrainingWorkerThread.class);

    /** Consecutive checks, one a second, that must find a worker idle during a batch before it is killed. */
    private static final int IDLE_CHECKS = 3;

    private final EagerBatchAggregator batches;
    private final LifeCycle process;
    private final ReentrantLock activity = new ReentrantLock();
    private volatile boolean hasLoaded;
    private volatile boolean hasEnded;
    private List<Object> lastSeen = List.of();
    private int idleChecks;

    DrainingWorkerThread(
            ConfigManager config, EventLoopGroup group, int port, Model model, EagerBatchAggregator batches,
            WorkerStateListener listener) {
        // On no GPU.
        super(config, group, port, -1, model, batches, listener);
        this.batches = batches;
        process = new LifeCycle(config, model);
        lifeCycle = process;
    }

    /** Returns a task that logs its exceptions: an uncaught one would cancel the schedule. */
    static Runnable guard(Runnable task) {
        return () -> {
            try {
                task.run();
            } catch (RuntimeException e) {
                LOGGER.error("A repeated task failed; it will run again.", e);
            }
        };
    }

    @Override
    protected void connect() throws WorkerInitializationException, InterruptedException {
        super.connect();
        batches.connect(backendChannel.get(0));
    }

    @Override
    public void run() {
        // It may have been retired while it waited for its restart.
        if (getState() == WorkerState.WORKER_SCALED_DOWN) {
            return;
        }
        activity.lock();
        // With a fixed delay: at a fixed rate, checks missed while the server paused would run back to back.
        Future<?> watch =
                ModelManager.getInstance()
                        .getScheduler()
                        .scheduleWithFixedDelay(guard(this::endIfStuck), 1, 1, TimeUnit.SECONDS);
        try {
            Metrics.WORKER_STARTS.labels(model.getModelName(), model.getVersion()).inc();
            super.run();
            hasEnded = true;
        } finally {
            watch.cancel(false);
            activity.unlock();
        }
    }

    /**
     * Kills a process that hangs: it has a batch but uses no CPU, or takes longer than the response timeout.
     *
     * <p>A process in an endless computation is ended by its CPU limit: handler/limit.py.
     */
    private void endIfStuck() {
        long batch = batches.batch();
        Optional<Duration> used =
                batch == 0 ? Optional.empty()
                        : ProcessHandle.of(getPid()).flatMap(each -> each.info().totalCpuDuration());
        List<Object> seen = List.of(batch, used);
        idleChecks = used.isPresent() && seen.equals(lastSeen) ? idleChecks + 1 : 0;
        lastSeen = seen;
        if (idleChecks == IDLE_CHECKS) {
            String sentence = "Worker {} hangs: it has a batch but uses no CPU. It is killed. {}";
            LOGGER.error(sentence, getPid(), batches.ids());
            process.kill();
        } else if (batch != 0 && System.nanoTime() - batch > TimeUnit.SECONDS.toNanos(model.getResponseTimeout())) {
            String sentence = "Worker {} has not answered within the response timeout. It is killed. {}";
            LOGGER.error(sentence, getPid(), batches.ids());
            process.kill();
        }
    }

    @Override
    public void setState(WorkerState newState, int status) {
        super.setState(newState, status);
        hasLoaded |= newState == WorkerState.WORKER_MODEL_LOADED;
    }

    /** Returns whether the worker has ended without ever loading the model. */
    boolean cannotLoad() {
        return !hasLoaded && hasEnded;
    }

    /** Returns whether the worker will not be restarted. */
    boolean isGivenUp() {
        return !activity.isLocked() && !isHealthy();
    }

    /** Ends the worker after its current batch, or, if it is the model's last one, when the queue is empty. */
    void retire(boolean isLast) {
        if (getState() == WorkerState.WORKER_MODEL_LOADED) {
            batches.retire(isLast);
            setState(WorkerState.WORKER_SCALED_DOWN, 200);
        } else {
            kill();
        }
    }

    /** Kills the worker at once. */
    void kill() {
        shutdown();
        process.kill();
    }

    /** Waits until the worker has ended; kills it at the deadline, in milliseconds since 1970. */
    void awaitEnd(long deadline) {
        long left = deadline - System.currentTimeMillis();
        if (Uninterruptibles.tryLockUninterruptibly(activity, left, TimeUnit.MILLISECONDS)) {
            activity.unlock();
        } else {
            kill();
        }
        model.removeJobQueue(getWorkerId());
    }

    /**
     * The Python process, killed only after its output has been read.
     *
     * <p>It exits when its connection is closed (operate/worker.py), and then prints the reason and its last counts
     * (handler/metrics.py).
     */
    private static final class LifeCycle extends WorkerLifeCycle {
        /** Milliseconds that a process gets to exit by itself. */
        private static final int END_MS = 5000;

        /** Reaches zero when standard output and standard error have ended. */
        private volatile CountDownLatch outputs = new CountDownLatch(0);

        private Process ended;

        LifeCycle(ConfigManager config, Model model) {
            super(config, model);
        }

        @Override
        public void startWorker(int port, String deviceIds)
                throws WorkerInitializationException, InterruptedException {
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
}
