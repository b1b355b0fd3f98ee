package io.counterset;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The idempotency keys inside the window, oldest first in the order in which they were applied. A key leaves when it is
 * older than the window's age, or when a newer one needs its place, which ends a promise early.
 *
 * <p>Ages are taken from a clock that never goes back: setting the system's clock back makes no key younger, and
 * forgets none. Not thread-safe: guarded by the store's lock.
 */
final class RememberedKeys {

    /** An add that carried a key: what was asked for, and the answer it got. */
    record Entry(String key, int keyLength, Counter cell, long amount, long total, long appliedAt) {}

    private final IdempotencyWindow window;
    private final Map<String, Entry> entries = new LinkedHashMap<>();
    private long bytes;
    private long now = Long.MIN_VALUE;

    RememberedKeys(IdempotencyWindow window) {
        this.window = window;
    }

    /** Moves the clock on, never back, and forgets what has come of age; returns the time to note for a new entry. */
    long advance(long currentMillis) {
        now = Math.max(now, currentMillis);
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
     * @return whether another one, not yet of age, had to go for it
     */
    boolean put(Entry entry) {
        now = Math.max(now, entry.appliedAt);
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
