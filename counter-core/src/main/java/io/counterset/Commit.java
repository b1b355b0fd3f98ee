package io.counterset;

import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * One commit: takes what was added from the {@link Ledger}, writes it to the journal as one {@link Batch}, and then
 * publishes the totals. A total is published only after the device has it (G1, G4).
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

    Commit(Ledger ledger, Room room, LongSupplier nanoTime) {
        this.ledger = ledger;
        this.room = room;
        this.nanoTime = nanoTime;
    }

    /**
     * Commits what was added and has not been committed, if anything; before that, takes a larger journal into use if
     * one is ready.
     *
     * @param served how many callers wait for it
     * @throws IOException if the device refused it: what was taken may be on it or not, and nothing may be written again
     */
    void commit(int served) throws IOException {
        long began = nanoTime.getAsLong();
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
}
