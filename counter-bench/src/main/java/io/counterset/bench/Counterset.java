// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.SlowDevice;
import java.nio.file.Path;
import java.time.Duration;

/** One counter of counter-core with its default durability. */
final class Counterset implements Contender {

    private final CounterStore store;
    private final Counter visits;

    Counterset(Path directory, Duration delay) {
        store = delay.isZero() ? CounterStore.open(directory) : SlowDevice.open(directory, delay);
        visits = store.counter("visits");
    }

    @Override
    public void increment() {
        visits.increment();
    }

    @Override
    public long count() {
        return visits.value();
    }

    @Override
    public void close() {
        store.close();
    }
}
