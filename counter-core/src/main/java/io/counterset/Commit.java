// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * Commits: takes the new adds from the {@link Ledger}, writes them to the journal as one {@link
 * Batch}, and then publishes the totals. A total is published only after it is on the device (G1
 * and G4 in {@code docs/durability.md}).
 *
 * <p>Used by one thread at a time; the figures are guarded by the ledger's lock.
 */
final class Commit {

    private final Ledger ledger;
    private final Room room;
    private final LongSupplier nanoTime;
    private final Batch batch = new Batch();

    private final long[] flushTimes = new long[24];
    private long commits;
    private long callers;
    private long bytesWritten;
    private long flushNanos;
    private long longestNanos;
    private long switches;

    /** When the commit in flight began, or {@link #NONE}. */
    private volatile long underWaySince = NONE;

    private static final long NONE = Long.MIN_VALUE;

    Commit(Ledger ledger, Room room, LongSupplier nanoTime) {
        this.ledger = ledger;
        this.room = room;
        this.nanoTime = nanoTime;
    }

    /**
     * Commits all adds that no commit has taken, if there are any. First switches to a larger
     * journal if one is ready.
     *
     * @param served the number of callers that wait for this commit
     * @throws IOException if writing failed: the adds may or may not be on the device, and nothing
     *     may be written any more
     */
    void commit(int served) throws IOException {
        long began = nanoTime.getAsLong();
        underWaySince = began;
        try {
            commit(served, began);
        } finally {
            underWaySince = NONE;
        }
    }

    private void commit(int served, long began) throws IOException {
        room.takeOver();
        Journal journal = room.journal();
        if (journal == null) {
            return; // no add was admitted
        }
        ledger.take(batch, journal);
        if (batch.isEmpty()) {
            return;
        }
        long writing = nanoTime.getAsLong();
        journal.append(batch);
        publish(served, began, nanoTime.getAsLong() - writing);
    }

    private void publish(int served, long began, long flush) {
        ledger.lock.lock();
        try {
            ledger.publish(batch);
            commits++;
            callers += served;
            bytesWritten += batch.paddedLength();
            flushNanos += flush;
            longestNanos = Math.max(longestNanos, nanoTime.getAsLong() - began);
            long micros = flush / 1000;
            int bucket = micros <= 1 ? 0 : Long.SIZE - Long.numberOfLeadingZeros(micros - 1);
            flushTimes[Math.min(bucket, flushTimes.length - 1)]++;
            switches += batch.isFull() ? 1 : 0;
        } finally {
            ledger.lock.unlock();
        }
    }

    // ---- figures: under the ledger's lock ----

    long commits() {
        return commits;
    }

    long callers() {
        return callers;
    }

    long bytesWritten() {
        return bytesWritten;
    }

    Duration flushTime() {
        return Duration.ofNanos(flushNanos);
    }

    List<Long> flushTimes() {
        return Arrays.stream(flushTimes).boxed().toList();
    }

    Duration longest() {
        return Duration.ofNanos(longestNanos);
    }

    long switches() {
        return switches;
    }

    /** Returns how long the commit in progress has taken; zero if there is none. */
    Duration underWay() {
        long since = underWaySince;
        return since == NONE ? Duration.ZERO : Duration.ofNanos(Math.max(0, nanoTime.getAsLong() - since));
    }
}
