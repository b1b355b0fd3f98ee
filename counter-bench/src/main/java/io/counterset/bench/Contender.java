package io.counterset.bench;

import java.io.IOException;

/** Something that counts durably. Safe for use by many threads. */
interface Contender extends AutoCloseable {

    /** Adds 1, and returns once the device has it. */
    void increment() throws Exception;

    /** The count, read back from where the contender keeps it. */
    long count() throws Exception;

    @Override
    void close() throws IOException;
}
