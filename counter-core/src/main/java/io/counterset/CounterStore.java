package io.counterset;

import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.ForeignFileException;
import io.counterset.CounterStoreException.InvalidCountFileException;
import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.StoreLockedException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Durable counters in one directory, for one process.
 *
 * <pre>{@code
 * try (CounterStore store = CounterStore.open(Path.of("data"))) {
 *     Counter visits = store.counter("visits");
 *     long total = visits.increment();          // returns when it is on disk
 * }
 * }</pre>
 *
 * Thread-safe. An acknowledged add is there after {@code kill -9} and after a power cut, and is never applied twice;
 * {@code docs/durability.md} says what that rests on.
 *
 * <h2>How it works</h2>
 *
 * <pre>
 *   add:     applied += amount, mark the counter     (Cell)         any thread, no lock
 *            remember the key, under the lock        (RememberedKeys)
 *            lead a commit, or wait for one          (GroupCommit)
 *   commit:  take the marked counters, the new keys
 *            and, last, the totals; under the lock   (Batch)        one thread at a time
 *            write and flush one batch               (Journal)
 *            publish the totals as durable, release whoever waits
 * </pre>
 *
 * A batch holds the <em>absolute</em> total of each counter touched since the last one, once, so bytes per flush do not
 * grow with the number of callers. The invariants:
 *
 * <ul>
 *   <li>A total is published only after the device has it (G1, G4), and waiters are released only by what is published.
 *   <li>A counter is marked after its total moved, and unmarked before its total is read: no add falls between.
 *   <li>An add with a key moves the total and remembers the key under the lock under which a commit takes both, so a
 *       logged total never includes an add whose key is not in the same batch or before it (G3).
 *   <li>A new counter or key is accepted only if a full batch with it still fits half the journal, so a commit never
 *       finds the journal too small. When it becomes three quarters full of such, a commit first moves to a larger journal; if the
 *       disk has no room for that, what needs it is refused before anything was added, and the rest goes on (G8).
 *   <li>After any failure of the disk during a commit nothing is written again (G7).
 * </ul>
 */
public final class CounterStore implements AutoCloseable {

    /** The most counters a store holds. */
    static final int MAX_COUNTERS = 1_000_000;

    /** A new journal's half is this many times what it must hold. More would make opening slower, less growing more frequent. */
    private static final long ROOM = 2;

    /** While there is no room to grow, growing is tried again at most this often. */
    private static final long GROWTH_RETRY_NANOS = Duration.ofSeconds(1).toNanos();

    /** So many new keys make a periodic store commit before its time. */
    private static final int MOST_NEW_KEYS = 10_000;

    private static final VarHandle MARKED;

