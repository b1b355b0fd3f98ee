package io.counterset;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreClosedException;
import io.counterset.CounterStoreException.StoreFailedException;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.locks.LockSupport;
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
 * <p>Futures are completed by an executor, because that runs code of the callers: by a third thread of the store's own, where
 * that code may be slow, or add to this store and wait; or by the one that the builder was given.
 *
 * <p><b>Failure.</b> If a commit throws, the store has {@link #FAILED}: nothing is written any more, whoever waits for
 * something not yet durable learns that its outcome is unknown, and whoever comes later that nothing was added.
 *
 * <p><b>The end.</b> Closing lets the committer take what has arrived, commit it, and end. An add that slipped in after
 * that was never written; its owner finds {@link #terminated} after its arrival, and releases it, and itself, as
 * refused.
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

        /** Learns, once, that a commit threw this and that there will be no other. */
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

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.lookup();
            ARRIVALS = lookup.findVarHandle(GroupCommit.class, "arrivals", Pending.class);
            LEADING = lookup.findVarHandle(GroupCommit.class, "leading", boolean.class);
            STATE = lookup.findVarHandle(GroupCommit.class, "state", int.class);
            UNRELEASED = lookup.findVarHandle(GroupCommit.class, "unreleased", int.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** The most futures that are completed between two updates of what is in flight. */
    private static final int COMPLETION_STRIDE = 256;

    /** How long the committer looks out for an arrival before it parks: what a wake-up or two would take. */
    private static final long LOOK_OUT_NANOS = 100_000;

    private final Step step;
    private final String directory;
    private final long periodNanos; // 0: every caller waits for its commit
    private final int maxPending;
    private final @Nullable Executor chosen;

    private volatile int state = OPEN;
    private volatile @Nullable Throwable failure;
    private volatile boolean terminated;

    private volatile @Nullable Pending<?> arrivals;
    private volatile boolean leading;
    private volatile int unreleased; // taken from the arrivals and not yet released
    private boolean alone; // the committer's own: its last commit served one caller
    private boolean soon; // the committer's own: its last wait was short
    private volatile boolean resting; // the committer of a periodic store has nothing to time

    private @Nullable Thread committer; // null: a store without threads, where callers do everything
    private @Nullable ExecutorService own; // completes futures, unless an executor was chosen
    private volatile @Nullable Thread completer; // the thread of that

    GroupCommit(Step step, String directory, Durability durability, int maxPending, @Nullable Executor completions) {
        this.chosen = completions;
        this.step = step;
        this.directory = directory;
        this.periodNanos = durability.period().map(period -> period.toNanos()).orElse(0L);
        this.maxPending = maxPending;
    }

    /** Starts the threads. Without them, as in a simulation, {@link #pump} does their work. */
    void start() {
        if (chosen == null) {
            own = Executors.newSingleThreadExecutor(task -> completer = daemon("counterset-completer", task));
        }
        Thread thread = daemon("counterset-committer", this::commitLoop);
        committer = thread;
        thread.start();
    }

    private static Thread daemon(String name, Runnable task) {
        Thread thread = new Thread(task, name);
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
    void await(Cell cell, long total) {
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
        waitFor(new BlockedCaller(cell, total));
    }

    /**
     * A periodic store's add has returned {@code total}, and then found the store no longer open: tells whether the last
     * commit took it.
     */
    void settle(Cell cell, long total) {
        waitFor(new BlockedCaller(cell, total));
    }

    /**
     * Refuses to wait in the thread that would have to do what is waited for: that of the commits, which runs code of callers if
     * the executor of the completions is a direct one.
     */
    void requireMayWait() {
        if (Thread.currentThread().equals(committer)) {
            throw new IllegalStateException("this is the thread that commits, which cannot wait for a commit; "
                    + "let another one do what depends on a future; nothing was added");
        }
    }

    /** Returns once everything added before is durable. */
    void flush() {
        waitFor(new BlockedCaller(null, 0));
    }

    private void waitFor(BlockedCaller caller) {
        requireMayWait();
        arrive(caller);
        if (committer == null) {
            pump();
        }
        caller.await();
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
            release(takeArrivals(), false); // the completer may have gone
        } else if (before == null && !leading) {
            LockSupport.unpark(committer);
        }
    }

    /** Asks for a commit that nobody waits for. */
    void nudge() {
        arrive(new PendingTotal(null, 0));
    }

    /** A periodic store has something to commit where it had nothing. */
    void dirtied() {
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
            step.commit(callers);
        } catch (Throwable e) { // whatever it is, adds were taken and are not known to be durable
            failure = e;
            state = FAILED;
            step.failed(e);
        }
    }

    private void stopLeading() {
        leading = false;
        if (arrivals != null || state != OPEN) {
            LockSupport.unpark(committer);
        }
    }

    private void commitLoop() {
        while (state == OPEN) {
            if (arrivals == null && !isDue()) {
                awaitArrival();
            } else if (LEADING.compareAndSet(this, false, true)) {
                do {
                    round();
                } while (arrivals != null && state == OPEN);
                stopLeading();
            } else {
                LockSupport.park(this); // the leader wakes this thread when it has done
            }
        }
        finish();
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

    /** Waits for the time of the next periodic commit and returns true; or returns false if none is to come. */
    private boolean isDue() {
        if (periodNanos == 0) {
            return false;
        }
        resting = true;
        boolean dirty = step.isDirty();
        if (dirty) {
            resting = false;
            long until = System.nanoTime() + periodNanos;
            for (long left = periodNanos; left > 0 && arrivals == null && state == OPEN; ) {
                LockSupport.parkNanos(this, left);
                left = until - System.nanoTime();
            }
        }
        return dirty;
    }

    /** Serves everybody who has arrived with one commit. The caller leads. */
    private void round() {
        Pending<?> group = takeArrivals();
        int callers = group == null ? 0 : group.depth;
        commit(callers);
        alone = callers == 1;
        release(group, true);
    }

    private @Nullable Pending<?> takeArrivals() {
        Pending<?> newest = (Pending<?>) ARRIVALS.getAndSet(this, null);
        if (newest != null) {
            UNRELEASED.getAndAdd(this, newest.depth);
        }
        return newest;
    }

    /** Releases a group, given newest first, oldest first: blocked callers here, futures here or by the completer. */
    private void release(@Nullable Pending<?> newestFirst, boolean byCompleter) {
        Pending<?> futures = null;
        Pending<?> blocked = null;
        int blockedCount = 0;
        int futureCount = 0;
        for (Pending<?> p = newestFirst; p != null; ) { // reverses the order
            Pending<?> next = p.next;
            if (p instanceof BlockedCaller) {
                p.next = blocked;
                blocked = p;
                blockedCount++;
            } else {
                p.next = futures;
                futures = p;
                futureCount++;
            }
            p = next;
        }
        if (blockedCount > 0) {
            UNRELEASED.getAndAdd(this, -blockedCount);
            for (Pending<?> p = blocked; p != null; ) {
                Pending<?> next = p.next;
                p.release(failureFor(p));
                p = next;
            }
        }
        if (futures != null) {
            completeBy(byCompleter ? chosen != null ? chosen : own : null, futures, futureCount);
        }
    }

    private @Nullable CounterStoreException failureFor(Pending<?> pending) {
        Cell cell = pending.cell;
        if (cell == null ? state != FAILED : cell.durable() >= pending.total) {
            return null;
        }
        return state == FAILED ? new OutcomeUnknownException(directory, failure) : new StoreClosedException(directory);
    }

    private void completeBy(@Nullable Executor executor, Pending<?> group, int count) {
        if (executor != null && committer != null) {
            try {
                executor.execute(() -> complete(group, count));
                return;
            } catch (RejectedExecutionException e) {
                // Nobody may be left waiting: this thread does it.
            }
        }
        complete(group, count);
    }

    /**
     * Completes futures. They leave what is in flight before they complete, so whoever has seen one complete is not refused
     * for its sake; a few together, because those who add read that number; and never so many that the bound means little.
     */
    private void complete(Pending<?> group, int count) {
        int stride = Math.max(1, Math.min(COMPLETION_STRIDE, maxPending / 100));
        int left = count;
        for (Pending<?> p = group; p != null; left--) {
            if ((count - left) % stride == 0) {
                UNRELEASED.getAndAdd(this, -Math.min(stride, left));
            }
            Pending<?> next = p.next;
            p.release(failureFor(p));
            p = next;
        }
    }

    // ---- the end ----

    /**
     * Commits what was accepted and takes nothing more. Returns when all callers have been released, or handed to the executor
     * that was chosen; any number of threads may close, even the one that completes futures.
     */
    void close() {
        requireMayWait();
        STATE.compareAndSet(this, OPEN, CLOSED); // a failed store stays failed
        Thread committing = committer;
        if (committing == null) {
            if (!terminated) {
                finish();
            }
            return;
        }
        LockSupport.unpark(committing);
        join(committing);
        Thread completing = completer;
        if (own != null) {
            own.shutdown();
            if (completing != null && !completing.equals(Thread.currentThread())) {
                join(completing);
            }
        }
    }

    /** Ends the committing for good, in the committer's thread. */
    private void finish() {
        while (!LEADING.compareAndSet(this, false, true)) {
            LockSupport.park(this); // whoever leads wakes this thread when it has done
        }
        if (state != FAILED && (arrivals != null || step.isDirty())) {
            round();
        }
        terminated = true; // whoever arrives after the next line sees this, and releases itself
        release(takeArrivals(), true);
    }

    private static void join(Thread thread) {
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
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
            try {
                round();
            } finally {
                leading = false;
            }
        }
    }

    // ---- those who wait ----

    /** Somebody who waits for an add, or (without a cell) for everything before, to be durable. */
    abstract static class Pending<T> extends CompletableFuture<T> {
        final @Nullable Cell cell;
        final long total;

        @Nullable
        Pending<?> next;

        int depth; // of the stack of arrivals, from here

        Pending(@Nullable Cell cell, long total) {
            this.cell = cell;
            this.total = total;
        }

        abstract T result();

        void release(@Nullable CounterStoreException refusal) {
            if (refusal == null) {
                complete(result());
            } else {
                completeExceptionally(refusal);
            }
        }
    }

    static final class PendingTotal extends Pending<Long> {
        PendingTotal(@Nullable Cell cell, long total) {
            super(cell, total);
        }

        @Override
        Long result() {
            return total;
        }
    }

    static final class PendingResult extends Pending<AddResult> {
        private final boolean replayed;

        PendingResult(Cell cell, long total, boolean replayed) {
            super(cell, total);
            this.replayed = replayed;
        }

        @Override
        AddResult result() {
            return new AddResult(total, replayed);
        }
    }

    private static final class BlockedCaller extends Pending<Long> {
        private final Thread thread = Thread.currentThread();
        private @Nullable CounterStoreException refusal;
        private volatile boolean released;

        BlockedCaller(@Nullable Cell cell, long total) {
            super(cell, total);
        }

        @Override
        Long result() {
            return total;
        }

        @Override
        void release(@Nullable CounterStoreException refusal) {
            this.refusal = refusal;
            released = true;
            LockSupport.unpark(thread);
        }

        /** Waits whatever happens: an interrupt does not tell what became of the add. It is kept for the caller. */
        void await() {
            boolean interrupted = false;
            while (!released) {
                LockSupport.park(this);
                interrupted |= Thread.interrupted();
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            CounterStoreException failed = refusal;
            if (failed != null) {
                failed.fillInStackTrace(); // the caller's, rather than the committer's
                throw failed;
            }
        }
    }
}
