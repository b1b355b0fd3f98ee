package io.counterset;

import static java.util.Objects.requireNonNull;

import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.TotalLimitException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * One durable, monotonic 64-bit total of a {@link CounterStore}. Thread-safe, and cheap to obtain again by name. The first
 * add creates the counter in the store and in its snapshots.
 *
 * <p>Every method that adds can fail in these ways. The count stays the same except where noted:
 *
 * <ul>
 *   <li>{@link IllegalArgumentException}: the amount is less than 1, or the key is not 1 to 255 bytes of UTF-8 without
 *       control characters
 *   <li>{@link TotalLimitException}: the total would pass {@link #MAX_TOTAL}
 *   <li>{@link StoreFullException}: there is no room for a new counter or key
 *   <li>{@link StoreFailedException}: the disk failed earlier; {@link StoreClosedException}: the store is closed
 *   <li>{@link OutcomeUnknownException}: the disk failed while this add was being written; it may or may not survive a
 *       restart
 * </ul>
 *
 * Methods with a key can also fail with a {@link KeyConflictException}, and the asynchronous ones with a
 * {@link StoreBusyException}. Asynchronous methods never throw: their future carries the failure.
 */
public final class Counter {

    // applied is what has been added, durable is how much of it survives a crash. An add moves applied, which gives the
    // total it produced. It is durable once durable has reached that total. Nothing else is remembered about an add, so
    // each of many callers costs one atomic instruction. 56 bytes on a 64-bit JVM with compressed references.

    /**
     * The largest total an add may produce: 2<sup>62</sup>, which is 4,611,686,018,427,387,904. An add that would exceed it is
     * refused. It is half of the largest {@code long}, so no race between adds can make a total wrap. A larger total in a journal
     * or a {@code count.txt} of an earlier version is read unchanged, and its counter refuses adds.
     */
    public static final long MAX_TOTAL = 1L << 62;

    private static final VarHandle APPLIED;
    private static final VarHandle MARK;

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.lookup();
            APPLIED = lookup.findVarHandle(Counter.class, "applied", long.class);
            MARK = lookup.findVarHandle(Counter.class, "mark", byte.class);
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

    /** The next marked counter. Written by the thread that set {@link #MARKING}, read by the committing thread. */
    @Nullable
    Counter nextMarked;

    private volatile long applied;

    private volatile long durable; // 0 unless registered

    private @Nullable CounterStore store; // set before the store hands this counter out

    /** The counter that the store has under this name. Null while there is none; another object if that was registered first. */
    private volatile @Nullable Counter registered;

    /** Makes a counter for the store to keep. */
    Counter(String name, int nameLength, long value) {
        this.name = name;
        this.nameLength = (short) nameLength;
        this.applied = value;
        this.durable = value;
        this.registered = this;
    }

    /** Makes a counter that is in the store only after the first add to it. */
    Counter(CounterStore store, String name, int nameLength) {
        this.name = name;
        this.nameLength = (short) nameLength;
        this.store = store;
    }

    /** Returns the name, 1 to 128 bytes of UTF-8. */
    public String name() {
        return name;
    }

    /**
     * Returns the durable total, which survives any crash. 0 if nothing was ever added. A single volatile read. Works on
     * a failed or closed store too.
     */
    public long value() {
        long value = durable;
        return value != 0 ? value : registeredValue();
    }

    private long registeredValue() {
        Counter known = registered;
        if (known == null) {
            known = store().find(name);
            if (known == null) {
                return 0;
            }
            registered = known;
        }
        return known.durable;
    }

    /** Adds 1: {@link #add(long) add(1)}. */
    public long increment() {
        return add(1);
    }

    /**
     * Adds {@code amount} and returns the total this add produced; concurrent adds of 1 return every number exactly
     * once. Under {@link Durability#SYNC} it returns once the total is durable, after one flush of the device that all
     * concurrent callers share; under {@link Durability#periodic} at once. Blocks; an event loop calls
     * {@link #addAsync(long)}. An interrupt does not end the wait, since the
     * outcome would be unknown; the thread stays interrupted.
     *
     * @param amount 1 or more
     */
    public long add(long amount) {
        return store().add(this, amount);
    }

    /**
     * Adds {@code amount} unless an add with this key was applied before, inside the store's
     * {@link CounterStore#idempotencyWindow() window}; then it adds nothing and returns the first one's result, marked
     * as replayed. That holds across crashes, and for concurrent calls. Durability and blocking are those of
     * {@link #add(long)}: a replay returns once the first add is durable. A store that has failed still answers replays
     * of durable adds.
     *
     * @param amount 1 or more
     * @param key chosen by the caller, unique in the store, 1 to 255 bytes of UTF-8 without control characters
     * @throws KeyConflictException if the key was used with another counter or amount
     */
    public AddResult addOnce(long amount, String key) {
        return store().addOnce(this, amount, key);
    }

    /**
     * Like {@link #add(long)} without blocking: the future completes when {@code add} would have returned. Completing or
     * cancelling it does not undo the add. Dependent actions run in a thread of the store (or in the
     * {@link CounterStore.Builder#completionExecutor}), so they should be short and must not wait for another future of the
     * same store; the methods ending in {@code Async} run them elsewhere.
     *
     * @param amount 1 or more
     * @return the total; or a {@link StoreBusyException} when {@link CounterStore.Builder#maxPending} adds are in flight
     */
    public CompletableFuture<Long> addAsync(long amount) {
        return store().addAsync(this, amount);
    }

    /** Like {@link #addOnce} without blocking, as {@link #addAsync(long)} is like {@link #add(long)}. */
    public CompletableFuture<AddResult> addOnceAsync(long amount, String key) {
        return store().addOnceAsync(this, amount, key);
    }

    /** Returns {@code name=value}. */
    @Override
    public String toString() {
        return name + "=" + value();
    }

    // ---- for the store ----

    private CounterStore store() {
        return requireNonNull(store);
    }

    /** Hands this counter out to callers, who may add to it. */
    Counter of(CounterStore itsStore) {
        store = itsStore;
        return this;
    }

    /** Returns the counter to add to, or null if the store has none of this name yet. */
    @Nullable
    Counter registered() {
        return registered;
    }

    void registered(Counter kept) {
        registered = kept;
    }

    /**
     * Adds {@code amount} and returns the total that this add produced. (Adding first, then checking and undoing an excess would
     * save contending threads a transfer of the cache line, and was wrong: a commit could log what is undone later.)
     *
     * <p>A small add to a small total is one instruction after a read of the total. A large add may come in between, so the
     * small one may exceed the largest total, by less than 2<sup>61</sup>: it never wraps.
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

    /** Sets the total read from a journal, before another thread can see the counter. */
    void recovered(long value) {
        applied = value;
        durable = value;
    }

    /** Only the committing thread calls this, once the device has {@code value}. */
    void publish(long value) {
        durable = value;
    }

    /**
     * Whether the caller has to hand this counter to the next commit. False means that another thread has completely handed
     * it over, so the next commit to begin includes the caller's add.
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

    /** Another thread may be between claiming the counter and linking it: two instructions, unless it was preempted there. */
    private void awaitLink() {
        for (int spins = 0; mark == MARKING; spins++) {
            if (spins < 100) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(1);
            }
        }
    }

    /** Ends what a true {@link #mark()} began, once the counter is linked. */
    void marked() {
        mark = MARKED;
    }

    /** The committing thread takes the counter. Later adds hand it over again. Read {@link #applied} after this. */
    void unmark() {
        awaitLink();
        mark = CLEAN;
    }
}
