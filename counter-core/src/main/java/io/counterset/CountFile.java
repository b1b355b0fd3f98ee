package io.counterset;

import io.counterset.CounterStoreException.InvalidCountFileException;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.OptionalLong;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongSupplier;

/**
 * {@code count.txt}: one counter's durable count as a line of text, for people and scripts. It follows the count by
 * less than a second and is never ahead of it; it is written aside and renamed, so a reader sees a whole number always.
 * It is derived: read only when there is no journal yet, to carry the count of a plain {@code count.txt} application
 * over. A failure to write it harms nothing and is mended by the next write.
 */
final class CountFile implements Housekeeper.Task {

    static final String FILE = "count.txt";
    static final String NEW_FILE = "count.txt.new";

    /** The least time between two writes; a count waits at most about this long. */
    private static final long INTERVAL_NANOS = 100_000_000;

    /** The longest text taken for a number: 19 digits, and white space as editors and shells leave it. */
    private static final int MOST_BYTES = 1024;

    private final Storage storage;
    private final LongSupplier count;
    private final LongSupplier nanoTime;
    private final AtomicLong failures = new AtomicLong();
    private long written = -1;
    private long notBefore; // by nanoTime

    CountFile(Storage storage, LongSupplier count, LongSupplier nanoTime) {
        this.storage = storage;
        this.count = count;
        this.nanoTime = nanoTime;
        this.notBefore = nanoTime.getAsLong();
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

    @Override
    public long run() {
        long left = notBefore - nanoTime.getAsLong();
        if (count.getAsLong() == written) {
            return WHEN_WOKEN;
        }
        if (left > 0) {
            return left;
        }
        write();
        notBefore = nanoTime.getAsLong() + INTERVAL_NANOS;
        return count.getAsLong() == written ? WHEN_WOKEN : INTERVAL_NANOS;
    }
}
