// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.CorruptJournalException;
import io.counterset.CounterStoreException.ForeignFileException;
import io.counterset.CounterStoreException.HeapTooSmallException;
import io.counterset.CounterStoreException.UnsupportedFormatException;
import java.io.Closeable;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.file.FileAlreadyExistsException;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * The file of batches: a header block, then two halves of equal size. The file is filled with zeros
 * and synced before it gets its name. Format version 1; integers are little-endian.
 *
 * <pre>
 *   0              8         12       16           24           40            48          56      60       4096
 *   +--------------+---------+--------+------------+------------+-------------+-----------+-------+--------+
 *   | magic        | version | CRC32C | journal id | store UUID | incarnation | half size | 4096  | zeros  |
 *   +--------------+---------+--------+------------+------------+-------------+-----------+-------+--------+
 *   | half A: a full batch, then batches; each begins at a multiple of 4,096                               |
 *   +------------------------------------------------------------------------------------------------------+
 *   | half B: likewise                                                                                     |
 *   +------------------------------------------------------------------------------------------------------+
 * </pre>
 *
 * <b>Invariants.</b>
 *
 * <ol>
 *   <li>At any moment, one half begins with an intact full batch. From there the sequence runs
 *       without a gap to the last acknowledged batch. The half in use is never overwritten. The
 *       other half is overwritten only from a full batch on, which needs nothing before it.
 *   <li>A block with part of an acknowledged batch is not written again until a later full batch is
 *       on the device. Batches are padded to whole blocks, so a torn write damages only itself.
 *   <li>One batch is written at a time. After a failed write or sync, no batch is written.
 *   <li>So only the last batch can be torn. An intact batch after a broken one, or the beginning of
 *       a batch that is not exactly the next, proves damage rather than a crash.
 * </ol>
 *
 * <p><b>Reading</b> takes the half whose first batch is newer and follows its sequence to the first
 * batch that is not intact or not exactly the next. Then it checks every block of the file for a
 * proof of damage. If there is none, the rest is a batch torn by a crash or left over from earlier
 * use of the space. If there is one, the file is refused.
 *
 * <p><b>Opening always writes a new file</b> under another name and renames it once it is on the
 * device. The same few lines then serve creation, growth, recovery from a torn tail, and recovery
 * from a page cache whose content never reached the device. Rejected: continuing in the recovered
 * file, because after a failed flush its cached content looks intact but may not be on the device.
 * Rejected for the same reason: rewriting only the other half, because the header or the chain may
 * be only in the cache.
 *
 * <p>Used by one thread at a time.
 */
final class Journal implements Closeable {

    static final String FILE = "counters.journal";
    static final String NEW_FILE = "counters.journal.new";
    static final int VERSION = 1;

    /** Room for 1,024 one-block commits between switches. Opening fills 8 MiB with zeros. */
    static final long MIN_HALF = 4L << 20;

    private static final int BLOCK = Batch.BLOCK;

    /**
     * Contains a byte above 127, both kinds of line break and an end-of-file character, so that a
     * transfer that alters such bytes is detected.
     */
    private static final long MAGIC = 0x0a1a0d54455343_89L;

    private static final int PIECE = 1 << 20;

    /** Bytes of heap that a counter and a key take in addition to the text of their names. */
    private static final int COUNTER_HEAP = 125;

    private static final int KEY_HEAP = 120;
    private static final SecureRandom RANDOM = new SecureRandom();
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private final Storage storage;
    private final Storage.Region region;
    private final long id;
    private final long half;

    private volatile long sequence; // of the last batch
    private boolean second; // whether the second half is in use
    private long position; // where the next batch goes; initially the end of the half
    private byte[] buffer = new byte[BLOCK];

    /**
     * The content of a journal.
     *
     * @param sequence the sequence number of the last batch
     * @param cells the counters by name
     * @param discardedBatches 1 if the last batch is torn, otherwise 0
     * @param bytes the size of the file; 0 if there is none
     */
    record Contents(
            StoreIdentity identity,
            long sequence,
            ConcurrentHashMap<String, Counter> cells,
            RememberedKeys keys,
            int discardedBatches,
            long bytes) {}

