// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.Counter;
import io.counterset.CounterStore;
import jakarta.inject.Singleton;
import java.util.HashSet;
import java.util.Set;
import java.util.function.Supplier;

/**
 * Decides which counters clients may create. A counter permanently takes memory and disk space, so
 * an attacker who could create any number of them could disable this replica permanently.
 * Thread-safe; does not block on the disk.
 */
@Singleton
final class NewCounters {

    private final CounterStore store;
    private final CounterSettings.Create allowed;
    private final Set<String> configured;

    /**
     * Counters created since the start, whose first add may not be durable yet. At most as many as
     * {@code counter.create} allows.
     */
    private final Set<String> created = new HashSet<>();

    NewCounters(CounterStore store, CounterSettings settings) {
        this.store = store;
        this.allowed = settings.create();
        this.configured = new HashSet<>(settings.metrics());
        this.configured.add(settings.name());
        this.configured.addAll(allowed.names());
    }

    /**
     * Runs {@code add}, which must add to {@code counter} without waiting for the disk.
     *
     * @throws Problem.Refusal if that would create a counter that is not allowed; nothing was added
     */
    <T> T add(Counter counter, Supplier<T> add) {
        return counter.value() > 0 ? add.get() : create(counter.name(), add);
    }

    /**
     * Counts and creates counters under one lock, so that concurrent requests cannot exceed the
     * limit.
     */
    private synchronized <T> T create(String name, Supplier<T> add) {
        if (configured.contains(name) || created.contains(name)) {
            return add.get();
        }
        if (!allowed.names().isEmpty()) {
            throw new Problem.Refusal(
                    Problem.Type.COUNTER_NOT_LISTED, "counter.create lists the counters that clients may create");
        }
        long before = store.statistics().counters();
        if (before >= allowed.most()) {
            throw new Problem.Refusal(
                    Problem.Type.TOO_MANY_COUNTERS,
                    "counter.create allows " + allowed.most() + " counters; existing counters still count");
        }
        T result = add.get();
        if (store.statistics().counters() > before) {
            created.add(name);
        }
        return result;
    }

    /** Returns whether this replica has the counter, or a setting names it. */
    boolean isKnown(String name) {
        if (store.counter(name).value() > 0 || configured.contains(name)) {
            return true;
        }
        synchronized (this) {
            return created.contains(name);
        }
    }
}
