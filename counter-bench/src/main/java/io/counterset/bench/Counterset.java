// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.Counter;
import io.counterset.CounterStore;
import java.nio.file.Path;

/** One counter of counter-core with its default durability. */
final class Counterset implements Contender {

    private final CounterStore store;
    private final Counter visits;

    Counterset(Path directory) {
        store = CounterStore.open(directory);
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