    private Journal(Storage storage, Storage.Region region, long id, long half, long sequence) {
        this.storage = storage;
        this.region = region;
        this.id = id;
        this.half = half;
        this.sequence = sequence;
        this.second = true; // so the first batch, a full one, goes to the first half
        this.position = start(true) + half;
    }

    private long start(boolean second) {
        return BLOCK + (second ? half : 0);
    }

    // ---- writing ----

    /**
     * Creates a file full of zeros and syncs it. It has neither a batch nor its final name: {@link
     * #append} a full batch, then {@link #activate}. On failure the new file is deleted, and the
     * file under the journal's name is untouched.
     *
     * @param half the bytes of a half, a multiple of 4,096
     * @param sequence the sequence number of the last batch before this file; 0 if there is none
     */
    static Journal prepare(Storage storage, StoreIdentity identity, long half, long sequence) throws IOException {
        Storage.Region region = storage.create(NEW_FILE);
        boolean prepared = false;
        try {
            long id = RANDOM.nextLong();
            region.write(0, header(identity, id, half), 0, BLOCK);
            byte[] zeros = new byte[(int) Math.min(PIECE, 2 * half)];
            long end = BLOCK + 2 * half;
            for (long at = BLOCK; at < end; at += zeros.length) {
                region.write(at, zeros, 0, (int) Math.min(zeros.length, end - at));
            }
            region.sync();
            Journal journal = new Journal(storage, region, id, half, sequence);
            prepared = true;
            return journal;
        } finally {
            if (!prepared) {
                abandon(storage, region);
            }
        }
    }

    /**
     * Closes and deletes a file that did not become a journal, since it may be filling the disk.
     */
    private static void abandon(Storage storage, Storage.Region region) {
        try (region) {
            storage.delete(NEW_FILE);
        } catch (IOException e) {
            // The caller gets the failure that came first, which matters more.
        }
    }

    /** Closes this journal and, unless it has its name, deletes the file. */
    void abandon() {
        abandon(storage, region);
    }

    private static byte[] header(StoreIdentity identity, long id, long half) {
        byte[] b = new byte[BLOCK];
        LONG.set(b, 0, MAGIC);
        INT.set(b, 8, VERSION);
        LONG.set(b, 16, id);
        LONG.set(b, 24, identity.id().getMostSignificantBits());
        LONG.set(b, 32, identity.id().getLeastSignificantBits());
        LONG.set(b, 40, identity.incarnation());
        LONG.set(b, 48, half);
        INT.set(b, 56, BLOCK);
        INT.set(b, 12, headerChecksum(b));
        return b;
    }

    private static int headerChecksum(byte[] b) {
        CRC32C crc = new CRC32C();
        crc.update(b, 0, 12);
        crc.update(b, 16, BLOCK - 16);
        return (int) crc.getValue();
    }

    /** Whether a batch of this size fits into the half in use. If not, a full batch is due. */
    boolean fits(long paddedLength) {
        return position + paddedLength <= start(second) + half;
    }

    /** The bytes of a half, which is also the largest size of a full batch. */
    long half() {
        return half;
    }

    /**
     * Writes the next batch and waits until it is on the device. A full batch goes to the head of
     * the other half.
     *
     * @throws IOException if writing failed: the batch may or may not be there, and nothing may be
     *     written after it
     */
    void append(Batch batch) throws IOException {
        long length = batch.paddedLength();
        long at = position;
        boolean target = second;
        if (batch.isFull()) {
            target = !second;
            at = start(target);
        }
        if (at + length > start(target) + half) {
            throw new IllegalStateException("a batch of " + length + " bytes does not fit at " + at);
        }
        long next = sequence + 1;
        byte[] encoded = batch.encode(buffer, id, next);
        if (encoded.length <= PIECE) {
            buffer = encoded;
        }
        region.commit(at, encoded, 0, (int) length);
        sequence = next;
        second = target;
        position = at + length;
    }

