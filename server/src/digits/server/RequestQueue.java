package digits.server;

import java.lang.reflect.Field;
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

    /** The map of a model's queues, which TorchServe keeps private. */
    private static final Field QUEUES = openQueues();

    /** Deaths by job id of requests that are retried, each in a batch by itself since it may be the cause. */
    final transient Map<String, Integer> deaths = new ConcurrentHashMap<>();

    private final transient Deque<Runnable> idle = new ConcurrentLinkedDeque<>();

    private RequestQueue(int capacity) {
        super(capacity);
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

    /** Returns the queue of a model, installed in place of TorchServe's. */
    @SuppressWarnings("unchecked")
    static RequestQueue of(Model model) {
        try {
            Map<String, LinkedBlockingDeque<Job>> queues = (Map<String, LinkedBlockingDeque<Job>>) QUEUES.get(model);
            return (RequestQueue) queues.compute(Model.DEFAULT_DATA_QUEUE, (name, queue) -> replace(queue));
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }

    private static RequestQueue replace(LinkedBlockingDeque<Job> queue) {
        if (queue instanceof RequestQueue) {
            return (RequestQueue) queue;
        }
        RequestQueue ours = new RequestQueue(queue.size() + queue.remainingCapacity());
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
            BodyBudget.SHARED.add(bytesOf(job));
        }
        wake();
        return isAdded;
    }

    @Override
    public Job pollFirst() {
        Job job = super.pollFirst();
        if (job != null) {
            BodyBudget.SHARED.release(bytesOf(job));
        }
        return job;
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
