// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * When an add returns: once it is on the device ({@link #SYNC}), or immediately, with the write to
 * the device following within a period. Immutable.
 */
public final class Durability {

    /** An add returns once it is on the device. No crash or power cut loses it. */
    public static final Durability SYNC = new Durability(null);

    private final @Nullable Duration period;

    private Durability(@Nullable Duration period) {
        this.period = period;
    }

    /**
     * Returns a durability under which an add returns immediately. The add is on the device within
     * {@code period} plus the time of one flush or, if a flush takes longer than {@code period},
     * within the time of two flushes. A crash loses at most the adds of that time: for each
     * counter, the latest ones. {@link CounterStore#flush()} waits for the device.
     *
     * @param period 1 millisecond to 1 hour
     * @throws IllegalArgumentException if {@code period} is outside that range
     */
    public static Durability periodic(Duration period) {
        if (period.compareTo(Duration.ofMillis(1)) < 0 || period.compareTo(Duration.ofHours(1)) > 0) {
            throw new IllegalArgumentException("a period must be 1 ms to 1 h, but is " + period);
        }
        return new Durability(period);
    }

    /** Returns the period; empty for {@link #SYNC}. */
    public Optional<Duration> period() {
        return Optional.ofNullable(period);
    }

    /** Returns whether both are {@link #SYNC} or both have the same period. */
    @Override
    @SuppressWarnings("exports") // the annotation is optional at run time
    public boolean equals(@Nullable Object other) {
        return other instanceof Durability that && Objects.equals(period, that.period);
    }

    @Override
    public int hashCode() {
        return Objects.hashCode(period);
    }

    /** Returns {@code sync}, or the period such as {@code 100ms}. */
    @Override
    public String toString() {
        if (period == null) {
            return "sync";
        }
        boolean whole = period.equals(Duration.ofMillis(period.toMillis()));
        return whole ? period.toMillis() + "ms" : period.toNanos() + "ns";
    }
}