    /**
     * Writes and syncs a journal with this content, in a directory that has none.
     *
     * @throws FileAlreadyExistsException if there is a journal; nothing was changed
     */
    static void write(
            Storage storage,
            StoreIdentity identity,
            long sequence,
            Collection<Counter> counters,
            List<RememberedKeys.Entry> keys)
            throws IOException {
        if (storage.exists(FILE)) {
            throw new FileAlreadyExistsException(
                    storage.locate(FILE),
                    null,
                    "the directory already has a store; choose a new directory; nothing was changed");
        }
        Batch batch = new Batch();
        batch.clear(true);
        batch.keys(keys);
        for (Counter counter : counters) {
            batch.add(counter, counter.durable());
        }
        long half = Math.max(MIN_HALF, Batch.roundUp(2 * batch.paddedLength()));
        Journal journal = prepare(storage, identity, half, sequence);
        boolean written = false;
        try {
            journal.append(batch);
            journal.activate();
            journal.close();
            written = true;
        } finally {
            if (!written) {
                journal.abandon();
            }
        }
    }

    /** Gives the file its final name, durably. From here on it is the journal. */
    void activate() throws IOException {
        storage.replace(NEW_FILE, FILE);
        storage.syncNames();
    }

    long sequence() {
        return sequence;
    }

    /** The bytes of the whole file. */
    long size() {
        return size(half);
    }

    /** The bytes of a file with halves of this size. */
    static long size(long half) {
        return BLOCK + 2 * half;
    }

    @Override
    public void close() throws IOException {
        region.close();
    }

    // ---- reading ----

    /**
     * Reads the journal without changing it.
     *
     * @throws ForeignFileException if the file is not a journal
     * @throws UnsupportedFormatException if a newer version wrote it
     * @throws CorruptJournalException if it is damaged anywhere but in its last batch
     */
    static Contents read(Storage storage, IdempotencyWindow window) throws IOException {
        return read(storage, window, Long.MAX_VALUE);
    }

    /**
     * Reads the journal with at most about {@code maxHeap} bytes of memory.
     *
     * @throws HeapTooSmallException if the content needs more
     */
    static Contents read(Storage storage, IdempotencyWindow window, long maxHeap) throws IOException {
        try (Storage.Region region = storage.open(FILE)) {
            Reader reader = new Reader(storage.locate(FILE), region);
            reader.maxHeap = maxHeap;
            return reader.read(window);
        }
    }

    /**
     * Reads all intact batches of a file without changing it. Each total in them is one that its
     * counter had.
     */
    static Salvage salvage(Storage storage) throws IOException {
        try (Storage.Region region = storage.open(FILE)) {
            return new Reader(storage.locate(FILE), region).salvage();
        }
    }

    /**
     * The intact part of a damaged journal.
     *
     * @param contents the largest total found for each counter
     * @param identityKnown whether the header is intact; if not, the identity is a new one
     * @param damaged one line for each damaged part
     */
    record Salvage(Contents contents, boolean identityKnown, List<String> damaged) {}

    private static final class Reader {
        private final String file;
        private final Storage.Region region;
        private long id;
        private long half;
        private boolean second; // whether the sequence is in the second half
        private long at; // where the next batch would be
        private long sequence; // of the last batch
        private long maxHeap = Long.MAX_VALUE;
        private int counters; // read so far
        private int keys;
        private long text; // the bytes of these counters and keys in a full batch

        Reader(String file, Storage.Region region) {
            this.file = file;
            this.region = region;
        }

        Contents read(IdempotencyWindow window) throws IOException {
            StoreIdentity identity = readHeader();
            byte[] first = readHead(BLOCK, BLOCK + half);
            byte[] other = readHead(BLOCK + half, BLOCK);
            if (first == null && other == null) {
                throw corrupt(BLOCK, "a full batch at the head of one half", "none, here or at byte " + (BLOCK + half));
            }
            second = first == null || (other != null && Batch.sequence(other, 0) > Batch.sequence(first, 0));
            byte[] batch = second ? other : first;
            at = BLOCK + (second ? half : 0);
            int counters = batch == null ? 0 : Math.min(Batch.counters(batch), Batch.length(batch, 0) / 10);
            Contents contents = new Contents(
                    identity, 0, new ConcurrentHashMap<>(Math.max(16, counters)), new RememberedKeys(window), 0, 0);
            follow(batch, contents);
            int discarded = scanBeyond(contents);
            return new Contents(identity, sequence, contents.cells(), contents.keys(), discarded, BLOCK + 2 * half);
        }

