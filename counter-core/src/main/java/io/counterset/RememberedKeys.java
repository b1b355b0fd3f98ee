package io.counterset;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The idempotency keys inside the window, oldest first in the order in which they were applied. A key leaves when it is
 * older than the window's age, or when a newer one needs its place, which ends a promise early.
 *
 * <p><b>The clock</b> that ages are taken from runs only while the store is open. It begins at the newest key's time or,
 * where there is no key, at the system's time. So no step of the system's clock, in either direction, forgets a key or
 * keeps one for ever; and a key is kept rather than forgotten where nobody can tell how long the store was closed.
 *
 * <p>Not thread-safe: guarded by the ledger's lock.
 */
final class RememberedKeys {

    /** An add that carried a key: what was asked for, and the answer it got. */
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
     * Lets time pass from now on.
     *
     * @param currentMillis the system's time: where the clock begins if there is no key
     * @param nanoTime what it goes on by
     */
    void start(long currentMillis, LongSupplier nanoTime) {
        long begin = entries.isEmpty() ? currentMillis : newest;
        long began = nanoTime.getAsLong();
        clock = () -> begin + (nanoTime.getAsLong() - began) / 1_000_000;
    }

    /** Evicts what has expired; returns the time to note for a new entry. */
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
     * Remembers an entry as the newest, in place of an older one of the same key.
     *
     * @return whether another one, not yet expired, was evicted for it
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

    /** By how many bytes a full batch grows with a new key of that length, which may evict another. */
    long growth(int keyLength) {
        long added = Batch.keyLength(keyLength);
        return entries.size() < window.maxKeys()
                ? added
                : added - Batch.keyLength(entries.values().iterator().next().keyLength);
    }

    /** What the entries take in a full batch. */
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
