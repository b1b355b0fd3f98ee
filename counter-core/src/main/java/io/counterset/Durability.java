package io.counterset;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** When an add returns: once the device has it, or at once and on the device a little later. Immutable. */
public final class Durability {

    /** An add returns once the device has it: no crash and no power cut takes it back. */
    public static final Durability SYNC = new Durability(null);

    private final @Nullable Duration period;

    private Durability(@Nullable Duration period) {
        this.period = period;
    }

    /**
     * Returns a durability under which an add returns at once, and is on the device within {@code period} and the time
     * of one flush. A crash takes back at most the adds of that time, and of each counter always the latest ones.
     * {@link CounterStore#flush()} waits for the device.
     *
     * @param period 1 millisecond to 1 hour
     * @throws IllegalArgumentException if it is shorter or longer
     */
    public static Durability periodic(Duration period) {
        if (period.compareTo(Duration.ofMillis(1)) < 0 || period.compareTo(Duration.ofHours(1)) > 0) {
            throw new IllegalArgumentException("a period must be 1 ms to 1 h, but is " + period);
        }
        return new Durability(period);
    }

    /** Returns the period, or nothing for {@link #SYNC}. */
    public Optional<Duration> period() {
        return Optional.ofNullable(period);
    }

    /** Returns whether the other one is a durability of the same period, or both are {@link #SYNC}. */
    @Override
    @SuppressWarnings("exports") // users need not have the annotation
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
