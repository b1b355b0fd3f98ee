package io.counterset;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a store has done since it was opened, as of one moment. All numbers but {@link #pending}, {@link #counters} and
 * {@link #rememberedKeys} only grow. Immutable.
 */
public final class StoreStatistics {

    private final long commits;
    private final long callers;
    private final long bytesWritten;
    private final Duration flushTime;
    private final List<Long> flushTimes;
    private final long switches;
    private final long growths;
    private final Duration longestStall;
    private final Duration recoveryTime;
    private final int commitFailures;
    private final int discardedBatches;
    private final long counters;
    private final int rememberedKeys;
    private final long replays;
    private final long earlyEvictions;
    private final int pending;
    private final long countFileFailures;

    /** Reads the figures. Under the ledger's lock. */
    StoreStatistics(
            Commit commit,
            Ledger ledger,
            Room room,
            GroupCommit commits,
            @Nullable CountFile countFile,
            Duration recoveryTime,
            int discardedBatches) {
        this.commits = commit.commits();
        this.callers = commit.callers();
        this.bytesWritten = commit.bytesWritten();
        this.flushTime = commit.flushTime();
        this.flushTimes = commit.flushTimes();
        this.switches = commit.switches();
        this.growths = room.growths();
        this.longestStall = commit.longest();
        this.recoveryTime = recoveryTime;
        this.commitFailures = commits.failure() == null ? 0 : 1;
        this.discardedBatches = discardedBatches;
        this.counters = ledger.counters();
        this.rememberedKeys = ledger.rememberedKeys();
        this.replays = ledger.replays();
        this.earlyEvictions = ledger.earlyEvictions();
        this.pending = commits.pending();
        this.countFileFailures = countFile == null ? 0 : countFile.failures();
    }

    /** Returns how many batches reached the device, one flush each. */
    public long commits() {
        return commits;
    }

    /** Returns how many callers those commits served. Divided by {@link #commits}, it is the average group. */
    public long callers() {
        return callers;
    }

    /** Returns the bytes of those batches, padding included. */
    public long bytesWritten() {
        return bytesWritten;
    }

    /** Returns the total time the device took for them. */
    public Duration flushTime() {
        return flushTime;
    }

    /**
     * Returns how many commits took up to 2<sup>i</sup> microseconds and more than half of that, by i. The last entry takes all longer
     * ones too.
     */
    public List<Long> flushTimes() {
        return flushTimes;
    }

    /** Returns how often the journal went on in its other half. */
    public long switches() {
        return switches;
    }

    /** Returns how often the journal was replaced by a larger one. */
    public long growths() {
        return growths;
    }

    /** Returns the longest time of a single commit, switches and growth included. */
    public Duration longestStall() {
        return longestStall;
    }

    /** Returns how long opening took. */
    public Duration recoveryTime() {
        return recoveryTime;
    }

    /** Returns how many commits failed: 0, or 1 and the store has accepted nothing since. */
    public int commitFailures() {
        return commitFailures;
    }

    /** Returns how many batches were found torn when opening, 0 or 1. Their adds were never acknowledged. */
    public int discardedBatches() {
        return discardedBatches;
    }

    /** Returns how many counters there are, one whose first add was refused included. */
    public long counters() {
        return counters;
    }

    /** Returns how many idempotency keys are inside the window. */
    public int rememberedKeys() {
        return rememberedKeys;
    }

    /** Returns how many adds were recognised by their key as applied before. */
    public long replays() {
        return replays;
    }

    /** Returns how many keys were evicted for lack of room before they expired. */
    public long earlyEvictions() {
        return earlyEvictions;
    }

    /** Returns how many callers wait now. */
    public int pending() {
        return pending;
    }

    /** Returns how many attempts to write {@code count.txt} failed. */
    public long countFileFailures() {
        return countFileFailures;
    }

    /** Returns all of it as text, for people. */
    @Override
    public String toString() {
        return "StoreStatistics["
                + "commits=" + commits
                + ", callers=" + callers
                + ", bytesWritten=" + bytesWritten
                + ", flushTime=" + flushTime
                + ", flushTimes=" + flushTimes
                + ", switches=" + switches
                + ", growths=" + growths
                + ", longestStall=" + longestStall
                + ", recoveryTime=" + recoveryTime
                + ", commitFailures=" + commitFailures
                + ", discardedBatches=" + discardedBatches
                + ", counters=" + counters
                + ", rememberedKeys=" + rememberedKeys
                + ", replays=" + replays
                + ", earlyEvictions=" + earlyEvictions
                + ", pending=" + pending
                + ", countFileFailures=" + countFileFailures
                + "]";
    }
}
