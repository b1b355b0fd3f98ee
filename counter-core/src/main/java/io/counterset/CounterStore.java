// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static java.util.Objects.requireNonNull;

import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.CountFileAheadException;
import io.counterset.CounterStoreException.DirectoryUnusableException;
import io.counterset.CounterStoreException.ForeignFileException;
import io.counterset.CounterStoreException.HeapTooSmallException;
import io.counterset.CounterStoreException.InvalidCountFileException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.CounterStoreException.StoreLockedException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
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
 * Thread-safe. An acknowledged add survives {@code kill -9} and a power cut, and is never applied
 * twice; {@code docs/durability.md} lists what this requires of the disk and the file system.
 *
 * <h2>How it works</h2>
 *
 * <pre>
 *   add:     applied += amount, mark the counter     (Counter)      any thread, no lock
 *            remember the key, under the lock        (Ledger)
 *            lead a commit, or wait for one          (GroupCommit)
 *   commit:  take the marked counters, the new keys
 *            and, last, the totals; under the lock   (Ledger)       one thread at a time
 *            write and flush one batch               (Journal)
 *            publish the totals as durable, release the callers
 * </pre>
 *
 * A batch holds the <em>absolute</em> total of each counter touched since the last batch, once, so
 * the bytes per flush do not grow with the number of callers. A total is published only after it is
 * on the device, and only a published total releases callers. After the disk fails during a commit,
 * nothing is written any more. {@link Ledger}, {@link Room}, {@link GroupCommit} and {@link
 * Journal} keep the other invariants and document them in their headers.
 */
public final class CounterStore implements AutoCloseable {

    /** How long a store may keep counting after it has lost its directory or lock. */
    private static final long VERIFY_NANOS = Duration.ofMillis(500).toNanos();

    private final Storage storage;
    private final String directory;
    private final Durability durability;
    private final IdempotencyWindow window;
    private final StoreIdentity identity;
    private final Duration recoveryTime;
    private final int discardedBatches;
    private final Consumer<Throwable> onFailure;

    private final Ledger ledger;
    private final Room room;
    private final Commit commit;
    private final GroupCommit commits;
    private final Housekeeper housekeeper;
    private final @Nullable CountFile countFile;

    private boolean released; // guarded by the ledger's lock

    /**
     * Opens the store in {@code directory} with the defaults of {@link #builder}. Creates the store
     * if there is none.
     *
     * @throws CounterStoreException as {@link Builder#open()}
     */
    public static CounterStore open(Path directory) {
        return builder(directory).open();
    }

    /**
     * Reads the content of {@code directory} without locking or changing anything. The store may be
     * in use, a copy, or damaged. If it is in use, the result is a state that the store was in
     * during the reading. Takes as much time and memory as opening the store.
     *
     * @throws DirectoryUnusableException if there is no journal, or it cannot be read; the cause is
     *     a {@link java.nio.file.NoSuchFileException} if there is no journal
     * @throws ForeignFileException if the file under the journal's name is not a journal
     * @throws UnsupportedFormatException if a newer version wrote the journal
     */
    public static StoreInspection inspect(Path directory) {
        return StoreInspection.of(directory);
    }

    /**
     * Returns a builder for the store in {@code directory}, to change settings from their defaults.
     */
    public static Builder builder(Path directory) {
        return new Builder(directory);
    }

