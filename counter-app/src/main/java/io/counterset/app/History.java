// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.util.Objects.requireNonNull;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import io.counterset.Counter;
import io.counterset.CounterStore;
import io.micronaut.serde.annotation.Serdeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * How much the main counter of this replica grew in each minute, hour and day.
 *
 * <p>A separate thread reads the durable total once a second, adds the growth since the previous
 * reading to that reading's bucket, and saves everything once a minute. Counting never waits for
 * it, and its failures cannot fail an add.
 *
 * <p><b>Across restarts.</b> The file contains the last reading. Growth between that reading and
 * the total found at the next start happened before the process ended; since the process saves once
 * a minute, the growth belongs to about the minute of the last reading. Each bucket records how
 * much of its time this replica ran.
 *
 * <p><b>Unknown growth</b> is marked rather than guessed. If the store's identity changed or its
 * total decreased, the bucket has a {@link Mark#BREAK}: growth across the break is unknown and not
 * counted. If the wall clock was set, the bucket has a {@link Mark#CLOCK}; buckets that are then in
 * the future are merged into the current one, so that the sum of all buckets stays the observed
 * growth.
 *
 * <p>The file has a fixed size. If it is damaged or cannot be written, only the history is lost.
 * Thread-safe.
 */
final class History implements AutoCloseable {

    static final String FILE = "history";
    private static final String NEW_FILE = "history.new";

    /**
     * If the wall clock deviates by more than this between two readings, it was set rather than
     * slewed.
     */
    private static final long CLOCK_STEP_MILLIS = 2_000;

    private static final long READING_NANOS = TimeUnit.SECONDS.toNanos(1);

    private static final Logger LOG = LoggerFactory.getLogger(History.class);

    private static final byte[] MAGIC = "CSHIST01".getBytes(US_ASCII);
    private static final int SLOT_BYTES = 24;
    private static final int HEADER_BYTES = 56;
    private static final int FILE_BYTES = HEADER_BYTES
            + SLOT_BYTES
                    * Arrays.stream(Unit.values())
                            .mapToInt(unit -> unit.buckets)
                            .sum();

    /** A length of buckets and the number kept: three hours, a week and two years. */
    @Serdeable
    enum Unit {
        @JsonProperty("minute")
        MINUTE(60, 180, 60),
        @JsonProperty("hour")
        HOUR(3_600, 168, 24),
        @JsonProperty("day")
        DAY(86_400, 730, 73);

        final int seconds;
        final int buckets;

        /** The number of buckets in a line of a sparkline. */
        final int line;

        Unit(int seconds, int buckets, int line) {
            this.seconds = seconds;
            this.buckets = buckets;
            this.line = line;
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /** A reason to doubt the count of a bucket. */
    @Serdeable
    enum Mark {
        /** The store was replaced, or its total decreased. */
        @JsonProperty("break")
        BREAK(1),
        /** The wall clock was set. */
        @JsonProperty("clock")
        CLOCK(2);

        /** Represents the mark in the file. */
        final int bit;

        Mark(int bit) {
            this.bit = bit;
        }

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * One bucket.
     *
     * @param start when it begins
     * @param count how much the counter grew in it; null if this replica did not run for any part
     *     of it
     * @param coveredSeconds how many seconds of it this replica ran
     * @param marks the reasons to doubt the count; usually empty
     */
    @Serdeable
    record Bucket(
            Instant start,

            @JsonInclude(JsonInclude.Include.ALWAYS) @Nullable
            Long count,

            int coveredSeconds,
            @JsonInclude(JsonInclude.Include.ALWAYS) List<Mark> marks) {}

    private final Path directory;
    private final UUID store;
    private final BooleanSupplier owned;
    private final LongSupplier total;
    private final LongSupplier wallMillis;
    private final LongSupplier nanoTime;

    private final Map<Unit, Series> series = new EnumMap<>(Unit.class); // iterates in the order of the units
    private long readMillis;
    private long readNanos;
    private long readTotal;
    private long savedMinute;
    private boolean saveFails;
    private volatile boolean closing;
    private @Nullable Thread thread;

    /**
     * The last 61 readings, one a second, so that the growth of the last minute is one subtraction.
     */
    private final long[] recentTotals = new long[61];

    private final long[] recentNanos = new long[61];
    private long readings;
    private volatile long lastMinute;

    /**
     * Opens the history of {@code counter} beside the journal in {@code directory}. Call
     * {@link #start} to record it.
     */
    History(Path directory, CounterStore store, Counter counter) {
        this(
                directory,
                store.identity().id(),
                store::isAccepting,
                counter::value,
                System::currentTimeMillis,
                System::nanoTime);
    }

    History(
            Path directory,
            UUID store,
            BooleanSupplier owned,
            LongSupplier total,
            LongSupplier wallMillis,
            LongSupplier nanoTime) {
        this.owned = owned;
        this.directory = directory;
        this.store = store;
        this.total = total;
        this.wallMillis = wallMillis;
        this.nanoTime = nanoTime;
        for (Unit unit : Unit.values()) {
            series.put(unit, new Series(unit));
        }
        this.readMillis = wallMillis.getAsLong();
        this.readNanos = nanoTime.getAsLong();
        this.readTotal = total.getAsLong();
        load();
        recent();
        save(); // so that growth before a crash in the first minute is attributed correctly
    }

    /** Starts reading the total once a second, in a daemon thread. */
    synchronized void start() {
        Thread reader = new Thread(this::run, "counterset-history");
        reader.setDaemon(true);
        thread = reader;
        reader.start();
    }

    private void run() {
        while (!closing) {
            try {
                synchronized (this) {
                    long next = readNanos + READING_NANOS;
                    for (long left = READING_NANOS; left > 0 && !closing; left = next - nanoTime.getAsLong()) {
                        TimeUnit.NANOSECONDS.timedWait(this, left);
                    }
                }
                read();
            } catch (InterruptedException e) {
                return; // only a JVM that is shutting down interrupts this thread
            } catch (RuntimeException e) {
                LOG.error("cannot update the history; counting is not affected", e);
            }
        }
    }

    /** Takes one reading, and saves if a minute has ended since the last save. */
    synchronized void read() {
        long now = wallMillis.getAsLong();
        long nanos = nanoTime.getAsLong();
        long current = total.getAsLong();
        long elapsed = TimeUnit.NANOSECONDS.toMillis(nanos - readNanos);
        boolean clockSet = Math.abs(now - readMillis - elapsed) > CLOCK_STEP_MILLIS;
        for (Series s : series.values()) {
            s.add(readMillis, current - readTotal);
            s.cover(readMillis, clockSet ? readMillis + elapsed : now);
            if (clockSet) {
                s.clockSet(now);
            }
        }
        readMillis = now;
        readNanos = nanos;
        readTotal = current;
        recent();
        if (now / 60_000 != savedMinute) {
            save();
        }
    }

    private void recent() {
        recentTotals[(int) (readings % recentTotals.length)] = readTotal;
        recentNanos[(int) (readings % recentNanos.length)] = readNanos;
        readings++;
        lastMinute = grown();
    }

    /**
     * Returns how much the counter grew in the last minute, or since this replica started if that
     * is less, as of the latest reading. Does not block.
     */
    long lastMinute() {
        return lastMinute;
    }

    private long grown() {
        long since = readNanos - TimeUnit.SECONDS.toNanos(60);
        long oldest = readTotal;
        for (int i = 0; i < Math.min(readings, recentTotals.length); i++) {
            if (recentNanos[i] - since >= 0) {
                oldest = Math.min(oldest, recentTotals[i]);
            }
        }
        return readTotal - oldest;
    }

    /**
     * Returns the number of readings taken. As long as it is the same, the history has not changed.
     */
    synchronized long readings() {
        return readings;
    }

    /** Returns all kept buckets of that length, oldest first, the current one last. */
    synchronized List<Bucket> buckets(Unit unit) {
        return requireNonNull(series.get(unit)).buckets(readMillis);
    }

    /** Takes a last reading, saves, and stops. Idempotent. */
    @Override
    public void close() {
        Thread reader;
        synchronized (this) {
            if (closing) {
                return;
            }
            closing = true;
            notifyAll();
            reader = thread;
        }
        boolean interrupted = false;
        while (reader != null && reader.isAlive()) {
            try {
                reader.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        read();
        synchronized (this) {
            save();
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    // ---- the file: the arrays with a header, replaced as a whole ----

    private void save() {
        savedMinute = readMillis / 60_000;
        if (!owned.getAsBoolean()) {
            return; // a store that has lost its directory must not write to its successor's
        }
        ByteBuffer b = ByteBuffer.allocate(FILE_BYTES);
        b.put(MAGIC).putLong(0); // the checksum, below
        b.putLong(store.getMostSignificantBits()).putLong(store.getLeastSignificantBits());
        b.putLong(readMillis).putLong(readTotal).putLong(0);
        for (Series s : series.values()) {
            s.write(b);
        }
        b.putLong(MAGIC.length, checksum(b.array())).flip();
        Path aside = directory.resolve(NEW_FILE);
        try {
            try (FileChannel file = FileChannel.open(
                    aside, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
                while (b.hasRemaining()) {
                    file.write(b);
                }
                file.force(true);
            }
            Files.move(aside, directory.resolve(FILE), StandardCopyOption.ATOMIC_MOVE);
            saveFails = false;
        } catch (IOException e) {
            if (!saveFails) {
                LOG.warn(
                        "the history in {} cannot be saved ({}); counting is not affected, and saving is retried every minute",
                        directory,
                        e.toString());
            }
            saveFails = true;
            try {
                Files.deleteIfExists(aside); // it may be the file that fills the disk
            } catch (IOException ignored) {
                // The warning has been logged.
            }
        }
    }

    private void load() {
        byte[] bytes;
        try {
            Path file = directory.resolve(FILE);
            bytes = Files.size(file) == FILE_BYTES ? Files.readAllBytes(file) : new byte[0];
        } catch (NoSuchFileException e) {
            return;
        } catch (IOException e) {
            LOG.warn("the history in {} cannot be read ({}) and starts empty", directory, e.toString());
            return;
        }
        ByteBuffer b = ByteBuffer.wrap(bytes);
        if (bytes.length != FILE_BYTES
                || !Arrays.equals(bytes, 0, MAGIC.length, MAGIC, 0, MAGIC.length)
                || b.getLong(MAGIC.length) != checksum(bytes)) {
            LOG.warn("the history in {} is damaged and starts empty; the counts are not affected", directory);
            return;
        }
        b.position(MAGIC.length + Long.BYTES);
        UUID savedStore = new UUID(b.getLong(), b.getLong());
        long savedMillis = b.getLong();
        long savedTotal = b.getLong();
        b.getLong();
        for (Series s : series.values()) {
            s.read(b);
        }
        for (Series s : series.values()) {
            if (!savedStore.equals(store) || savedTotal > readTotal) {
                s.mark(readMillis, Mark.BREAK);
            } else {
                s.add(savedMillis, readTotal - savedTotal);
            }
            if (savedMillis > readMillis) {
                s.clockSet(readMillis);
            }
        }
    }

    private static long checksum(byte[] file) {
        CRC32C crc = new CRC32C();
        crc.update(file, MAGIC.length + Long.BYTES, file.length - MAGIC.length - Long.BYTES);
        return crc.getValue();
    }

    /**
     * The buckets of one length, as a ring. A bucket's number, counted from 1970, determines its
     * slot.
     */
    private static final class Series {

        private final Unit unit;
        private final long[] numbers;
        private final long[] counts;
        private final int[] coveredMillis;
        private final int[] marks;

        Series(Unit unit) {
            this.unit = unit;
            this.numbers = new long[unit.buckets];
            this.counts = new long[unit.buckets];
            this.coveredMillis = new int[unit.buckets];
            this.marks = new int[unit.buckets];
            Arrays.fill(numbers, Long.MIN_VALUE);
        }

        private long number(long millis) {
            return Math.floorDiv(millis, unit.seconds * 1_000L);
        }

        /** Returns the slot of that moment, cleared if it held an older bucket. */
        private int slot(long millis) {
            long number = number(millis);
            int slot = (int) Math.floorMod(number, (long) unit.buckets);
            if (numbers[slot] != number) {
                clear(slot);
                numbers[slot] = number;
            }
            return slot;
        }

        private void clear(int slot) {
            numbers[slot] = Long.MIN_VALUE;
            counts[slot] = 0;
            coveredMillis[slot] = 0;
            marks[slot] = 0;
        }

        void add(long millis, long growth) {
            if (growth > 0) {
                counts[slot(millis)] += growth;
            }
        }

        /** Records that the replica ran from one moment to the other. */
        void cover(long from, long to) {
            long length = unit.seconds * 1_000L;
            long start = Math.max(from, to - unit.buckets * length); // at most one lap of the ring
            while (start < to) {
                long end = Math.min(to, (number(start) + 1) * length);
                int slot = slot(start);
                coveredMillis[slot] = (int) Math.min(length, coveredMillis[slot] + end - start);
                start = end;
            }
        }

        void mark(long millis, Mark mark) {
            marks[slot(millis)] |= mark.bit;
        }

        /**
         * Handles a wall clock that was set to {@code now}: merges all later buckets into the
         * current one.
         */
        void clockSet(long now) {
            long current = number(now);
            long growth = 0;
            for (int i = 0; i < numbers.length; i++) {
                if (numbers[i] > current) {
                    growth += counts[i];
                    clear(i);
                }
            }
            counts[slot(now)] += growth;
            mark(now, Mark.CLOCK);
        }

        List<Bucket> buckets(long now) {
            long current = number(now);
            List<Bucket> found = new ArrayList<>(unit.buckets);
            for (long number = current - unit.buckets + 1; number <= current; number++) {
                int slot = (int) Math.floorMod(number, (long) unit.buckets);
                boolean known = numbers[slot] == number;
                List<Mark> marked = new ArrayList<>();
                for (Mark mark : Mark.values()) {
                    if (known && (marks[slot] & mark.bit) != 0) {
                        marked.add(mark);
                    }
                }
                found.add(new Bucket(
                        Instant.ofEpochSecond(number * unit.seconds),
                        known && (coveredMillis[slot] > 0 || counts[slot] > 0) ? (Long) counts[slot] : null,
                        known ? coveredMillis[slot] / 1_000 : 0,
                        marked));
            }
            return found;
        }

        void write(ByteBuffer b) {
            for (int i = 0; i < numbers.length; i++) {
                b.putLong(numbers[i])
                        .putLong(counts[i])
                        .putInt(coveredMillis[i])
                        .putInt(marks[i]);
            }
        }

        void read(ByteBuffer b) {
            for (int i = 0; i < numbers.length; i++) {
                numbers[i] = b.getLong();
                counts[i] = b.getLong();
                coveredMillis[i] = b.getInt();
                marks[i] = b.getInt();
            }
        }
    }
}
