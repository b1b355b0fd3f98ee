// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.CorruptJournalException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * The only record type of the journal: absolute totals of some counters, and the idempotency keys
 * of the adds that these totals newly include. A <em>full</em> batch lists every counter and every
 * remembered key, so it needs nothing before it. Integers are little-endian.
 *
 * <pre>
 *   0        4        8                 16                24       28       32       36       40
 *   +--------+--------+-----------------+-----------------+--------+--------+--------+--------+
 *   | "CSB1" | CRC32C |   journal id    |    sequence     | length | flags  |counters|  keys  |
 *   +--------+--------+-----------------+-----------------+--------+--------+--------+--------+
 *   counters times:  | n:1 | name: n bytes UTF-8 | value:8 |
 *   keys times:      | n:1 | key: n bytes UTF-8 | counter:4 | amount:8 | total:8 | applied at:8 |
 *                    (counter is an index into the counters of this batch)
 *   zeros up to a multiple of 4,096
 * </pre>
 *
 * The CRC covers bytes 8 to length: every field except the magic and the CRC itself. The journal id
 * is random for each file, so a block left over from another file is never taken for a block of
 * this one.
 *
 * <p>Reused by the committing thread. Not thread-safe.
 */
final class Batch {

    static final int BLOCK = 4096;
    static final int HEADER = 40;
    static final int MAX_NAME = 128;
    static final int MAX_KEY = 255;

    private static final int MAGIC = 'C' | 'S' << 8 | 'B' << 16 | '1' << 24;
    private static final int FULL = 1;

    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private @Nullable Counter[] cells = new @Nullable Counter[16];
    private long[] values = new long[16];
    private int size;
    private List<RememberedKeys.Entry> keys = List.of();
    private boolean full;
    private long length = HEADER;

    static long counterLength(int nameLength) {
        return 1L + nameLength + 8;
    }

    static long keyLength(int keyLength) {
        return 1L + keyLength + 4 + 8 + 8 + 8;
    }

    static long roundUp(long length) {
        return (length + BLOCK - 1) / BLOCK * BLOCK;
    }

    void clear(boolean full) {
        if (cells.length > 1024) { // release the memory of a full batch
            cells = new @Nullable Counter[16];
            values = new long[16];
        } else {
            Arrays.fill(cells, 0, size, null);
        }
        size = 0;
        keys = List.of();
        this.full = full;
        length = HEADER;
    }

    /** Lists a counter with a total. */
    void add(Counter cell, long value) {
        if (size == cells.length) {
            cells = Arrays.copyOf(cells, size * 2);
            values = Arrays.copyOf(values, size * 2);
        }
        cells[size] = cell;
        values[size] = value;
        size++;
        length += counterLength(cell.nameLength);
    }

    /** Makes room for this many counters at once. */
    void expect(int counters) {
        if (counters > cells.length) {
            cells = Arrays.copyOf(cells, counters);
            values = Arrays.copyOf(values, counters);
        }
    }

    /**
     * Lists keys. The counters that they refer to must also be listed, before or after this call.
     */
    void keys(List<RememberedKeys.Entry> entries) {
        keys = entries;
        for (RememberedKeys.Entry entry : entries) {
            length += keyLength(entry.keyLength());
        }
    }

    boolean isEmpty() {
        return size == 0;
    }

    boolean isFull() {
        return full;
    }

    /** The bytes in the journal, including padding. */
    long paddedLength() {
        return roundUp(length);
    }

    /**
     * Makes these totals the durable ones.
     *
     * @param changes receives the counters and keys that this changed; may be null
     */
    void publish(Ledger.@Nullable Changes changes) {
        if (changes != null) {
            for (RememberedKeys.Entry entry : keys) {
                if (entry.cell().durable() < entry.total()) {
                    changes.keys().add(entry);
                }
            }
        }
        for (int i = 0; i < size; i++) {
            Counter cell = cells[i];
            if (cell != null && cell.durable() != values[i]) {
                cell.publish(values[i]);
                if (changes != null) {
                    changes.cells().add(cell);
                }
            }
        }
    }

    /**
     * Encodes into {@code out}, or into a larger array, and returns the array used. Its first
     * {@link #paddedLength} bytes are valid.
     */
    byte[] encode(byte[] out, long journal, long sequence) {
        int padded = Math.toIntExact(paddedLength());
        byte[] b = out.length >= padded ? out : new byte[padded];
        int end = (int) length;
        INT.set(b, 0, MAGIC);
        LONG.set(b, 8, journal);
        LONG.set(b, 16, sequence);
        INT.set(b, 24, end);
        INT.set(b, 28, full ? FULL : 0);
        INT.set(b, 32, size);
        INT.set(b, 36, keys.size());
        Map<Counter, Integer> places = places();
        int at = HEADER;
        for (int i = 0; i < size; i++) {
            Counter cell = cells[i];
            if (cell != null) {
                at = putString(b, at, cell.name, cell.nameLength);
            }
            LONG.set(b, at, values[i]);
            at += 8;
        }
        for (RememberedKeys.Entry entry : keys) {
            at = putString(b, at, entry.key(), entry.keyLength());
            int place = places.getOrDefault(entry.cell(), -1);
            if (place < 0) {
                throw new IllegalStateException("counter " + entry.cell().name + " of a key is not in the batch");
            }
            INT.set(b, at, place);
            LONG.set(b, at + 4, entry.amount());
            LONG.set(b, at + 12, entry.total());
            LONG.set(b, at + 20, entry.appliedAt());
            at += 28;
        }
        if (at != end) {
            throw new IllegalStateException("encoded " + at + " bytes, expected " + end);
        }
        Arrays.fill(b, end, padded, (byte) 0);
        INT.set(b, 4, checksum(b, end));
        return b;
    }

