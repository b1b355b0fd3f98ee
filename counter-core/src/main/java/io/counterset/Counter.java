// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;

import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.TooManyCountersException;
import io.counterset.CounterStoreException.TotalLimitException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * One durable, monotonic 64-bit total of a {@link CounterStore}. Thread-safe, and cheap to look up
 * again by name. The first add creates the counter; before that it is in no snapshot.
 *
 * <p>Every method that adds can fail in these ways. Nothing was added except where noted:
 *
 * <ul>
 *   <li>{@link IllegalArgumentException}: the amount is less than 1, or the key is not 1 to 255
 *       bytes of UTF-8 without control characters
 *   <li>{@link TotalLimitException}: the total would exceed {@link #MAX_TOTAL}
 *   <li>{@link TooManyCountersException}: the counter is new, and the store has 1,000,000 others
 *   <li>{@link StoreFullException}: there is no room for a new counter or key, or the store was
 *       opened on a disk without room for its journal
 *   <li>{@link StoreFailedException}: the disk failed earlier; {@link StoreClosedException}: the
 *       store is closed
 *   <li>{@link OutcomeUnknownException}: the disk failed while this add was being written; it may
 *       or may not survive a restart
 * </ul>
 *
 * Methods with a key can also fail with a {@link KeyConflictException}, and the asynchronous ones
 * with a {@link StoreBusyException}. Asynchronous methods never throw: their future carries the
 * failure.
 */
public final class Counter {

    // "applied" is the total of all adds so far; "durable" is how much of it survives a crash. An
    // add advances "applied", which yields the total that it produced. The add is durable once
    // "durable" has reached that total. Nothing else is stored per add, so an add costs one atomic
    // instruction. A counter takes 48 bytes on a 64-bit JVM with compressed references.

    /**
     * The largest total an add may produce: 2<sup>62</sup>, which is 4,611,686,018,427,387,904. An
     * add that would exceed it is refused. It is half of the largest {@code long}, so no race
     * between adds can make a total wrap around. A larger total in a journal or {@code count.txt}
     * of an earlier version is read unchanged, and its counter refuses adds.
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

    /**
     * Below this total, concurrent adds of up to {@link #SMALL} each cannot exceed {@link
     * Counter#MAX_TOTAL}, however many threads there are.
     */
    private static final long SAFE = 1L << 61;

    private static final long SMALL = 1L << 29;

    static final byte CLEAN = 0;
    static final byte MARKING = 1;
    static final byte MARKED = 2;

    final String name;

    /** Length of the name in bytes of UTF-8. */
    final short nameLength;

    private volatile byte mark;

    /**
     * The next marked counter. Written by the thread that set {@link #MARKING} and read by the
     * committing thread.
     */
    @Nullable
    Counter nextMarked;

    private volatile long applied;

    private volatile long durable; // 0 unless registered

    private @Nullable CounterStore store; // set before the store hands this counter out

    /**
     * The counter that the store keeps under this name. Null while it keeps none; another object if
     * that one was registered first.
     */
    private volatile @Nullable Counter registered;

    /** Creates a counter that the store keeps. */
    Counter(String name, int nameLength, long value) {
        this.name = name;
        this.nameLength = (short) nameLength;
        this.applied = value;
        this.durable = value;
        this.registered = this;
    }

    /** Creates a counter that the store keeps only from the first add on. */
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
     * Returns the durable total, which survives any crash; 0 if nothing was ever added. Does not
     * block: a single volatile read. Also works on a failed or closed store.
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
     * Adds {@code amount} and returns the total that this add produced. Concurrent adds of 1 return
     * each number exactly once. Under {@link Durability#SYNC} it blocks until the total is durable,
     * which takes one flush of the device shared by all concurrent callers. Under {@link
     * Durability#periodic} it returns immediately, unless a new counter or key has to wait for room
     * in the journal. From an event loop, call {@link #addAsync(long)} instead. An interrupt does
     * not end the wait, because the outcome would be unknown. The thread's interrupt status is
     * kept.
     *
     * @param amount 1 or more
     */
    public long add(long amount) {
        return store().add(this, amount);
    }

    /**
     * Adds {@code amount}, unless the store remembers an add with this key ({@link
     * CounterStore#idempotencyWindow()}). In that case it adds nothing and returns the result of
     * the first add, marked as replayed. This holds across crashes and for concurrent calls. It
     * blocks and becomes durable like {@link #add(long)}; a replay returns once the first add is
     * durable. A failed store still answers replays of durable adds.
     *
     * @param amount 1 or more
     * @param key chosen by the caller and unique in the store; 1 to 255 bytes of UTF-8 without
     *     control characters
     * @throws KeyConflictException if the key was used with another counter or amount
     */
    public AddResult addOnce(long amount, String key) {
        return store().addOnce(this, amount, key);
    }

    /**
     * Like {@link #add(long)}, but does not block: the future completes when {@code add} would have
     * returned. Completing or cancelling the future does not undo the add. Dependent actions run in
     * a thread of the store or in the {@link CounterStore.Builder#completionExecutor}. Keep them
     * short, and do not wait in them for another future of the same store; to run them elsewhere,
     * attach them with a method whose name ends in {@code Async}.
     *
     * @param amount 1 or more
     * @return a future of the total; it fails with a {@link StoreBusyException} if {@link
     *     CounterStore.Builder#maxPending} adds are in flight
     */
    public CompletableFuture<Long> addAsync(long amount) {
        return store().addAsync(this, amount);
    }

    /**
     * Like {@link #addOnce}, but does not block; the future behaves as in {@link #addAsync(long)}.
     */
    public CompletableFuture<AddResult> addOnceAsync(long amount, String key) {
        return addOnceAsync(amount, key, 0);
    }

    /**
     * Like {@link #addOnceAsync(long, String)}, for keys from sources that do not trust each other,
     * such as the clients of a service. When the {@linkplain CounterStore#idempotencyWindow()
     * window} is full, a new key evicts the oldest key of the source that has the most, so a source
     * with many keys evicts only its own. The same key from another source is still the same key.
     *
     * @param amount 1 or more
     * @param key as for {@link #addOnce}
     * @param source identifies the sender of the key: any number, such as a hash of a client's
     *     address. Sources are hashed to 4,096 shares, so two of them may have the same share. Keys
     *     read when the store was opened, and keys of methods without a source, belong to source 0
     */
    public CompletableFuture<AddResult> addOnceAsync(long amount, String key, long source) {
        return store().addOnceAsync(this, amount, key, source);
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

    /** Returns the counter that adds go to, or null if the store keeps none of this name yet. */
    @Nullable
    Counter registered() {
        return registered;
    }

    void registered(Counter kept) {
        registered = kept;
    }

    /**
     * Adds {@code amount} and returns the total that this add produced. (Rejected: adding first,
     * then undoing an excess. It saves contending threads a transfer of the cache line, but a
     * commit could log a total that is undone later.)
     *
     * <p>A small add to a small total takes one read and one atomic instruction. A large add can
     * happen between the two, so the small add may exceed the largest total, by less than
     * 2<sup>61</sup>; it never wraps around.
     *
     * @throws TotalLimitException if the total would exceed {@link Counter#MAX_TOTAL}; nothing was
     *     added
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

    /** Sets the total read from a journal. No other thread can see the counter yet. */
    void recovered(long value) {
        applied = value;
        durable = value;
    }

    /**
     * Makes {@code value} the durable total. Called only by the committing thread, once {@code
     * value} is on the device.
     */
    void publish(long value) {
        durable = value;
    }

    /**
     * Whether the caller has to hand this counter to the next commit. If false, another thread has
     * completed the hand-over, and the next commit to begin includes the caller's add.
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
        // Linked, or taken by a commit that has not read the total yet.
        return false;
    }

    /**
     * Waits while another thread is between claiming the counter and linking it: two instructions,
     * unless it was preempted there.
     */
    private void awaitLink() {
        for (int spins = 0; mark == MARKING; spins++) {
            if (spins < 100) {
                Thread.onSpinWait();
            } else {
                LockSupport.parkNanos(1);
            }
        }
    }

    /** Completes the hand-over after {@link #mark()} returned true and the counter was linked. */
    void marked() {
        mark = MARKED;
    }

    /**
     * Takes the counter for a commit; later adds hand it over again. Called only by the committing
     * thread, before it reads {@link #applied}.
     */
    void unmark() {
        awaitLink();
        mark = CLEAN;
    }
}