        /** Applies the batch and the batches that follow it in its half. */
        private void follow(byte @Nullable [] batch, Contents contents) throws IOException {
            long end = BLOCK + (second ? 2 * half : half);
            while (batch != null) {
                Batch.apply(batch, contents, file, at);
                int more = contents.cells().size() - counters + contents.keys().size() - keys;
                text += (long) Batch.length(batch, 0) * more / Math.max(1, Batch.counters(batch) + Batch.keys(batch));
                counters = contents.cells().size();
                keys = contents.keys().size();
                sequence = Batch.sequence(batch, 0);
                at += Batch.roundUp(Batch.length(batch, 0));
                batch = at < end ? readBatch(at, false) : null;
                if (batch != null && Batch.sequence(batch, 0) != sequence + 1) {
                    batch = null;
                }
            }
        }

        /**
         * Applies batches that a store in use has written since the sequence was read. Returns
         * whether that reached batch {@code wanted}.
         */
        private boolean reaches(long wanted, Contents contents) throws IOException {
            byte[] next = at < BLOCK + (second ? 2 * half : half) ? readBatch(at, false) : null;
            if (next == null) {
                long otherHalf = BLOCK + (second ? 0 : half);
                next = isIntact(otherHalf) ? readBatch(otherHalf, true) : null;
                if (next != null && Batch.sequence(next, 0) == sequence + 1) {
                    second = !second;
                    at = otherHalf;
                }
            }
            if (next != null && Batch.sequence(next, 0) == sequence + 1) {
                follow(next, contents);
            }
            return sequence >= wanted;
        }

        private CorruptJournalException corrupt(long offset, String expected, String found) {
            return new CorruptJournalException(file, offset, expected, found);
        }

        private StoreIdentity readHeader() throws IOException {
            long size = region.size();
            byte[] b = new byte[BLOCK];
            int present = (int) Math.min(BLOCK, size);
            readBlocks(0, b, 0, present, -1);
            if (present < 8 || (long) LONG.get(b, 0) != MAGIC) {
                throw new ForeignFileException(
                        file, present == 0 ? "is empty" : "begins with " + hex(b, Math.min(8, present)));
            }
            if (present < BLOCK) {
                throw corrupt(present, "a header of 4,096 bytes", "the end of the file");
            }
            if ((int) INT.get(b, 12) != headerChecksum(b)) {
                throw corrupt(0, "a header with a valid checksum", "an invalid checksum");
            }
            int version = (int) INT.get(b, 8);
            if (version > VERSION) {
                throw new UnsupportedFormatException(file, version, VERSION);
            }
            id = (long) LONG.get(b, 16);
            half = (long) LONG.get(b, 48);
            if (version < 1 || half < BLOCK || half % BLOCK != 0 || (int) INT.get(b, 56) != BLOCK) {
                throw corrupt(8, "version 1 and halves of whole blocks", "version " + version + ", halves of " + half);
            }
            if (size != BLOCK + 2 * half) {
                throw corrupt(
                        Math.min(size, BLOCK + 2 * half),
                        String.format(Locale.ROOT, "a file of %,d bytes", BLOCK + 2 * half),
                        String.format(Locale.ROOT, "one of %,d", size));
            }
            return new StoreIdentity(new UUID((long) LONG.get(b, 24), (long) LONG.get(b, 32)), (long) LONG.get(b, 40));
        }

        private static String hex(byte[] b, int length) {
            StringBuilder text = new StringBuilder("bytes");
            for (int i = 0; i < length; i++) {
                text.append(String.format(Locale.ROOT, " %02x", b[i]));
            }
            return text.toString();
        }

        /**
         * Returns the intact full batch at the head of a half, or null. Null also if the batch
         * cannot be read but is older than the full batch of the other half, because then nothing
         * depends on it.
         */
        private byte @Nullable [] readHead(long position, long ofOther) throws IOException {
            try {
                return readBatch(position, true);
            } catch (UnreadableException e) {
                byte[] other = e.claimed < 0 ? null : readBatch(ofOther, true);
                if (other != null && e.claimed < Batch.sequence(other, 0)) {
                    return null;
                }
                throw e;
            }
        }

