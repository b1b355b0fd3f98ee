package io.counterset;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Who commits, and who waits: one commit at a time serves everybody who had added before it began.
 *
 * <p><b>Quiet path.</b> A blocking caller that finds nobody leading and nobody waiting leads: it commits in its own
 * thread and returns. No other thread is involved, so a lone caller runs at the device's speed.
 *
 * <p><b>Busy path.</b> Everybody else puts a {@link Pending} on a stack of arrivals and waits for it. The committer
 * thread takes all arrivals, commits once, releases them and goes on for as long as there are new ones; while it writes,
 * the next group gathers. Whoever ends a commit and sees arrivals wakes the committer, and whoever is the first to
 * arrive while nobody leads does, so no arrival is left alone: the arrival is visible before its owner looks for a
 * leader, and leading ends before the former leader looks for arrivals.
 *
 * <p><b>Foreign code</b> is what callers made depend on futures, the executor that completes them, and the listener of the
 * failure. It may block, throw, or end the JVM, so it never runs in a thread that leads: {@link Completions}.
 *
 * <p><b>Failure.</b> If a commit throws, the store has {@link #FAILED}. Nothing is written any more; every caller that waits for
 * something not yet durable learns that its outcome is unknown, and later callers learn that nothing was added. Last of all the listener is
 * told.
 *
 * <p><b>The end.</b> The thread that closes the store, or the committer if the store failed, takes what has arrived, commits it, and
 * leads for ever after. An add that slipped in after that was never written; its owner finds {@link #terminated} after its
 * arrival, and releases it, and itself, as refused.
 */
final class GroupCommit {

    /** One commit: takes every add marked so far, returns once the device has them, and has published them. */
    interface Step {
        /**
         * Commits.
         *
         * @param callers how many callers wait for it; their adds may be durable already
         */
        void commit(int callers) throws IOException;

        /** Learns, once, that a commit threw this. Nobody leads any more, and callers have been released. */
        void failed(Throwable failure);

        /** Whether something has been added that no commit has taken. */
        boolean isDirty();
    }

    static final int OPEN = 0;
    static final int FAILED = 1;
    static final int CLOSED = 2; // or closing: refuses adds, while the committer finishes those that were accepted

    private static final VarHandle ARRIVALS;
    private static final VarHandle LEADING;
    private static final VarHandle UNRELEASED;
    private static final VarHandle STATE;
    private static final VarHandle TOLD;
    private static final VarHandle CLOSER;

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.lookup();
            ARRIVALS = lookup.findVarHandle(GroupCommit.class, "arrivals", Pending.class);
            LEADING = lookup.findVarHandle(GroupCommit.class, "leading", boolean.class);
            STATE = lookup.findVarHandle(GroupCommit.class, "state", int.class);
            UNRELEASED = lookup.findVarHandle(GroupCommit.class, "unreleased", int.class);
            TOLD = lookup.findVarHandle(GroupCommit.class, "told", boolean.class);
            CLOSER = lookup.findVarHandle(GroupCommit.class, "closer", Thread.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** How long the committer looks out for an arrival before it parks: what a wake-up or two would take. */
    private static final long LOOK_OUT_NANOS = 100_000;

    private final Step step;
    private final String directory;
    private final long periodNanos; // 0: every caller waits for its commit
    private final int maxPending;
    private final LongSupplier nanoTime;
    private final Completions completions;

    private volatile int state = OPEN;
    private volatile @Nullable Throwable failure;
    private volatile boolean told; // the listener knows of the failure
    private volatile @Nullable Thread closer; // the first to close; to be woken when nobody leads
    private volatile boolean terminated;
    private final CountDownLatch ended = new CountDownLatch(1); // terminated, and all callers released

    private volatile @Nullable Pending<?> arrivals;
    private volatile boolean leading;
    private volatile int unreleased; // taken from the arrivals and not yet released
    private boolean alone; // the committer's own: its last commit served one caller
    private boolean soon; // the committer's own: its last wait was short
    // When a periodic commit is due.
    private volatile boolean resting; // the committer has nothing to time
    private volatile long begun; // the last commit; what it has not taken was added later
    private volatile long oldest; // the first add after that, unless it is before: then that add is about to set it

    private @Nullable Thread committer; // null: a store without threads, where callers do everything

    GroupCommit(
            Step step,
            String directory,
            Durability durability,
            int maxPending,
            @Nullable Executor completions,
            LongSupplier nanoTime) {
        this.step = step;
        this.nanoTime = nanoTime;
        this.directory = directory;
        this.periodNanos = durability.period().map(period -> period.toNanos()).orElse(0L);
        this.maxPending = maxPending;
        this.completions = new Completions(this, completions, maxPending);
        this.begun = nanoTime.getAsLong();
        this.oldest = begun;
    }

    /**
     * Starts the threads. Without them, as in a simulation, {@link #pump} does their work.
     *
     * @throws OutOfMemoryError if the process can have no more threads; none runs then
     */
    void start() {
        completions.start();
        Thread thread = daemon("counterset-committer", this::runCommitter);
        committer = thread;
        boolean started = false;
        try {
            thread.start();
            started = true;
        } finally {
            if (!started) {
                committer = null;
                completions.close();
            }
        }
    }

    static Thread daemon(String name, Runnable task) {
        Thread thread = new Thread(null, task, name, 0, false); // inherits nothing from the thread that opens the store
        thread.setDaemon(true);
        return thread;
    }

    // ---- callers ----

    boolean isOpen() {
        return state == OPEN;
    }

    /** Returns what ended the store, or null if nothing did. */
    @Nullable
    Throwable failure() {
        return state == FAILED ? failure : null;
    }

    boolean isPeriodic() {
        return periodNanos > 0;
    }

    /** Returns why an add that has not begun is refused; only to be asked when the store is not open. */
    CounterStoreException refusal() {
        return state == FAILED ? new StoreFailedException(directory, failure) : new StoreClosedException(directory);
    }

    /** Returns the time that periods are measured by. */
    long nanoTime() {
        return nanoTime.getAsLong();
    }

    /** How many adds may be in flight. */
    int maxPending() {
        return maxPending;
    }

    /** How many callers wait, at this moment. */
    int pending() {
        Pending<?> newest = arrivals;
        return unreleased + (newest == null ? 0 : newest.depth);
    }

    /** Returns the refusal of an {@code addAsync} that would exceed the bound of adds in flight, or null. */
    @Nullable
    CounterStoreException backPressure() {
        return pending() < maxPending
                ? null
                : new StoreBusyException("the store in " + directory + " has " + maxPending
                        + " adds in flight, as many as it may; nothing was added, try again when some have completed");
    }

    /**
     * Waits until the add that brought {@code cell} to {@code total} is durable. The cell is marked already.
     *
     * @throws OutcomeUnknownException if the disk fails meanwhile
     * @throws StoreClosedException if the store closed before the add could be taken; nothing was added
     */
    void await(Counter cell, long total) {
        if (arrivals == null && state == OPEN && LEADING.compareAndSet(this, false, true)) {
            try {
                if (cell.durable() < total && state == OPEN) {
                    commit(1);
                }
            } finally {
                stopLeading();
            }
            if (cell.durable() >= total) {
                return;
            }
        }
        waitFor(new Pending.Caller(cell, total));
    }

    /**
     * A periodic store's add has returned {@code total}, and then found the store no longer open: tells whether the last
     * commit took it.
     */
    void settle(Counter cell, long total) {
        waitFor(new Pending.Caller(cell, total));
    }

    /**
     * Refuses to wait in the thread that would have to do what is waited for: that of the commits, which runs code of callers if
     * the executor of the completions is a direct one.
     */
    void requireMayWait() {
        if (Thread.currentThread().equals(committer) && !terminated) {
            throw new IllegalStateException("this is the thread that commits, which cannot wait for a commit; "
                    + "let another one do what depends on a future; nothing was added");
        }
    }

    /** Returns once everything added before is durable. */
    void flush() {
        waitFor(new Pending.Caller(null, 0));
    }

    private void waitFor(Pending.Caller caller) {
        requireMayWait();
        arrive(caller);
        if (committer == null) {
            pump();
        }
        caller.await(this);
    }

    /** Adds a caller to those the next commit serves. Never blocks. */
    void arrive(Pending<?> pending) {
        Pending<?> before;
        do {
            before = arrivals;
            pending.next = before;
            pending.depth = before == null ? 1 : before.depth + 1;
        } while (!ARRIVALS.compareAndSet(this, before, pending));
        if (terminated) {
            complete(release(takeArrivals())); // nobody else will
        } else if (before == null && !leading) {
            LockSupport.unpark(committer);
        }
    }

    /** Asks for a commit that nobody waits for. */
    void nudge() {
        arrive(new Pending.Total(null, 0));
    }

    /**
     * A periodic store has something to commit where it had nothing.
     *
     * @param nanos {@link #nanoTime} before the add was handed to the next commit
     */
    void dirtied(long nanos) {
        oldest = nanos;
        if (resting) {
            LockSupport.unpark(committer);
        }
    }

    // ---- leading ----

    private void commit(int callers) {
        if (state == FAILED) {
            return; // a failed write is final
        }
        try {
            if (periodNanos > 0) {
                begun = nanoTime.getAsLong();
            }
            step.commit(callers);
        } catch (Throwable e) { // whatever it is, adds were taken and are not known to be durable
            fail(e);
        }
    }

    private void fail(Throwable cause) {
        failure = cause;
        state = FAILED;
    }

    private void stopLeading() {
        leading = false;
        if (arrivals != null || state != OPEN) {
            LockSupport.unpark(committer);
            LockSupport.unpark(closer);
        }
    }

    private void runCommitter() {
        try {
            commitLoop();
        } catch (Throwable e) { // not to be expected outside of a commit
            fail(e);
        }
        finish();
        tellFailure();
    }

    private void commitLoop() {
        while (state == OPEN) {
            if (arrivals == null && !isDue()) {
                awaitArrival();
            } else if (LEADING.compareAndSet(this, false, true)) {
                Completions.Group futures;
                try {
                    do {
                        futures = round();
                    } while (futures == null && arrivals != null && state == OPEN);
                } finally {
                    stopLeading();
                }
                complete(futures);
            } else {
                LockSupport.park(this); // the leader wakes this thread when it has done
            }
        }
    }

    /** Tells the listener of a failure, once. This may never return: the listener may end the JVM. */
    private void tellFailure() {
        Throwable cause = failure();
        if (cause != null && !told && TOLD.compareAndSet(this, false, true)) {
            step.failed(cause);
        }
    }

    /**
     * Waits for an arrival, or for anything else that wakes this thread. After a single caller, and if it did not wait long the last
     * time, it looks out for a while before it parks (spin, then park: Karlin et al., Empirical Studies of Competitive Spinning,
     * 1991): a client that adds again as soon as it is answered is back sooner than a parked thread wakes, and waking it costs
     * processor time too. Where there are more callers, they have a better use for the processor.
     */
    @SuppressWarnings("ThreadPriorityCheck") // yielding is a courtesy here: it is as right without
    private void awaitArrival() {
        long began = System.nanoTime();
        while (alone && soon && arrivals == null && state == OPEN) {
            Thread.yield();
            soon = System.nanoTime() - began < LOOK_OUT_NANOS;
        }
        if (arrivals == null && state == OPEN) {
            LockSupport.park(this);
            soon = System.nanoTime() - began < LOOK_OUT_NANOS;
        }
    }

    /**
     * Waits for the time of the next periodic commit and returns true; or returns false if none is to come. It is due a period after
     * the oldest add that no commit has taken. Where an add has not yet said when it began, it is taken to be as old as the last
     * commit: too old rather than too young.
     */
    private boolean isDue() {
        if (periodNanos == 0) {
            return false;
        }
        resting = true;
        boolean dirty = step.isDirty();
        if (dirty) {
            resting = false;
            while (arrivals == null && state == OPEN) {
                long since = oldest - begun < 0 ? begun : oldest;
                long left = periodNanos - (nanoTime.getAsLong() - since);
                if (left <= 0) {
                    break;
                }
                LockSupport.parkNanos(this, left);
            }
        }
        return dirty;
    }

    /**
     * Serves everybody who has arrived with one commit. The caller leads. Never throws.
     *
     * @return futures for the caller to {@link #complete} when it no longer leads, or null
     */
    private Completions.@Nullable Group round() {
        Pending<?> group = takeArrivals();
        int callers = group == null ? 0 : group.depth;
        commit(callers);
        alone = callers == 1;
        Completions.Group futures = release(group);
        if (futures == null || committer == null || completions.isForeign()) {
            return futures;
        }
        completions.execute(futures);
        return null;
    }

    private @Nullable Pending<?> takeArrivals() {
        Pending<?> newest = (Pending<?>) ARRIVALS.getAndSet(this, null);
        if (newest != null) {
            UNRELEASED.getAndAdd(this, newest.depth);
        }
        return newest;
    }

    /**
     * Releases the blocked callers of a group, given newest first, oldest first.
     *
     * @return its futures, or null if it has none
     */
    private Completions.@Nullable Group release(@Nullable Pending<?> newestFirst) {
        Pending<?> newestFuture = null;
        Pending<?> lastFuture = null;
        int futures = 0;
        Pending<?> callers = null;
        int callerCount = 0;
        for (Pending<?> p = newestFirst; p != null; ) {
            Pending<?> next = p.next;
            if (p instanceof Pending.Caller) {
                p.next = callers; // reverses the order
                callers = p;
                callerCount++;
            } else {
                if (lastFuture == null) {
                    newestFuture = p;
                } else {
                    lastFuture.next = p;
                }
                p.next = null;
                lastFuture = p;
                futures++;
            }
            p = next;
        }
        if (callerCount > 0) {
            left(callerCount);
            for (Pending<?> p = callers; p != null; ) {
                Pending<?> next = p.next;
                p.next = null;
                p.release(endingOf(p), this);
                p = next;
            }
        }
        return newestFuture == null ? null : completions.group(newestFuture, futures);
    }

    private void complete(Completions.@Nullable Group futures) {
        if (futures != null) {
            completions.execute(futures);
        }
    }

    /** So many have left what is in flight. */
    void left(int count) {
        UNRELEASED.getAndAdd(this, -count);
    }

    /** Returns how the wait ends of somebody whom a commit was to serve, or for whom none will come. */
    Pending.Ending endingOf(Pending<?> pending) {
        Counter cell = pending.cell;
        if (cell == null ? state != FAILED : cell.durable() >= pending.total) {
            return Pending.Ending.DURABLE;
        }
        return state == FAILED ? Pending.Ending.UNKNOWN : Pending.Ending.REFUSED;
    }

    CounterStoreException failureOf(Pending.Ending ending) {
        return ending == Pending.Ending.UNKNOWN
                ? new OutcomeUnknownException(directory, failure)
                : new StoreClosedException(directory);
    }

    // ---- the end ----

    /**
     * Commits what was accepted and takes nothing more. Returns when all callers have been released and all futures are complete. What
     * depends on them may still run, if it takes long. Any number of threads may close, even the one that completes futures.
     */
    void close() {
        requireMayWait();
        CLOSER.compareAndSet(this, null, Thread.currentThread());
        STATE.compareAndSet(this, OPEN, CLOSED); // a failed store stays failed
        LockSupport.unpark(committer);
        if (Thread.currentThread().equals(closer)) {
            finish();
        } else {
            awaitEnd();
        }
        completions.close();
        if (committer == null) {
            tellFailure();
        }
    }

    /**
     * Ends the committing for good, unless it has ended. The committer does, or the thread that closes: whichever leads next, so
     * that closing never waits for code of callers that the committer runs.
     */
    private void finish() {
        boolean interrupted = false;
        while (!terminated) {
            if (LEADING.compareAndSet(this, false, true)) {
                Completions.Group futures = null;
                if (state != FAILED && (arrivals != null || step.isDirty())) {
                    futures = round();
                }
                terminated = true; // a caller that arrives after the next line sees this, and releases itself
                Completions.Group tooLate = release(takeArrivals());
                ended.countDown();
                LockSupport.unpark(committer);
                LockSupport.unpark(closer);
                complete(futures);
                complete(tooLate);
            } else {
                LockSupport.park(this); // whoever leads wakes this thread
                interrupted |= Thread.interrupted();
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private void awaitEnd() {
        boolean interrupted = false;
        while (true) {
            try {
                ended.await();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Does one round of the committer's work in the caller's thread, for a store without threads. */
    void pump() {
        if (LEADING.compareAndSet(this, false, true)) {
            Completions.Group futures;
            try {
                futures = round();
            } finally {
                leading = false;
            }
            complete(futures);
            tellFailure();
        }
    }
}
