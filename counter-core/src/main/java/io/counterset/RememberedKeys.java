// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The idempotency keys inside the window, in the order in which they were applied. A key expires
 * when it is older than the window's age. A key is evicted before that if the window is full and a
 * newer key needs its place.
 *
 * <p><b>Shares.</b> Each key belongs to the share of the source that sent it. The evicted key is
 * the oldest one of the largest share, so a source with many keys evicts its own. Keys read from a
 * journal belong to share 0.
 *
 * <p><b>The clock</b> for ages runs only while the store is open. It starts at the time of the
 * newest key or, without keys, at the system time. So a step of the system clock in either
 * direction neither drops a key nor keeps one indefinitely. The time while the store was closed is
 * unknown and does not count: keys are kept too long rather than forgotten too early.
 *
 * <p>Not thread-safe: guarded by the ledger's lock.
 */
final class RememberedKeys {

    /** The time, in a journal, of an entry whose key was evicted although it was not the oldest. */
    static final long EVICTED = Long.MIN_VALUE;

    private static final int SHARE_BITS = 12;

    /** An add with a key: the request and its result. */
    static final class Entry {

        private final String key;
        private final int keyLength;
        private final Counter cell;
        private final long amount;
        private final long total;
        private final long appliedAt;
        private final int share;
        private @Nullable Entry older; // neighbours within the share
        private @Nullable Entry newer;

        Entry(String key, int keyLength, Counter cell, long amount, long total, long appliedAt, int share) {
            this.key = key;
            this.keyLength = keyLength;
            this.cell = cell;
            this.amount = amount;
            this.total = total;
            this.appliedAt = appliedAt;
            this.share = share;
        }

        /** Creates an entry of share 0. */
        Entry(String key, int keyLength, Counter cell, long amount, long total, long appliedAt) {
            this(key, keyLength, cell, amount, total, appliedAt, 0);
        }

        String key() {
            return key;
        }

        int keyLength() {
            return keyLength;
        }

        Counter cell() {
            return cell;
        }

        long amount() {
            return amount;
        }

        long total() {
            return total;
        }

        long appliedAt() {
            return appliedAt;
        }

        /**
         * Returns the record of this entry's eviction. The journal lists it directly before {@code
         * newest}, the entry that took its place.
         */
        Entry evictedFor(Entry newest) {
            return new Entry(key, keyLength, newest.cell, newest.amount, newest.total, EVICTED);
        }
    }

    /** The entries of all sources with the same share number, oldest first. */
    private static final class Share {

        private static final Comparator<Share> LARGEST_FIRST = Comparator.comparingInt((Share share) -> -share.size)
                .thenComparingLong(share -> share.oldest == null ? 0 : share.oldest.appliedAt)
                .thenComparingInt(share -> share.number);

        final int number;
        int size;

        @Nullable
        Entry oldest;

        @Nullable
        Entry newest;

        Share(int number) {
            this.number = number;
        }

        void append(Entry entry) {
            entry.older = newest;
            if (newest == null) {
                oldest = entry;
            } else {
                newest.newer = entry;
            }
            newest = entry;
            size++;
        }

        void remove(Entry entry) {
            if (entry.older == null) {
                oldest = entry.newer;
            } else {
                entry.older.newer = entry.newer;
            }
            if (entry.newer == null) {
                newest = entry.older;
            } else {
                entry.newer.older = entry.older;
            }
            size--;
        }
    }

    private final IdempotencyWindow window;
    private final Map<String, Entry> entries = new LinkedHashMap<>();
    private final @Nullable Share[] shares = new @Nullable Share[1 << SHARE_BITS];
    private final TreeSet<Share> ranked = new TreeSet<>(Share.LARGEST_FIRST); // without empty shares
    private long bytes;
    private long newest = Long.MIN_VALUE; // when the newest entry was applied
    private LongSupplier clock = () -> newest;

    RememberedKeys(IdempotencyWindow window) {
        this.window = window;
    }

    /** Returns the share number of a source: 0 for source 0, otherwise a hash. */
    static int share(long source) {
        return (int) ((source * 0x9e3779b97f4a7c15L) >>> (Long.SIZE - SHARE_BITS));
    }

    /**
     * Starts the clock.
     *
     * @param currentMillis the system time, at which the clock starts if there is no key
     * @param nanoTime the clock that measures elapsed time
     */
    void start(long currentMillis, LongSupplier nanoTime) {
        long begin = entries.isEmpty() ? currentMillis : newest;
        long began = nanoTime.getAsLong();
        clock = () -> begin + (nanoTime.getAsLong() - began) / 1_000_000;
    }

    /** Removes the expired keys and returns the time for a new entry. */
    long advance() {
        long now = clock.getAsLong();
        long expired = now - window.maxAge().toMillis();
        for (Entry oldest = oldest(); oldest != null && oldest.appliedAt < expired; oldest = oldest()) {
            remove(oldest.key);
        }
        return now;
    }

    /** Returns the entry that was applied first, or null if there is none. */
    @Nullable
    Entry oldest() {
        return entries.isEmpty() ? null : entries.values().iterator().next();
    }

    @Nullable
    Entry find(String key) {
        return entries.get(key);
    }

    /**
     * Remembers an entry as the newest.
     *
     * @return the entry that was evicted for it before it expired, or null
     */
    @Nullable
    Entry put(Entry entry) {
        Entry evicted = evictedFor(entry.share);
        if (evicted != null) {
            remove(evicted.key);
        }
        append(entry);
        return evicted;
    }

    /**
     * Appends an entry that was read. It replaces an older entry with the same key. Call {@link
     * #trim} after the last one.
     */
    void append(Entry entry) {
        newest = Math.max(newest, entry.appliedAt);
        remove(entry.key);
        entries.put(entry.key, entry);
        bytes += Batch.keyLength(entry.keyLength);
        Share share = shares[entry.share];
        if (share == null) {
            share = new Share(entry.share);
            shares[entry.share] = share;
        }
        ranked.remove(share);
        share.append(entry);
        ranked.add(share);
    }

    /** Evicts the oldest keys until the rest fit the window. */
    void trim() {
        for (Entry oldest = oldest(); oldest != null && entries.size() > window.maxKeys(); oldest = oldest()) {
            remove(oldest.key);
        }
    }

    /** Removes a key if it is remembered. */
    void remove(String key) {
        Entry entry = entries.remove(key);
        Share share = entry == null ? null : shares[entry.share];
        if (entry != null && share != null) {
            bytes -= Batch.keyLength(entry.keyLength);
            ranked.remove(share);
            share.remove(entry);
            if (share.size > 0) {
                ranked.add(share);
            }
        }
    }

    /**
     * Returns the entry that a new key of that share evicts: the oldest of the largest share, or
     * null if there is room.
     */
    private @Nullable Entry evictedFor(int share) {
        if (entries.size() < window.maxKeys()) {
            return null;
        }
        Share own = shares[share];
        Share largest = ranked.first();
        return (own != null && own.size == largest.size ? own : largest).oldest;
    }

    /**
     * Returns by how many bytes a new key of that length and share enlarges a full batch. The key
     * may evict another one.
     */
    long growth(int keyLength, int share) {
        Entry evicted = evictedFor(share);
        return Batch.keyLength(keyLength) - (evicted == null ? 0 : Batch.keyLength(evicted.keyLength));
    }

    /** Returns the bytes of all entries in a full batch. */
    long bytes() {
        return bytes;
    }

    int size() {
        return entries.size();
    }

    List<Entry> list() {
        return new ArrayList<>(entries.values());
    }
}
