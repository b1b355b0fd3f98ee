// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreFullException;
import java.io.IOException;
import java.time.Duration;
import java.util.Locale;
import java.util.concurrent.locks.Condition;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Manages the journal in use and the room in it.
 *
 * <p><b>Admission.</b> A new counter or key is admitted only if a full batch with it fills at most
 * three quarters of a half. So a commit never finds the journal too small, and there is always room
 * for ordinary batches between two full ones: steady counting costs about the same however full the
 * journal is (G8 in {@code docs/durability.md}).
 *
 * <p><b>Growth</b> runs in the housekeeper, off the commit path. When a full batch would fill five
 * eighths of a half, the housekeeper writes a larger journal under another name, while commits go
 * on in the present one. It writes a full batch of everything durable, then batches of what has
 * become durable since, until few changes are left. The next commit adds these and renames the
 * file ({@link #takeOver}). Until then the present journal is untouched. If an attempt fails, adds
 * that need room are refused, all others go on, and growth is retried.
 *
 * <p><b>The next opening</b> writes a second journal before it deletes the present one. Growth
 * leaves enough free space for that.
 *
 * <p><b>Read-only.</b> If a store is opened without room for a new journal, it has no journal in
 * use. It serves reads and refuses adds, and the housekeeper retries.
 */
final class Room {

    /**
     * The size of a new half, as a multiple of a full batch. A larger one slows opening down; a
     * smaller one makes growth more frequent.
     */
    private static final long SPARE = 2;

    /** The smallest half, for a disk without room for a normal one. */
    private static final long LEAST_HALF = 64 << 10;

    /** Bytes left free for the directory, {@code count.txt} and the file system's own blocks. */
    private static final long SLACK = 64 << 10;

    /** The interval between checks of the free space while there is no room. */
    private static final long RETRY_NANOS = Duration.ofSeconds(1).toNanos();

    /**
     * The longest backoff after a journal could not be written although there seemed to be room.
     */
    private static final long LONGEST_RETRY_NANOS = Duration.ofMinutes(1).toNanos();

    /**
     * The number of changed counters and keys that may be left for the commit that switches to a
     * larger journal.
     */
    private static final int FEW = 256;

    /**
     * The largest number of rounds of catching up with commits before a commit must write the rest.
     */
    private static final int ROUNDS = 16;

    /** Why there is no room, and when to check again. */
    private record Shortage(
            long until, long waited, String why, @Nullable Throwable cause) {}

    private final Storage storage;
    private final String directory;
    private final StoreIdentity identity;
    private final LongSupplier nanoTime;
    private final long minHalf;
    private final Ledger ledger;
    private final Condition attempted;
    private final Batch batch =
            new Batch(); // used by the housekeeper; while there is a successor, by the committing thread

    private volatile @Nullable Journal successor; // a filled journal that lacks only the changes since then
    private volatile boolean wanted; // whether a larger journal is needed, or a first one
    private volatile @Nullable Shortage shortage;

    // Guarded by the ledger's lock; only the committing thread changes the journal.
    private volatile @Nullable Journal journal;
    private @Nullable Journal retired; // replaced and still open
    private long foundBytes; // size of the journal found when opening, while none is in use
    private long foundSequence; // of its last batch
    private volatile long attempts; // how often writing a larger or first journal was attempted
    private volatile boolean ended;
    private long growths;

    Room(
            Storage storage,
            String directory,
            StoreIdentity identity,
            LongSupplier nanoTime,
            long minHalf,
            Ledger ledger) {
        this.storage = storage;
        this.directory = directory;
        this.identity = identity;
        this.nanoTime = nanoTime;
        this.minHalf = minHalf;
        this.ledger = ledger;
        this.attempted = ledger.lock.newCondition();
    }

    // ---- admission ----

    /** Returns the journal in use, or null while the store is open for reading only. */
    @Nullable
    Journal journal() {
        return journal;
    }

    /** Whether there is a journal in use. */
    boolean isWritable() {
        return journal != null;
    }

    /**
     * Whether a full batch may grow to that many bytes. Requests growth if room gets tight ({@link
     * #isGrowing}). The caller holds the ledger's lock.
     *
     * @return false if the caller must wait until growth has been attempted
     * @throws StoreFullException if there is no room, and the next attempt to grow is not due yet
     */
    boolean admits(long fullBatchBytes) {
        Journal current = journal;
        long half = current == null ? 0 : current.half();
        if (fullBatchBytes <= half / 8 * 5) {
            return true;
        }
        wanted = true;
        if (fullBatchBytes <= half / 4 * 3) {
            return true;
        }
        if (isShort()) {
            throw refusal();
        }
        return false;
    }

    private boolean isShort() {
        Shortage current = shortage;
        return current != null && nanoTime.getAsLong() - current.until < 0;
    }

    /** Returns the exception for an add that is refused for lack of room. */
    StoreFullException refusal() {
        Shortage current = shortage;
        return new StoreFullException(
                (isWritable() ? "there is no room for a larger journal in " : "there is no room for a new journal in ")
                        + directory + ": "
                        + (current == null ? "it is being written" : current.why)
                        + "; nothing was added; the add succeeds once there is room",
                current == null ? null : current.cause);
    }

    /** Whether growth is about to be attempted. */
    boolean isGrowing() {
        return wanted && !isShort();
    }

    /** Returns how often growth has been attempted, for {@link #awaitAttempt}. */
    long attempts() {
        return attempts;
    }

    /**
     * Waits until growth has been attempted since {@link #attempts} returned {@code seen}, or the
     * store has ended. Keeps the interrupt status.
     */
    void awaitAttempt(long seen) {
        ledger.lock.lock();
        try {
            while (attempts == seen && !ended) {
                attempted.awaitUninterruptibly();
            }
        } finally {
            ledger.lock.unlock();
        }
    }

    // ---- opening ----

    /**
     * Writes the first journal and starts to use it.
     *
     * @param found the size of the journal that was read; 0 if there was none. If there was one but
     *     there is no room for another, the store opens for reading only
     */
    void open(long found, long sequence) throws IOException {
        foundBytes = found;
        foundSequence = sequence;
        if (storage.exists(Journal.NEW_FILE)) { // left over from a crash; it may be what fills the disk
            storage.delete(Journal.NEW_FILE);
        }
        long needed = ledger.fullBatchBytes();
        long half = halfFor(needed, free(), found);
        long least = leastHalf(needed);
        try {
            first(half < 0 ? least : half, sequence);
        } catch (IOException e) {
            if (!storage.isOutOfSpace(e)) {
                throw e;
            }
            try {
                if (half <= least) {
                    throw e;
                }
                first(least, sequence);
            } catch (IOException again) {
                if (!storage.isOutOfSpace(again) || found == 0) {
                    throw again;
                }
                wanted = true;
                fail(e, false);
            }
        }
    }

    private void first(long half, long sequence) throws IOException {
        Journal first = fill(half, sequence);
        boolean named = false;
        try {
            first.activate();
            named = true;
        } finally {
            if (!named) {
                first.abandon();
            }
        }
        ledger.forgetChanges();
        journal = first;
    }

    // ---- growing, in the housekeeper's thread ----

    /** Grows the journal if growth was requested; a {@link Housekeeper.Task}. */
    long keep(GroupCommit commits) {
        Shortage current = shortage;
        if (!wanted || ended) {
            return Housekeeper.Task.WHEN_WOKEN;
        }
        if (current != null && isShort()) {
            return current.until - nanoTime.getAsLong();
        }
        try {
            grow(commits);
        } catch (IOException | RuntimeException | Error e) { // the journal in use is untouched
            fail(e, true);
        } finally {
            endAttempt();
        }
        closeRetired();
        return wanted ? RETRY_NANOS : Housekeeper.Task.WHEN_WOKEN;
    }

    private void endAttempt() {
        ledger.lock.lock();
        try {
            long before = attempts;
            attempts = before + 1;
            attempted.signalAll();
        } finally {
            ledger.lock.unlock();
        }
    }

    private void grow(GroupCommit commits) throws IOException {
        Journal current = journal;
        long needed;
        ledger.lock.lock();
        try {
            needed = ledger.fullBatchBytes();
        } finally {
            ledger.lock.unlock();
        }
        long present = current == null ? 0 : current.half();
        if (current != null && roomyHalf(needed) <= present) {
            wanted = false;
            return;
        }
        long free = free();
        long half = halfFor(needed, free, current == null ? foundBytes : current.size());
        if (half < 0 && current == null && free >= Journal.size(leastHalf(needed))) {
            half = leastHalf(needed); // counting without room for the next opening is better than not counting
        }
        if (half <= present + present / 8) {
            shortage = new Shortage(
                    nanoTime.getAsLong() + RETRY_NANOS,
                    RETRY_NANOS,
                    String.format(
                            Locale.ROOT,
                            "%,d bytes are free, but this journal and the one for the next opening need %,d",
                            free,
                            2 * Journal.size(leastHalf(Math.max(needed, present)))),
                    null);
            return;
        }
        successor = fill(half, current == null ? foundSequence : current.sequence());
        try {
            commits.flush(); // this commit switches to the new journal
        } catch (OutcomeUnknownException e) {
            // The store has failed.
        }
        Journal left = successor;
        if (left != null) { // the store has failed or is closed
            successor = null;
            left.abandon();
        }
    }

    /**
     * Records a failed attempt. With {@code backOff}, the wait before the next attempt doubles, up
     * to {@link #LONGEST_RETRY_NANOS}.
     */
    private void fail(Throwable e, boolean backOff) {
        Shortage last = shortage;
        long wait = backOff && last != null ? Math.min(2 * last.waited, LONGEST_RETRY_NANOS) : RETRY_NANOS;
        shortage = new Shortage(nanoTime.getAsLong() + wait, wait, String.valueOf(e), e);
    }

    private long roomyHalf(long fullBatchBytes) {
        return Math.max(minHalf, Batch.roundUp(SPARE * fullBatchBytes));
    }

    private long leastHalf(long fullBatchBytes) {
        return Math.max(Math.min(minHalf, LEAST_HALF), Batch.roundUp(fullBatchBytes + fullBatchBytes / 3 + 4));
    }

    /**
     * Returns the size of a half of a new journal, or -1 if there is no room. There must be room
     * for the new journal while the present one still exists and, once the present one is deleted,
     * for another of the new size at the next opening.
     */
    private long halfFor(long fullBatchBytes, long free, long present) {
        long roomy = roomyHalf(fullBatchBytes);
        long bytes = Math.min(free, free / 2 + present / 2) - SLACK;
        if (bytes >= Journal.size(roomy)) {
            return roomy;
        }
        long most = (bytes / 2 - Batch.BLOCK) / Batch.BLOCK * Batch.BLOCK;
        return most >= leastHalf(fullBatchBytes) ? most : -1;
    }

    private long free() throws IOException {
        return storage.freeSpace();
    }

    /**
     * Returns a new journal with everything that is durable now or a little later. The file does
     * not have its final name yet.
     */
    private Journal fill(long half, long sequence) throws IOException {
        Journal filled = Journal.prepare(storage, identity, half, sequence);
        try {
            ledger.noteChanges(batch);
            filled.append(batch);
            for (int round = 0; round < ROUNDS && ledger.changes() > FEW && !ended; round++) {
                ledger.takeChanges(batch);
                if (!filled.fits(batch.paddedLength())) {
                    ledger.noteChanges(batch);
                }
                filled.append(batch);
            }
            return filled;
        } catch (IOException | RuntimeException | Error e) {
            discard(filled, e);
            throw e;
        } finally {
            batch.clear(false);
        }
    }

    private void discard(Journal unnamed, Throwable why) {
        ledger.forgetChanges();
        try (unnamed) {
            storage.delete(Journal.NEW_FILE); // it may be what fills the disk
        } catch (IOException e) {
            why.addSuppressed(e);
        }
    }

    private void closeRetired() {
        Journal old;
        ledger.lock.lock();
        try {
            old = retired;
            retired = null;
        } finally {
            ledger.lock.unlock();
        }
        if (old != null) {
            try {
                old.close(); // frees the blocks of the file, which may take a while
            } catch (IOException e) {
                // Harmless: its successor has all its content.
            }
        }
    }

    // ---- taking over, in the committing thread ----

    /**
     * Switches to a larger journal if there is one. Runs before a commit takes any adds. At that
     * moment everything durable is in the present journal; afterwards it is in the larger one too.
     *
     * @throws IOException if it is unknown which of the two journals has the name; then nothing may
     *     be written any more
     */
    void takeOver() throws IOException {
        Journal next = successor;
        if (next == null) {
            return;
        }
        successor = null;
        boolean decided = false;
        try {
            try {
                catchUp(next);
            } catch (IOException e) {
                decided = true;
                discard(next, e);
                fail(e, true);
                return;
            }
            try {
                storage.replace(Journal.NEW_FILE, Journal.FILE);
            } catch (IOException e) {
                storage.requireHeld();
                if (!storage.exists(Journal.NEW_FILE)) {
                    throw e;
                }
                decided = true;
                discard(next, e);
                fail(e, true);
                return;
            }
            storage.syncNames();
            decided = true;
        } finally {
            if (!decided) {
                next.close();
            }
        }
        ledger.forgetChanges();
        ledger.lock.lock();
        try {
            retired = journal;
            growths += retired == null ? 0 : 1;
            journal = next;
            wanted = false;
            shortage = null;
        } finally {
            ledger.lock.unlock();
        }
    }

    /**
     * Writes the changes since the journal was filled, twice. The last batch of a journal can be
     * damaged without detection, because it then looks torn. Written twice, adds that were
     * acknowledged long ago are never only in the last batch.
     */
    private void catchUp(Journal next) throws IOException {
        ledger.takeChanges(batch);
        if (batch.isEmpty()) {
            return;
        }
        if (!next.fits(2 * batch.paddedLength())) {
            ledger.noteChanges(batch);
        }
        next.append(batch);
        next.append(batch);
        batch.clear(false);
    }

    // ---- the end ----

    /** Releases all callers that wait for room. Idempotent. */
    void end() {
        ledger.lock.lock();
        try {
            ended = true;
            attempted.signalAll();
        } finally {
            ledger.lock.unlock();
        }
    }

    /** Closes the files. Call it only when no commit and no task is running any more. */
    void close() throws IOException {
        closeRetired();
        Journal current = journal;
        if (current != null) {
            current.close();
        }
    }

    /**
     * Returns how often a larger journal has replaced the one in use. The caller holds the ledger's
     * lock.
     */
    long growths() {
        return growths;
    }
}
