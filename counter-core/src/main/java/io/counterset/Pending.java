package io.counterset;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreClosedException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * An add that waits until it is durable or, without a cell, until everything added before is. It is an element of the stack of
 * arrivals, then of the group that one commit serves, and is released once.
 */
abstract class Pending<T> extends CompletableFuture<T> {

    /** How a wait ends. */
    enum Ending {
        DURABLE,
        /** The store closed before a commit could take the add: nothing was added. */
        REFUSED,
        /** A commit failed: the add may or may not be on the device. */
        UNKNOWN
    }

    final @Nullable Counter cell;
    final long total;

    /** The one that arrived before, or the next one to release. Null once released, so that a future keeps no other alive. */
    @Nullable
    Pending<?> next;

    /** How many there are from here on in the stack of arrivals. */
    int depth;

    Pending(@Nullable Counter cell, long total) {
        this.cell = cell;
        this.total = total;
    }

    abstract T result();

    /** Ends the wait. Runs code of callers if this is a future that somebody depends on. */
    void release(Ending ending, GroupCommit commits) {
        if (ending == Ending.DURABLE) {
            complete(result());
        } else {
            completeExceptionally(commits.failureOf(ending));
        }
    }

    /** The future of an add without a key. */
    static final class Total extends Pending<Long> {
        Total(@Nullable Counter cell, long total) {
            super(cell, total);
        }

        @Override
        Long result() {
            return total;
        }
    }

    /** The future of an add with a key. */
    static final class Result extends Pending<AddResult> {
        private final boolean replayed;

        Result(Counter cell, long total, boolean replayed) {
            super(cell, total);
            this.replayed = replayed;
        }

        @Override
        AddResult result() {
            return new AddResult(total, replayed);
        }
    }

    /** A thread that waits. Releasing it allocates nothing and cannot fail. */
    static final class Caller extends Pending<Long> {
        private final Thread thread = Thread.currentThread();
        private volatile @Nullable Ending ending;

        Caller(@Nullable Counter cell, long total) {
            super(cell, total);
        }

        @Override
        Long result() {
            return total;
        }

        @Override
        void release(Ending ending, GroupCommit commits) {
            this.ending = ending;
            LockSupport.unpark(thread);
        }

        /**
         * Waits whatever happens: an interrupt does not tell what became of the add. It is kept for the caller.
         *
         * @throws OutcomeUnknownException if a commit failed
         * @throws StoreClosedException if the store closed first
         */
        void await(GroupCommit commits) {
            boolean interrupted = false;
            Ending how;
            while ((how = ending) == null) {
                LockSupport.park(this);
                interrupted |= Thread.interrupted();
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            if (how != Ending.DURABLE) {
                throw commits.failureOf(how);
            }
        }
    }
}
