package digits.server;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.messages.BaseModelRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.pytorch.serve.util.messages.WorkerCommands;
import org.pytorch.serve.wlm.BatchAggregator;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.WorkerState;

/**
 * Gives a worker the waiting requests, up to the batch size, without waiting for more.
 *
 * <p>TorchServe waits at least a millisecond, a third of the time of a lone request. Batches stay large under load:
 * requests that arrive during a batch form the next one.
 */
final class EagerBatchAggregator extends BatchAggregator {
    /** Workers that may die while processing a request before it is refused: two may have been dead already. */
    private static final int TRIES = 3;

    /** Deaths by job id of requests that are retried, each in a batch by itself since it may be the cause. */
    private static final Map<String, Integer> DEATHS = new ConcurrentHashMap<>();

    private final RequestQueue requests;
    private volatile boolean isRetired;
    private volatile boolean isLast;
    private volatile long taken;

    EagerBatchAggregator(Model model) {
        super(model);
        requests = RequestQueue.of(model);
    }

    /** Refuses all waiting requests of a model without workers. */
    static void refuseAll(Model model) {
        RequestQueue requests = RequestQueue.of(model);
        for (Job job = requests.poll(); job != null; job = requests.poll()) {
            job.sendError(503, AnswerWriter.NO_WORKER);
        }
    }

    /** Returns a number that identifies the worker's current batch; 0 if there is none. */
    long batch() {
        return taken;
    }

    /** Ends the worker when it asks for its next batch; the model's last worker empties the queue first. */
    void retire(boolean isLastOne) {
        isLast = isLastOne;
        isRetired = true;
    }

    @Override
    public void pollBatch(String worker, WorkerState state) throws InterruptedException {
        taken = 0;
        model.pollMgmtJob(worker, 0, jobs);
        if (jobs.isEmpty()) {
            Job first = requests.await(() -> isRetired && (!isLast || requests.isEmpty()));
            if (first == null) {
                throw new InterruptedException("The worker is retired.");
            }
            take(first);
        }
    }

    /** Takes a request and those behind it that fit into one batch, whose bytes stay below the limit of one request. */
    private void take(Job first) {
        long bytes = 0;
        for (Job job = first; job != null; job = jobs.size() < model.getBatchSize() ? requests.poll() : null) {
            bytes += RequestQueue.bytesOf(job);
            if (job != first && (!isForBatch(job) || bytes > ConfigManager.getInstance().getMaxRequestSize())) {
                requests.addFirst(job);
                break;
            }
            jobs.put(job.getJobId(), job);
            if (!isForBatch(job)) {
                break;
            }
        }
        recordTaken();
    }

    /** Returns whether a request may share a batch; explanations take long, and are no faster together. */
    private static boolean isForBatch(Job job) {
        return job.getCmd() == WorkerCommands.PREDICT
                && !DEATHS.containsKey(job.getJobId())
                && !"True".equals(job.getPayload().getHeaders().get("explain"));
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
            taken = 0;
        }
        if (!DEATHS.isEmpty()) {
            DEATHS.keySet().removeAll(jobs.keySet());
        }
        return super.sendResponse(message);
    }

    /** Requeues the requests of a dead worker. */
    @Override
    public void sendError(BaseModelRequest message, String error, int status) {
        taken = 0;
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
