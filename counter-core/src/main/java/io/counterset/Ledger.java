// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.TooManyCountersException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ObjLongConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Holds what the store has counted: the totals, the counters marked since the last commit, and the
 * idempotency keys.
 *
 * <p>An add without a key advances its total and marks its counter without a lock. Everything else
 * happens under {@link #lock}, so registering a counter, remembering a key, taking a batch and
 * publishing one are each atomic. This gives the invariants:
 *
 * <ul>
 *   <li>A counter is marked after its total has advanced, and unmarked before its total is read, so
 *       no add is missed.
 *   <li>An add with a key advances the total and remembers the key under the same lock under which
 *       a commit takes both. So a logged total never includes an add whose key is not in the same
 *       batch or an earlier one (G3 in {@code docs/durability.md}).
 *   <li>All totals of a batch are published in one step, so a snapshot is a consistent cut (G4).
 * </ul>
 */
final class Ledger {

    /** The largest number of counters in a store. */
    static final int MAX_COUNTERS = 1_000_000;

    /**
     * The number of new keys that makes a periodic store commit early; or the largest number of
     * adds in flight, if that is smaller.
     */
    private static final int MOST_NEW_KEYS = 10_000;

    private static final VarHandle MARKED;

    static {
        try {
            MARKED = MethodHandles.lookup().findVarHandle(Ledger.class, "marked", Counter.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** An add with a key: its remembered entry, and whether an earlier call applied it. */
    record Keyed(RememberedKeys.Entry entry, boolean replayed) {}

    /** The counters and keys that have become durable since some moment. */
    record Changes(Set<Counter> cells, List<RememberedKeys.Entry> keys) {
        Changes() {
            this(new LinkedHashSet<>(), new ArrayList<>());
        }
    }

    final ReentrantLock lock = new ReentrantLock();

    private final String directory;
    private final ConcurrentHashMap<String, Counter> cells;
    private volatile @Nullable Counter marked; // counters touched since the last commit, newest first

    // Guarded by the lock.
    private final RememberedKeys keys;
    private List<RememberedKeys.Entry> newKeys = new ArrayList<>();
    private long counterBytes; // the bytes of all counters in a full batch
    private @Nullable Changes changes; // since a larger journal was filled
    private long replays;
    private long earlyEvictions;

    Ledger(String directory, Journal.Contents contents) {
        this.directory = directory;
        this.cells = contents.cells();
        this.keys = contents.keys();
        for (Counter cell : cells.values()) {
            counterBytes += Batch.counterLength(cell.nameLength);
        }
    }

    // ---- adding ----

    @Nullable
    Counter find(String name) {
        return cells.get(name);
    }

    /**
     * Returns the counter that the store keeps under the name of {@code counter}. If there is none
     * and there is room, the store keeps {@code counter}.
     *
     * @return null if the caller must wait for the journal to grow; nothing was changed
     * @throws StoreFullException if there is no room, and growing the journal has just failed
     * @throws TooManyCountersException if the store has {@link #MAX_COUNTERS} counters
     */
    @Nullable
    Counter register(Counter counter, Room room, GroupCommit commits) {
        lock.lock();
        try {
            Counter cell = cells.get(counter.name);
            if (cell == null) {
                if (!commits.isOpen()) { // the store may have closed while this caller waited for room
                    throw commits.refusal();
                }
                if (cells.size() == MAX_COUNTERS) {
                    throw new TooManyCountersException(String.format(
                            Locale.ROOT,
                            "the store in %s has %,d counters, which is the limit; %s was not created",
                            directory,
                            MAX_COUNTERS,
                            counter.name));
                }
                long bytes = Batch.counterLength(counter.nameLength);
                if (!room.admits(fullBatchBytes() + bytes)) {
                    return null;
                }
                cell = counter;
                counterBytes += bytes;
                cells.put(cell.name, cell);
            }
            counter.registered(cell);
            return cell;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Applies an add and remembers its key, or finds that an earlier call has.
     *
     * @return null if the caller must {@link #register} the counter, or must wait for a commit,
     *     which grows the journal or takes the keys that have piled up during a stall of the disk;
     *     nothing was changed
     * @throws KeyConflictException if the key is remembered for a different add
     * @throws StoreFullException if there is no room, and growing the journal has just failed
     */
    @Nullable
    Keyed remember(Counter counter, long amount, String key, int keyLength, int share, Room room, GroupCommit commits) {
        lock.lock();
        try {
            long now = keys.advance();
            RememberedKeys.Entry known = keys.find(key);
            if (known != null) {
                requireSame(known, counter, amount);
                replays++;
                return new Keyed(known, true);
            }
            if (!commits.isOpen()) {
                throw commits.refusal();
            }
            Counter cell = counter.registered();
            boolean piledUp = commits.isPeriodic() && newKeys.size() >= commits.maxPending();
            if (cell == null || piledUp || !room.admits(fullBatchBytes() + keys.growth(keyLength, share))) {
                return null;
            }
            RememberedKeys.Entry entry =
                    new RememberedKeys.Entry(key, keyLength, cell, amount, cell.advance(amount), now, share);
            int before = newKeys.size();
            RememberedKeys.Entry oldest = keys.oldest();
            RememberedKeys.Entry evicted = keys.put(entry);
            if (evicted != null) {
                earlyEvictions++;
                if (evicted != oldest) { // a reader of the journal evicts the oldest by itself
                    newKeys.add(evicted.evictedFor(entry));
                }
            }
            newKeys.add(entry);
            int most = Math.min(MOST_NEW_KEYS, commits.maxPending());
            if (commits.isPeriodic() && before < most && newKeys.size() >= most) {
                commits.nudge(); // otherwise keys would pile up until the end of the period
            }
            mark(cell, commits);
            return new Keyed(entry, false);
        } finally {
            lock.unlock();
        }
    }

    private static void requireSame(RememberedKeys.Entry known, Counter counter, long amount) {
        if (!known.cell().name.equals(counter.name) || known.amount() != amount) {
            throw new KeyConflictException("the key " + known.key() + " was used to add " + known.amount() + " to "
                    + known.cell().name + " and cannot be used to add " + amount + " to " + counter.name
                    + "; nothing was added");
        }
    }

    /** Hands the cell to the next commit. Its total has already advanced. */
    void mark(Counter cell, GroupCommit commits) {
        if (cell.mark()) {
            Counter before;
            long now = 0;
            do {
                before = marked;
                cell.nextMarked = before;
                if (before == null && commits.isPeriodic()) {
                    now = commits.nanoTime(); // before a commit can take the cell
                }
            } while (!MARKED.compareAndSet(this, before, cell));
            cell.marked();
            if (before == null && commits.isPeriodic()) {
                commits.dirtied(now);
            }
        }
    }

    /** Returns the bytes of a full batch of all counters and keys. The caller holds the lock. */
    long fullBatchBytes() {
        return Batch.HEADER + counterBytes + keys.bytes();
    }

    // ---- committing: one thread at a time ----

    /** Whether there is an add that no commit has taken. */
    boolean isDirty() {
        return marked != null;
    }

    /**
     * Takes the marked counters and the new keys into {@code batch}; or everything, if {@code
     * journal} has room only for a full batch.
     */
    void take(Batch batch, Journal journal) {
        lock.lock();
        try {
            batch.clear(false);
            if (!newKeys.isEmpty()) {
                batch.keys(newKeys);
                newKeys = new ArrayList<>();
            }
            for (Counter cell = (Counter) MARKED.getAndSet(this, null); cell != null; ) {
                Counter next = cell.nextMarked;
                cell.nextMarked = null;
                cell.unmark();
                batch.add(cell, applied(cell));
                cell = next;
            }
            if (!batch.isEmpty() && !journal.fits(batch.paddedLength())) {
                takeAll(batch);
            }
        } finally {
            lock.unlock();
        }
    }

    private void takeAll(Batch batch) {
        batch.clear(true);
        batch.keys(keys.list());
        batch.expect(cells.size());
        for (Counter cell : cells.values()) {
            long total = applied(cell);
            if (total != 0) {
                batch.add(cell, total);
            }
        }
    }

    /**
     * Returns the total of all adds to a counter, for the next commit. Called only by the thread
     * that also publishes totals.
     *
     * @throws IllegalStateException if that is less than the durable total. Totals never decrease,
     *     so this is a fault in the library, and the store stops rather than write a wrong count
     */
    private static long applied(Counter cell) {
        long total = cell.applied();
        if (total < cell.durable()) {
            throw new IllegalStateException(
                    "counter " + cell.name + " went from " + cell.durable() + " back to " + total);
        }
        return total;
    }

    /** Publishes the totals of a batch that is on the device. The caller holds the lock. */
    void publish(Batch batch) {
        batch.publish(changes);
    }

    // ---- filling another journal ----

    /**
     * Takes everything that is durable into {@code batch}, and from now on records what becomes
     * durable later. The totals are read one after another while commits go on, so the batch alone
     * may not be a state that the store was in. Together with the recorded changes it is.
     */
    void noteChanges(Batch batch) {
        batch.clear(true);
        lock.lock();
        try {
            changes = new Changes();
            List<RememberedKeys.Entry> durable = keys.list();
            durable.removeIf(entry -> entry.cell().durable() < entry.total());
            batch.keys(durable);
        } finally {
            lock.unlock();
        }
        batch.expect(cells.size());
        for (Counter cell : cells.values()) {
            long total = cell.durable();
            if (total != 0) {
                batch.add(cell, total);
            }
        }
    }

    /** Returns how many counters and keys have changed. */
    int changes() {
        lock.lock();
        try {
            Changes noted = changes;
            return noted == null ? 0 : noted.cells.size() + noted.keys.size();
        } finally {
            lock.unlock();
        }
    }

    /** Takes the recorded changes into {@code batch} and starts a new record. */
    void takeChanges(Batch batch) {
        batch.clear(false);
        lock.lock();
        try {
            Changes noted = changes;
            if (noted != null) {
                changes = new Changes();
                batch.keys(noted.keys);
                for (Counter cell : noted.cells) {
                    batch.add(cell, cell.durable());
                }
            }
        } finally {
            lock.unlock();
        }
    }

    /** Stops recording changes. */
    void forgetChanges() {
        lock.lock();
        try {
            changes = null;
        } finally {
            lock.unlock();
        }
    }

    // ---- reading ----

    /** Returns the durable totals of all counters ever added to, by name, as of one moment. */
    SortedMap<String, Long> snapshot() {
        Totals totals;
        lock.lock();
        try {
            totals = new Totals();
        } finally {
            lock.unlock();
        }
        SortedMap<String, Long> snapshot = new TreeMap<>();
        totals.forEach((cell, total) -> snapshot.put(cell.name, total));
        return snapshot;
    }

    /**
     * The durable totals of all counters as of one moment. Created under the lock, which is held
     * only while the numbers are copied.
     */
    private final class Totals {

        private final Counter[] all = cells.values().toArray(new Counter[0]);
        private final long[] values = new long[all.length];

        Totals() {
            for (int i = 0; i < all.length; i++) {
                values[i] = all[i].durable();
            }
        }

        /** Calls the action for each counter that was ever added to. */
        void forEach(ObjLongConsumer<Counter> action) {
            for (int i = 0; i < all.length; i++) {
                if (values[i] > 0) {
                    action.accept(all[i], values[i]);
                }
            }
        }
    }

    /** A copy of everything durable as of one moment. Shares nothing with the ledger. */
    record Copy(List<Counter> counters, List<RememberedKeys.Entry> keys) {}

    /** Copies everything durable as of one moment. Adds wait while the numbers are copied. */
    Copy copy() {
        Totals totals;
        List<RememberedKeys.Entry> durableKeys;
        lock.lock();
        try {
            totals = new Totals();
            durableKeys = keys.list();
            durableKeys.removeIf(entry -> entry.cell().durable() < entry.total());
        } finally {
            lock.unlock();
        }
        Map<String, Counter> copies = new HashMap<>();
        totals.forEach((cell, total) -> copies.put(cell.name, new Counter(cell.name, cell.nameLength, total)));
        List<RememberedKeys.Entry> entries = new ArrayList<>(durableKeys.size());
        for (RememberedKeys.Entry entry : durableKeys) {
            Counter counter = copies.get(entry.cell().name);
            if (counter != null) {
                entries.add(new RememberedKeys.Entry(
                        entry.key(), entry.keyLength(), counter, entry.amount(), entry.total(), entry.appliedAt()));
            }
        }
        return new Copy(List.copyOf(copies.values()), entries);
    }

    /** Returns the number of counters. */
    int counters() {
        return cells.size();
    }

    /** Returns the number of remembered keys. The caller holds the lock. */
    int rememberedKeys() {
        return keys.size();
    }

    /** Returns the number of replays. The caller holds the lock. */
    long replays() {
        return replays;
    }

    /** Returns how many keys were evicted before they expired. The caller holds the lock. */
    long earlyEvictions() {
        return earlyEvictions;
    }
}
