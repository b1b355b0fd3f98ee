package io.counterset;

import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.TotalLimitException;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * One durable, monotonic 64-bit total of a {@link CounterStore}. Thread-safe, and cheap to obtain again by name; it
 * begins to exist in the store, and in its snapshots, with the first add.
 *
 * <p>Every method that adds fails in these ways, each of which leaves the count as it was unless it says otherwise:
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
 * Methods with a key can fail with a {@link KeyConflictException} besides, and the asynchronous ones with a
 * {@link StoreBusyException}. Those never throw: their future carries the failure.
 */
public final class Counter {

    /**
     * The largest total an add may produce: 2<sup>62</sup>, which is 4,611,686,018,427,387,904. An add that would pass it is refused. It
     * leaves as much again, so no race between adds can make a total wrap. A larger total in a journal or a {@code count.txt} of
     * an earlier version is read as it is, and refuses adds.
     */
    public static final long MAX_TOTAL = 1L << 62;

    private final CounterStore store;
    private final String name;
    private final int nameLength;
    private volatile @Nullable Cell cell; // null for as long as nothing was ever added

    Counter(CounterStore store, String name, int nameLength, @Nullable Cell cell) {
        this.store = store;
        this.name = name;
        this.nameLength = nameLength;
        this.cell = cell;
    }

    /** Returns the name, 1 to 128 bytes of UTF-8. */
    public String name() {
        return name;
    }

    /**
     * Returns the durable total: no crash can take back what it shows. 0 if nothing was ever added. A single volatile
     * read; works on a failed or closed store too.
     */
    public long value() {
        Cell known = cell;
        if (known == null) {
            known = store.find(name);
            if (known == null) {
                return 0;
            }
            cell = known;
        }
        return known.durable();
    }

    /** Adds 1: {@link #add(long) add(1)}. */
    public long increment() {
        return add(1);
    }

    /**
     * Adds {@code amount} and returns the total this add produced; concurrent adds of 1 return every number exactly
     * once. Under {@link Durability#SYNC} it returns once the total is durable, after one flush of the device that all
     * concurrent callers share; under {@link Durability#periodic} at once. Blocks; an event loop calls
     * {@link #addAsync(long)}. An interrupt does not end the wait, for it would leave the outcome unknown; it is kept.
     *
     * @param amount 1 or more
     */
    public long add(long amount) {
        return store.add(this, amount);
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
        return store.addOnce(this, amount, key);
    }

    /**
     * Like {@link #add(long)} without blocking: the future completes when {@code add} would have returned. Completing it
     * otherwise, or cancelling it, does not take back the add. What depends on the future runs in a thread of the
     * store (or by {@link CounterStore.Builder#completionExecutor}), so it should be short, and must not wait for another
     * future of the same store; the methods ending in {@code Async} move it elsewhere.
     *
     * @param amount 1 or more
     * @return the total; or a {@link StoreBusyException} when {@link CounterStore.Builder#maxPending} adds are in flight
     */
    public CompletableFuture<Long> addAsync(long amount) {
        return store.addAsync(this, amount);
    }

    /** Like {@link #addOnce} without blocking, as {@link #addAsync(long)} is like {@link #add(long)}. */
    public CompletableFuture<AddResult> addOnceAsync(long amount, String key) {
        return store.addOnceAsync(this, amount, key);
    }

    /** Returns {@code name=value}. */
    @Override
    public String toString() {
        return name + "=" + value();
    }

    int nameLength() {
        return nameLength;
    }

    @Nullable
    Cell cell() {
        return cell;
    }

    void cell(Cell registered) {
        cell = registered;
    }
}
