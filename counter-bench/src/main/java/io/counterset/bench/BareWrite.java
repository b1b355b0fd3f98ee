// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The limit for a lone caller: each increment writes and flushes one preallocated block. Several
 * callers do so independently and share work only in the kernel.
 */
final class BareWrite implements Contender {

    private final Region region;
    private final AtomicLong count = new AtomicLong();
    private final ThreadLocal<ByteBuffer> block = ThreadLocal.withInitial(Region::newBlock);

    BareWrite(Path directory, Duration delay) throws IOException {
        region = new Region(directory, delay);
    }

    @Override
    public void increment() throws IOException {
        region.write(count.incrementAndGet(), block.get());
    }

    @Override
    public long count() throws IOException {
        return region.greatest();
    }

    @Override
    public void close() throws IOException {
        region.close();
    }
}
