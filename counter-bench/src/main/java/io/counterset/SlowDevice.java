// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.NullMarked;

/**
 * Opens stores whose flushes take longer than the device's own, to measure counter-core as on a
 * slower device. Belongs to the package of counter-core because it replaces the storage of a store.
 */
@NullMarked
public final class SlowDevice {

    private SlowDevice() {}

    /** Opens a store whose flushes each take longer by {@code delay}. */
    public static CounterStore open(Path directory, Duration delay) {
        Storage storage = DirectoryStorage.open(directory);
        return CounterStore.builder(directory)
                .storage(slowed(Storage.class, storage, delay))
                .open();
    }

    private static <T> T slowed(Class<T> type, T fast, Duration delay) {
        return type.cast(Proxy.newProxyInstance(
                type.getClassLoader(), new Class<?>[] {type}, (proxy, method, arguments) -> {
                    try {
                        Object result = method.invoke(fast, arguments);
                        switch (method.getName()) {
                            case "commit", "sync", "syncNames" -> pause(delay);
                            default -> {}
                        }
                        return result instanceof Storage.Region region
                                ? slowed(Storage.Region.class, region, delay)
                                : result;
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                }));
    }

    /** Blocks the calling thread for that time. */
    public static void pause(Duration delay) {
        long until = System.nanoTime() + delay.toNanos();
        for (long left = delay.toNanos(); left > 0; left = until - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }
}
