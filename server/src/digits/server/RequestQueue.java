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
 * The requests that wait for a model's workers, of which it wakes the one that was busy last.
 *
 * <p>The memory that this one needs is still in the processor's caches. TorchServe's own queue wakes the one that has
 * waited longest.
 */
final class RequestQueue extends LinkedBlockingDeque<Job> {
    private static final long serialVersionUID = 1;

    /** The map of a model's queues, to which TorchServe gives no access. */
    private static final Field QUEUES = openQueues();

    /** Nanoseconds between two checks whether a worker need not wait any more. */
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

    /** Returns the queue of a model, in place of TorchServe's own. */
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

    /** Returns the next request as soon as there is one, or null when the worker need not wait any more. */
    Job await(BooleanSupplier isOver) throws InterruptedException {
        Thread worker = Thread.currentThread();
        Job job = null;
        try {
            while (job == null && !isOver.getAsBoolean()) {
                // First: a request that comes after the look into the queue must find the worker idle.
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
                // Perhaps for a request that it leaves.
                wake();
            }
        }
    }
}