    private CounterStore(Builder builder, Opening opening) throws IOException {
        this.storage = opening.storage;
        this.directory = builder.directory.toString();
        this.durability = builder.durability;
        this.window = builder.window;
        this.onFailure = builder.onFailure;
        this.identity = opening.identity;
        this.discardedBatches = opening.discardedBatches;
        this.ledger = opening.ledger;
        this.room = opening.room;
        this.commit = opening.commit;
        this.commits = new GroupCommit(
                new Step(), directory, durability, builder.maxPending, builder.completions, builder.nanoTime);
        String counted = builder.countedCounter;
        if (counted == null) {
            this.countFile = null;
        } else {
            Counter counter = counter(counted);
            this.countFile = new CountFile(storage, counter::value, builder.nanoTime, builder.onWarning);
            writeCountFile();
        }
        List<Housekeeper.Task> tasks = new ArrayList<>();
        tasks.add(this::verify);
        tasks.add(() -> room.keep(commits));
        if (countFile != null) { // the file is not written before the store has a journal
            tasks.add(() -> room.isWritable() ? countFile.run() : Housekeeper.Task.WHEN_WOKEN);
        }
        this.housekeeper = new Housekeeper(tasks);
        this.recoveryTime = Duration.ofNanos(builder.nanoTime.getAsLong() - opening.began);
        if (builder.threads) {
            boolean started = false;
            try {
                commits.start();
                housekeeper.start();
                started = true;
            } finally {
                if (!started) { // the process may have reached its limit of threads
                    commits.close();
                    housekeeper.stop();
                    room.close();
                }
            }
        }
    }

    private void writeCountFile() {
        if (countFile != null && room.isWritable()) {
            countFile.write();
        }
    }

    /**
     * Checks that this store still holds its directory and its lock. If not, requests a commit,
     * which finds the loss and fails.
     */
    private long verify() {
        if (commits.isOpen()) {
            storage.verify();
            try {
                storage.requireHeld();
            } catch (IOException lost) {
                commits.nudge();
            }
        }
        return VERIFY_NANOS;
    }

    // ---- reading ----

    /**
     * Returns the counter with this name. It need not exist: the first add creates it permanently.
     * A store holds at most 1,000,000 counters. Does not block.
     *
     * @param name 1 to 128 bytes of UTF-8 without control characters
     * @throws IllegalArgumentException if the name is invalid
     */
    public Counter counter(String name) {
        int length = Names.require("a counter's name", name, Batch.MAX_NAME);
        Counter known = ledger.find(name);
        return known != null ? known.of(this) : new Counter(this, name, length);
    }

    @Nullable
    Counter find(String name) {
        return ledger.find(name);
    }

    /**
     * Returns the durable totals of all counters that were ever added to, by name: the content of
     * the journal at one moment. Every add in it survives any crash. An add with a key is in it
     * only together with its key. Under {@link Durability#SYNC}, a snapshot that contains an add
     * also contains every add that returned before that add began; under {@link
     * Durability#periodic} this holds for each counter, but not between counters. Takes time and
     * memory in proportion to the number of counters; adds wait only while the numbers are copied.
     * Also works on a failed or closed store.
     *
     * @return a new map, which the caller may change
     */
    public SortedMap<String, Long> snapshot() {
        return ledger.snapshot();
    }

    /**
     * Returns the identity of this store and how often it has been opened. Constant while it is
     * open.
     */
    public StoreIdentity identity() {
        return identity;
    }

    /** Returns the durability: when adds return. */
    public Durability durability() {
        return durability;
    }

    /** Returns how many idempotency keys are remembered, and for how long. */
    public IdempotencyWindow idempotencyWindow() {
        return window;
    }

    /**
     * Returns whether the store accepts adds. It does not once it has failed or has begun to close,
     * nor while a store that was opened on a full disk has no room for its journal. Reads always
     * work.
     */
    public boolean isAccepting() {
        return commits.isOpen() && room.isWritable();
    }

    /**
     * Returns why the store failed: a failed write or sync, or any other failure of a commit. Empty
     * if it has not failed. A failed store accepts no more adds. After fixing the cause, reopen the
     * directory: the store continues from what is on the device.
     */
    public Optional<Throwable> failure() {
        return Optional.ofNullable(commits.failure());
    }

    /**
     * Returns figures about the store since it was opened. May wait while a commit takes or
     * publishes adds, but never for the device.
     */
    public StoreStatistics statistics() {
        ledger.lock.lock();
        try {
            return new StoreStatistics(commit, ledger, room, commits, countFile, recoveryTime, discardedBatches);
        } finally {
            ledger.lock.unlock();
        }
    }

    // ---- adding ----

