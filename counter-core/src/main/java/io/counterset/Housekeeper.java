// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * Runs the background work of a store in one thread: each {@link Task} when it is due. A task that
 * throws runs again one second later and never ends the thread. The first of consecutive failures
 * goes to the thread's uncaught-exception handler, which prints it by default.
 */
final class Housekeeper {

    /** Periodic work off the commit path. Used by one thread at a time. */
    interface Task {

        /** Returned by a task that has nothing to do until the housekeeper is woken. */
        long WHEN_WOKEN = Long.MAX_VALUE;

        /**
         * Does the work that is due.
         *
         * @return the nanoseconds after which to call again; an earlier call must be harmless
         */
        long run();
    }

    private static final long AFTER_A_THROW = TimeUnit.SECONDS.toNanos(1);

    /** A thread that will run its tasks again within this time need not be woken. */
    private static final long SOON = TimeUnit.MILLISECONDS.toNanos(100);

    private final List<Task> tasks;
    private final boolean[] failing;
    private volatile @Nullable Thread thread;
    private volatile boolean woken;
    private volatile boolean urged;
    private volatile boolean resting; // parked for longer than SOON, unless woken
    private volatile boolean stopping;

    Housekeeper(List<Task> tasks) {
        this.tasks = List.copyOf(tasks);
        this.failing = new boolean[tasks.size()];
    }

    /**
     * Starts the thread. A store without threads, as in a simulation, calls {@link #runTasks}
     * instead.
     */
    void start() {
        Thread started = new Thread(this::run, "counterset-housekeeper");
        started.setDaemon(true);
        thread = started;
        started.start();
    }

    /**
     * Announces that there may be work. Cheap enough for the commit path: it wakes the thread only
     * from a long rest.
     */
    void wake() {
        if (!woken) {
            woken = true;
            if (resting) {
                LockSupport.unpark(thread);
            }
        }
    }

    /**
     * Announces that a caller is waiting for work to be done. Returns immediately; without a
     * thread, after running the tasks.
     */
    void urge() {
        Thread running = thread;
        if (running == null) {
            runTasks();
        } else {
            woken = true;
            urged = true;
            LockSupport.unpark(running);
        }
    }

    private void run() {
        while (!stopping) {
            urged = false;
            woken = false; // before the tasks run: a change that they miss sets it again
            long nanos = runTasks();
            long until = System.nanoTime() + nanos;
            resting = nanos > SOON;
            for (long left = nanos;
                    left > 0 && !stopping && !urged && !(resting && woken);
                    left = until - System.nanoTime()) {
                LockSupport.parkNanos(this, left);
            }
            resting = false;
        }
    }

    /** Runs every task once, and returns the nanoseconds until the first is due again. */
    long runTasks() {
        long next = Task.WHEN_WOKEN;
        for (int i = 0; i < failing.length; i++) {
            try {
                next = Math.min(next, tasks.get(i).run());
                failing[i] = false;
            } catch (Throwable e) { // the other tasks and the next attempt of this one must go on
                next = Math.min(next, AFTER_A_THROW);
                if (!failing[i]) {
                    failing[i] = true;
                    report(e);
                }
            }
        }
        return next;
    }

    private static void report(Throwable e) {
        Thread current = Thread.currentThread();
        try {
            current.getUncaughtExceptionHandler().uncaughtException(current, e);
        } catch (Throwable handlerFailed) {
            // There is no other place to report to.
        }
    }

    /** Ends the thread. Waits until no task is running, unless a task itself calls this. */
    void stop() {
        stopping = true;
        Thread running = thread;
        if (running == null || running.equals(Thread.currentThread())) {
            return;
        }
        LockSupport.unpark(running);
        boolean interrupted = false;
        while (running.isAlive()) {
            try {
                running.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