    static {
        try {
            MARKED = MethodHandles.lookup().findVarHandle(CounterStore.class, "marked", Cell.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final Storage storage;
    private final String directory;
    private final Durability durability;
    private final IdempotencyWindow window;
    private final LongSupplier currentMillis;
    private final LongSupplier nanoTime;
    private final long minHalf;
    private final StoreIdentity identity;
    private final ConcurrentHashMap<String, Cell> cells;
    private final GroupCommit commits;
    private final @Nullable CountFile countFile;
    private final Consumer<Throwable> onFailure;

    private volatile @Nullable Cell marked; // counters touched since the last commit, newest first
    private volatile boolean growthWanted;
    private volatile @Nullable NoRoom noRoom; // since the last attempt to grow, if that failed

    /** Guards what follows, and makes a commit's taking and its publishing each one step for everybody else. */
    private final ReentrantLock lock = new ReentrantLock();

    private final RememberedKeys keys;
    private List<RememberedKeys.Entry> newKeys = new ArrayList<>();
    private long counterBytes; // of all counters, in a full batch
    private boolean released;

    // Used by the committing thread, changed under the lock.
    private Journal journal;
    private final Batch batch = new Batch();
    private final long[] flushTimes = new long[24];
    private long committed;
    private long callersServed;
    private long bytesWritten;
    private long flushNanos;
    private long longestNanos;
    private long switches;
    private long growths;
    private long replays;
    private long earlyEvictions;
    private final long recoveryNanos;
    private final int discardedBatches;

    /**
     * Opens the store in {@code directory} with the defaults of {@link #builder}, creating it if there is none.
     *
     * @throws CounterStoreException as {@link Builder#open()}
     */
    public static CounterStore open(Path directory) {
        return builder(directory).open();
    }

    /** Returns a builder for the store in {@code directory}, to set what differs from the defaults. */
    public static Builder builder(Path directory) {
        return new Builder(directory);
    }

    private CounterStore(Builder builder, Storage storage) throws IOException {
        this.storage = storage;
        this.directory = builder.directory.toString();
        this.durability = builder.durability;
        this.window = builder.window;
        this.currentMillis = builder.currentMillis;
        this.nanoTime = builder.nanoTime;
        this.minHalf = builder.minHalf;
        this.onFailure = builder.onFailure;
        long began = nanoTime.getAsLong();
        Journal.Contents contents = builder.load(storage);
        this.identity =
                new StoreIdentity(contents.identity().id(), contents.identity().incarnation() + 1);
        this.cells = contents.cells();
        this.keys = contents.keys();
        this.discardedBatches = contents.discardedBatches();
        keys.advance(currentMillis.getAsLong());
        for (Cell cell : cells.values()) {
            counterBytes += Batch.counterLength(cell.nameLength);
        }
        this.journal = Journal.prepare(storage, identity, roomyHalf(), contents.sequence());
        boolean active = false;
        try {
            takeAll();
            journal.append(batch);
            journal.activate();
            active = true;
        } finally {
            if (!active) {
                journal.close();
            }
        }
        batch.clear(false);
        this.commits = new GroupCommit(new Commit(), directory, durability, builder.maxPending, builder.completions);
        String counted = builder.countedCounter;
        if (counted == null) {
            this.countFile = null;
        } else {
            Counter counter = counter(counted);
            this.countFile = new CountFile(storage, counter::value);
            this.countFile.write();
        }
        this.recoveryNanos = nanoTime.getAsLong() - began;
        if (builder.threads) {
            commits.start();
            if (countFile != null) {
                countFile.start("counterset-count-file");
            }
        }
    }

    // ---- reading ----

    /**
     * Returns the counter of that name. It need not exist: the first add creates it, for good. A store holds at most 1,000,000.
     * Does not block.
     *
     * @param name 1 to 128 bytes of UTF-8 without control characters
     * @throws IllegalArgumentException if the name is not that
     */
    public Counter counter(String name) {
        return new Counter(this, name, Names.require("a counter's name", name, Batch.MAX_NAME), cells.get(name));
    }

    @Nullable
    Cell find(String name) {
        return cells.get(name);
    }

    /**
     * Returns the durable totals of all counters that were ever added to, by name: what the journal said at one moment.
     * Every add in it survives any crash, and no add with a key is in it by half. Under {@link Durability#SYNC}, if it
     * shows an add, it shows every add that had returned before that one began; under {@link Durability#periodic} that
     * holds for each counter, but not between counters. Takes time and memory in proportion to the number of counters; adds wait only while the numbers are copied. Works on a failed
     * or closed store too.
     *
     * @return a map of the caller's own
     */
    public SortedMap<String, Long> snapshot() {
        Cell[] all;
        long[] values;
        lock.lock();
        try {
            all = cells.values().toArray(new Cell[0]);
            values = new long[all.length];
            for (int i = 0; i < all.length; i++) {
                values[i] = all[i].durable();
            }
        } finally {
            lock.unlock();
        }
        SortedMap<String, Long> snapshot = new TreeMap<>();
        for (int i = 0; i < all.length; i++) {
            if (values[i] > 0) {
                snapshot.put(all[i].name, values[i]);
            }
        }
        return snapshot;
    }

    /** Returns which store this is, and how often it has been opened. Constant while it is open. */
    public StoreIdentity identity() {
        return identity;
    }

    /** Returns when adds return. */
    public Durability durability() {
        return durability;
    }

    /** Returns for how long idempotency keys are remembered. */
    public IdempotencyWindow idempotencyWindow() {
        return window;
    }

    /** Returns whether adds are accepted: false once the store has failed or has begun to close. Reads go on. */
    public boolean isAccepting() {
        return commits.isOpen();
    }

    /**
     * Returns what made the store fail: a write or sync that the disk refused, or whatever else went wrong during a commit.
     * Nothing was accepted since; opening the directory anew, once the cause is mended, goes on from what the device has.
     */
    public Optional<Throwable> failure() {
        return Optional.ofNullable(commits.failure());
    }

    /** Returns what the store has done since it was opened. Waits for a commit to take or publish, not for the device. */
    public StoreStatistics statistics() {
        lock.lock();
        try {
            return new StoreStatistics(
                    committed,
                    callersServed,
                    bytesWritten,
                    Duration.ofNanos(flushNanos),
                    Arrays.stream(flushTimes).boxed().toList(),
                    switches,
                    growths,
                    Duration.ofNanos(longestNanos),
                    Duration.ofNanos(recoveryNanos),
                    commits.failure() == null ? 0 : 1,
                    discardedBatches,
                    cells.size(),
                    keys.size(),
                    replays,
                    earlyEvictions,
                    commits.pending(),
                    countFile == null ? 0 : countFile.failures());
        } finally {
            lock.unlock();
        }
    }

    // ---- adding ----

    long add(Counter counter, long amount) {
        requireMayWait();
        Cell cell = admit(counter, amount, true);
        long total = cell.advance(amount);
        mark(cell);
        if (!commits.isPeriodic()) {
            commits.await(cell, total);
        } else if (!commits.isOpen()) {
            commits.settle(cell, total);
        }
        return total;
    }

    CompletableFuture<Long> addAsync(Counter counter, long amount) {
        try {
            CounterStoreException busy = commits.backPressure();
            if (busy != null) {
                return CompletableFuture.failedFuture(busy);
            }
            Cell cell = admit(counter, amount, false);
            long total = cell.advance(amount);
            mark(cell);
            if (commits.isPeriodic() && commits.isOpen()) {
                return CompletableFuture.completedFuture(total);
            }
            GroupCommit.PendingTotal pending = new GroupCommit.PendingTotal(cell, total);
            commits.arrive(pending);
            return pending;
        } catch (RuntimeException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    AddResult add(Counter counter, long amount, String key) {
        requireMayWait();
        Keyed keyed = remember(counter, amount, key, true);
        Cell cell = keyed.entry.cell();
        long total = keyed.entry.total();
        if (!commits.isPeriodic()) {
            if (cell.durable() < total) {
                commits.await(cell, total);
            }
        } else if (!commits.isOpen()) {
            commits.settle(cell, total);
        }
        return new AddResult(total, keyed.replayed);
    }

    CompletableFuture<AddResult> addAsync(Counter counter, long amount, String key) {
        try {
            CounterStoreException busy = commits.backPressure();
            if (busy != null) {
                return CompletableFuture.failedFuture(busy);
            }
            Keyed keyed = remember(counter, amount, key, false);
            Cell cell = keyed.entry.cell();
            long total = keyed.entry.total();
            if (cell.durable() >= total || (commits.isPeriodic() && commits.isOpen())) {
                return CompletableFuture.completedFuture(new AddResult(total, keyed.replayed));
            }
            GroupCommit.PendingResult pending = new GroupCommit.PendingResult(cell, total, keyed.replayed);
            commits.arrive(pending);
            return pending;
        } catch (RuntimeException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    /** Before anything is added: an add that then cannot wait would have happened, and not be known to be durable. */
    private void requireMayWait() {
        if (!commits.isPeriodic()) {
            commits.requireMayWait();
        }
    }

    /** Returns the counter's cell, or refuses the add. From here on only an overflow can. */
    private Cell admit(Counter counter, long amount, boolean mayBlock) {
        requirePositive(amount);
        if (!commits.isOpen()) {
            throw commits.refusal();
        }
        Cell cell = counter.cell();
        return cell != null ? cell : register(counter, mayBlock);
    }

    private static void requirePositive(long amount) {
        if (amount < 1) {
            throw new IllegalArgumentException(
                    "the amount must be 1 or more, but is " + amount + "; nothing was added");
        }
    }

    private Cell register(Counter counter, boolean mayBlock) {
        while (true) {
            lock.lock();
            try {
                Cell cell = cells.get(counter.name());
                if (cell == null) {
                    if (!commits.isOpen()) { // it may have closed while this caller waited for room
                        throw commits.refusal();
                    }
                    if (cells.size() == MAX_COUNTERS) {
                        throw new StoreFullException(
                                String.format(
                                        Locale.ROOT,
                                        "the store in %s has %,d counters, as many as it may; %s was not created",
                                        directory,
                                        MAX_COUNTERS,
                                        counter.name()),
                                null);
                    }
                    long bytes = Batch.counterLength(counter.nameLength());
                    if (hasRoomFor(bytes, mayBlock)) {
                        cell = new Cell(counter.name(), counter.nameLength(), 0);
                        counterBytes += bytes;
                        cells.put(cell.name, cell);
                    }
                }
                if (cell != null) {
                    counter.cell(cell);
                    return cell;
                }
            } finally {
                lock.unlock();
            }
            awaitRoom();
        }
    }

    private record Keyed(RememberedKeys.Entry entry, boolean replayed) {}

    /** Applies an add and remembers its key, or finds that both has been done. */
    private Keyed remember(Counter counter, long amount, String key, boolean mayBlock) {
        requirePositive(amount);
        int keyLength = Names.require("an idempotency key", key, Batch.MAX_KEY);
        while (true) {
            lock.lock();
            try {
                long now = keys.advance(currentMillis.getAsLong());
                RememberedKeys.Entry known = keys.find(key);
                if (known != null) {
                    return new Keyed(replay(known, counter, amount), true);
                }
                if (!commits.isOpen()) {
                    throw commits.refusal();
                }
                Cell cell = counter.cell();
                if (cell != null && hasRoomFor(Batch.keyLength(keyLength), mayBlock)) {
                    RememberedKeys.Entry entry =
                            new RememberedKeys.Entry(key, keyLength, cell, amount, cell.advance(amount), now);
                    if (keys.put(entry)) {
                        earlyEvictions++;
                    }
                    newKeys.add(entry);
                    if (newKeys.size() == MOST_NEW_KEYS && commits.isPeriodic()) {
                        commits.nudge(); // or they would pile up until the period is over
                    }
                    mark(cell);
                    return new Keyed(entry, false);
                }
            } finally {
                lock.unlock();
            }
            if (counter.cell() == null) {
                register(counter, mayBlock);
            } else {
                awaitRoom();
            }
        }
    }

    /** Waits for a commit: it grows the journal first. */
    private void awaitRoom() {
        try {
            commits.flush();
        } catch (OutcomeUnknownException failed) {
            throw commits.refusal(); // this caller's add has not begun
        }
    }

    private RememberedKeys.Entry replay(RememberedKeys.Entry known, Counter counter, long amount) {
        if (!known.cell().name.equals(counter.name()) || known.amount() != amount) {
            throw new KeyConflictException("the key " + known.key() + " was used to add " + known.amount() + " to "
                    + known.cell().name + ", and now comes with " + amount + " for " + counter.name()
                    + "; nothing was added");
        }
        replays++;
        return known;
    }

    /**
     * Whether a full batch with so many bytes more fits the journal. If it gets tight, the next commit grows it.
     *
     * @return false if the caller should wait for that commit
     * @throws StoreBusyException if the caller may not wait
     * @throws StoreFullException if growing has just failed for lack of room
     */
    private boolean hasRoomFor(long bytes, boolean mayBlock) {
        long needed = fullBatchBytes() + bytes;
        if (needed <= journal.half() / 4 * 3) {
            return true;
        }
        NoRoom failed = noRoom;
        boolean retry = failed == null || nanoTime.getAsLong() - failed.since >= GROWTH_RETRY_NANOS;
        if (retry) {
            growthWanted = true;
        }
        if (needed <= journal.half()) {
            return true;
        }
        if (failed != null && !retry) {
            throw new StoreFullException(
                    "the disk has no room for a larger journal in " + directory + ": " + failed.cause
                            + "; nothing was added, what is there stays, and there will be room once some is freed",
                    failed.cause);
        }
        if (!mayBlock) {
            commits.nudge();
            throw new StoreBusyException(
                    "the journal in " + directory + " is being enlarged; nothing was added, try again in a moment");
        }
        return false;
    }

    private long fullBatchBytes() {
        return Batch.HEADER + counterBytes + keys.bytes();
    }

    private long roomyHalf() {
        return Math.max(minHalf, Batch.roundUp(ROOM * fullBatchBytes()));
    }

    /** Hands the cell to the next commit. Its total has moved already. */
    private void mark(Cell cell) {
        if (cell.mark()) {
            Cell before;
            do {
                before = marked;
                cell.nextMarked = before;
            } while (!MARKED.compareAndSet(this, before, cell));
            cell.marked();
            if (before == null && commits.isPeriodic()) {
                commits.dirtied();
            }
        }
    }

    /**
     * Returns once every add that returned before is on the device. Under {@link Durability#SYNC} it already is. Does nothing on
     * a store that was closed: closing did it.
     *
     * @throws OutcomeUnknownException if the disk has failed, so that adds since the last commit may be lost
     */
    public void flush() {
        commits.flush();
    }

    /** For a store without threads: commits what was added, and completes what waits for it. */
    void pump() {
        commits.pump();
    }

    // ---- committing: one thread at a time ----

    private final class Commit implements GroupCommit.Step {

        @Override
        public boolean isDirty() {
            return marked != null;
        }

        @Override
        public void failed(Throwable failure) {
            try {
                onFailure.accept(failure);
            } catch (RuntimeException e) {
                failure.addSuppressed(e); // callers wait to learn of the failure
            }
        }

        @Override
        public void commit(int callers) throws IOException {
            long began = nanoTime.getAsLong();
            Journal larger = growthWanted ? prepareLarger() : null;
            Journal target = larger == null ? journal : larger;
            try {
                take(larger != null);
                if (batch.isEmpty()) {
                    return;
                }
                long writing = nanoTime.getAsLong();
                target.append(batch);
                if (larger != null) {
                    larger.activate();
                    journal.close();
                }
                publish(target, callers, began, nanoTime.getAsLong() - writing);
            } finally {
                if (larger != null && !larger.equals(journal)) {
                    larger.close();
                }
            }
        }
    }

    /** Returns a new journal with more room, or null if there is no need or no room for one. */
    private @Nullable Journal prepareLarger() throws IOException {
        long half;
        lock.lock();
        try {
            growthWanted = false;
            half = roomyHalf();
        } finally {
            lock.unlock();
        }
        if (half <= journal.half()) {
            return null;
        }
        try {
            Journal larger = Journal.prepare(storage, identity, half, journal.sequence());
            noRoom = null;
            return larger;
        } catch (IOException e) {
            if (!storage.isOutOfSpace(e)) {
                throw e;
            }
            noRoom = new NoRoom(nanoTime.getAsLong(), e);
            return null;
        }
    }

    private record NoRoom(long since, IOException cause) {}

    /** Takes into {@link #batch} what was marked; or everything, if asked to or if only the other half has room. */
    private void take(boolean all) {
        lock.lock();
        try {
            batch.clear(false);
            for (Cell cell = (Cell) MARKED.getAndSet(this, null); cell != null; ) {
                Cell next = cell.nextMarked;
                cell.nextMarked = null;
                cell.unmark();
                batch.add(cell, cell.applied());
                cell = next;
            }
            if (!newKeys.isEmpty()) {
                batch.keys(newKeys);
                newKeys = new ArrayList<>();
            }
            if (all || (!batch.isEmpty() && !journal.fits(batch.paddedLength()))) {
                takeAll();
            }
        } finally {
            lock.unlock();
        }
    }

    private void takeAll() {
        batch.clear(true);
        for (Cell cell : cells.values()) {
            long total = cell.applied();
            if (total != 0) {
                batch.add(cell, total);
            }
        }
        batch.keys(keys.list());
    }

    private void publish(Journal target, int callers, long began, long flush) {
        lock.lock();
        try {
            batch.publish();
            committed++;
            callersServed += callers;
            bytesWritten += batch.paddedLength();
            flushNanos += flush;
            longestNanos = Math.max(longestNanos, nanoTime.getAsLong() - began);
            long micros = flush / 1000;
            int bucket = micros <= 1 ? 0 : Long.SIZE - Long.numberOfLeadingZeros(micros - 1);
            flushTimes[Math.min(bucket, flushTimes.length - 1)]++;
            if (target != journal) {
                journal = target;
                growths++;
            } else if (batch.isFull()) {
                switches++;
            }
        } finally {
            lock.unlock();
        }
        if (countFile != null) {
            countFile.changed();
        }
    }

    // ---- the end ----

    /**
     * Commits what was accepted, releases every waiting caller, and gives the directory free. Adds that begin after this
     * are refused; reads go on. Idempotent; any thread may close.
     *
     * @throws OutcomeUnknownException under {@link Durability#periodic}, if the disk failed, so that adds that returned
     *     since the last commit may be lost; the store is closed all the same
     * @throws UncheckedIOException if a file could not be closed; what was acknowledged is safe, and the store is closed
     */
    @Override
    public void close() {
        commits.close();
        lock.lock();
        try {
            if (released) {
                return;
            }
            released = true;
            if (countFile != null) {
                countFile.stop();
            }
            try (storage) {
                journal.close();
            }
        } catch (IOException e) {
            throw new UncheckedIOException("closing " + directory + " failed; what was acknowledged is safe", e);
        } finally {
            lock.unlock();
        }
        if (commits.isPeriodic()) {
            commits.flush(); // tells whether the last commit failed
        }
    }

    /** Returns the directory, identity and durability. */
    @Override
    public String toString() {
        return "CounterStore[" + directory + ", " + identity + ", " + durability + "]";
    }

    // ---- opening ----

    /** Settings of a store; each has a default. Not thread-safe. */
    public static final class Builder {

        private final Path directory;
        private Durability durability = Durability.SYNC;
        private IdempotencyWindow window = IdempotencyWindow.DEFAULT;
        private int maxPending = 100_000;
        private @Nullable String countedCounter;
        private @Nullable Executor completions;
        private Consumer<Throwable> onFailure = failure -> {};

        // For tests: a simulated disk, clocks and no threads make a run repeatable.
        private @Nullable Storage storage;
        private LongSupplier currentMillis = System::currentTimeMillis;
        private LongSupplier nanoTime = System::nanoTime;
        private long minHalf = Journal.MIN_HALF;
        private boolean threads = true;

        private Builder(Path directory) {
            this.directory = directory;
        }

        /** Sets when adds return. Default: {@link Durability#SYNC}. */
        public Builder durability(Durability durability) {
            this.durability = durability;
            return this;
        }

        /**
         * Sets for how long idempotency keys are remembered. Default: the newest 100,000 for up to 24 hours. A smaller
         * window than before forgets what no longer fits.
         *
         * @param maxKeys 1 to 1,000,000
         * @param maxAge 1 second to 3,650 days
         * @throws IllegalArgumentException if one is out of range
         */
        public Builder idempotencyWindow(int maxKeys, Duration maxAge) {
            this.window = new IdempotencyWindow(maxKeys, maxAge);
            return this;
        }

        /**
         * Sets how many asynchronous adds may be in flight before more are refused with a {@link StoreBusyException}.
         * Default: 100,000, which take about 10 MB. Threads that call at the same moment may exceed it by one each.
         *
         * @param maxPending 1 or more
         * @throws IllegalArgumentException if it is less
         */
        public Builder maxPending(int maxPending) {
            if (maxPending < 1) {
                throw new IllegalArgumentException("maxPending must be 1 or more, but is " + maxPending);
            }
            this.maxPending = maxPending;
            return this;
        }

        /**
         * Sets what completes the futures of asynchronous adds, and so runs whatever was made to depend on them without an
         * executor of its own. Default: a thread of the store.
         *
         * <p>{@code Runnable::run} lets the thread that commits do it. That spares a hand-over between threads where every
         * dependent action goes to an executor anyway, such as the event loop of its connection. A dependent action that runs in
         * that thread holds up all commits, and cannot wait for this store: a blocking add, {@code flush} or {@code close}
         * there throws {@link IllegalStateException}, and nothing was added. If the executor rejects, the thread that
         * commits completes the futures; {@link CounterStore#close} does not wait for it.
         */
        public Builder completionExecutor(Executor executor) {
            this.completions = executor;
            return this;
        }

        /**
         * Sets whom to tell when the store fails ({@link CounterStore#failure}), such as a logger: once, in the thread whose commit
         * failed, before callers learn of it. Default: nobody; callers learn of it by exceptions.
         *
         * @param listener must not block, nor use the store but for reading
         */
        public Builder onFailure(Consumer<Throwable> listener) {
            this.onFailure = listener;
            return this;
        }

        /**
         * Keeps {@code count.txt} in the directory: the durable count of one counter as a line of text, less than a
         * second behind and never ahead, for {@code cat}. If the directory has a {@code count.txt} and no journal when
         * it is opened, the counter starts from the count found there. Default: no such file.
         *
         * @param counterName 1 to 128 bytes of UTF-8 without control characters
         * @throws IllegalArgumentException if the name is not that
         */
        public Builder countFile(String counterName) {
            Names.require("a counter's name", counterName, Batch.MAX_NAME);
            this.countedCounter = counterName;
            return this;
        }

        Builder storage(Storage storage) {
            this.storage = storage;
            return this;
        }

        Builder clocks(LongSupplier currentMillis, LongSupplier nanoTime) {
            this.currentMillis = currentMillis;
            this.nanoTime = nanoTime;
            return this;
        }

        Builder minHalf(long bytes) {
            this.minHalf = bytes;
            return this;
        }

        Builder withoutThreads() {
            this.threads = false;
            return this;
        }

        /**
         * Opens the store: creates the directory if need be, locks it, reads the journal, writes it anew and syncs it.
         * That takes room for a second journal while it lasts, and time in proportion to the number of counters.
         *
         * @throws StoreLockedException if this JVM or another process has the directory open
         * @throws DirectoryUnusableException if it cannot be created, read or written
         * @throws StoreFullException if there is no room for the new journal
         * @throws CorruptJournalException if the journal is damaged elsewhere than in its last batch
         * @throws ForeignFileException if the file of that name is not a journal
         * @throws UnsupportedFormatException if it is of a newer version
         * @throws InvalidCountFileException if {@code count.txt} is to be imported and is not one number
         */
        public CounterStore open() {
            Storage opened = storage == null ? DirectoryStorage.open(directory) : storage;
            CounterStore store = null;
            try {
                store = new CounterStore(this, opened);
                return store;
            } catch (IOException e) {
                if (opened.isOutOfSpace(e)) {
                    throw new StoreFullException(
                            directory + " has no room for a new journal: " + e.getMessage()
                                    + "; what is there stays, open it again once some is freed",
                            e);
                }
                throw new DirectoryUnusableException(directory, e);
            } finally {
                if (store == null) {
                    try {
                        opened.close();
                    } catch (IOException e) {
                        // The failure to open is what the caller has to know.
                    }
                }
            }
        }

        /** Returns what the directory holds: a journal, or a count to import, or nothing yet. */
        private Journal.Contents load(Storage storage) throws IOException {
            if (storage.exists(Journal.FILE)) {
                return Journal.read(storage, window);
            }
            ConcurrentHashMap<String, Cell> cells = new ConcurrentHashMap<>();
            String counted = countedCounter;
            if (counted != null) {
                long count = CountFile.read(storage).orElse(0);
                if (count > 0) {
                    cells.put(counted, new Cell(counted, Names.utf8Length(counted, Batch.MAX_NAME), count));
                }
            }
            return new Journal.Contents(
                    new StoreIdentity(UUID.randomUUID(), 0), 0, cells, new RememberedKeys(window), 0);
        }
    }
}
