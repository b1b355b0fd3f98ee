package io.counterset;

import io.counterset.CounterStoreException.InvalidCountFileException;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * {@code count.txt}: one counter's durable count as a line of text, for people and scripts. It follows the count by
 * less than a second and is never ahead of it; it is written aside and renamed, so a reader sees a whole number always.
 * It is derived: read only when there is no journal yet, to carry the count of a plain {@code count.txt} application
 * over. A failure to write it harms nothing and is mended by the next write.
 */
final class CountFile {

    static final String FILE = "count.txt";
    static final String NEW_FILE = "count.txt.new";

    /** The least time between two writes; a count waits at most about this long. */
    private static final long INTERVAL_NANOS = 100_000_000;

    /** The longest text taken for a number: 19 digits, and white space as editors and shells leave it. */
    private static final int MOST_BYTES = 1024;

    private final Storage storage;
    private final LongSupplier count;
    private @Nullable Thread writer;
    private volatile boolean idle;
    private volatile boolean stopping;
    private final AtomicLong failures = new AtomicLong();
    private long written = -1;

    CountFile(Storage storage, LongSupplier count) {
        this.storage = storage;
        this.count = count;
    }

    /**
     * Returns the count to import, or nothing if there is no file.
     *
     * @throws InvalidCountFileException if there is a file with anything else than one number
     */
    static OptionalLong read(Storage storage) throws IOException {
        if (!storage.exists(FILE)) {
            return OptionalLong.empty();
        }
        try (Storage.Region region = storage.open(FILE)) {
            long size = region.size();
            byte[] bytes = new byte[(int) Math.min(size, MOST_BYTES)];
            region.read(0, bytes, 0, bytes.length);
            String text = new String(bytes, StandardCharsets.UTF_8).strip();
            if (size > MOST_BYTES || !text.matches("[0-9]+") || new BigInteger(text).bitLength() > 63) {
                throw new InvalidCountFileException(storage.locate(FILE), describe(text, size));
            }
            return OptionalLong.of(Long.parseLong(text));
        }
    }

    private static String describe(String text, long size) {
        if (text.isEmpty()) {
            return size + " bytes without a number";
        }
        String printable = text.replaceAll("\\p{Cntrl}|\uFFFD", "?");
        return printable.length() > 40 ? '"' + printable.substring(0, 40) + "…\"" : '"' + printable + '"';
    }

    /** Writes the file if the count has moved since. */
    void write() {
        long current = count.getAsLong();
        if (current == written) {
            return;
        }
        byte[] text = (current + "\n").getBytes(StandardCharsets.US_ASCII);
        try {
            try (Storage.Region region = storage.create(NEW_FILE)) {
                region.write(0, text, 0, text.length);
            }
            storage.replace(NEW_FILE, FILE);
            written = current;
        } catch (IOException e) {
            failures.incrementAndGet();
        }
    }

    long failures() {
        return failures.get();
    }

    void start(String threadName) {
        Thread thread = new Thread(this::run, threadName);
        thread.setDaemon(true);
        writer = thread;
        thread.start();
    }

    /** The count may have moved. Cheap enough for the commit path: it wakes the writer only if that sleeps idle. */
    void changed() {
        if (idle) {
            LockSupport.unpark(writer);
        }
    }

    private void run() {
        while (!stopping) {
            write();
            pause();
            idle = true;
            while (count.getAsLong() == written && !stopping) {
                LockSupport.park(this);
            }
            idle = false;
        }
    }

    private void pause() {
        long until = System.nanoTime() + INTERVAL_NANOS;
        for (long left = INTERVAL_NANOS; left > 0 && !stopping; left = until - System.nanoTime()) {
            LockSupport.parkNanos(this, left);
        }
    }

    /** Stops following, after writing the last count. */
    void stop() {
        stopping = true;
        Thread thread = writer;
        if (thread != null) {
            LockSupport.unpark(thread);
            boolean interrupted = false;
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        write();
    }
}
