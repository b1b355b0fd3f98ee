// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.SlowDevice;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;

/**
 * A file of 4 KiB blocks, filled with zeros and synced, whose blocks are then overwritten in a
 * cycle.
 */
final class Region implements AutoCloseable {

    static final int BLOCK = 4096;
    private static final int BLOCKS = 1024;

    private final FileChannel channel;
    private final Duration delay;

    /** Creates the file. Each later flush takes longer by {@code delay}. */
    Region(Path directory, Duration delay) throws IOException {
        this.delay = delay;
        channel = FileChannel.open(
                directory.resolve("region"),
                StandardOpenOption.CREATE_NEW,
                StandardOpenOption.READ,
                StandardOpenOption.WRITE);
        ByteBuffer zeros = ByteBuffer.allocateDirect(BLOCKS * BLOCK);
        while (zeros.hasRemaining()) {
            channel.write(zeros, zeros.position());
        }
        channel.force(true);
    }

    static ByteBuffer newBlock() {
        return ByteBuffer.allocateDirect(BLOCK);
    }

    /** Writes {@code number} into the block of that number and waits for the device. */
    void write(long number, ByteBuffer block) throws IOException {
        block.clear().putLong(0, number);
        channel.write(block, number % BLOCKS * BLOCK);
        channel.force(false);
        SlowDevice.pause(delay);
    }

    /** Returns the greatest number written. */
    long greatest() throws IOException {
        ByteBuffer all = ByteBuffer.allocate(BLOCKS * BLOCK);
        while (all.hasRemaining() && channel.read(all, all.position()) > 0) {
            // each read continues where the last one ended
        }
        long greatest = 0;
        for (int i = 0; i < BLOCKS; i++) {
            greatest = Math.max(greatest, all.getLong(i * BLOCK));
        }
        return greatest;
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
