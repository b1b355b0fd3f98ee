// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Why a {@link CounterStore} could not be opened ({@link OpenException}) or an add was not
 * acknowledged ({@link AddException}). A full disk can cause either ({@link StoreFullException}).
 * Each failure has its own nested class; {@link #outcome()} tells whether the add may have been
 * applied. An argument outside its documented range throws an {@link IllegalArgumentException}
 * instead and changes nothing.
 */
public abstract sealed class CounterStoreException extends RuntimeException
        permits CounterStoreException.OpenException,
                CounterStoreException.AddException,
                CounterStoreException.StoreFullException {

    private static final long serialVersionUID = 1L;

    /** Whether a failed add may have been applied. */
    public enum Outcome {
        /** Nothing was added, now or after a restart. */
        NOT_APPLIED,
        /**
         * The add may or may not be there after a restart. Only with an idempotency key is a retry
         * safe.
         */
        UNKNOWN
    }

    CounterStoreException(String message, @Nullable Throwable cause) {
        super(message, cause);
    }

    /**
     * Returns whether the add may have been applied; {@link Outcome#NOT_APPLIED} for every failure
     * to open.
     */
    public Outcome outcome() {
        return Outcome.NOT_APPLIED;
    }

    // ---- when opening ----

    /** Why a store could not be opened. The content of the directory is unchanged. */
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
                                    + (holder.isEmpty()
                                            ? ""
                                            : " (process id " + holder + " on its host or in its container)")
                                    + "; one directory serves one process at a time",
                    null);
            this.thisJvm = thisJvm;
        }

        /** Returns whether this JVM holds the lock; otherwise another process does. */
        public boolean heldByThisJvm() {
            return thisJvm;
        }
    }

    /** The directory cannot be created, read or written. */
    public static final class DirectoryUnusableException extends OpenException {
        private static final long serialVersionUID = 1L;

        DirectoryUnusableException(Path directory, String reason, Throwable cause) {
            super(
                    directory + " cannot be used as the directory of a store: " + reason + "; no count was changed",
                    cause);
        }
    }

    /**
     * The journal has damage that no crash can cause, so acknowledged adds may be missing. The file
     * is unchanged. Restore the volume from a backup, or move the file away to start from {@code
     * count.txt}.
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
                            "%s: damaged at byte %,d: expected %s, found %s; refusing to open; nothing was changed",
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

        /** Returns what was expected at the offset. */
        public String expected() {
            return expected;
        }

        /** Returns what was found instead. */
        public String found() {
            return found;
        }
    }

    /** The file under the journal's name is not a Counterset journal. */
    public static final class ForeignFileException extends OpenException {
        private static final long serialVersionUID = 1L;

        ForeignFileException(String file, String content) {
            super(
                    file + " is not a Counterset journal: it " + content
                            + "; nothing was changed; move the file away or choose another directory",
                    null);
        }
    }

    /**
     * The journal's counters and idempotency keys need more memory than {@link
     * CounterStore.Builder#maxHeap}.
     */
    public static final class HeapTooSmallException extends OpenException {
        private static final long serialVersionUID = 1L;

        HeapTooSmallException(String file, long counters, long keys, long bytes, long maxHeap) {
            super(
                    String.format(
                            Locale.ROOT,
                            "%s holds about %,d counters and %,d idempotency keys: opening takes about %,d MB of heap,"
                                    + " but %,d MB are available; nothing was changed; give the process more memory",
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
                            + "; nothing was changed; use the newer version",
                    null);
        }
    }

    /**
     * {@code count.txt} must be imported, but is not one whole number from 0 to 2<sup>63</sup>-1.
     */
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
     * {@code count.txt} is ahead of the journal. Counterset never causes that: the journal was
     * lost, replaced or rolled back, or the file holds the count of another application or another
     * counter. Nothing was changed. Choose one of the two with {@link
     * CounterStore.Builder#countFileAhead}.
     */
    public static final class CountFileAheadException extends OpenException {
        private static final long serialVersionUID = 1L;
        private final long count;
        private final long total;

        CountFileAheadException(String file, long count, String counter, long total) {
            super(
                    file + " contains " + count + ", but the journal in the same directory has " + total
                            + " for the counter " + Names.printable(counter)
                            + ": the journal was lost, replaced or rolled back, or another counter was counted there."
                            + " Nothing was changed. Restore the right journal, or choose one of the two counts with"
                            + " countFileAhead (in the service: COUNTER_COUNT_FILE_AHEAD)",
                    null);
            this.count = count;
            this.total = total;
        }

        /** Returns the count in {@code count.txt}. */
        public long count() {
            return count;
        }

        /** Returns the counter's total in the journal. */
        public long total() {
            return total;
        }
    }

    // ---- when adding ----

    /** Why an add was not acknowledged, or why a flush failed. */
    public abstract static sealed class AddException extends CounterStoreException {
        private static final long serialVersionUID = 1L;

        AddException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }

    /**
     * The disk has no room for another counter or key or, when opening, for a new journal. Nothing
     * was added and nothing was lost. Existing counters still accept adds without a key, unless the
     * store was opened without room for a journal. This add succeeds once there is room.
     */
    public static final class StoreFullException extends CounterStoreException {
        private static final long serialVersionUID = 1L;

        StoreFullException(String message, @Nullable Throwable cause) {
            super(message, cause);
        }
    }

    /**
     * The store has reached its limit of 1,000,000 counters. Nothing was added. Create new counters
     * in another store.
     */
    public static final class TooManyCountersException extends AddException {
        private static final long serialVersionUID = 1L;

        TooManyCountersException(String message) {
            super(message, null);
        }
    }

    /**
     * The store has reached its limit of adds in flight, or must commit before it takes this add.
     * Nothing was added. Retry when some have completed.
     */
    public static final class StoreBusyException extends AddException {
        private static final long serialVersionUID = 1L;

        StoreBusyException(String message) {
            super(message, null);
        }
    }

    /**
     * The key is remembered for an add to another counter or of another amount. Nothing was added.
     */
    public static final class KeyConflictException extends AddException {
        private static final long serialVersionUID = 1L;

        KeyConflictException(String message) {
            super(message, null);
        }
    }

    /**
     * The add would make the counter's total exceed {@link Counter#MAX_TOTAL}. Nothing was added.
     */
    public static final class TotalLimitException extends AddException {
        private static final long serialVersionUID = 1L;

        TotalLimitException(String counter, long total, long amount) {
            super(
                    "counter " + counter + " is at " + total + "; adding " + amount
                            + " would exceed the largest total, " + Counter.MAX_TOTAL + "; nothing was added",
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

    /**
     * A commit failed earlier, and the store accepts no more adds. Nothing was added. Reads still
     * work. Reopen the store after fixing the cause.
     */
    public static final class StoreFailedException extends AddException {
        private static final long serialVersionUID = 1L;

        StoreFailedException(String directory, @Nullable Throwable cause) {
            super(
                    "the store in " + directory + " stopped after a failed write: " + cause + "; nothing was added",
                    cause);
        }
    }

    /**
     * The disk failed while this add was being written: it may or may not be there after a restart.
     * The store accepts no more adds. Reads still work and return what was durable before the
     * failure.
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
