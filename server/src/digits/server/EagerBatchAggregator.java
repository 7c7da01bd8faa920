package digits.server;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.concurrent.BlockingDeque;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Lock;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.BaseModelRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.BatchAggregator;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;

/**
 * Gives a worker the requests that wait, up to the batch size, without waiting for more.
 *
 * <p>TorchServe's own waits at least a millisecond, a third of the time that a lone request takes. Under load
 * nothing is lost: requests that come during a batch make the next one.
 */
final class EagerBatchAggregator extends BatchAggregator {
    /** The map of a model's queues, to which TorchServe gives no access. */
    private static final Field QUEUES = openQueues();

    /** Milliseconds between two checks whether the worker is retired. */
    private static final int CHECK_MS = 100;

    /** How many workers may die of a request: two may have been dead before, unnoticed. */
    private static final int TRIES = 3;

    /** How many workers died of each request that is to be retried, alone: one of them may be the cause. */
    private static final Map<String, Integer> DEATHS = new ConcurrentHashMap<>();

    private final BlockingDeque<Job> requests;
    private final Lock turn;
    private volatile boolean isRetired;
    private volatile boolean isLast;
    private long taken;

    /** Serves a worker of a model, whose workers take turns at its queue. */
    EagerBatchAggregator(Model model, Lock turn) {
        super(model);
        requests = requestsOf(model);
        this.turn = turn;
    }

    private static Field openQueues() {
        try {
            Field queues = Model.class.getDeclaredField("jobsDb");
            queues.setAccessible(true);
            return queues;
        } catch (NoSuchFieldException e) {
            throw new IllegalStateException("The server needs TorchServe 0.12: install requirements/serve.txt.", e);
        }
    }

    @SuppressWarnings("unchecked")
    private static BlockingDeque<Job> requestsOf(Model model) {
        try {
            return ((Map<String, ? extends BlockingDeque<Job>>) QUEUES.get(model)).get(Model.DEFAULT_DATA_QUEUE);
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Answers all requests that wait for a model without workers. */
    static void refuseAll(Model model) {
        BlockingDeque<Job> requests = requestsOf(model);
        for (Job job = requests.poll(); job != null; job = requests.poll()) {
            job.sendError(503, "The model has no worker any more: try again.");
        }
    }

    /** Ends the worker when it comes for its next batch; a model's last one not before the queue is empty. */
    void retire(boolean isLastOne) {
        isLast = isLastOne;
        isRetired = true;
    }

    @Override
    public void pollBatch(String worker, WorkerState state) throws InterruptedException {
        taken = 0;
        model.pollMgmtJob(worker, 0, jobs);
        while (jobs.isEmpty()) {
            if (isRetired && (!isLast || requests.isEmpty())) {
                throw new InterruptedException("The worker is retired.");
            }
            // One worker at a time: two would share what one can take at once.
            if (turn.tryLock(CHECK_MS, TimeUnit.MILLISECONDS)) {
                try {
                    take(requests.poll(CHECK_MS, TimeUnit.MILLISECONDS));
                } finally {
                    turn.unlock();
                }
            }
        }
    }

    /** Takes a request, and those behind it that fit in a batch with it. */
    private void take(Job first) {
        for (Job job = first; job != null; job = jobs.size() < model.getBatchSize() ? requests.poll() : null) {
            if (!isForBatch(job) && job != first) {
                requests.addFirst(job);
                break;
            }
            jobs.put(job.getJobId(), job);
            if (!isForBatch(job)) {
                break;
            }
        }
        if (first != null) {
            recordTaken();
        }
    }

    private static boolean isForBatch(Job job) {
        return job.getCmd() == WorkerCommands.PREDICT && !DEATHS.containsKey(job.getJobId());
    }

    private void recordTaken() {
        taken = System.nanoTime();
        Metrics.BATCH_REQUESTS.observe(jobs.size());
        for (Job job : jobs.values()) {
            Metrics.QUEUE_MS.observe((taken - job.getBegin()) / 1e6);
        }
    }

    @Override
    public boolean sendResponse(ModelWorkerResponse message) {
        if (taken > 0) {
            Metrics.BATCH_MS.observe((System.nanoTime() - taken) / 1e6);
        }
        if (!DEATHS.isEmpty()) {
            DEATHS.keySet().removeAll(jobs.keySet());
        }
        return super.sendResponse(message);
    }

    /** Leaves the requests of a worker that died to another one. */
    @Override
    public void sendError(BaseModelRequest message, String error, int status) {
        for (Job job : jobs.values()) {
            boolean isRetried =
                    job.getCmd() == WorkerCommands.PREDICT
                            && DEATHS.merge(job.getJobId(), 1, Integer::sum) < TRIES
                            && requests.offerFirst(job);
            if (!isRetried) {
                DEATHS.remove(job.getJobId());
                job.sendError(status, error);
            }
        }
        jobs.clear();
    }
}
