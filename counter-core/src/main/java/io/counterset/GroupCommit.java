// SPDX-License-Identifier: Apache-2.0
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
 * Decides which thread commits and which threads wait. There is one commit at a time. It serves
 * every add made before it began.
 *
 * <p><b>Quiet path.</b> A blocking caller that finds no leader and no arrivals leads: it commits in
 * its own thread and returns. No other thread is involved, so a lone caller runs at the device's
 * speed.
 *
 * <p><b>Busy path.</b> Every other add puts a {@link Pending} on a stack of arrivals and waits for
 * it. A leader takes all arrivals, commits once, and releases them; while it writes, the next group
 * gathers. If all arrivals are blocked callers, one of them leads for one commit and then wakes the
 * newest arrival to lead the next. If any arrival is a future, the committer thread leads for as
 * long as there are futures.
 *
 * <p>So for blocked callers the leader changes with every commit, and in a large group it wakes
 * only the first caller of each {@link #CHAIN chain}. (Rejected: one thread that always leads and
 * wakes all callers. It gets only its fair share of a busy processor, and each thread that it wakes
 * preempts it: with two busy loops on two processors, 64 callers had half the throughput.)
 *
 * <p><b>Slow devices.</b> Callers that were released together soon add again together. If the last
 * commit took long and served several callers, the next leader gathers: it waits as long as further
 * adds arrive, for at most an eighth of the last commit's time. Otherwise the first caller to
 * return would commit alone, and all others would wait for that commit and then for their own.
 *
 * <p><b>No arrival is missed.</b> An arrival is visible before its owner checks for a leader, and a
 * leader stops leading before it checks for arrivals. So either the owner finds that it may lead or
 * must wake the committer, or the former leader finds the arrival and wakes the next leader.
 *
 * <p><b>Foreign code</b> is the callbacks of futures, the executor that completes futures, and the
 * failure listener. It may block, throw or end the JVM, so it never runs in a thread that leads
 * ({@link Completions}).
 *
 * <p><b>Failure.</b> If a commit throws, the store is {@link #FAILED}. Nothing is written any more.
 * Each caller waiting for an add that is not durable gets an unknown outcome, and later adds are
 * refused. The listener is called last.
 *
 * <p><b>The end.</b> The closing thread or the committer, whichever leads first, takes all
 * arrivals, commits them unless the store has failed, and never stops leading. A later arrival is
 * never written: its owner sees {@link #terminated} and releases it.
 */
final class GroupCommit {

    /** Commits: takes every add marked so far, writes them to the device and publishes them. */
    interface Step {
        /**
         * Commits, and returns once all adds that it took are on the device and published.
         *
         * @param callers how many callers wait for it; their adds may already be durable
         */
        void commit(int callers) throws IOException;

        /**
         * Called once, after a commit threw {@code failure}. No thread leads any more, and all
         * callers have been released.
         */
        void failed(Throwable failure);

        /** Whether there is an add that no commit has taken. */
        boolean isDirty();
    }

    static final int OPEN = 0;
    static final int FAILED = 1;
    static final int CLOSED = 2; // or closing: adds are refused, and the accepted ones are committed

    private static final VarHandle ARRIVALS;
    private static final VarHandle LEADING;
    private static final VarHandle UNRELEASED;
    private static final VarHandle STATE;
    private static final VarHandle NOTIFIED;
    private static final VarHandle CLOSER;

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.lookup();
            ARRIVALS = lookup.findVarHandle(GroupCommit.class, "arrivals", Pending.class);
            LEADING = lookup.findVarHandle(GroupCommit.class, "leading", boolean.class);
            STATE = lookup.findVarHandle(GroupCommit.class, "state", int.class);
            UNRELEASED = lookup.findVarHandle(GroupCommit.class, "unreleased", int.class);
            NOTIFIED = lookup.findVarHandle(GroupCommit.class, "notified", boolean.class);
            CLOSER = lookup.findVarHandle(GroupCommit.class, "closer", Thread.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /**
     * How long the committer polls for an arrival before it parks: about the time of one or two
     * wake-ups.
     */
    private static final long SPIN_NANOS = 100_000;

    /** A yield that takes longer shows that the processors are busy with other work. */
    private static final long LONG_YIELD_NANOS = 1_000_000;

    /** After such a yield, the number of waits for which the committer parks without polling. */
    private static final int WAITS_WITHOUT_POLLING = 500;

    /** The length of a chain of released callers. Each caller wakes the next one. */
    private static final int CHAIN = 4;

    /**
     * The number of callers that the leader wakes by itself before chains grow longer than one
     * caller.
     */
    private static final int HEADS = 16;

    /** The shortest commit after which the next leader gathers. */
    private static final long SLOW_NANOS = 500_000;

    /** The longest lull that ends gathering. */
    private static final long LONGEST_LULL_NANOS = 1_000_000;

    /** The most lulls that a leader waits for. */
    private static final int LULLS = 4;

    private final Step step;
    private final String directory;
    private final long periodNanos; // 0: every caller waits for its commit
    private final int maxPending;
    private final LongSupplier nanoTime;
    private final Completions completions;

    private volatile int state = OPEN;
    private volatile @Nullable Throwable failure;
    private volatile boolean notified; // the listener has been called
    private volatile @Nullable Thread closer; // the first thread to close; woken when no thread leads
    private volatile boolean terminated;
    private final CountDownLatch ended = new CountDownLatch(1); // terminated, and all callers released

    private volatile @Nullable Pending<?> arrivals;
    private volatile boolean leading;
    private volatile int served; // blocked callers taken from the arrivals and not yet released
    private volatile int unreleased; // futures likewise
    private volatile long lull; // how long the next leader waits for another arrival; 0: it does not gather
    private boolean alone; // only for the committer: its last commit served one caller
    private boolean soon; // only for the committer: its last wait was short
    private int parks; // only for the committer: the number of waits for which it does not poll
    // When a periodic commit is due.
    private volatile boolean resting; // the committer is not waiting for a periodic commit to become due
    private volatile long begun; // when the last commit began; every add that it did not take is later
    private volatile long oldest; // when the first add after that was made; an earlier time until that add has set it

    private @Nullable Thread committer; // null: a store without threads, where callers do all the work

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
     * @throws OutOfMemoryError if the process has reached its limit of threads; none is left
     *     running
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
        Thread thread = new Thread(null, task, name, 0, false); // does not inherit thread locals
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

    /**
     * Returns the exception for an add that has not begun. Call it only when the store is not open.
     */
    CounterStoreException refusal() {
        return state == FAILED ? new StoreFailedException(directory, failure) : new StoreClosedException(directory);
    }

    /** Returns the time of the clock that measures periods. */
    long nanoTime() {
        return nanoTime.getAsLong();
    }

    /** The largest number of adds in flight. */
    int maxPending() {
        return maxPending;
    }

    /** The number of adds in flight now. */
    int pending() {
        return served + unreleased + waiting();
    }

    /**
     * Returns the refusal of an {@code addAsync} that would exceed the bound of adds in flight, or
     * null.
     */
    @Nullable
    CounterStoreException backPressure() {
        return pending() < maxPending
                ? null
                : new StoreBusyException("the store in " + directory + " has " + maxPending
                        + " adds in flight, which is the limit; nothing was added; retry when some have completed");
    }

    /**
     * Waits until the add that advanced {@code cell} to {@code total} is durable. The caller has
     * already marked the cell.
     *
     * @throws OutcomeUnknownException if the disk fails meanwhile
     * @throws StoreClosedException if the store closed before the add could be taken; nothing was
     *     added
     */
    void await(Counter cell, long total) {
        if (arrivals == null && lull == 0 && state == OPEN && LEADING.compareAndSet(this, false, true)) {
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
     * Decides the outcome of an add to a periodic store that advanced the total to {@code total}
     * and then found the store no longer open. Returns if the last commit took the add; otherwise
     * throws like {@link #await}.
     */
    void settle(Counter cell, long total) {
        waitFor(new Pending.Caller(cell, total));
    }

    /**
     * Refuses to wait in the committer thread, which would wait for itself. That thread runs
     * callbacks if the executor for completions runs tasks in the submitting thread.
     */
    void requireMayWait() {
        if (Thread.currentThread().equals(committer) && !terminated) {
            throw new IllegalStateException("the committing thread cannot wait for a commit; nothing was added; "
                    + "run the action that depends on the future in another thread");
        }
    }

    /** Waits until every add made before this call is durable. */
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
            complete(release(takeArrivals())); // no other thread will
        } else if (!leading && pending.futures == 1 && !(pending instanceof Pending.Caller)) {
            LockSupport.unpark(committer); // for the first future only; blocked callers lead by themselves
        }
    }

    /** Requests a commit without waiting for it. */
    void nudge() {
        arrive(new Pending.Total(null, 0));
    }

    /**
     * Announces an add to a periodic store that had nothing to commit.
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
        boolean together = callers > 1 && committer != null;
        long before = together ? System.nanoTime() : 0;
        try {
            if (periodNanos > 0) {
                begun = nanoTime.getAsLong();
            }
            step.commit(callers);
        } catch (Throwable e) { // after any failure the adds that were taken have an unknown outcome
            fail(e);
        }
        long took = together ? System.nanoTime() - before : 0;
        lull = took < SLOW_NANOS ? 0 : Math.min(LONGEST_LULL_NANOS, took / (8 * LULLS));
    }

    /** Waits while adds keep arriving, if the last commit was slow and served several callers. */
    private void gather() {
        long wait = lull;
        int before = 0;
        int now = waiting();
        for (int i = 0; i < LULLS && wait > 0 && now > before && state == OPEN; i++) {
            LockSupport.parkNanos(this, wait);
            before = now;
            now = waiting();
        }
    }

    /** The number of arrivals that no leader has taken. */
    private int waiting() {
        Pending<?> newest = arrivals;
        return newest == null ? 0 : newest.depth;
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
            LockSupport.unpark(committer); // a periodic commit may have become due
        }
    }

    /**
     * Leads one commit of all arrivals in the thread of one of them, if all are blocked callers and
     * no other thread leads.
     *
     * @return whether this thread led; if not, the caller may park: another thread leads, has
     *     released the caller, or will wake it
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
            gather();
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
        } catch (Throwable e) { // not expected outside a commit
            fail(e);
        }
        finish();
        notifyListener();
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

    /**
     * Calls the listener of a failure, once. This may never return: the listener may end the JVM.
     */
    private void notifyListener() {
        Throwable cause = failure();
        if (cause != null && !notified && NOTIFIED.compareAndSet(this, false, true)) {
            step.failed(cause);
        }
    }

    /** Whether there are arrivals that only the committer serves. */
    private boolean hasFutures() {
        Pending<?> newest = arrivals;
        return newest != null && newest.futures > 0;
    }

    /**
     * Waits for a future, or for anything else that wakes this thread. After a group of one whose
     * wait was short, it polls before it parks (spin, then park: Karlin et al., Empirical Studies
     * of Competitive Spinning, 1991). A closed-loop client sends its next add sooner than a parked
     * thread wakes, and waking a thread costs processor time too. After a larger group, the callers
     * make better use of the processor, and on a busy machine so does other work: there a thread
     * that yields waits for the time slices of others, even when a future has arrived.
     */
    @SuppressWarnings("ThreadPriorityCheck") // yielding only saves processor time; the loop is correct without it
    private void awaitFuture() {
        long began = System.nanoTime();
        long now = began;
        boolean polls = alone && soon && parks == 0;
        parks = Math.max(0, parks - 1);
        while (polls && soon && !hasFutures() && state == OPEN) {
            Thread.yield();
            long before = now;
            now = System.nanoTime();
            if (now - before > LONG_YIELD_NANOS) {
                parks = WAITS_WITHOUT_POLLING;
            }
            soon = now - began < SPIN_NANOS;
        }
        if (!hasFutures() && state == OPEN) {
            LockSupport.park(this);
            soon = System.nanoTime() - began < SPIN_NANOS;
        }
    }

    /**
     * Waits until the next periodic commit is due and returns true; returns false if there is
     * nothing to commit. A commit is due one period after the oldest add that no commit has taken.
     * Until that add has set its time, the time of the last commit stands in for it, so the commit
     * is early rather than late.
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
     * @return futures that the caller must {@link #complete} once it no longer leads, or null
     */
    private Completions.@Nullable Group round() {
        gather();
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
     * Releases the blocked callers of a group, given newest first, in chains, and wakes the oldest
     * caller of each chain. All waits end before any thread is woken: if this thread runs out of
     * stack in between, the callers notice their release by themselves.
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
        Pending.Caller newer = null; // of the chain under construction
        int length = 0;
        Pending<?> oldest = null; // of the complete chains, which are linked
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

    /** Subtracts completed futures from the number in flight. */
    void left(int count) {
        UNRELEASED.getAndAdd(this, -count);
    }

    /**
     * Returns how a wait ends: after the commit that should have served it, or when no commit will.
     */
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
     * Commits all accepted adds and accepts no more. Returns when all callers have been released
     * and all futures are complete; slow callbacks may still be running. Any number of threads may
     * close, including the thread that completes futures.
     */
    void close() {
        requireMayWait();
        CLOSER.compareAndSet(this, null, Thread.currentThread());
        STATE.compareAndSet(this, OPEN, CLOSED); // a failed store stays failed
        LockSupport.unpark(committer);
        if (Thread.currentThread().equals(closer)) {
            finish();
        }
        awaitEnd(); // another thread may be finishing and may not have handed over the last futures yet
        completions.close();
        if (committer == null) {
            notifyListener();
        }
    }

    /**
     * Ends committing permanently, unless it has ended. The committer or the closing thread does
     * this, whichever leads first, so closing never waits for callbacks that the committer runs.
     */
    private void finish() {
        boolean interrupted = false;
        while (!terminated) {
            if (LEADING.compareAndSet(this, false, true)) {
                Completions.Group futures = null;
                if (state != FAILED && (arrivals != null || step.isDirty())) {
                    futures = round();
                }
                terminated = true; // a caller that arrives after the next line sees this and releases itself
                Completions.Group tooLate;
                try {
                    tooLate = release(takeArrivals());
                } finally {
                    ended.countDown();
                }
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

    /**
     * Does one round of the committer's work in the calling thread, for a store without threads.
     */
    void pump() {
        if (LEADING.compareAndSet(this, false, true)) {
            Completions.Group futures;
            try {
                futures = round();
            } finally {
                leading = false;
            }
            complete(futures);
            notifyListener();
        }
    }
}
