// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.io.IOException;

/** A durable counter under measurement. Thread-safe. */
interface Contender extends AutoCloseable {

    /** Adds 1 and returns once it is on the device. */
    void increment() throws Exception;

    /** Returns the number of increments that are on the device, as the contender reports it. */
    long count() throws Exception;

    @Override
    void close() throws IOException;
}
