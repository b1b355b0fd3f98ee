// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.SimulatedDisk.Tears;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

class SimulatedDiskBehaviourTest extends BehaviourKit {

    private final SimulatedDisk disk = new SimulatedDisk(options -> 0, Tears.THREE_WAYS);

    @Override
    Storage storage() {
        return disk.mount();
    }

    @Override
    CounterStore.Builder builder() {
        return CounterStore.builder(Path.of(builderPath()));
    }

    @Override
    CounterStore open(CounterStore.Builder builder) {
        return builder.storage(disk.mount()).open();
    }

    @Override
    String builderPath() {
        return "simulated";
    }

    @Override
    byte @Nullable [] file(String name) {
        return disk.content(name);
    }

    @Override
    void put(String name, byte[] content) {
        disk.put(name, content);
    }
}
