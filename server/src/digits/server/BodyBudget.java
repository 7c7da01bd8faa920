package digits.server;

import java.util.concurrent.atomic.AtomicLong;

/** The memory for bodies of requests that are arriving or waiting for a worker; answers need the rest. */
final class BodyBudget {
    /** Smaller bodies are not counted: a full queue of them takes 17 MB, and large ones cannot keep them out. */
    private static final int UNCOUNTED_BYTES = 1 << 14;

    private final AtomicLong left;

    BodyBudget(long bytes) {
        left = new AtomicLong(bytes);
    }

    static boolean counts(long bytes) {
        return bytes > UNCOUNTED_BYTES;
    }

    /** Returns the bytes that are left. */
    long left() {
        return left.get();
    }

    /** Counts a body; returns the bytes that are left, below zero if it has no room. */
    long take(long bytes) {
        return counts(bytes) ? left.addAndGet(-bytes) : left();
    }

    void giveBack(long bytes) {
        if (counts(bytes)) {
            left.addAndGet(bytes);
        }
    }
}
