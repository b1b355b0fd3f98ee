package io.counterset;

import io.counterset.CounterStoreException.TotalLimitException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The state of one counter: what has been added, and how much of it a crash can no longer take back.
 *
 * <p>An add moves {@code applied} and so learns the total it produced; it is durable once {@code durable} has reached
 * that total. Nothing else has to be remembered about an add, which is what keeps the cost of many callers down to one
 * atomic instruction each. 48 bytes on a 64-bit JVM with compressed references.
 */
final class Cell {

    private static final VarHandle APPLIED;
    private static final VarHandle MARK;

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.lookup();
            APPLIED = lookup.findVarHandle(Cell.class, "applied", long.class);
            MARK = lookup.findVarHandle(Cell.class, "mark", byte.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** Below this total, no number of threads that add up to {@link #SMALL} at once can pass {@link Counter#MAX_TOTAL}. */
    private static final long SAFE = 1L << 61;

    private static final long SMALL = 1L << 29;

    static final byte CLEAN = 0;
    static final byte MARKING = 1;
    static final byte MARKED = 2;

    final String name;

    /** Length of the name in UTF-8. */
    final short nameLength;

    private volatile byte mark;

    /** The next marked cell; written by whoever is {@link #MARKING}, read by the committing thread. */
    @Nullable
    Cell nextMarked;

    /** Where the batch being encoded or decoded lists this cell; only the committing thread uses it. */
    int index;

    private volatile long applied;

    private volatile long durable;

    Cell(String name, int nameLength, long value) {
        this.name = name;
        this.nameLength = (short) nameLength;
        this.applied = value;
        this.durable = value;
    }

    /**
     * Adds {@code amount} and returns the total this add made. (To add first, check then and take back what was too much would
     * save contending threads a transfer of the cache line, and was wrong: a commit could log what is then taken back.)
     *
     * <p>A small add to a small total is one instruction, after a look at the total. A large one may come in between, so the
     * small one may pass the largest total: by less than 2<sup>61</sup>, so it never wraps.
     *
     * @throws TotalLimitException if the total would pass {@link Counter#MAX_TOTAL}; nothing was added
     */
    long advance(long amount) {
        if (amount <= SMALL && applied < SAFE) {
            return (long) APPLIED.getAndAdd(this, amount) + amount;
        }
        while (true) {
            long before = applied;
            if (amount > Counter.MAX_TOTAL || before > Counter.MAX_TOTAL - amount) {
                throw new TotalLimitException(name, before, amount);
            }
            if (APPLIED.compareAndSet(this, before, before + amount)) {
                return before + amount;
            }
        }
    }

    long applied() {
        return applied;
    }

    long durable() {
        return durable;
    }

    /** Sets what the journal says, before anybody else knows the cell. */
    void recovered(long value) {
        applied = value;
        durable = value;
    }

    /** Only the committing thread calls this, once the device has {@code value}. */
    void publish(long value) {
        durable = value;
    }

    /**
     * Whether the caller has to hand this cell to the next commit. False means that somebody else has handed it over
     * already, completely, so that the next commit to begin includes the caller's add.
     */
    boolean mark() {
        byte seen = mark;
        if (seen == MARKED) {
            return false;
        }
        if (seen == CLEAN && MARK.compareAndSet(this, CLEAN, MARKING)) {
            return true;
        }
        awaitLink();
        // Linked, or taken by a commit that has yet to read the total.
        return false;
    }

    /** Another thread may be between claiming the cell and linking it: two instructions, unless it was preempted there. */
    private void awaitLink() {
        for (int spins = 0; mark == MARKING; spins++) {
            if (spins < 100) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(1);
            }
        }
    }

    /** Ends what a true {@link #mark()} began, once the cell is linked. */
    void marked() {
        mark = MARKED;
    }

    /** The committing thread takes the cell; adds from here on hand it over anew. Read {@link #applied} after this. */
    void unmark() {
        awaitLink();
        mark = CLEAN;
    }
}
