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
 * The journal in use, and the room in it.
 *
 * <p><b>Admission.</b> A new counter or key is admitted only while a full batch with it fills at most three quarters of
 * a half. So a commit never finds the journal too small, and between two full batches there is always room for
 * ordinary ones: steady counting costs about the same however full the journal is (G8).
 *
 * <p><b>Growth</b> is the housekeeper's, off the commit path. When a full batch would fill five eighths of a half, it
 * writes a larger journal under another name while commits go on in the present one: a full batch of what is durable,
 * then batches of what has become durable since, until few counters are left. The next commit adds these and gives the
 * file its name ({@link #takeOver}). Until then the present journal is untouched, so a failed attempt has no effect but
 * that the journal has not grown: adds that need room are refused, all others go on, and growth is retried.
 *
 * <p><b>The next opening</b> writes a second journal before it deletes the present one. Growth leaves room for that.
 *
 * <p><b>Read-only.</b> If a store is opened without room for a new journal, no journal is in use: the store answers reads
 * and refuses adds, and the housekeeper retries.
 */
final class Room {

    /** The size of a new half, as a multiple of a full batch. More would slow opening down, less would make growth more frequent. */
    private static final long SPARE = 2;

    /** The smallest half, where the disk has no room for a usual one. */
    private static final long LEAST_HALF = 64 << 10;

    /** Bytes left free for the blocks of a directory, of {@code count.txt} and of the file system itself. */
    private static final long SLACK = 64 << 10;

    /** How often free space is checked while there is no room. */
    private static final long RETRY_NANOS = Duration.ofSeconds(1).toNanos();

    /** The longest backoff after a journal could not be written although there seemed to be room. */
    private static final long LONGEST_RETRY_NANOS = Duration.ofMinutes(1).toNanos();

    /** The number of changed counters and keys that the commit which takes a larger journal into use may have to write. */
    private static final int FEW = 256;

    /** Rounds of catching up with commits, before a commit has to write the rest. */
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
    private final Batch batch = new Batch(); // the housekeeper's; with a successor, the committing thread's

    private volatile @Nullable Journal successor; // filled; lacks only the changes since then
    private volatile boolean wanted;
    private volatile @Nullable Shortage shortage;

    // Guarded by the ledger's lock; only the committing thread changes the journal.
    private volatile @Nullable Journal journal;
    private @Nullable Journal retired; // replaced and still open
    private long foundBytes; // size of the journal that was found, while none is in use
    private volatile long attempts;
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
     * Whether a full batch may reach that many bytes. Requests growth if room gets tight ({@link #isGrowing}). Under the
     * ledger's lock.
     *
     * @return false if the caller should wait until growth has been attempted
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

    /** Returns why an add that needs room is refused. */
    StoreFullException refusal() {
        Shortage current = shortage;
        return new StoreFullException(
                (isWritable() ? "there is no room for a larger journal in " : "there is no room for a new journal in ")
                        + directory + ": "
                        + (current == null ? "it is being written" : current.why)
                        + "; nothing was added, what is there stays, and the add succeeds once there is room",
                current == null ? null : current.cause);
    }

    /** Whether growing is about to be attempted. */
    boolean isGrowing() {
        return wanted && !isShort();
    }

    /** How often growing has been attempted: what to give to {@link #awaitAttempt}. */
    long attempts() {
        return attempts;
    }

    /** Returns once growing has been attempted since {@code seen}, or the store has ended. An interrupt is kept. */
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
     * Writes the first journal and takes it into use.
     *
     * @param found bytes of the journal that was read, 0 if there was none. If there was one and there is no room for
     *     another, the store opens for reading only
     */
    void open(long found, long sequence) throws IOException {
        foundBytes = found;
        if (storage.exists(Journal.NEW_FILE)) { // what a crash left there may be what fills the disk
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
                first.close();
            }
        }
        ledger.forgetChanges();
        journal = first;
    }

    // ---- growing, in the housekeeper's thread ----

    /** Makes a larger journal if one is wanted; a {@link Housekeeper.Task}. */
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
            half = leastHalf(needed); // rather counting without room for the next opening than not counting
        }
        if (half <= present + present / 8) {
            shortage = new Shortage(
                    nanoTime.getAsLong() + RETRY_NANOS,
                    RETRY_NANOS,
                    String.format(
                            Locale.ROOT,
                            "%,d bytes are free, of %,d for it and for one more at the next opening",
                            free,
                            2 * Journal.size(leastHalf(Math.max(needed, present)))),
                    null);
            return;
        }
        successor = fill(half, current == null ? 0 : current.sequence());
        try {
            commits.flush(); // the commit takes it over
        } catch (OutcomeUnknownException e) {
            // The store has failed.
        }
        Journal left = successor;
        if (left != null) { // the store has failed or closed
            successor = null;
            left.close();
        }
    }

    /** Records a failed attempt. With {@code backOff}, the wait before the next attempt doubles. */
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
     * Returns the size of a half of a new journal, or -1 if there is no room. There must be room for the new journal
     * beside the present one and, once the present one is deleted, for another of the new size at the next opening.
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

    /** Returns a new journal that has everything that is durable now, or a little later. It has no name yet. */
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
                old.close(); // which frees its blocks, and may take a while
            } catch (IOException e) {
                // Its successor has all of its content.
            }
        }
    }

    // ---- taking over, in the committing thread ----

    /**
     * Takes a larger journal into use if there is one. Runs before anything is taken for a commit, so everything durable
     * is in the present journal and afterwards in the larger one too.
     *
     * @throws IOException if it is unknown which of the two journals has the name; nothing may be written any more
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
     * Writes the changes since the journal was filled, and writes them twice: a damaged last batch of a journal passes for
     * a torn one, and must not lose adds that were acknowledged long ago.
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

    /** Releases the callers that wait for room. Idempotent. */
    void end() {
        ledger.lock.lock();
        try {
            ended = true;
            attempted.signalAll();
        } finally {
            ledger.lock.unlock();
        }
    }

    /** Closes the files. Call it when nothing commits and no task runs any more. */
    void close() throws IOException {
        closeRetired();
        Journal current = journal;
        if (current != null) {
            current.close();
        }
    }

    /** How often a larger journal took the place of the present one. Under the ledger's lock. */
    long growths() {
        return growths;
    }
}
