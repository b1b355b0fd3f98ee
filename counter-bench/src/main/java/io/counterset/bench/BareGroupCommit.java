// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The limit for many callers: a group commit of a single number, without names, checks, error
 * handling or shutdown. A caller that finds no leader leads: it takes all waiting callers, flushes
 * one block for all of them and releases each.
 *
 * <p>Callers park and are released one by one. (Rejected: a lock and a condition. All callers then
 * queue for the lock again, which halves the rate.)
 */
final class BareGroupCommit implements Contender {

    private static final class Waiter {
        final Thread thread = Thread.currentThread();

        @Nullable
        Waiter next;

        volatile boolean done;
    }

    private final Region region;
    private final ByteBuffer block = Region.newBlock(); // used only by the leader, as is the count
    private long count;
    private final AtomicReference<@Nullable Waiter> waiting = new AtomicReference<>();
    private final AtomicBoolean leading = new AtomicBoolean();

    BareGroupCommit(Path directory, Duration delay) throws IOException {
        region = new Region(directory, delay);
    }

    @Override
    public void increment() throws IOException {
        Waiter me = new Waiter();
        do {
            me.next = waiting.get();
        } while (!waiting.compareAndSet(me.next, me));
        while (!me.done) {
            if (!leading.get() && leading.compareAndSet(false, true)) {
                try {
                    if (!me.done) {
                        commit();
                    }
                } finally {
                    leading.set(false);
                }
                Waiter next = waiting.get();
                if (next != null) {
                    LockSupport.unpark(next.thread);
                }
            } else {
                LockSupport.park(this);
            }
        }
    }

    private void commit() throws IOException {
        Waiter group = waiting.getAndSet(null);
        for (Waiter w = group; w != null; w = w.next) {
            count++;
        }
        region.write(count, block);
        for (Waiter w = group; w != null; w = w.next) {
            w.done = true;
            LockSupport.unpark(w.thread);
        }
    }

    @Override
    public long count() throws IOException {
        return region.greatest();
    }

    @Override
    public void close() throws IOException {
        region.close();
    }
}
