package io.counterset;

import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * What a store does beside its commits, in one thread: each {@link Task} when it is due. A task that throws is tried
 * again a second later, and never ends the thread; the first throw of a row goes to the thread's handler of uncaught
 * exceptions, which by default prints it.
 */
final class Housekeeper {

    /** Something to be done now and then, off the commit path. Used by one thread at a time. */
    interface Task {

        /** The answer of a task that has nothing to do until the housekeeper is woken. */
        long WHEN_WOKEN = Long.MAX_VALUE;

        /**
         * Does what is due.
         *
         * @return in how many nanoseconds to call again, at the latest; being called earlier must do no harm
         */
        long run();
    }

    private static final long AFTER_A_THROW = TimeUnit.SECONDS.toNanos(1);

    /** Whoever is called again within this time need not be woken. */
    private static final long SOON = TimeUnit.MILLISECONDS.toNanos(100);

    private final List<Task> tasks;
    private final boolean[] failing;
    private volatile @Nullable Thread thread;
    private volatile boolean woken;
    private volatile boolean urged;
    private volatile boolean resting; // for long, unless woken
    private volatile boolean stopping;

    Housekeeper(List<Task> tasks) {
        this.tasks = List.copyOf(tasks);
        this.failing = new boolean[tasks.size()];
    }

    /** Starts the thread. Without one, as in a simulation, {@link #runTasks} does its work. */
    void start() {
        Thread started = new Thread(this::run, "counterset-housekeeper");
        started.setDaemon(true);
        thread = started;
        started.start();
    }

    /** There may be something to do. Cheap enough for the commit path: it wakes the thread only if that rests. */
    void wake() {
        if (!woken) {
            woken = true;
            if (resting) {
                LockSupport.unpark(thread);
            }
        }
    }

    /** There is something to do that somebody waits for: returns once it is begun or, without a thread, done. */
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
            woken = false; // before the tasks look: what changes after they have looked wakes this thread
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

    /** Runs every task once, and returns in how many nanoseconds the first is due again. */
    long runTasks() {
        long next = Task.WHEN_WOKEN;
        for (int i = 0; i < failing.length; i++) {
            try {
                next = Math.min(next, tasks.get(i).run());
                failing[i] = false;
            } catch (Throwable e) { // whatever it is, the other tasks and this one's next attempt go on
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
            // There is nobody else to tell.
        }
    }

    /** Ends the thread; returns once no task runs any more, unless a task itself is what stops it. */
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
