// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.InvalidCountFileException;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.OptionalLong;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Writes {@code count.txt}: the durable count of one counter as a line of text, for people and
 * scripts. The file lags behind the count by less than a second and is never ahead of it. A new
 * version is written to another file, which is then renamed, so a reader always sees a whole
 * number. Where a rename is impossible (a full disk, a file that is a mount of its own), the file
 * is overwritten in place.
 *
 * <p>The file is derived from the journal. It is read in two cases: without a journal, to import
 * the count of an application that kept only {@code count.txt}; and at every opening, to detect a
 * file that is ahead of the journal.
 *
 * <p>While writing fails, the retries back off to one a minute. Closing the store tries once more.
 */
final class CountFile implements Housekeeper.Task {

    static final String FILE = "count.txt";
    static final String NEW_FILE = "count.txt.new";

    /** The shortest time between two writes, and so about the longest lag. */
    private static final long INTERVAL_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

    /**
     * The longest time between two retries, and between two attempts to rename while only writing
     * in place works.
     */
    private static final long LONGEST_PAUSE_NANOS = TimeUnit.MINUTES.toNanos(1);

    /**
     * The longest text accepted as a number: 19 digits, plus white space left by editors and
     * shells.
     */
    private static final int MOST_BYTES = 1024;

    private final Storage storage;
    private final LongSupplier count;
    private final LongSupplier nanoTime;
    private final Consumer<String> warnings;
    private final AtomicLong failures = new AtomicLong();
    private long written = -1;
    private long notBefore; // on the clock of nanoTime
    private long pause = INTERVAL_NANOS; // after the last attempt
    private boolean inPlace; // the last rename failed
    private long renameNotBefore;
    private boolean warned;

    CountFile(Storage storage, LongSupplier count, LongSupplier nanoTime, Consumer<String> warnings) {
        this.storage = storage;
        this.count = count;
        this.nanoTime = nanoTime;
        this.warnings = warnings;
        this.notBefore = nanoTime.getAsLong();
    }

    /**
     * Returns the count to import; empty if there is no file.
     *
     * @throws InvalidCountFileException if the file exists and does not contain exactly one number
     */
    static OptionalLong read(Storage storage) throws IOException {
        String text = text(storage);
        if (text == null) {
            return OptionalLong.empty();
        }
        OptionalLong number = number(text);
        if (number.isEmpty()) {
            throw new InvalidCountFileException(storage.locate(FILE), describe(text));
        }
        return number;
    }

    /** Returns the count in the file; empty if the file is missing or does not contain a number. */
    static OptionalLong peek(Storage storage) throws IOException {
        String text = text(storage);
        return text == null ? OptionalLong.empty() : number(text);
    }

    private static @Nullable String text(Storage storage) throws IOException {
        if (!storage.exists(FILE)) {
            return null;
        }
        try (Storage.Region region = storage.open(FILE)) {
            byte[] bytes = new byte[(int) Math.min(region.size(), MOST_BYTES + 1)];
            region.read(0, bytes, 0, bytes.length);
            return new String(bytes, StandardCharsets.UTF_8);
        }
    }

    private static OptionalLong number(String text) {
        String digits = strip(text);
        boolean valid =
                text.length() <= MOST_BYTES && digits.matches("[0-9]+") && new BigInteger(digits).bitLength() <= 63;
        return valid ? OptionalLong.of(Long.parseLong(digits)) : OptionalLong.empty();
    }

    /**
     * Returns the text without the invisible characters around it, such as white space of any kind
     * or a byte order mark.
     */
    private static String strip(String text) {
        int begin = 0;
        int end = text.length();
        while (begin < end && Names.isInvisible(text.charAt(begin))) {
            begin++;
        }
        while (begin < end && Names.isInvisible(text.charAt(end - 1))) {
            end--;
        }
        return text.substring(begin, end);
    }

    private static String describe(String text) {
        String stripped = strip(text);
        if (stripped.isEmpty()) {
            return "no digit";
        }
        return Names.printable(stripped) + (text.length() > MOST_BYTES ? " in a file of more than 1,024 bytes" : "");
    }

    /** Writes the file if the count has changed since it was last written. */
    void write() {
        long current = count.getAsLong();
        if (current == written) {
            return;
        }
        byte[] text = (current + "\n").getBytes(StandardCharsets.US_ASCII);
        try {
            write(text);
            written = current;
            pause = INTERVAL_NANOS;
            if (warned) {
                warned = false;
                warn(storage.locate(FILE) + " is written again");
            }
        } catch (IOException e) {
            failures.incrementAndGet();
            pause = Math.min(2 * pause, LONGEST_PAUSE_NANOS);
            if (!warned) {
                warned = true;
                warn(storage.locate(FILE) + " cannot be written and lags behind the count: " + e
                        + "; counting goes on, and the write is retried");
            }
        }
    }

    private void write(byte[] text) throws IOException {
        IOException renaming = null;
        if (!inPlace || nanoTime.getAsLong() - renameNotBefore >= 0) {
            try {
                try (Storage.Region region = storage.create(NEW_FILE)) {
                    region.write(0, text, 0, text.length);
                }
                storage.replace(NEW_FILE, FILE);
                inPlace = false;
                return;
            } catch (IOException e) {
                renaming = e;
                inPlace = true;
                renameNotBefore = nanoTime.getAsLong() + LONGEST_PAUSE_NANOS;
                deleteNew(e);
            }
        }
        storage.requireHeld();
        try {
            storage.overwrite(FILE, text);
        } catch (IOException e) {
            inPlace = false;
            if (renaming != null) {
                renaming.addSuppressed(e);
                throw renaming;
            }
            throw e;
        }
    }

    private void deleteNew(IOException because) {
        try {
            storage.delete(NEW_FILE);
        } catch (IOException e) {
            because.addSuppressed(e);
        }
    }

    private void warn(String message) {
        try {
            warnings.accept(message);
        } catch (Throwable e) {
            // A fault of the listener, not of the file.
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
        notBefore = nanoTime.getAsLong() + pause;
        return count.getAsLong() == written ? WHEN_WOKEN : pause;
    }
}