    /** Returns the index of each counter that a key refers to. */
    private Map<Counter, Integer> places() {
        if (keys.isEmpty()) {
            return Map.of();
        }
        Map<Counter, Integer> places = new HashMap<>(); // counters are compared by identity
        for (RememberedKeys.Entry entry : keys) {
            places.put(entry.cell(), -1);
        }
        for (int i = 0; i < size; i++) {
            int place = i;
            Counter cell = cells[i];
            if (cell != null) {
                places.computeIfPresent(cell, (itself, unknown) -> place);
            }
        }
        return places;
    }

    /**
     * Writes a text of {@code length} bytes of UTF-8. Most texts are ASCII, which needs no
     * intermediate array.
     */
    private static int putString(byte[] b, int at, String text, int length) {
        b[at] = (byte) length;
        if (text.length() == length) {
            for (int i = 0; i < length; i++) {
                b[at + 1 + i] = (byte) text.charAt(i);
            }
        } else {
            System.arraycopy(text.getBytes(StandardCharsets.UTF_8), 0, b, at + 1, length);
        }
        return at + 1 + length;
    }

    private static int checksum(byte[] b, int end) {
        CRC32C crc = new CRC32C();
        crc.update(b, 8, end - 8);
        return (int) crc.getValue();
    }

    // ---- reading ----

    /** Whether a batch of {@code journal} may begin here. Cheap, but no proof. */
    static boolean looksLikeBatch(byte[] b, int at, long journal) {
        return (int) INT.get(b, at) == MAGIC && (long) LONG.get(b, at + 8) == journal;
    }

    static long sequence(byte[] b, int at) {
        return (long) LONG.get(b, at + 16);
    }

    static int length(byte[] b, int at) {
        return (int) INT.get(b, at + 24);
    }

    /** The number of keys in a batch with a valid checksum. */
    static int keys(byte[] b) {
        return (int) INT.get(b, 36);
    }

    /** The number of counters in a batch with a valid checksum. */
    static int counters(byte[] b) {
        return (int) INT.get(b, 32);
    }

    static boolean isFull(byte[] b) {
        return (int) INT.get(b, 28) == FULL;
    }

    static boolean checksumHolds(byte[] b) {
        return (int) INT.get(b, 4) == checksum(b, length(b, 0));
    }

    /**
     * Applies a batch with a valid checksum to the content read so far. The batch is checked
     * nevertheless: invalid content means a fault in the writer and must not become a wrong count.
     *
     * @param file the path of the file, for messages
     * @param position where the batch begins in the file, for messages
     */
    static void apply(byte[] b, Journal.Contents contents, String file, long position) {
        Decoder in = new Decoder(b, file, position);
        int counters = counters(b);
        int keys = (int) INT.get(b, 36);
        if (counters < 0 || keys < 0) {
            throw in.corrupt(HEADER - 8, "numbers of entries of 0 or more", counters + " and " + keys);
        }
        List<Counter> listed = keys == 0 ? List.of() : new ArrayList<>(Math.min(counters, length(b, 0) / 10 + 1));
        for (int i = 0; i < counters; i++) {
            int at = in.at;
            String name = in.string(MAX_NAME);
            long value = in.integer64();
            Counter cell = contents.cells().get(name);
            long before = cell == null ? 1 : cell.durable();
            if (value < before) {
                throw in.corrupt(at, "a count of " + before + " or more for " + name, String.valueOf(value));
            }
            if (cell == null) {
                cell = new Counter(name, b[at] & 0xff, value);
                contents.cells().put(name, cell);
            } else {
                cell.recovered(value);
            }
            if (keys > 0) {
                listed.add(cell);
            }
        }
        for (int i = 0; i < keys; i++) {
            int at = in.at;
            String key = in.string(MAX_KEY);
            int index = in.integer32();
            long amount = in.integer64();
            long total = in.integer64();
            long appliedAt = in.integer64();
            if (index < 0 || index >= counters) {
                throw in.corrupt(at, "a counter of this batch", "number " + index);
            }
            Counter cell = listed.get(index);
            if (amount < 1 || total < amount || total > cell.durable()) {
                throw in.corrupt(at, "an amount and a total within " + cell.durable(), amount + " and " + total);
            }
            if (appliedAt == RememberedKeys.EVICTED) {
                contents.keys().remove(key);
            } else {
                contents.keys().append(new RememberedKeys.Entry(key, b[at] & 0xff, cell, amount, total, appliedAt));
            }
        }
        contents.keys().trim();
        if (in.at != length(b, 0)) {
            throw in.corrupt(in.at, "the end of the batch", "more bytes");
        }
    }

    private static final class Decoder {
        private final byte[] b;
        private final int end;
        private final String file;
        private final long position;
        private int at = HEADER;

        Decoder(byte[] b, String file, long position) {
            this.b = b;
            this.end = length(b, 0);
            this.file = file;
            this.position = position;
        }

        CorruptJournalException corrupt(int at, String expected, String found) {
            return new CorruptJournalException(file, position + at, expected, found);
        }

        private int advance(int bytes) {
            if (bytes > end - at) {
                throw corrupt(at, bytes + " more bytes", (end - at) + " bytes");
            }
            int before = at;
            at += bytes;
            return before;
        }

        int integer32() {
            return (int) INT.get(b, advance(4));
        }

        long integer64() {
            return (long) LONG.get(b, advance(8));
        }

        String string(int most) {
            int length = b[advance(1)] & 0xff;
            int start = advance(length);
            String text = new String(b, start, length, StandardCharsets.UTF_8);
            if (Names.utf8Length(text, most) != length) {
                throw corrupt(
                        start,
                        "1 to " + most + " bytes of UTF-8 without control characters",
                        length + " invalid bytes");
            }
            return text;
        }
    }
}
