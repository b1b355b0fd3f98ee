// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.time.Duration;

/**
 * How long a store recognises a retry with the same idempotency key: as long as the key is among
 * the newest {@code maxKeys} and no older than {@code maxAge}. Keys are ordered by when their adds
 * were applied, not by a clock. Where keys have {@linkplain Counter#addOnceAsync(long, String,
 * long) sources}, each source has its share of {@code maxKeys}: the oldest key of the source with
 * the most keys makes room for a new one. A remembered key takes about 200 bytes of heap and, in
 * the journal, its own length plus 29 bytes.
 *
 * @param maxKeys the largest number of remembered keys, 1 to 1,000,000
 * @param maxAge the largest age of a remembered key, 1 second to 3,650 days
 */
public record IdempotencyWindow(int maxKeys, Duration maxAge) {

    /**
     * The default that {@link CounterStore.Builder#idempotencyWindow} documents: 100,000 keys, 24
     * hours.
     */
    static final IdempotencyWindow DEFAULT = new IdempotencyWindow(100_000, Duration.ofHours(24));

    /** The largest window, so that reading a journal keeps every key in it. */
    static final IdempotencyWindow LARGEST = new IdempotencyWindow(1_000_000, Duration.ofDays(3650));

    /**
     * Checks the bounds.
     *
     * @throws IllegalArgumentException if either bound is out of range
     */
    public IdempotencyWindow {
        if (maxKeys < 1 || maxKeys > 1_000_000) {
            throw new IllegalArgumentException("maxKeys must be 1 to 1,000,000, but is " + maxKeys);
        }
        if (maxAge.compareTo(Duration.ofSeconds(1)) < 0 || maxAge.compareTo(Duration.ofDays(3650)) > 0) {
            throw new IllegalArgumentException("maxAge must be 1 second to 3,650 days, but is " + maxAge);
        }
    }
}
