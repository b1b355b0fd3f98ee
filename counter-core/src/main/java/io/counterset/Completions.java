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
 * Completes futures, which runs whatever callers made depend on them: code that may be slow, may throw, may end the JVM or may
 * use the store. It runs in a thread of the store, or by the executor that the builder was given.
 *
 * <p>Every future completes, once. If the executor throws anything, the thread that handed a group over completes it; a group that the
 * executor has dropped, or has not come to yet, is completed by the thread that closes the store.
 */
final class Completions {

    /** The most futures that are completed between two updates of what is in flight. */
    private static final int STRIDE = 256;

    /** How long closing waits for the callers' code that is still running. */
    private static final Duration PATIENCE = Duration.ofSeconds(5);

    private final GroupCommit commits;
    private final @Nullable Executor chosen;
    private final int stride;
    private final Set<Group> unfinished = ConcurrentHashMap.newKeySet();

    private @Nullable ThreadPoolExecutor own;
    private volatile @Nullable Thread completer; // the thread of that

    Completions(GroupCommit commits, @Nullable Executor chosen, int maxPending) {
        this.commits = commits;
        this.chosen = chosen;
        this.stride = Math.max(1, Math.min(STRIDE, maxPending / 100));
    }

    /** Starts the thread that completes, unless an executor was chosen; so no later add needs a new thread. */
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

    /** Whether {@link #execute} may run code of callers in this thread. */
    boolean isForeign() {
        return chosen != null;
    }

    /**
     * Makes a group of futures, to be handed to {@link #execute}. From here on closing completes them at the latest. Never throws.
     *
     * @param newest of a list that leads by {@link Pending#next} to the oldest
     * @return null if there is no memory for a group; the futures are complete then
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

    /** Completes a group, oldest first, by the executor if there is one, or else in this thread. Never throws. */
    void execute(Group group) {
        Executor executor = chosen != null ? chosen : own;
        if (executor != null) {
            try {
                executor.execute(group);
                return;
            } catch (Throwable e) {
                // Whatever it is: an executor that was shut down, no memory, no thread to be had.
            }
        }
        group.run();
    }

    private void complete(Pending<?> pending) {
        try {
            pending.release(commits.endingOf(pending), commits);
        } catch (Throwable e) { // no memory, or no stack: the others must complete all the same
            pending.completeExceptionally(e);
        }
    }

    /**
     * Completes all that was handed over. Returns when the store's own thread has run what depends on the futures, or has been
     * at it for five seconds: that code may be waiting for this thread, or may have ended the JVM.
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
        long until = System.nanoTime() + PATIENCE.toNanos();
        for (long left = PATIENCE.toNanos(); left > 0 && !ended; left = until - System.nanoTime()) {
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

    /** Futures to complete, oldest first. Several threads may run it at once: completing a future again changes nothing. */
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
        private int at; // where the completing is, or was a moment ago
        private volatile int left; // how many have left what is in flight

        private Group(Pending<?> newest, int count) {
            futures = new Pending<?>[count];
            Pending<?> p = newest;
            for (int i = count - 1; i >= 0 && p != null; i--) {
                futures[i] = p;
                Pending<?> next = p.next;
                p.next = null; // a future that somebody keeps must not keep the others
                p = next;
            }
        }

        /**
         * Completes what is left. Futures leave what is in flight before they complete, so whoever has seen one complete is not
         * refused for its sake; a few together, because those who add read that number; and never so many that the bound means
         * little.
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