        private void readBlocks(long position, byte[] target, int offset, int length, long claimed) throws IOException {
            try {
                region.read(position, target, offset, length);
            } catch (IOException e) {
                throw new UnreadableException(file, position, length, claimed, e);
            }
        }

        /**
         * Returns the intact batch that begins at {@code position}, or null. Only the batch at the
         * head of a half may be full.
         */
        private byte @Nullable [] readBatch(long position, boolean full) throws IOException {
            long room = BLOCK + (position < BLOCK + half ? half : 2 * half) - position;
            byte[] block = new byte[BLOCK];
            readBlocks(position, block, 0, BLOCK, -1);
            if (!Batch.looksLikeBatch(block, 0, id)) {
                return null;
            }
            int length = Batch.length(block, 0);
            if (length < Batch.HEADER || length > room || Batch.isFull(block) != full) {
                return null;
            }
            requireHeap(block);
            if (length > BLOCK) {
                block = Arrays.copyOf(block, length);
                readBlocks(position + BLOCK, block, BLOCK, length - BLOCK, Batch.sequence(block, 0));
            }
            return Batch.checksumHolds(block) ? block : null;
        }

        /**
         * Checks the memory that a batch needs before it is allocated: its counters and keys and,
         * briefly, twice their full batch.
         */
        private void requireHeap(byte[] batch) {
            int length = Batch.length(batch, 0);
            // The batch may be damaged, so no number may exceed what fits into the batch.
            long allCounters = counters + (long) Math.min(Math.max(Batch.counters(batch), 0), length / 10);
            long allKeys = keys + (long) Math.min(Math.max(Batch.keys(batch), 0), length / 30);
            long bytes = allCounters * COUNTER_HEAP + allKeys * KEY_HEAP + 2 * text + 3L * length;
            if (bytes > maxHeap) {
                throw new HeapTooSmallException(file, allCounters, allKeys, bytes, maxHeap);
            }
        }

        /**
         * Checks that the sequence really ends where it seems to end. If a store has the file open,
         * first follows the batches that it has written in the meantime.
         *
         * @return 1 if the sequence ends in a torn batch, otherwise 0
         */
        private int scanBeyond(Contents contents) throws IOException {
            int torn = 0;
            long breakAt = at < BLOCK + (second ? 2 * half : half) ? at : BLOCK + (second ? 0 : half);
            long end = BLOCK + 2 * half;
            byte[] piece = new byte[(int) Math.min(PIECE, 2 * half)];
            for (long start = BLOCK; start < end; start += piece.length) {
                int length = (int) Math.min(piece.length, end - start);
                readOrSkip(start, piece, length);
                for (int i = 0; i < length; i += BLOCK) {
                    if (!Batch.looksLikeBatch(piece, i, id) || Batch.sequence(piece, i) <= sequence) {
                        continue;
                    }
                    long position = start + i;
                    if (reaches(Batch.sequence(piece, i), contents)) {
                        continue;
                    }
                    boolean intact = isIntact(position);
                    if (intact || Batch.sequence(piece, i) > sequence + 1) {
                        throw corrupt(
                                breakAt,
                                "batch " + (sequence + 1),
                                "no intact batch, although batch " + Batch.sequence(piece, i) + " at byte "
                                        + String.format(Locale.ROOT, "%,d", position)
                                        + (intact ? " is" : " was begun after it"));
                    }
                    torn = 1;
                }
            }
            return torn;
        }

        /**
         * Fills {@code piece}. A block that cannot be read is replaced by zeros, because no batch
         * depends on it.
         */
        private void readOrSkip(long at, byte[] piece, int length) {
            try {
                region.read(at, piece, 0, length);
            } catch (IOException whole) {
                for (int i = 0; i < length; i += BLOCK) {
                    try {
                        region.read(at + i, piece, i, BLOCK);
                    } catch (IOException one) {
                        Arrays.fill(piece, i, i + BLOCK, (byte) 0);
                    }
                }
            }
        }

