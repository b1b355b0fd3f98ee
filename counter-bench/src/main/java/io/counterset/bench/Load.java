// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.time.Duration;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Runs threads that repeat one unit of work, and measures their rate. */
final class Load {

    /** One unit of work. The argument is the number of the thread, from 0. */
    interface Work {
        void once(int thread) throws Exception;
    }

    /**
     * The result of a run.
     *
     * @param perSecond units per second after warming up
     * @param total all units, including those while warming up
     */
    record Result(double perSecond, long total) {}

    private static final int STRIDE = 16; // in longs, so that the counts of two threads never share a cache line
    private static final Duration TIMEOUT = Duration.ofMinutes(1);

    private Load() {}

    static Result run(ThreadFactory factory, int threads, Duration warmUp, Duration measured, Work work)
            throws Exception {
        AtomicLongArray done = new AtomicLongArray(threads * STRIDE);
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        Switch running = new Switch();
        Thread[] workers = new Thread[threads];
        for (int i = 0; i < threads; i++) {
            int number = i;
            workers[i] = factory.newThread(() -> {
                try {
                    for (long n = 1; running.on; n++) {
                        work.once(number);
                        done.lazySet(number * STRIDE, n);
                    }
                } catch (Throwable e) {
                    failure.compareAndSet(null, e);
                }
            });
        }
        for (Thread worker : workers) {
            worker.start();
        }
        TimeUnit.NANOSECONDS.sleep(warmUp.toNanos());
        long before = sum(done);
        long start = System.nanoTime();
        long after;
        do { // a slow device may need longer for the first unit
            TimeUnit.NANOSECONDS.sleep(measured.toNanos());
            after = sum(done);
        } while (after == before && failure.get() == null && System.nanoTime() - start < TIMEOUT.toNanos());
        long end = System.nanoTime();
        running.on = false;
        for (Thread worker : workers) {
            worker.join(TIMEOUT.toMillis());
            if (worker.isAlive()) {
                throw new IllegalStateException("a worker is still running after " + TIMEOUT);
            }
        }
        Throwable cause = failure.get();
        if (cause != null) {
            throw new IllegalStateException("a worker failed", cause);
        }
        return new Result((after - before) * 1e9 / (end - start), sum(done));
    }

    /** Competing load: loops that keep one processor busy each, until {@link #end}. */
    static final class Busy {
        private final Switch running = new Switch();

        Busy(int count) {
            for (int i = 0; i < count; i++) {
                Thread loop = new Thread(() -> {
                    while (running.on) {
                        Thread.onSpinWait();
                    }
                });
                loop.setDaemon(true);
                loop.start();
            }
        }

        void end() {
            running.on = false;
        }
    }

    private static long sum(AtomicLongArray done) {
        long sum = 0;
        for (int i = 0; i < done.length(); i += STRIDE) {
            sum += done.get(i);
        }
        return sum;
    }

    private static final class Switch {
        volatile boolean on = true;
    }
}
