// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.function.LongSupplier;

/**
 * Limits the requests per second from each client address. Addresses are hashed to a fixed number
 * of slots, each of which holds one time, so memory is 512 KiB for any number of addresses and
 * nothing is ever evicted. Two clients share a slot, and so a limit, with a probability of 1 in
 * 65,536. Thread-safe; does not block.
 */
final class RateLimit {

    private static final int SLOTS = 1 << 16;
    private final ClientAddress address;
    private final LongSupplier nanoTime;
    private final long started;
    private final long interval;
    private final long tolerance;

    /**
     * For each slot, the time at which its next request would be due if requests came exactly one
     * {@link #interval} apart.
     */
    private final AtomicLongArray due = new AtomicLongArray(SLOTS);

    RateLimit(CounterSettings.Rate rate, LongSupplier nanoTime) {
        this.address = new ClientAddress(rate.source());
        this.nanoTime = nanoTime;
        this.started = nanoTime.getAsLong();
        this.interval = 1_000_000_000L / rate.limit();
        this.tolerance = interval * (rate.burst() - 1);
    }

    /** Returns whether this request is within the client's limit. */
    boolean admits(HttpRequest<?> request) {
        int slot = (int) (address.of(request) >>> 48);
        long now = nanoTime.getAsLong() - started;
        while (true) {
            long next = due.get(slot);
            if (next - now > tolerance) {
                return false;
            }
            if (due.compareAndSet(slot, next, Math.max(next, now) + interval)) {
                return true;
            }
        }
    }
}
