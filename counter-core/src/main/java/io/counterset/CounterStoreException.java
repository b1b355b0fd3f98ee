package io.counterset;

import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Why a {@link CounterStore} could not be opened ({@link OpenException}) or an add was not acknowledged ({@link AddException}); a full
 * disk can be the reason of either ({@link StoreFullException}). Each failure is a nested class of its own; {@link #outcome()} says what
 * became of the add. Arguments outside the documented range are
 * {@link IllegalArgumentException}s; those never change anything.
 */
public abstract sealed class CounterStoreException extends RuntimeException
        permits CounterStoreException.OpenException,
                CounterStoreException.AddException,
                CounterStoreException.StoreFullException {

    private static final long serialVersionUID = 1L;

    /** What became of the add that failed. */
    public enum Outcome {
        /** Nothing was added, now or after a restart. */
        NOT_APPLIED,
        /** The add may or may not be there after a restart. Only an idempotency key makes a retry safe. */
        UNKNOWN
    }

    CounterStoreException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }

    /** Returns what became of the add; {@link Outcome#NOT_APPLIED} for everything that happens while opening. */
    public Outcome outcome() {
        return Outcome.NOT_APPLIED;
    }

    // ---- when opening ----

    /** Why a store could not be opened. Nothing was changed: the directory's content stays as it was. */
    public abstract static sealed class OpenException extends CounterStoreException {
        private static final long serialVersionUID = 1L;

        OpenException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }

    /** Another {@link CounterStore} has the directory open: in this JVM, or in another process. */
    public static final class StoreLockedException extends OpenException {
        private static final long serialVersionUID = 1L;
        private final boolean thisJvm;

        StoreLockedException(Path directory, boolean thisJvm, String holder) {
            super(
                    thisJvm
                            ? directory + " is already open in this JVM; close that CounterStore first, or share it"
                            : directory + " is in use by another process"
                                    + (holder.isEmpty() ? "" : " (process id " + holder + " where it runs)")
                                    + "; one directory serves one process at a time",
                    null);
            this.thisJvm = thisJvm;
        }

        /** Returns whether the holder is this JVM; otherwise it is another process. */
        public boolean heldByThisJvm() {
            return thisJvm;
        }
    }

    /** The directory cannot be created, read or written. */
    public static final class DirectoryUnusableException extends OpenException {
        private static final long serialVersionUID = 1L;

        DirectoryUnusableException(Path directory, String reason, Throwable cause) {
            super(
                    directory + " cannot be used as the directory of a store: " + reason + "; nothing was changed",
                    cause);
        }
    }

    /**
     * The journal is damaged where a crash alone cannot have damaged it, so acknowledged adds may be missing from it.
     * The file is left as it is. Restore the volume from a backup, or move the file away to start from
     * {@code count.txt}.
     */
    public static final class CorruptJournalException extends OpenException {
        private static final long serialVersionUID = 1L;
        private final String file;
        private final long offset;
        private final String expected;
        private final String found;

        CorruptJournalException(String file, long offset, String expected, String found) {
            super(
                    String.format(
                            java.util.Locale.ROOT,
                            "%s: damaged at byte %,d: expected %s, found %s; refusing to open, nothing was changed",
                            file,
                            offset,
                            expected,
                            found),
                    null);
            this.file = file;
            this.offset = offset;
            this.expected = expected;
            this.found = found;
        }

        /** Returns the damaged file. */
        public String file() {
            return file;
        }

        /** Returns where the damage begins, in bytes from the start of the file. */
        public long offset() {
            return offset;
        }

        /** Returns what should have been there. */
        public String expected() {
            return expected;
        }

        /** Returns what was there instead. */
        public String found() {
            return found;
        }
    }

    /** The file under the journal's name is not a Counterset journal. */
    public static final class ForeignFileException extends OpenException {
        private static final long serialVersionUID = 1L;

        ForeignFileException(String file, String found) {
            super(
                    file + " is not a Counterset journal: it begins with " + found
                            + "; nothing was changed, move the file away or choose another directory",
                    null);
        }
    }

    /** The journal holds more counters and idempotency keys than {@link CounterStore.Builder#maxHeap} bytes of memory. */
    public static final class HeapTooSmallException extends OpenException {
        private static final long serialVersionUID = 1L;

        HeapTooSmallException(String file, long counters, long keys, long bytes, long maxHeap) {
            super(
                    String.format(
                            Locale.ROOT,
                            "%s holds about %,d counters and %,d idempotency keys: opening takes some %,d MB of heap,"
                                    + " and %,d MB are available; nothing was changed, give the process more memory",
                            file,
                            counters,
                            keys,
                            (bytes >> 20) + 1,
                            maxHeap >> 20),
                    null);
        }
    }

    /** The journal was written by a newer version of this library. */
    public static final class UnsupportedFormatException extends OpenException {
        private static final long serialVersionUID = 1L;

        UnsupportedFormatException(String file, int found, int supported) {
            super(
                    file + " has format version " + found + ", this library reads up to " + supported
                            + "; nothing was changed, use the newer version",
                    null);
        }
    }

    /** A {@code count.txt} is to be imported, but does not hold one whole number from 0 to 2<sup>63</sup>-1. */
    public static final class InvalidCountFileException extends OpenException {
        private static final long serialVersionUID = 1L;

        InvalidCountFileException(String file, String found) {
            super(
                    file + " cannot be imported: expected one whole number from 0 to " + Long.MAX_VALUE + ", found "
                            + found + "; nothing was changed",
                    null);
        }
    }

    /**
     * {@code count.txt} is ahead of the journal, which it never is by itself: the journal was lost, replaced or rolled
     * back, the count of another application was put there, or the counted counter was another one. Nothing was changed.
     * {@link CounterStore.Builder#countFileAhead} tells which of the two to take.
     */
    public static final class CountFileAheadException extends OpenException {
        private static final long serialVersionUID = 1L;
        private final long count;
        private final long total;

        CountFileAheadException(String file, long count, String counter, long total) {
            super(
                    file + " says " + count + ", but the journal beside it has " + total + " for the counter "
                            + Names.printable(counter)
                            + ": the journal was lost, replaced or rolled back, or another counter was counted there."
                            + " Nothing was changed. Put the right journal back, or choose the count of one of them with"
                            + " countFileAhead, or COUNTER_COUNT_FILE_AHEAD of the service",
                    null);
            this.count = count;
            this.total = total;
        }

        /** Returns the count that {@code count.txt} has. */
        public long count() {
            return count;
        }

        /** Returns the total that the journal has. */
        public long total() {
            return total;
        }
    }

    // ---- when adding ----

    /** Why an add was not acknowledged, or a flush did not succeed. */
    public abstract static sealed class AddException extends CounterStoreException {
        private static final long serialVersionUID = 1L;

        AddException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }

    /**
     * The disk has no room for another counter or key (or, when opening, for a new journal). Nothing was added; what is
     * there stays; counters that exist already go on counting, and this add succeeds once there is room.
     */
    public static final class StoreFullException extends CounterStoreException {
        private static final long serialVersionUID = 1L;

        StoreFullException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }

    /** The store has as many counters as it may, 1,000,000. Nothing was added; only another store takes new ones. */
    public static final class TooManyCountersException extends AddException {
        private static final long serialVersionUID = 1L;

        TooManyCountersException(String message) {
            super(message, null);
        }
    }

    /** As many adds are in flight as the store allows. Nothing was added; try again when some have completed. */
    public static final class StoreBusyException extends AddException {
        private static final long serialVersionUID = 1L;

        StoreBusyException(String message) {
            super(message, null);
        }
    }

    /** The key was used before with another counter or amount, inside the window. Nothing was added. */
    public static final class KeyConflictException extends AddException {
        private static final long serialVersionUID = 1L;

        KeyConflictException(String message) {
            super(message, null);
        }
    }

    /** The add would make the counter's total pass {@link Counter#MAX_TOTAL}. Nothing was added. */
    public static final class TotalLimitException extends AddException {
        private static final long serialVersionUID = 1L;

        TotalLimitException(String counter, long total, long amount) {
            super(
                    "counter " + counter + " stands at " + total + "; adding " + amount
                            + " would pass the largest total, " + Counter.MAX_TOTAL + "; nothing was added",
                    null);
        }
    }

    /** The store is closed or closing. Nothing was added. */
    public static final class StoreClosedException extends AddException {
        private static final long serialVersionUID = 1L;

        StoreClosedException(String directory) {
            super("the store in " + directory + " is closed; nothing was added", null);
        }
    }

    /** The disk failed earlier, and the store has stopped for good. Nothing was added; reads go on. Open it again. */
    public static final class StoreFailedException extends AddException {
        private static final long serialVersionUID = 1L;

        StoreFailedException(String directory, @Nullable Throwable cause) {
            super(
                    "the store in " + directory + " stopped after a failed write: " + cause + "; nothing was added",
                    cause);
        }
    }

    /**
     * The disk failed while this add was on its way: after a restart it may be there or not. The store accepts no more
     * adds; reads go on and show what was durable before.
     */
    public static final class OutcomeUnknownException extends AddException {
        private static final long serialVersionUID = 1L;

        OutcomeUnknownException(String directory, @Nullable Throwable cause) {
            super(
                    "the store in " + directory + " failed while this add was being written: " + cause
                            + "; it may or may not survive a restart",
                    cause);
        }

        @Override
        public Outcome outcome() {
            return Outcome.UNKNOWN;
        }
    }
}