        private boolean isIntact(long position) {
            try {
                return readBatch(position, true) != null || readBatch(position, false) != null;
            } catch (IOException e) {
                return false;
            }
        }

        /** Reads all intact parts, whatever else is damaged. */
        Salvage salvage() throws IOException {
            @Nullable StoreIdentity identity;
            try {
                identity = readHeader();
            } catch (CorruptJournalException e) {
                identity = null;
                id = id == 0 ? idOfTheBatches() : id;
            }
            SortedMap<Long, Long> intact = new TreeMap<>(); // sequence to position
            List<String> damaged = new ArrayList<>();
            List<String> gaps = new ArrayList<>();
            long size = region.size();
            if (half < BLOCK || half % BLOCK != 0) {
                half = Math.max(0, (size - BLOCK) / 2 / BLOCK * BLOCK);
            }
            long last = Math.min(size, BLOCK + 2 * half) - BLOCK;
            for (long position = BLOCK; position <= last; position += BLOCK) {
                byte[] block = block(position);
                if (!Batch.looksLikeBatch(block, 0, id)) {
                    continue;
                }
                if (isIntact(position, size)) {
                    intact.put(Batch.sequence(block, 0), position);
                } else {
                    damaged.add(String.format(
                            Locale.ROOT, "batch %d at byte %,d is not intact", Batch.sequence(block, 0), position));
                }
            }
            Contents contents = new Contents(
                    identity == null ? new StoreIdentity(UUID.randomUUID(), 0) : identity,
                    intact.isEmpty() ? 0 : intact.lastKey(),
                    new ConcurrentHashMap<>(),
                    new RememberedKeys(IdempotencyWindow.LARGEST),
                    0,
                    size);
            long before = -1; // a gap is reported only if it comes after the newest full batch
            for (Map.Entry<Long, Long> batch : intact.entrySet()) {
                try {
                    Batch.apply(read(batch.getValue()), contents, file, batch.getValue());
                } catch (CorruptJournalException e) {
                    damaged.add(String.valueOf(e.getMessage()));
                }
                if (isFull(batch.getValue())) {
                    gaps.clear();
                } else if (batch.getKey() != before + 1) {
                    gaps.add("batches " + (before + 1) + " to " + (batch.getKey() - 1)
                            + " are missing; their adds are included where a later batch lists the same counter");
                }
                before = batch.getKey();
            }
            damaged.addAll(gaps);
            return new Salvage(contents, identity != null, damaged);
        }

        private long idOfTheBatches() throws IOException {
            long size = region.size();
            for (long position = BLOCK; position + BLOCK <= size; position += BLOCK) {
                byte[] block = block(position);
                long candidate = (long) LONG.get(block, 8);
                if (Batch.looksLikeBatch(block, 0, candidate) && isIntact(position, size)) {
                    return candidate;
                }
            }
            return 0;
        }

        private boolean isIntact(long position, long size) throws IOException {
            int length = Batch.length(block(position), 0);
            return length >= Batch.HEADER && length <= size - position && Batch.checksumHolds(read(position));
        }

        private boolean isFull(long position) throws IOException {
            return Batch.isFull(block(position));
        }

        private byte[] block(long position) throws IOException {
            byte[] b = new byte[BLOCK];
            region.read(position, b, 0, BLOCK);
            return b;
        }

        private byte[] read(long position) throws IOException {
            byte[] batch = new byte[Batch.length(block(position), 0)];
            region.read(position, batch, 0, batch.length);
            return batch;
        }
    }

    /** A part of the file cannot be read. */
    private static final class UnreadableException extends IOException {
        private static final long serialVersionUID = 1L;

        /** The sequence number of the batch, if its beginning could be read; otherwise -1. */
        private final long claimed;

        UnreadableException(String file, long position, int length, long claimed, IOException cause) {
            super(
                    String.format(
                            Locale.ROOT,
                            "%s cannot be read at byte %,d (%,d bytes): %s",
                            file,
                            position,
                            length,
                            cause),
                    cause);
            this.claimed = claimed;
        }
    }
}
