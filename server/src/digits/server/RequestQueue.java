package digits.server;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.LinkedBlockingDeque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
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

    /** Nanoseconds between two checks whether a worker should stop waiting. */
    private static final long CHECK_NS = TimeUnit.MILLISECONDS.toNanos(100);

    private final transient ConcurrentLinkedDeque<Thread> idle = new ConcurrentLinkedDeque<>();

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

    private void wake() {
        Thread newest = idle.pollFirst();
        if (newest != null) {
            LockSupport.unpark(newest);
        }
    }

    /** Waits for the next request; returns null when the worker should stop waiting. */
    Job await(BooleanSupplier isOver) throws InterruptedException {
        Thread worker = Thread.currentThread();
        Job job = null;
        try {
            while (job == null && !isOver.getAsBoolean()) {
                // Before polling: a request that arrives just after must find this worker idle.
                if (!idle.contains(worker)) {
                    idle.addFirst(worker);
                }
                job = poll();
                if (job == null) {
                    LockSupport.parkNanos(CHECK_NS);
                    if (Thread.interrupted()) {
                        throw new InterruptedException("The worker has died.");
                    }
                }
            }
            return job;
        } finally {
            boolean wasWoken = !idle.remove(worker);
            if (job == null && wasWoken) {
                // It may have been woken for a request that it will not take.
                wake();
            }
        }
    }
}
