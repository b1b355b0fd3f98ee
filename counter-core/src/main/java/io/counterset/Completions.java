// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Completes futures. Completing a future runs the callbacks that callers attached to it. A callback
 * may be slow, throw, end the JVM or use the store, so callbacks run in a dedicated thread or in
 * the executor given to the builder.
 *
 * <p>Every future completes exactly once. If the executor throws, the thread that submitted the
 * group completes it. If the executor dropped a group or has not run it yet, the closing thread
 * completes it.
 */
final class Completions {

    /** The largest number of futures completed between two updates of the number in flight. */
    private static final int STRIDE = 256;

    /** The longest time that closing waits for running callbacks. */
    private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(5);

    private final GroupCommit commits;
    private final @Nullable Executor chosen;
    private final int stride;
    private final Set<Group> unfinished = ConcurrentHashMap.newKeySet();

    private @Nullable ThreadPoolExecutor own;
    private volatile @Nullable Thread completer; // the thread of own

    Completions(GroupCommit commits, @Nullable Executor chosen, int maxPending) {
        this.commits = commits;
        this.chosen = chosen;
        this.stride = Math.max(1, Math.min(STRIDE, maxPending / 100));
    }

    /**
     * Starts the thread that completes futures, unless the builder was given an executor. No add
     * ever starts a thread.
     */
    void start() {
        if (chosen == null) {
            ThreadPoolExecutor single =
                    new ThreadPoolExecutor(1, 1, 0, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), task -> {
                        Thread thread = GroupCommit.daemon("counterset-completer", task);
                        completer = thread;
                        return thread;
                    });
            own = single;
            single.prestartCoreThread();
        }
    }

    /** Whether {@link #execute} may run callbacks in the calling thread. */
    boolean isForeign() {
        return chosen != null;
    }

    /**
     * Makes a group of futures for {@link #execute}. From now on the group completes when the store
     * closes, at the latest. Never throws.
     *
     * @param newest the head of a list that is linked by {@link Pending#next} and ends with the
     *     oldest
     * @return null if there was no memory for a group; all its futures have then been completed
     */
    @Nullable
    Group group(Pending<?> newest, int count) {
        try {
            Group group = new Group(newest, count);
            unfinished.add(group);
            return group;
        } catch (OutOfMemoryError e) {
            commits.left(count);
            for (Pending<?> p = newest; p != null; p = p.next) {
                complete(p);
            }
            return null;
        }
    }

    /**
     * Completes a group, oldest first, in the executor; without one, in this thread. Never throws.
     */
    void execute(Group group) {
        Executor executor = chosen != null ? chosen : own;
        if (executor != null) {
            try {
                executor.execute(group);
                return;
            } catch (Throwable e) {
                // The executor is shut down, or there is no memory or no thread for it.
            }
        }
        group.run();
    }

    private void complete(Pending<?> pending) {
        try {
            pending.release(commits.endingOf(pending), commits);
        } catch (Throwable e) { // no memory or no stack: the other futures must still complete
            pending.completeExceptionally(e);
        }
    }

    /**
     * Completes every group. Returns when the store's own thread has run all callbacks, or after
     * five seconds: a callback may be waiting for this thread, or may be ending the JVM.
     */
    void close() {
        ThreadPoolExecutor single = own;
        if (single != null) {
            single.shutdown();
            if (!Thread.currentThread().equals(completer)) {
                awaitTermination(single);
            }
        }
        unfinished.forEach(Group::run);
    }

    private static void awaitTermination(ThreadPoolExecutor executor) {
        boolean interrupted = false;
        boolean ended = false;
        long until = System.nanoTime() + CLOSE_TIMEOUT.toNanos();
        for (long left = CLOSE_TIMEOUT.toNanos(); left > 0 && !ended; left = until - System.nanoTime()) {
            try {
                ended = executor.awaitTermination(left, TimeUnit.NANOSECONDS);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Futures to complete, oldest first. Several threads may run it at once: completing a future
     * twice has no effect.
     */
    final class Group implements Runnable {

        private static final VarHandle LEFT;

        static {
            try {
                LEFT = MethodHandles.lookup().findVarHandle(Group.class, "left", int.class);
            } catch (ReflectiveOperationException e) {
                throw new ExceptionInInitializerError(e);
            }
        }

        private final Pending<?>[] futures;
        private int at; // the index of the next future to complete; a racing thread may see a smaller one
        private volatile int left; // the number of futures that no longer count as in flight

        private Group(Pending<?> newest, int count) {
            futures = new Pending<?>[count];
            Pending<?> p = newest;
            for (int i = count - 1; i >= 0 && p != null; i--) {
                futures[i] = p;
                Pending<?> next = p.next;
                p.next = null; // a future that a caller keeps must not keep the others in memory
                p = next;
            }
        }

        /**
         * Completes the remaining futures. A future stops counting as in flight before it
         * completes, so a caller that has seen it complete is not refused because of it. The count
         * changes for several futures at a time, because every add reads it, but for few enough to
         * keep the bound meaningful.
         */
        @Override
        public void run() {
            for (int i = at; i < futures.length; i++) {
                if (i % stride == 0) {
                    int end = Math.min(i + stride, futures.length);
                    if (left == i && LEFT.compareAndSet(this, i, end)) {
                        commits.left(end - i);
                    }
                }
                at = i;
                complete(futures[i]);
            }
            at = futures.length;
            unfinished.remove(this);
        }
    }
}
