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
 * Decides which thread commits and which threads wait. One commit at a time serves every add that was made before it began.
 *
 * <p><b>Quiet path.</b> A blocking caller that finds no leader and no arrivals leads: it commits in its own thread and
 * returns. No other thread is involved, so a lone caller runs at the device's speed.
 *
 * <p><b>Busy path.</b> Every other add puts a {@link Pending} on a stack of arrivals and waits for it. A leader takes all
 * arrivals, commits once, and releases them; while it writes, the next group gathers. Where all arrivals are blocked
 * callers, one of them leads, for one commit, and then wakes the newest arrival to lead the next one. Where one is a
 * future, the committer thread leads, for as long as there are futures.
 *
 * <p>So the leader changes with every commit of blocked callers, and of a large group it wakes only the first caller of
 * each {@link #CHAIN chain}. One thread that always led and woke everybody got only its fair share of a busy processor,
 * and each thread that it woke preempted it: with two busy loops on two processors, 64 callers had half the throughput.
 *
 * <p><b>No arrival is left alone.</b> An arrival is visible before its owner looks for a leader, and leading ends before
 * the former leader looks for arrivals. So either the owner finds that it may lead or has to wake the committer, or the
 * former leader finds the arrival and wakes the next leader.
 *
 * <p><b>Foreign code</b> is the callbacks of futures, the executor that completes futures, and the listener of a failure. It
 * may block, throw or end the JVM, so it never runs in a thread that leads: {@link Completions}.
 *
 * <p><b>Failure.</b> If a commit throws, the store has {@link #FAILED}. Nothing is written any more. Each caller that waits for
 * an add that is not durable gets an unknown outcome, and later adds are refused. The listener is called last.
 *
 * <p><b>The end.</b> The thread that closes the store, or the committer if the store failed, takes all arrivals, commits them,
 * and never stops leading. A later arrival was never written. Its owner finds {@link #terminated} after the arrival, and
 * releases it as refused.
 */
final class GroupCommit {

    /** One commit: takes every add marked so far, returns once the device has them, and has published them. */
    interface Step {
        /**
         * Commits.
         *
         * @param callers how many callers wait for it; their adds may already be durable
         */
        void commit(int callers) throws IOException;

        /** Called once, after a commit threw this. No thread leads any more, and all callers have been released. */
        void failed(Throwable failure);

        /** Whether there is an add that no commit has taken. */
        boolean isDirty();
    }

    static final int OPEN = 0;
    static final int FAILED = 1;
    static final int CLOSED = 2; // or closing: adds are refused, while the accepted ones are committed

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

    /** How long the committer polls for an arrival before it parks: about the time of one or two wake-ups. */
    private static final long SPIN_NANOS = 100_000;

    /** The length of a chain of released callers, each of which wakes the next one. */
    private static final int CHAIN = 4;

    /** The leader wakes this many callers by itself, if there are as many, before chains get longer than one caller. */
    private static final int HEADS = 16;

    private final Step step;
    private final String directory;
    private final long periodNanos; // 0: every caller waits for its commit
    private final int maxPending;
    private final LongSupplier nanoTime;
    private final Completions completions;

    private volatile int state = OPEN;
    private volatile @Nullable Throwable failure;
    private volatile boolean told; // the listener has been called
    private volatile @Nullable Thread closer; // the first to close; to be woken when nobody leads
    private volatile boolean terminated;
    private final CountDownLatch ended = new CountDownLatch(1); // terminated, and all callers released

    private volatile @Nullable Pending<?> arrivals;
    private volatile boolean leading;
    private volatile int served; // blocked callers taken from the arrivals and not yet released
    private volatile int unreleased; // futures likewise
    private boolean alone; // used by the committer: its last commit served one caller
    private boolean soon; // used by the committer: its last wait was short
    // When a periodic commit is due.
    private volatile boolean resting; // the committer has nothing to time
    private volatile long begun; // when the last commit began; adds that it has not taken are later
    private volatile long oldest; // the first add after that; an earlier time if that add has yet to set it

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
        Thread thread = new Thread(null, task, name, 0, false); // without the inheritable thread locals of its creator
        thread.setDaemon(true);
        return thread;
    }

    // ---- callers ----

    boolean isOpen() {
        return state == OPEN;
    }

    /** Returns the cause of the failure, or null if the store has not failed. */
    @Nullable
    Throwable failure() {
        return state == FAILED ? failure : null;
    }

    boolean isPeriodic() {
        return periodNanos > 0;
    }

    /** Returns the exception for an add that has not begun. Call it only when the store is not open. */
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

    /** How many adds are in flight at this moment. */
    int pending() {
        Pending<?> newest = arrivals;
        return served + unreleased + (newest == null ? 0 : newest.depth);
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
     * Ends an add of a periodic store that moved the total to {@code total} and then found the store no longer open. Returns if
     * the last commit took the add, and throws like {@link #await} otherwise.
     */
    void settle(Counter cell, long total) {
        waitFor(new Pending.Caller(cell, total));
    }

    /**
     * Refuses to wait in the committer thread, which runs callbacks if futures complete in a direct executor: it would wait for
     * itself.
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

    /** Adds an arrival for the next commit to serve. Never blocks. */
    void arrive(Pending<?> pending) {
        Pending<?> before;
        do {
            before = arrivals;
            pending.next = before;
            pending.depth = before == null ? 1 : before.depth + 1;
            pending.futures = (before == null ? 0 : before.futures) + (pending instanceof Pending.Caller ? 0 : 1);
        } while (!ARRIVALS.compareAndSet(this, before, pending));
        if (terminated) {
            complete(release(takeArrivals())); // nobody else will
        } else if (!leading && pending.futures == 1 && !(pending instanceof Pending.Caller)) {
            LockSupport.unpark(committer); // for the first future; blocked callers lead themselves
        }
    }

    /** Requests a commit without waiting for it. */
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
        } catch (Throwable e) { // after any failure the adds that were taken have an unknown outcome
            fail(e);
        }
    }

    private void fail(Throwable cause) {
        failure = cause;
        state = FAILED;
    }

    private void stopLeading() {
        leading = false;
        Pending<?> newest = arrivals;
        if (state == OPEN && newest instanceof Pending.Caller caller && newest.futures == 0) {
            LockSupport.unpark(caller.thread);
        } else if (state != OPEN || newest != null) {
            LockSupport.unpark(committer);
            LockSupport.unpark(closer);
        }
        if (periodNanos > 0) {
            LockSupport.unpark(committer); // a commit may have become due meanwhile
        }
    }

    /**
     * Leads one commit of all arrivals in the thread of one of them, if all are blocked callers and no other thread leads.
     *
     * @return whether it led; if not, the caller may park: another thread leads, has released the caller, or will wake it
     */
    boolean lead() {
        Pending<?> newest = arrivals;
        if (newest == null || leading || state != OPEN) {
            return false;
        }
        if (newest.futures > 0) {
            LockSupport.unpark(committer); // a future has arrived since this thread was woken to lead
            return false;
        }
        if (committer == null || !LEADING.compareAndSet(this, false, true)) {
            return false;
        }
        try {
            Pending<?> group = takeCallers();
            if (group != null) {
                commit(group.depth);
                release(group);
            }
        } finally {
            stopLeading();
        }
        return true;
    }

    private @Nullable Pending<?> takeCallers() {
        for (Pending<?> newest = arrivals; newest != null && newest.futures == 0; newest = arrivals) {
            if (ARRIVALS.compareAndSet(this, newest, null)) {
                served = newest.depth;
                return newest;
            }
        }
        return null;
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
            if (!hasFutures() && !isDue()) {
                awaitFuture();
            } else if (LEADING.compareAndSet(this, false, true)) {
                Completions.Group futures;
                try {
                    do {
                        futures = round();
                    } while (futures == null && hasFutures() && state == OPEN);
                } finally {
                    stopLeading();
                }
                complete(futures);
            } else {
                LockSupport.park(this); // the leader wakes this thread when it stops
            }
        }
    }

    /** Calls the listener of a failure, once. This may never return: the listener may end the JVM. */
    private void tellFailure() {
        Throwable cause = failure();
        if (cause != null && !told && TOLD.compareAndSet(this, false, true)) {
            step.failed(cause);
        }
    }

    /** Whether arrivals wait that only the committer serves. */
    private boolean hasFutures() {
        Pending<?> newest = arrivals;
        return newest != null && newest.futures > 0;
    }

    /**
     * Waits for a future, or for anything else that wakes this thread. After a group of one, and if the last wait was short,
     * it polls for a while before it parks (spin, then park: Karlin et al., Empirical Studies of Competitive Spinning,
     * 1991): a closed-loop client is back sooner than a parked thread wakes, and waking a thread costs processor time
     * too. After a larger group the callers have a better use for the processor.
     */
    @SuppressWarnings("ThreadPriorityCheck") // yielding only saves processor time; the loop is correct without it
    private void awaitFuture() {
        long began = System.nanoTime();
        while (alone && soon && !hasFutures() && state == OPEN) {
            Thread.yield();
            soon = System.nanoTime() - began < SPIN_NANOS;
        }
        if (!hasFutures() && state == OPEN) {
            LockSupport.park(this);
            soon = System.nanoTime() - began < SPIN_NANOS;
        }
    }

    /**
     * Waits until the next periodic commit is due and returns true, or returns false if there is nothing to commit. A commit is
     * due a period after the oldest add that no commit has taken. An add that has yet to set its time counts as old as the
     * last commit: the commit is then early rather than late.
     */
    private boolean isDue() {
        if (periodNanos == 0) {
            return false;
        }
        resting = true;
        boolean dirty = step.isDirty();
        if (dirty) {
            resting = false;
            while (!hasFutures() && state == OPEN) {
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
     * Serves all arrivals with one commit. The calling thread leads. Never throws.
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
            served = newest.depth - newest.futures;
            if (newest.futures > 0) {
                UNRELEASED.getAndAdd(this, newest.futures);
            }
        }
        return newest;
    }

    /**
     * Releases the blocked callers of a group, given newest first, in chains of which it wakes the oldest caller. All waits
     * end before any thread is woken: if this thread stops there for lack of stack, the callers find out by themselves.
     *
     * @return the futures of the group, or null if it has none
     */
    private Completions.@Nullable Group release(@Nullable Pending<?> newestFirst) {
        served = 0;
        if (newestFirst == null) {
            return null;
        }
        int futures = newestFirst.futures;
        int chain = Math.max(1, Math.min(CHAIN, (newestFirst.depth - futures) / HEADS));
        Thread current = Thread.currentThread();
        Pending<?> newestFuture = null;
        Pending<?> lastFuture = null;
        Pending.Caller newer = null; // of the chain that is being made
        int length = 0;
        Pending<?> oldest = null; // of the chains that are complete, linked
        for (Pending<?> p = newestFirst; p != null; ) {
            Pending<?> next = p.next;
            p.next = null;
            if (!(p instanceof Pending.Caller caller)) {
                if (lastFuture == null) {
                    newestFuture = p;
                } else {
                    lastFuture.next = p;
                }
                lastFuture = p;
            } else if (caller.thread.equals(current)) {
                caller.end(endingOf(caller), null); // it is awake
            } else {
                caller.end(endingOf(caller), newer);
                length++;
                newer = length % chain == 0 ? null : caller;
                if (newer == null) {
                    caller.next = oldest;
                    oldest = caller;
                }
            }
            p = next;
        }
        if (newer != null) {
            newer.next = oldest;
            oldest = newer;
        }
        while (oldest instanceof Pending.Caller caller) {
            oldest = caller.next;
            caller.next = null;
            LockSupport.unpark(caller.thread);
        }
        return newestFuture == null ? null : completions.group(newestFuture, futures);
    }

    private void complete(Completions.@Nullable Group futures) {
        if (futures != null) {
            completions.execute(futures);
        }
    }

    /** Subtracts futures from those in flight. */
    void left(int count) {
        UNRELEASED.getAndAdd(this, -count);
    }

    /** Returns how a wait ends after the commit that was to serve it, or if no commit will. */
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
     * Commits all accepted adds and accepts no more. Returns when all callers have been released and all futures are complete.
     * Callbacks that take long may still run. Any number of threads may close, including the one that completes futures.
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
     * Ends committing for good, unless it has ended. Either the committer or the closing thread does so, whichever leads first,
     * so closing never waits for callbacks that the committer runs.
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
                LockSupport.park(this); // the leader wakes this thread when it stops
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

    /** Does one round of the committer's work in the calling thread, for a store without threads. */
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
