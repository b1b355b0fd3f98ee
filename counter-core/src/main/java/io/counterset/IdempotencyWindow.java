package io.counterset;

import java.time.Duration;

/**
 * For how long a retry with the same idempotency key is recognised: as long as the key is among the newest
 * {@code maxKeys} and not older than {@code maxAge}. Which keys are newest goes by the order in which their adds were
 * applied, not by a clock. A remembered key takes about 200 bytes of heap and, in the journal, its own length and 29
 * bytes more.
 *
 * @param maxKeys how many keys are remembered, 1 to 1,000,000
 * @param maxAge how old a remembered key may be, 1 second to 3,650 days
 */
public record IdempotencyWindow(int maxKeys, Duration maxAge) {

    /** Holds what {@link CounterStore.Builder#idempotencyWindow} documents as the default: 100,000 keys, 24 hours. */
    static final IdempotencyWindow DEFAULT = new IdempotencyWindow(100_000, Duration.ofHours(24));

    /** Drops no key that a journal can have. */
    static final IdempotencyWindow LARGEST = new IdempotencyWindow(1_000_000, Duration.ofDays(3650));

    /**
     * Checks the bounds.
     *
     * @throws IllegalArgumentException if one of them is out of range
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
