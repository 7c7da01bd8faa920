package digits.server;

import java.util.ArrayDeque;
import java.util.Deque;

/**
 * A limit of a quarter of Java's heap on the bodies of requests that are arriving or waiting for a worker.
 *
 * <p>A body is held once, briefly twice while it is copied. Answers and the workers' batches need the rest.
 */
final class BodyBudget {
    static final BodyBudget SHARED = new BodyBudget(Runtime.getRuntime().maxMemory() / 4);

    /** Smaller bodies are not counted, which saves a lock: a full queue of them takes 17 MB. */
    private static final int UNCOUNTED_BYTES = 1 << 14;

    private final long limit;
    private final Deque<BodyGate> waiting = new ArrayDeque<>();
    private long used;

    BodyBudget(long limit) {
        this.limit = limit;
    }

    /** Returns whether a body of this size is counted. */
    static boolean counts(long bytes) {
        return bytes > UNCOUNTED_BYTES;
    }

    /** Reserves a gate's bytes and returns true, or queues the gate until there is room. */
    synchronized boolean enter(BodyGate gate) {
        if (waiting.isEmpty() && hasRoom(gate)) {
            used += gate.bytes();
            return true;
        }
        waiting.add(gate);
        return false;
    }

    private boolean hasRoom(BodyGate gate) {
        return used == 0 || used + gate.bytes() <= limit;
    }

    /** Counts a body that is already in memory. */
    void add(long bytes) {
        if (counts(bytes)) {
            synchronized (this) {
                used += bytes;
            }
        }
    }

    /** Releases a body's bytes and opens the waiting gates that now fit, in order of arrival. */
    void release(long bytes) {
        if (counts(bytes)) {
            synchronized (this) {
                used -= bytes;
                callGates();
            }
        }
    }

    private void callGates() {
        while (!waiting.isEmpty() && hasRoom(waiting.peek())) {
            BodyGate next = waiting.poll();
            used += next.bytes();
            next.open();
        }
    }

    /** Removes a waiting gate; returns false if it has been opened already. */
    synchronized boolean forget(BodyGate gate) {
        return waiting.remove(gate);
    }

    /** Returns whether a gate is waiting. */
    synchronized boolean isShort() {
        return !waiting.isEmpty();
    }
}
