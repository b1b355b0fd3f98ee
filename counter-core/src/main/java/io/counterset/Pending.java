// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreClosedException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * An add that waits until it is durable or, without a cell, until all earlier adds are. It is an
 * element first of the stack of arrivals, then of the group that one commit serves. It is released
 * once.
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

    /**
     * The arrival before this one, or the next one to release. Null once released, so that a future
     * keeps no other one reachable.
     */
    @Nullable
    Pending<?> next;

    /** The number of elements from here on in the stack of arrivals. */
    int depth;

    /** The number of futures among these; the others are blocked callers. */
    int futures;

    Pending(@Nullable Counter cell, long total) {
        this.cell = cell;
        this.total = total;
    }

    abstract T result();

    /** Ends the wait. If this is a future with dependent actions, this runs them. */
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

    /**
     * A waiting thread. Releasing it allocates nothing and cannot fail. Released callers form
     * chains: each wakes its follower as soon as it runs, so no thread has to wake a whole group.
     */
    static final class Caller extends Pending<Long> {

        /**
         * The longest time that a released caller stays parked if the caller that should wake it is
         * stuck.
         */
        private static final long LONGEST_PARK_NANOS = 1_000_000_000;

        final Thread thread = Thread.currentThread();
        private @Nullable Caller follower; // read after the ending
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
            end(ending, null);
            LockSupport.unpark(thread);
        }

        /**
         * Ends the wait without waking the thread. The caller before it in its chain wakes it; the
         * thread that ends the waits of the group wakes the first of each chain.
         */
        void end(Ending ending, @Nullable Caller follower) {
            this.follower = follower;
            this.ending = ending;
        }

        /**
         * Waits until released, and leads a commit whenever no other thread does. An interrupt does
         * not end the wait, because the outcome of the add would be unknown; the interrupt status
         * is kept.
         *
         * @throws OutcomeUnknownException if a commit failed
         * @throws StoreClosedException if the store closed first
         */
        void await(GroupCommit commits) {
            boolean interrupted = false;
            Ending how;
            while ((how = ending) == null) {
                if (!commits.lead()) {
                    LockSupport.parkNanos(this, LONGEST_PARK_NANOS);
                    interrupted |= Thread.interrupted();
                }
            }
            Caller next = follower;
            if (next != null) {
                follower = null;
                LockSupport.unpark(next.thread);
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