    long add(Counter counter, long amount) {
        requireMayWait();
        Counter cell = admit(counter, amount, true);
        long total = cell.advance(amount);
        ledger.mark(cell, commits);
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
            Counter cell = admit(counter, amount, false);
            long total = cell.advance(amount);
            ledger.mark(cell, commits);
            if (commits.isPeriodic() && commits.isOpen()) {
                return CompletableFuture.completedFuture(total);
            }
            Pending.Total pending = new Pending.Total(cell, total);
            commits.arrive(pending);
            return pending;
        } catch (RuntimeException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    AddResult addOnce(Counter counter, long amount, String key) {
        requireMayWait();
        Ledger.Keyed keyed = remember(counter, amount, key, 0, true);
        Counter cell = keyed.entry().cell();
        long total = keyed.entry().total();
        if (!commits.isPeriodic()) {
            if (cell.durable() < total) {
                commits.await(cell, total);
            }
        } else if (!commits.isOpen()) {
            commits.settle(cell, total);
        }
        return new AddResult(total, keyed.replayed());
    }

    CompletableFuture<AddResult> addOnceAsync(Counter counter, long amount, String key, long source) {
        try {
            CounterStoreException busy = commits.backPressure();
            if (busy != null) {
                return CompletableFuture.failedFuture(busy);
            }
            Ledger.Keyed keyed = remember(counter, amount, key, source, false);
            Counter cell = keyed.entry().cell();
            long total = keyed.entry().total();
            if (cell.durable() >= total || (commits.isPeriodic() && commits.isOpen())) {
                return CompletableFuture.completedFuture(new AddResult(total, keyed.replayed()));
            }
            Pending.Result pending = new Pending.Result(cell, total, keyed.replayed());
            commits.arrive(pending);
            return pending;
        } catch (RuntimeException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    /**
     * Refuses an add whose thread may not wait. Checked before anything is added: afterwards, a
     * refusal would leave the add with an unknown outcome.
     */
    private void requireMayWait() {
        if (!commits.isPeriodic()) {
            commits.requireMayWait();
        }
    }

    /**
     * Returns the counter that the store keeps under that name, or refuses the add. Once this has
     * returned, only an overflow can refuse it.
     */
    private Counter admit(Counter counter, long amount, boolean mayBlock) {
        requirePositive(amount);
        if (!commits.isOpen()) {
            throw commits.refusal();
        }
        if (!room.isWritable()) {
            throw room.refusal();
        }
        Counter cell = counter.registered();
        return cell != null ? cell : register(counter, mayBlock);
    }

    private static void requirePositive(long amount) {
        if (amount < 1) {
            throw new IllegalArgumentException(
                    "the amount must be 1 or more, but is " + amount + "; nothing was added");
        }
    }

    private Counter register(Counter counter, boolean mayBlock) {
        while (true) {
            long attempts = room.attempts();
            Counter cell = ledger.register(counter, room, commits);
            wakeIfGrowthIsWanted();
            if (cell != null) {
                return cell;
            }
            awaitRoom(attempts, mayBlock);
        }
    }

    /** Applies an add and remembers its key, or finds that an earlier call has. */
    private Ledger.Keyed remember(Counter counter, long amount, String key, long source, boolean mayBlock) {
        requirePositive(amount);
        int keyLength = Names.require("an idempotency key", key, Batch.MAX_KEY);
        int share = RememberedKeys.share(source);
        if (!room.isWritable()) { // replays too: what was read may be only in the page cache
            throw room.refusal();
        }
        while (true) {
            long attempts = room.attempts();
            Ledger.Keyed keyed = ledger.remember(counter, amount, key, keyLength, share, room, commits);
            wakeIfGrowthIsWanted();
            if (keyed != null) {
                return keyed;
            }
            if (counter.registered() == null) {
                register(counter, mayBlock);
            } else {
                awaitRoom(attempts, mayBlock);
            }
        }
    }

    private void wakeIfGrowthIsWanted() {
        if (room.isGrowing()) {
            housekeeper.wake();
        }
    }

    /**
     * Waits until growth of the journal has been attempted, or until the piled-up adds are
     * committed. Refuses the add if the caller may not wait.
     */
    private void awaitRoom(long attempts, boolean mayBlock) {
        boolean growing = room.isGrowing();
        if (mayBlock) {
            commits.requireMayWait();
        }
        if (growing) {
            housekeeper.urge();
        } else {
            commits.nudge();
        }
        if (!mayBlock) {
            throw new StoreBusyException("the store in " + directory
                    + " must commit before it takes this add; nothing was added; retry in a moment");
        }
        if (growing) {
            room.awaitAttempt(attempts);
        } else {
            flushOrRefuse();
        }
    }

    private void flushOrRefuse() {
        try {
            commits.flush();
        } catch (OutcomeUnknownException failed) {
            throw commits.refusal(); // this caller's add has not begun
        }
    }

    /**
     * Waits until every add that returned before this call is on the device. Under {@link
     * Durability#SYNC} it already is. Has no effect on a closed store, because closing flushes.
     *
     * @throws OutcomeUnknownException if the disk has failed, so that adds since the last commit
     *     may be lost
     * @throws IllegalStateException if the committing thread calls it ({@link
     *     Builder#completionExecutor})
     */
    public void flush() {
        commits.flush();
    }

    /** For a store without threads: commits all adds and completes their futures. */
    void pump() {
        commits.pump();
    }

    /** For a store without threads: runs the housekeeper's tasks. */
    void keepHouse() {
        housekeeper.runTasks();
    }

    /** Connects commits and their failure with the rest of the store. */
    private final class Step implements GroupCommit.Step {

        @Override
        public void commit(int callers) throws IOException {
            storage.requireHeld();
            commit.commit(callers);
            if (countFile != null) {
                housekeeper.wake();
            }
        }

        @Override
        public void failed(Throwable failure) {
            room.end();
            try {
                onFailure.accept(failure);
            } catch (Throwable e) { // thrown by the listener, which is the only one to report to
                failure.addSuppressed(e);
            }
        }

        @Override
        public boolean isDirty() {
            return ledger.isDirty();
        }
    }

    /**
     * Writes a consistent copy of the store into another directory: everything durable at one
     * moment, including the idempotency keys, under the same identity. Counting goes on; adds wait
     * only while the numbers are copied in memory. When this returns, the copy is on the device.
     * Also works on a failed or closed store. Blocks; any thread may call it.
     *
     * <p>Open the copy only in place of this store: peers and tools treat two stores with the same
     * identity as one store.
     *
     * @param target a directory without a store; created if it does not exist
     * @throws DirectoryUnusableException if the directory already has a store or cannot be written
     * @throws StoreFullException if the disk has no room
     * @throws StoreLockedException if {@code target} is in use
     */
    public void backup(Path target) {
        Ledger.Copy copy = ledger.copy();
        try (DirectoryStorage copied = DirectoryStorage.open(target)) {
            Journal.write(copied, identity, 0, copy.counters(), copy.keys());
        } catch (IOException e) {
            throw DirectoryStorage.unusable(target, e);
        }
    }

    // ---- the end ----

    /**
     * Commits all accepted adds, releases every waiting caller and unlocks the directory. Later
     * adds are refused; reads still work. Idempotent; any thread but the committing thread may call
     * it. Blocks until all accepted adds are committed.
     *
     * @throws OutcomeUnknownException under {@link Durability#periodic}, if the disk failed, so
     *     that adds that returned since the last commit may be lost; the store is closed
     *     nevertheless
     * @throws UncheckedIOException if a file could not be closed; acknowledged adds are safe, and
     *     the store is closed
     * @throws IllegalStateException if the committing thread calls it ({@link
     *     Builder#completionExecutor}); the store stays open
     */
    @Override
    public void close() {
        commits.close();
        room.end();
        housekeeper.stop();
        ledger.lock.lock();
        try {
            if (released) {
                return;
            }
            released = true;
            try (storage) {
                try {
                    writeCountFile();
                } finally {
                    room.close();
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(
                    "closing " + directory + " failed"
                            + failure()
                                    .map(cause -> ", as the store had before: " + cause)
                                    .orElse("; all acknowledged adds are safe"),
                    e);
        } finally {
            ledger.lock.unlock();
        }
        if (commits.isPeriodic()) {
            commits.flush(); // throws if the last commit failed
        }
    }

    /** Returns the directory, identity and durability. */
    @Override
    public String toString() {
        return "CounterStore[" + directory + ", " + identity + ", " + durability + "]";
    }

    // ---- opening ----

    /** What opening does when {@code count.txt} is ahead of the journal. */
    public enum CountFileAhead {
        /** Fails with a {@link CounterStoreException.CountFileAheadException}. */
        REFUSE,
        /**
         * Keeps the journal's total. The file is then overwritten, so its larger number is lost.
         */
        KEEP_JOURNAL,
        /** Raises the counter to the file's count. */
        TAKE_FILE
    }

    /** Settings of a store; each has a default. Not thread-safe. */
    public static final class Builder {

        final Path directory;
        Durability durability = Durability.SYNC;
        IdempotencyWindow window = IdempotencyWindow.DEFAULT;
        int maxPending = 100_000;
        long maxHeap = Long.MAX_VALUE;

        @Nullable
        String countedCounter;

        private @Nullable Executor completions;
        private Consumer<Throwable> onFailure = failure -> {};
        private Consumer<String> onWarning = warning -> {};
        CountFileAhead countFileAhead = CountFileAhead.REFUSE;

        // For tests: a simulated disk, clocks and no threads make a run repeatable.
        private @Nullable Storage storage;
        LongSupplier currentMillis = System::currentTimeMillis;
        LongSupplier nanoTime = System::nanoTime;
        long minHalf = Journal.MIN_HALF;
        boolean threads = true;

        private Builder(Path directory) {
            this.directory = requireNonNull(directory, "directory");
        }

        /** Sets when adds return. Default: {@link Durability#SYNC}. */
        public Builder durability(Durability durability) {
            this.durability = requireNonNull(durability, "durability");
            return this;
        }

        /**
         * Sets how many idempotency keys are remembered, and for how long. Default: the newest
         * 100,000 for up to 24 hours. If the window is smaller than before, keys that no longer fit
         * are forgotten.
         */
        public Builder idempotencyWindow(IdempotencyWindow window) {
            this.window = requireNonNull(window, "window");
            return this;
        }

        /**
         * Sets how many asynchronous adds may be in flight; further ones are refused with a {@link
         * StoreBusyException}. Default: 100,000, which take about 10 MB. Threads that call at the
         * same moment may exceed the bound by one each.
         *
         * @param maxPending 1 or more
         * @throws IllegalArgumentException if {@code maxPending} is less than 1
         */
        public Builder maxPending(int maxPending) {
            if (maxPending < 1) {
                throw new IllegalArgumentException("maxPending must be 1 or more, but is " + maxPending);
            }
            this.maxPending = maxPending;
            return this;
        }

        /**
         * Limits the memory for counters and idempotency keys. Opening a store that needs more
         * fails before the memory is allocated; without a limit it ends in an {@link
         * OutOfMemoryError}. The need is an estimate: the content of the store (about 150 bytes per
         * counter) plus twice the journal's full batch, which opening needs briefly. Default: no
         * limit.
         *
         * @param bytes 1 or more
         * @throws IllegalArgumentException if {@code bytes} is less than 1
         */
        public Builder maxHeap(long bytes) {
            if (bytes < 1) {
                throw new IllegalArgumentException("maxHeap must be 1 or more, but is " + bytes);
            }
            this.maxHeap = bytes;
            return this;
        }

        /**
         * Sets the executor that completes the futures of asynchronous adds, and therefore runs
         * those dependent actions that have no executor of their own. Default: a thread of the
         * store.
         *
         * <p>With {@code Runnable::run} the committing thread completes the futures. That saves a
         * hand-over between threads if every dependent action goes to another executor anyway, such
         * as the event loop of its connection. A dependent action that runs in the committing
         * thread delays all commits and cannot wait for this store: a blocking add, {@code flush}
         * or {@code close} there throws {@link IllegalStateException}, and nothing is added.
         *
         * <p>If the executor throws, the committing thread completes the futures. {@link
         * CounterStore#close} completes the futures that the executor has not completed.
         */
        public Builder completionExecutor(Executor executor) {
            this.completions = requireNonNull(executor, "executor");
            return this;
        }

        /**
         * Sets a listener for the failure of the store ({@link CounterStore#failure}), such as a
         * logger. It is called once, after all waiting callers have been released, in a thread of
         * the store that has no other work left. So it may block, close the store, or end the JVM.
         * An exception that it throws is added to the failure as suppressed. Default: no listener;
         * callers learn of the failure through exceptions.
         */
        public Builder onFailure(Consumer<Throwable> listener) {
            this.onFailure = requireNonNull(listener, "listener");
            return this;
        }

        /**
         * Keeps a file {@code count.txt} in the directory: the durable count of one counter as a
         * line of text. It lags by less than a second and is never ahead. If the directory has a
         * {@code count.txt} but no journal when it is opened, the counter starts from the count in
         * the file. Default: no such file.
         *
         * @param counterName 1 to 128 bytes of UTF-8 without control characters
         * @throws IllegalArgumentException if the name is invalid
         */
        public Builder countFile(String counterName) {
            Names.require("a counter's name", counterName, Batch.MAX_NAME);
            this.countedCounter = counterName;
            return this;
        }

        /**
         * Sets what opening does when {@code count.txt} is ahead of the journal. Counterset never
         * causes that: the journal was lost, replaced or rolled back, or the file was kept for
         * another counter before. Default: {@link CountFileAhead#REFUSE}. Has no effect without
         * {@link #countFile}.
         */
        public Builder countFileAhead(CountFileAhead choice) {
            this.countFileAhead = requireNonNull(choice, "choice");
            return this;
        }

        /**
         * Sets a listener for warnings, such as a logger. Each warning is one sentence for
         * operators about a problem that does not stop counting: when {@code count.txt} can no
         * longer be written, and when it is written again. The listener is called in a thread of
         * the store or in the thread that opens or closes it. Its exceptions are ignored. Default:
         * no listener.
         */
        public Builder onWarning(Consumer<String> listener) {
            this.onWarning = requireNonNull(listener, "listener");
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
         * Opens the store: creates the directory if it does not exist, locks it, reads the journal,
         * writes a new one and syncs it. While this runs, the disk must have room for a second
         * journal. Takes time in proportion to the number of counters.
         *
         * @throws StoreLockedException if this JVM or another process has the directory open
         * @throws DirectoryUnusableException if the directory cannot be created, read or written
         * @throws StoreFullException if a new store has no room for its journal (on a full disk, an
         *     existing store opens for reading only)
         * @throws CorruptJournalException if the journal is damaged anywhere but in its last batch
         * @throws ForeignFileException if the file under the journal's name is not a journal
         * @throws UnsupportedFormatException if a newer version wrote the journal
         * @throws HeapTooSmallException if the content takes more memory than {@link #maxHeap}
         * @throws InvalidCountFileException if {@code count.txt} must be imported but is not one
         *     number
         * @throws CountFileAheadException if {@code count.txt} is ahead of the journal, and {@link
         *     #countFileAhead} is {@link CountFileAhead#REFUSE}
         */
        public CounterStore open() {
            Storage opened = storage == null ? DirectoryStorage.open(directory) : storage;
            Opening opening = null;
            CounterStore store = null;
            try {
                opening = new Opening(this, opened);
                store = new CounterStore(this, opening);
                return store;
            } catch (IOException e) {
                if (opened.isOutOfSpace(e)) {
                    throw new StoreFullException(
                            directory + " has no room for a new journal: " + e.getMessage()
                                    + "; no count was changed; free some space, then open the store again",
                            e);
                }
                throw DirectoryStorage.unusable(directory, e);
            } finally {
                if (store == null) {
                    try (opened) {
                        if (opening != null) {
                            opening.room.close();
                        }
                    } catch (IOException e) {
                        // The caller gets the failure to open, which matters more.
                    }
                }
            }
        }
    }
}
