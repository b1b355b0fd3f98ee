// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Figures about a store since it was opened, taken at one moment. From one moment to a later one,
 * only {@link #pending}, {@link #commitUnderWay} and {@link #rememberedKeys} can decrease.
 * Immutable.
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
    private final Duration commitUnderWay;
    private final Duration recoveryTime;
    private final int commitFailures;
    private final int discardedBatches;
    private final long counters;
    private final int rememberedKeys;
    private final long replays;
    private final long earlyEvictions;
    private final int pending;
    private final long countFileFailures;

    /** Reads the figures. The caller holds the ledger's lock. */
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
        this.commitUnderWay = commit.underWay();
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

    /** Returns the number of commits, each of which wrote and flushed one batch. */
    public long commits() {
        return commits;
    }

    /**
     * Returns how many callers the commits served. Divided by {@link #commits}, it is the average
     * size of a group.
     */
    public long callers() {
        return callers;
    }

    /** Returns the bytes of all batches, including padding. */
    public long bytesWritten() {
        return bytesWritten;
    }

    /** Returns the total time that the device took to write and flush the batches. */
    public Duration flushTime() {
        return flushTime;
    }

    /**
     * Returns a histogram of flush times. Entry i counts the flushes that took at most
     * 2<sup>i</sup> microseconds, but more than the bound of the entry before. The last entry also
     * counts all longer ones.
     */
    public List<Long> flushTimes() {
        return flushTimes;
    }

    /** Returns how often the journal switched to its other half. */
    public long switches() {
        return switches;
    }

    /** Returns how often a larger journal replaced the one in use. */
    public long growths() {
        return growths;
    }

    /** Returns the longest time of a single commit, including switches and growth. */
    public Duration longestStall() {
        return longestStall;
    }

    /**
     * Returns how long the commit in progress has taken; zero if there is none. It grows while the
     * device does not answer; adds then wait, and nothing is acknowledged.
     */
    public Duration commitUnderWay() {
        return commitUnderWay;
    }

    /** Returns how long opening took. */
    public Duration recoveryTime() {
        return recoveryTime;
    }

    /** Returns how many commits failed: 0, or 1, after which the store accepts no more adds. */
    public int commitFailures() {
        return commitFailures;
    }

    /**
     * Returns how many torn batches opening discarded, 0 or 1. Their adds were never acknowledged.
     */
    public int discardedBatches() {
        return discardedBatches;
    }

    /** Returns the number of counters, including one whose first add was refused. */
    public long counters() {
        return counters;
    }

    /** Returns the number of remembered idempotency keys. */
    public int rememberedKeys() {
        return rememberedKeys;
    }

    /** Returns how many adds were replays: their key was remembered, so nothing was added. */
    public long replays() {
        return replays;
    }

    /** Returns how many keys were evicted for lack of room before they expired. */
    public long earlyEvictions() {
        return earlyEvictions;
    }

    /** Returns how many adds are in flight. */
    public int pending() {
        return pending;
    }

    /** Returns how many attempts to write {@code count.txt} failed. */
    public long countFileFailures() {
        return countFileFailures;
    }

    /** Returns all figures as text, for people. */
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
                + ", commitUnderWay=" + commitUnderWay
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
