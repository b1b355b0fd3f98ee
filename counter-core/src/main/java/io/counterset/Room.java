package io.counterset;

import io.counterset.CounterStoreException.StoreFullException;
import java.io.IOException;
import java.time.Duration;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The journal in use, and how much fits it.
 *
 * <p>A new counter or key is admitted only if a full batch with it still fits half the journal, so a commit never finds
 * the journal too small. When a full batch would fill three quarters of it, a larger journal takes its place; if the
 * disk has no room for that, what needs it is refused before anything was added, and the rest goes on (G8).
 */
final class Room {

    /** A new journal's half is this many times what it must hold. More would make opening slower, less growing more frequent. */
    private static final long SPARE = 2;

    /** While there is no room to grow, growing is tried again at most this often. */
    private static final long RETRY_NANOS = Duration.ofSeconds(1).toNanos();

    private record Shortage(long since, IOException cause) {}

    private final Storage storage;
    private final String directory;
    private final StoreIdentity identity;
    private final LongSupplier nanoTime;
    private final long minHalf;
    private volatile boolean growthWanted;
    private volatile @Nullable Shortage shortage; // since the last attempt to grow, if that failed
    private Journal journal; // replaced by the committing thread, under the ledger's lock

    /** Prepares the first journal. It has no batch and no name yet. */
    Room(
            Storage storage,
            String directory,
            StoreIdentity identity,
            LongSupplier nanoTime,
            long minHalf,
            Ledger ledger,
            long sequence)
            throws IOException {
        this.storage = storage;
        this.directory = directory;
        this.identity = identity;
        this.nanoTime = nanoTime;
        this.minHalf = minHalf;
        this.journal = Journal.prepare(storage, identity, roomyHalf(ledger.fullBatchBytes()), sequence);
    }

    private long roomyHalf(long fullBatchBytes) {
        return Math.max(minHalf, Batch.roundUp(SPARE * fullBatchBytes));
    }

    /** Returns the journal in use. */
    Journal journal() {
        return journal;
    }

    /**
     * Whether a full batch of so many bytes fits the journal. If it gets tight, the next commit grows it. Under the
     * ledger's lock.
     *
     * @return false if the caller should wait for that commit
     * @throws StoreFullException if growing has just failed for lack of room
     */
    boolean admits(long fullBatchBytes) {
        if (fullBatchBytes <= journal.half() / 4 * 3) {
            return true;
        }
        Shortage current = shortage;
        boolean retry = current == null || nanoTime.getAsLong() - current.since >= RETRY_NANOS;
        if (retry) {
            growthWanted = true;
        }
        if (fullBatchBytes <= journal.half()) {
            return true;
        }
        if (current != null && !retry) {
            throw new StoreFullException(
                    "the disk has no room for a larger journal in " + directory + ": " + current.cause
                            + "; nothing was added, what is there stays, and there will be room once some is freed",
                    current.cause);
        }
        return false;
    }

    boolean isGrowthWanted() {
        return growthWanted;
    }

    /**
     * Returns a new journal with more room, or null if there is no need or no room for one. Called by the committing
     * thread.
     */
    @Nullable
    Journal prepareLarger(long fullBatchBytes) throws IOException {
        growthWanted = false;
        long half = roomyHalf(fullBatchBytes);
        if (half <= journal.half()) {
            return null;
        }
        try {
            Journal larger = Journal.prepare(storage, identity, half, journal.sequence());
            shortage = null;
            return larger;
        } catch (IOException e) {
            if (!storage.isOutOfSpace(e)) {
                throw e;
            }
            shortage = new Shortage(nanoTime.getAsLong(), e);
            return null;
        }
    }

    /** Takes a larger journal, which has a full batch and its name, into use. Under the ledger's lock. */
    void moveTo(Journal larger) {
        journal = larger;
    }
}
