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
 * Thread-safe. An acknowledged add is there after {@code kill -9} and after a power cut, and is never applied twice;
 * {@code docs/durability.md} says what that rests on.
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
 * A batch holds the <em>absolute</em> total of each counter touched since the last one, once, so bytes per flush do not
 * grow with the number of callers. A total is published only after the device has it, and callers are released only
 * by published totals. After any failure of the disk during a commit nothing is written again. {@link Ledger}, {@link Room},
 * {@link GroupCommit} and {@link Journal} keep the other invariants, each in its header.
 */
public final class CounterStore implements AutoCloseable {

    /** How long a store may go on whose directory or lock is no longer its own. */
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
     * Opens the store in {@code directory} with the defaults of {@link #builder}, creating it if there is none.
     *
     * @throws CounterStoreException as {@link Builder#open()}
     */
    public static CounterStore open(Path directory) {
        return builder(directory).open();
    }

    /**
     * Reads what {@code directory} holds, without locking or changing anything: it may be in use, a copy, or damaged. Of
     * a store in use it shows a state that the store had while it was read. Takes time and memory as opening does.
     *
     * @throws DirectoryUnusableException if there is no journal, or it cannot be read; the cause is a {@link
     *     java.nio.file.NoSuchFileException} if there is none
     * @throws ForeignFileException if the file of that name is not a journal
     * @throws UnsupportedFormatException if it is of a newer version
     */
    public static StoreInspection inspect(Path directory) {
        return StoreInspection.of(directory);
    }

    /** Returns a builder for the store in {@code directory}, to set what differs from the defaults. */
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
        if (countFile != null) { // which is left alone until what it follows is durable
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
                if (!started) { // there may be no more threads
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

    /** Sees that the directory and its lock are still this store's; if not, lets a commit find it, which fails. */
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
     * Returns the counter of that name. It need not exist: the first add creates it, for good. A store holds at most 1,000,000.
     * Does not block.
     *
     * @param name 1 to 128 bytes of UTF-8 without control characters
     * @throws IllegalArgumentException if the name is not that
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
     * Returns the durable totals of all counters that were ever added to, by name: what the journal said at one moment.
     * Every add in it survives any crash, and no add with a key is in it by half. Under {@link Durability#SYNC}, if it
     * shows an add, it shows every add that had returned before that one began; under {@link Durability#periodic} that
     * holds for each counter, but not between counters. Takes time and memory in proportion to the number of counters; adds wait only while the numbers are copied. Works on a failed
     * or closed store too.
     *
     * @return a map of the caller's own
     */
    public SortedMap<String, Long> snapshot() {
        return ledger.snapshot();
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

    /**
     * Returns whether adds are accepted: false once the store has failed or has begun to close, and for as long as a
     * store that was opened on a full disk finds no room for its journal. Reads go on.
     */
    public boolean isAccepting() {
        return commits.isOpen() && room.isWritable();
    }

    /**
     * Returns what made the store fail: a write or sync that the disk refused, or whatever else went wrong during a commit.
     * Nothing was accepted since. Once the cause is fixed, reopening the directory continues from what the device has.
     */
    public Optional<Throwable> failure() {
        return Optional.ofNullable(commits.failure());
    }

    /** Returns what the store has done since it was opened. Waits for a commit to take or publish, not for the device. */
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
        Ledger.Keyed keyed = remember(counter, amount, key, true);
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

    CompletableFuture<AddResult> addOnceAsync(Counter counter, long amount, String key) {
        try {
            CounterStoreException busy = commits.backPressure();
            if (busy != null) {
                return CompletableFuture.failedFuture(busy);
            }
            Ledger.Keyed keyed = remember(counter, amount, key, false);
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

    /** Before anything is added: an add that then cannot wait would have happened, and not be known to be durable. */
    private void requireMayWait() {
        if (!commits.isPeriodic()) {
            commits.requireMayWait();
        }
    }

    /** Returns the counter that the store keeps under that name, or refuses the add. From here on only an overflow can. */
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

    /** Applies an add and remembers its key, or finds that both has been done. */
    private Ledger.Keyed remember(Counter counter, long amount, String key, boolean mayBlock) {
        requirePositive(amount);
        int keyLength = Names.require("an idempotency key", key, Batch.MAX_KEY);
        if (!room.isWritable()) { // a replay too: what was read may be a page cache's that the device never got
            throw room.refusal();
        }
        while (true) {
            long attempts = room.attempts();
            Ledger.Keyed keyed = ledger.remember(counter, amount, key, keyLength, room, commits);
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
     * Waits until growing the journal has been attempted, or what has piled up is committed; or refuses the add of a
     * caller that may not wait.
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
                    + " must write what it has before it takes this add; nothing was added, try again in a moment");
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

    /** For a store without threads: does what the housekeeper would. */
    void keepHouse() {
        housekeeper.runTasks();
    }

    /** The commit, and what a store does about it. */
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
            } catch (
                    Throwable
                            e) { // the listener's own failure: callers have been released, there is nobody else to tell
                failure.addSuppressed(e);
            }
        }

        @Override
        public boolean isDirty() {
            return ledger.isDirty();
        }
    }

    /**
     * Writes a consistent copy of the store into another directory: what was durable at one moment, the idempotency keys
     * included, under the same identity. Counting goes on; adds wait while the numbers are copied in memory. When this
     * returns, the copy is on the device. Works on a failed or closed store too. Blocks; any thread may call.
     *
     * <p>Open the copy only in place of this store: tools that compare stores take two stores of one
     * identity for the same store.
     *
     * @param target a directory without a store; created if need be
     * @throws DirectoryUnusableException if there is a store already, or the directory cannot be written
     * @throws StoreFullException if there is no room
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
     * Commits all accepted adds, releases every waiting caller and unlocks the directory. Adds that begin after this are
     * refused; reads go on. Idempotent; any thread may close.
     *
     * @throws OutcomeUnknownException under {@link Durability#periodic}, if the disk failed, so that adds that returned
     *     since the last commit may be lost; the store is closed all the same
     * @throws UncheckedIOException if a file could not be closed; what was acknowledged is safe, and the store is closed
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
            writeCountFile();
            try (storage) {
                room.close();
            }
        } catch (IOException e) {
            throw new UncheckedIOException("closing " + directory + " failed; what was acknowledged is safe", e);
        } finally {
            ledger.lock.unlock();
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

    /** What opening does when {@code count.txt} is ahead of the journal. */
    public enum CountFileAhead {
        /** Refuses to open, with a {@link CounterStoreException.CountFileAheadException}. */
        REFUSE,
        /** Goes on with the journal's total. The file follows it, so its larger number is gone. */
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
         * Sets for how long idempotency keys are remembered. Default: the newest 100,000 for up to 24 hours. A smaller
         * window than before forgets what no longer fits.
         */
        public Builder idempotencyWindow(IdempotencyWindow window) {
            this.window = requireNonNull(window, "window");
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
         * Refuses to open a store whose counters and idempotency keys take more memory than that, before they take it. Without
         * this limit opening such a store ends in an {@link OutOfMemoryError}. The need is estimated: what the store keeps
         * (about 150 bytes a counter), and the journal's full batch twice, which opening needs for a moment. Default: no limit.
         *
         * @param bytes 1 or more
         * @throws IllegalArgumentException if it is less
         */
        public Builder maxHeap(long bytes) {
            if (bytes < 1) {
                throw new IllegalArgumentException("maxHeap must be 1 or more, but is " + bytes);
            }
            this.maxHeap = bytes;
            return this;
        }

        /**
         * Sets what completes the futures of asynchronous adds, and so runs whatever was made to depend on them without an
         * executor of its own. Default: a thread of the store.
         *
         * <p>{@code Runnable::run} lets the thread that commits do it. That spares a hand-over between threads where every
         * dependent action goes to an executor anyway, such as the event loop of its connection. A dependent action that runs in
         * that thread holds up all commits, and cannot wait for this store: a blocking add, {@code flush} or {@code close}
         * there throws {@link IllegalStateException}, and nothing was added.
         *
         * <p>If the executor throws anything, the thread that commits completes the futures. {@link CounterStore#close} completes those
         * that the executor has not come to.
         */
        public Builder completionExecutor(Executor executor) {
            this.completions = requireNonNull(executor, "executor");
            return this;
        }

        /**
         * Sets a listener for the failure of the store ({@link CounterStore#failure}), such as a logger. It is called once, after all
         * callers that waited have been released, in a thread of the store that has nothing else to do any more. So it may
         * take its time, close the store, or end the JVM. What it throws is added to the failure as suppressed. Default: none;
         * callers learn of the failure by exceptions.
         */
        public Builder onFailure(Consumer<Throwable> listener) {
            this.onFailure = requireNonNull(listener, "listener");
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

        /**
         * Sets what opening does when {@code count.txt} is ahead of the journal. It never is by itself, so the journal
         * was lost, replaced or rolled back, or another counter was counted there before. Default: {@link
         * CountFileAhead#REFUSE}. Without {@link #countFile} it means nothing.
         */
        public Builder countFileAhead(CountFileAhead choice) {
            this.countFileAhead = requireNonNull(choice, "choice");
            return this;
        }

        /**
         * Sets whom to tell, in a sentence, of what an operator should know though counting goes on: that {@code
         * count.txt} cannot be written, once, and once more when it can again. It is called in a thread of the store, or
         * in the one that opens or closes it. What it throws is ignored. Default: nobody.
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
         * Opens the store: creates the directory if need be, locks it, reads the journal, writes a new one and syncs it.
         * That takes room for a second journal while it lasts, and time in proportion to the number of counters.
         *
         * @throws StoreLockedException if this JVM or another process has the directory open
         * @throws DirectoryUnusableException if it cannot be created, read or written
         * @throws StoreFullException if there is no room for the new journal
         * @throws CorruptJournalException if the journal is damaged elsewhere than in its last batch
         * @throws ForeignFileException if the file of that name is not a journal
         * @throws UnsupportedFormatException if it is of a newer version
         * @throws HeapTooSmallException if its content takes more memory than {@link #maxHeap}
         * @throws InvalidCountFileException if {@code count.txt} is to be imported and is not one number
         * @throws CountFileAheadException if {@code count.txt} is ahead of the journal, and {@link #countFileAhead} has no
         *     choice between them
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
                                    + "; what is there stays, open it again once some is freed",
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
                        // The failure to open is what the caller has to know.
                    }
                }
            }
        }
    }
}
