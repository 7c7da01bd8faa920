package digits.server;

import java.util.Deque;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.LinkedBlockingDeque;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.InputParameter;
import org.pytorch.serve.wlm.Model;

/**
 * A model's request queue. Wakes the most recently busy worker, whose caches are warm.
 *
 * <p>TorchServe's queue wakes the worker that has waited longest.
 */
final class RequestQueue extends LinkedBlockingDeque<Job> {
    private static final long serialVersionUID = 1;

    /** Deaths by job id of requests that are retried, each in a batch by itself since it may be the cause. */
    final transient Map<String, Integer> deaths = new ConcurrentHashMap<>();

    private final transient Deque<Runnable> idle = new ConcurrentLinkedDeque<>();
    private final transient BodyBudget budget;

    private RequestQueue(int capacity, BodyBudget budget) {
        super(capacity);
        this.budget = budget;
    }

    /** Returns the queue of a model, installed in place of TorchServe's; the bodies in it count in the budget. */
    static RequestQueue of(Model model, BodyBudget budget) {
        Map<String, LinkedBlockingDeque<Job>> queues = PrivateField.get(Model.class, "jobsDb", model);
        return (RequestQueue) queues.compute(Model.DEFAULT_DATA_QUEUE, (name, queue) -> replace(queue, budget));
    }

    private static RequestQueue replace(LinkedBlockingDeque<Job> queue, BodyBudget budget) {
        if (queue instanceof RequestQueue) {
            return (RequestQueue) queue;
        }
        RequestQueue ours = new RequestQueue(queue.size() + queue.remainingCapacity(), budget);
        queue.drainTo(ours);
        return ours;
    }

    @Override
    public boolean offerLast(Job job) {
        return admit(job, super.offerLast(job));
    }

    @Override
    public boolean offerFirst(Job job) {
        return admit(job, super.offerFirst(job));
    }

    private boolean admit(Job job, boolean isAdded) {
        if (isAdded) {
            budget.take(bytesOf(job));
        }
        wake();
        return isAdded;
    }

    @Override
    public Job pollFirst() {
        Job job = super.pollFirst();
        if (job != null) {
            budget.giveBack(bytesOf(job));
        }
        return job;
    }

    /** Refuses all requests, for want of a worker. */
    void refuseAll() {
        for (Job job = poll(); job != null; job = poll()) {
            job.sendError(503, AnswerWriter.NO_WORKER);
        }
    }

    /** Returns the size of a request's body. */
    static long bytesOf(Job job) {
        long bytes = 0;
        for (InputParameter part : job.getPayload().getParameters()) {
            bytes += part.getValue().length;
        }
        return bytes;
    }

    /** Wakes the most recently busy of the idle workers. */
    void wake() {
        Runnable newest = idle.pollFirst();
        if (newest != null) {
            newest.run();
        }
    }

    /** Takes the next request; if there is none, returns null and runs wakeWorker once when there is. */
    Job poll(Runnable wakeWorker) {
        Job job = poll();
        while (job == null) {
            idle.addFirst(wakeWorker);
            // A request that arrived just before woke another worker, or none.
            if (isEmpty() || !idle.remove(wakeWorker)) {
                return null;
            }
            job = poll();
        }
        return job;
    }

    /** Wakes this worker no more. */
    void forget(Runnable wakeWorker) {
        idle.remove(wakeWorker);
    }
}
