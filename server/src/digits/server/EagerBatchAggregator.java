import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingDeque;
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
 * Gives a worker what waits, up to the batch size, and takes its answers.
 *
 * <p>TorchServe's own waits for more for at least a millisecond, a third of the time a lone request takes. Under
 * load nothing is lost: what comes while a batch is worked on makes the next one.
 */
final class Batches extends BatchAggregator {
    /** Milliseconds between two looks whether the worker should end. */
    private static final int LOOK_MS = 100;

    /** Milliseconds in which a worker tells the rest of its metrics. */
    private static final int TELL_MS = 1200;

    /** How many workers may die of a request: two may have been dead before, unnoticed. */
    private static final int TRIES = 3;

    /** Requests whose workers died, how many did, and which get another one, alone: one of them may kill it. */
    private static final Map<String, Integer> DEATHS = new ConcurrentHashMap<>();

    private final Map<String, LinkedBlockingDeque<Job>> queues;
    private final LinkedBlockingDeque<Job> requests;
    private final Lock taking;
    private volatile boolean isRetired;
    private volatile boolean isLast;
    private long taken;

    Batches(Model model) {
        super(model);
        queues = Reflection.value(Model.class, "jobsDb", model);
        requests = queues.get(Model.DEFAULT_DATA_QUEUE);
        taking = Reflection.value(Model.class, "lock", model);
    }

    /** Answers all requests that wait for a model without workers. */
    static void refuseAll(Model model) {
        Map<String, LinkedBlockingDeque<Job>> queues = Reflection.value(Model.class, "jobsDb", model);
        Job job;
        while ((job = queues.get(Model.DEFAULT_DATA_QUEUE).poll()) != null) {
            job.sendError(503, "The model has no worker any more: try again.");
        }
    }

    /** Ends the worker when it comes for its next batch; the last one of a model only when no request waits. */
    void retire(boolean isLastOne) {
        isLast = isLastOne;
        isRetired = true;
    }

    @Override
    public void pollBatch(String worker, WorkerState state) throws InterruptedException {
        taken = 0;
        LinkedBlockingDeque<Job> commands = queues.get(worker);
        Job command = commands == null ? null : commands.poll();
        if (command != null) {
            jobs.put(command.getJobId(), command);
        }
        while (jobs.isEmpty()) {
            if (isRetired && (!isLast || requests.isEmpty())) {
                Thread.sleep(TELL_MS);
                throw new InterruptedException("The worker is retired.");
            }
            // One worker at a time: two would share what one can take at once.
            if (taking.tryLock(LOOK_MS, TimeUnit.MILLISECONDS)) {
                try {
                    take(requests.poll(LOOK_MS, TimeUnit.MILLISECONDS));
                } finally {
                    taking.unlock();
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
            tellTaken();
        }
    }

    private static boolean isForBatch(Job job) {
        return job.getCmd() == WorkerCommands.PREDICT && !DEATHS.containsKey(job.getJobId());
    }

    private void tellTaken() {
        taken = System.nanoTime();
        Metrics.tell("digit_batch_requests", jobs.size());
        for (Job job : jobs.values()) {
            Metrics.tell("digit_queue_ms", (taken - job.getBegin()) / 1e6);
        }
    }

    @Override
    public boolean sendResponse(ModelWorkerResponse message) {
        if (taken > 0) {
            Metrics.tell("digit_batch_ms", (System.nanoTime() - taken) / 1e6);
        }
        if (!DEATHS.isEmpty()) {
            DEATHS.keySet().removeAll(jobs.keySet());
        }
        return super.sendResponse(message);
    }

    /** Lets another worker try once more what is in the hands of one that died. */
    @Override
    public void sendError(BaseModelRequest message, String error, int status) {
        for (Job job : jobs.values()) {
            boolean again =
                    job.getCmd() == WorkerCommands.PREDICT
                            && DEATHS.merge(job.getJobId(), 1, Integer::sum) < TRIES
                            && requests.offerFirst(job);
            if (!again) {
                DEATHS.remove(job.getJobId());
                job.sendError(status, error);
            }
        }
        jobs.clear();
    }
}
