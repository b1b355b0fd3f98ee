// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.Objects;

/**
 * The directory's real disk until a test makes it fail; from then on every commit fails. It is in
 * this package to reach the package-private storage of the store's builder.
 */
public final class FailingDisk {

    private volatile boolean failing;

    /** Opens the store in the directory on this disk. */
    public CounterStore open(CounterStore.Builder builder, Path directory) {
        return builder.storage(wrap(Storage.class, DirectoryStorage.open(directory)))
                .open();
    }

    /** Makes every later commit fail. */
    public void fail() {
        failing = true;
    }

    private <T> T wrap(Class<T> type, T real) {
        return type.cast(Proxy.newProxyInstance(
                type.getClassLoader(), new Class<?>[] {type}, (proxy, method, arguments) -> {
                    if (failing && method.getName().equals("commit")) {
                        throw new IOException("Input/output error");
                    }
                    try {
                        Object result = method.invoke(real, arguments);
                        return result instanceof Storage.Region region ? wrap(Storage.Region.class, region) : result;
                    } catch (InvocationTargetException e) {
                        throw Objects.requireNonNull(e.getCause());
                    }
                }));
    }
}
