package digits.server;

import java.util.ArrayDeque;
import java.util.Deque;

/**
 * The memory for the bodies of requests that arrive or wait for a worker: a quarter of Java's heap.
 *
 * <p>Each body takes it once, or twice for the moment of a copy; answers and the batches of workers need the rest.
 */
final class BodyBudget {
    static final BodyBudget SHARED = new BodyBudget(Runtime.getRuntime().maxMemory() / 4);

    /** Bodies up to this size are not counted, and cost no lock: a full queue of them takes 17 MB. */
    private static final int UNCOUNTED_BYTES = 1 << 14;

    private final long limit;
    private final Deque<BodyGate> waiting = new ArrayDeque<>();
    private long used;

    BodyBudget(long limit) {
        this.limit = limit;
    }

    /** Tells whether a body of so many bytes counts. */
    static boolean counts(long bytes) {
        return bytes > UNCOUNTED_BYTES;
    }

    /** Takes what a gate needs, or leaves the gate to wait until it is called. */
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

    /** Counts a body that is there in any case. */
    void add(long bytes) {
        if (counts(bytes)) {
            synchronized (this) {
                used += bytes;
            }
        }
    }

    /** Gives a body's bytes back, and calls the gates that they are enough for in the order in which they came. */
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

    /** Forgets a gate that waits; returns false if it has been called already. */
    synchronized boolean forget(BodyGate gate) {
        return waiting.remove(gate);
    }

    /** Tells whether a gate waits. */
    synchronized boolean isShort() {
        return !waiting.isEmpty();
    }
}
