// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The idempotency keys inside the window, in the order in which they were applied. A key expires
 * when it is older than the window's age. A key is evicted before that if the window is full and a
 * newer key needs its place.
 *
 * <p><b>The clock</b> for ages runs only while the store is open. It starts at the time of the
 * newest key or, without keys, at the system time. So a step of the system clock in either
 * direction neither drops a key nor keeps one indefinitely. The time while the store was closed is
 * unknown and does not count: keys are kept too long rather than forgotten too early.
 *
 * <p>Not thread-safe: guarded by the ledger's lock.
 */
final class RememberedKeys {

    /** An add with a key: the request and its result. */
    record Entry(String key, int keyLength, Counter cell, long amount, long total, long appliedAt) {}

    private final IdempotencyWindow window;
    private final Map<String, Entry> entries = new LinkedHashMap<>();
    private long bytes;
    private long newest = Long.MIN_VALUE; // when the newest entry was applied
    private LongSupplier clock = () -> newest;

    RememberedKeys(IdempotencyWindow window) {
        this.window = window;
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
        long oldest = now - window.maxAge().toMillis();
        Iterator<Entry> eldestFirst = entries.values().iterator();
        while (eldestFirst.hasNext()) {
            Entry eldest = eldestFirst.next();
            if (eldest.appliedAt >= oldest) {
                break;
            }
            eldestFirst.remove();
            bytes -= Batch.keyLength(eldest.keyLength);
        }
        return now;
    }

    @Nullable
    Entry find(String key) {
        return entries.get(key);
    }

    /**
     * Remembers an entry as the newest. It replaces an older entry with the same key.
     *
     * @return whether another key was evicted before it expired
     */
    boolean put(Entry entry) {
        newest = Math.max(newest, entry.appliedAt);
        Entry former = entries.remove(entry.key);
        boolean evicts = former == null && entries.size() == window.maxKeys();
        if (former != null) {
            bytes -= Batch.keyLength(former.keyLength);
        } else if (evicts) {
            Iterator<Entry> eldestFirst = entries.values().iterator();
            bytes -= Batch.keyLength(eldestFirst.next().keyLength);
            eldestFirst.remove();
        }
        entries.put(entry.key, entry);
        bytes += Batch.keyLength(entry.keyLength);
        return evicts;
    }

    /**
     * Returns by how many bytes a new key of that length enlarges a full batch. The key may evict
     * another one.
     */
    long growth(int keyLength) {
        long added = Batch.keyLength(keyLength);
        return entries.size() < window.maxKeys()
                ? added
                : added - Batch.keyLength(entries.values().iterator().next().keyLength);
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
