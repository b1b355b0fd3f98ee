// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonValue;
import io.micronaut.serde.annotation.Serdeable;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * The counts of all replicas and how complete they are. Immutable.
 *
 * @param counter the requested counter
 * @param total the sum of the last known counts of all {@code peers}; {@link Long#MAX_VALUE}, and
 *     not complete, if the sum overflows
 * @param complete whether {@code total} is exact: every expected replica answered just now, the
 *     list of replicas is current, and the count of every replica that is gone is final; if false,
 *     {@code total} is a lower bound
 * @param lost the known losses of volumes that were replaced or rolled back, for as long as a
 *     report shows them; a lower bound, since it is what was last seen there, and not part of
 *     {@code total}
 * @param lastMinute how much the counter grew in the last 60 seconds on the replicas that answered;
 *     absent if unknown, as for every counter except the main one
 * @param expected the expected number of replicas
 * @param answered how many of them answered just now, including this one
 * @param askedBy the replica that made this report
 * @param at when it was made
 * @param source the source of the list of peers and the state of that list
 * @param peers one entry per replica, including this one, ordered by name and ordinal
 */
@Serdeable
public record PeersReport(
        String counter,
        long total,
        boolean complete,
        long lost,
        @Nullable Long lastMinute,
        int expected,
        int answered,
        String askedBy,
        Instant at,
        Source source,
        List<Peer> peers) {

    /** Copies the list. */
    public PeersReport {
        peers = List.copyOf(peers);
    }

    /** The state of a replica. Every state except {@link #LIVE} has a reason. */
    @Serdeable
    public enum State {
        /** It answered just now. */
        LIVE("live"),
        /** It is new and does not answer yet. */
        STARTING("starting"),
        /** It is being stopped; it may or may not have answered. */
        TERMINATING("terminating"),
        /**
         * It has an address but did not answer there as itself; its count, if any, is the last
         * known one.
         */
        UNREACHABLE("unreachable"),
        /** It is expected but has no address; its count, if any, is the last known one. */
        MISSING("missing"),
        /**
         * It was scaled down: it is no longer expected and has no address; its count is the last
         * known one.
         */
        RETIRED("retired"),
        /**
         * It answered from an older copy of its volume: its store has lost increments that this
         * replica had seen.
         */
        ROLLED_BACK("rolled-back"),
        /**
         * It answered from a store other than the one last seen under its name: its volume was
         * replaced.
         */
        REPLACED("replaced"),
        /** It was rolled back or replaced, and every known loss has been restored since. */
        RESTORED("restored");

        private final String word;

        State(String word) {
            this.word = word;
        }

        /** Returns the word used in JSON, tables and pages. */
        @JsonValue
        @Override
        public String toString() {
            return word;
        }
    }

    /** The kind of a source of peers. */
    @Serdeable
    public enum Kind {
        /** Watches on the Kubernetes API. */
        KUBERNETES("kubernetes"),
        /** The DNS records of a headless service. */
        DNS("dns"),
        /** A list of addresses in the settings. */
        STATIC("static");

        private final String word;

        Kind(String word) {
            this.word = word;
        }

        /** Returns the word used in settings, JSON, tables and pages. */
        @JsonValue
        @Override
        public String toString() {
            return word;
        }
    }

    /** The state of a list of peers. */
    @Serdeable
    public enum Freshness {
        /** It is current. */
        LIVE("live"),
        /** It is the last one received: the source, or part of it, does not answer. */
        STALE("stale"),
        /** None has been received since this replica started; the remembered peers are used. */
        UNAVAILABLE("unavailable");

        private final String word;

        Freshness(String word) {
            this.word = word;
        }

        /** Returns the word used in JSON, tables and pages. */
        @JsonValue
        @Override
        public String toString() {
            return word;
        }
    }

    /**
     * The source of the list of peers.
     *
     * @param kind the kind of source
     * @param state the state of the list
     * @param reason why the list is not live, or what is wrong with it; absent otherwise
     * @param ageMillis how long the list has not been live, in milliseconds; absent if it is live
     * @param chosen why this source was chosen; absent if the settings name it
     */
    @Serdeable
    public record Source(
            Kind kind,
            Freshness state,
            @Nullable String reason,
            @Nullable Long ageMillis,
            @Nullable String chosen) {}

    /**
     * One replica.
     *
     * @param instance its name; absent if the replica at this address has never answered
     * @param address its host and port; absent if it has none
     * @param state its state
     * @param reason why it is in that state; absent if it is live
     * @param count its present count if it answered, otherwise the last known one; absent if none
     *     is known
     * @param countedAt when it had that count
     * @param isFinal {@code final} in JSON: whether the store is sealed, so that the count cannot
     *     grow unless the replica is started again
     * @param latencyMillis how long its answer took, in milliseconds; absent if it did not answer,
     *     and for the replica that asks
     * @param store the identity of its store
     * @param incarnation how many times that store had been opened
     * @param former its former store; present only while a replacement is reported
     * @param lost a lower bound of what was lost with its former volumes or by a rollback; absent
     *     if no loss is known
     * @param lastMinute how much its count grew in the last 60 seconds; absent if it did not answer
     *     just now, or if the growth is unknown
     */
    @Serdeable
    public record Peer(
            @Nullable String instance,
            @Nullable String address,
            State state,
            @Nullable String reason,
            @Nullable Long count,
            @Nullable Instant countedAt,
            @JsonProperty("final") boolean isFinal,
            @Nullable Double latencyMillis,
            @Nullable UUID store,
            @Nullable Long incarnation,
            @Nullable Former former,
            @Nullable Long lost,
            @Nullable Long lastMinute) {

        /** Returns the instance's name, or its address while the name is unknown. */
        public String label() {
            return instance != null ? instance : address != null ? address : "?";
        }
    }

    /**
     * A store that a replica had before its present one.
     *
     * @param store its identity
     * @param count the last count seen in it; absent if this counter was never seen in it
     * @param seenAt when it was last seen
     */
    @Serdeable
    public record Former(UUID store, @Nullable Long count, Instant seenAt) {}

    /** The columns of the table that are aligned at the right. */
    private static final Set<String> NUMBERS = Set.of("COUNT", "LAST MINUTE", "LATENCY");

    /**
     * Returns the report as an aligned plain-text table for terminals: a line with the total, a
     * line about the source if it has a problem, an empty line, a line with the column names, and
     * one line per replica. Lines end with a line feed.
     */
    public String toTable() {
        List<String[]> rows = new ArrayList<>();
        rows.add(new String[] {"INSTANCE", "STATE", "COUNT", "LAST MINUTE", "COUNTED", "LATENCY", "ADDRESS", "REASON"});
        for (Peer peer : peers) {
            rows.add(new String[] {
                peer.label(),
                peer.state().toString(),
                peer.count() == null ? "-" : Long.toString(peer.count()),
                peer.lastMinute() == null ? "-" : Long.toString(peer.lastMinute()),
                peer.countedAt() == null ? "-" : age(Duration.between(peer.countedAt(), at)),
                peer.latencyMillis() == null ? "-" : String.format(Locale.ROOT, "%.1f ms", peer.latencyMillis()),
                peer.address() == null ? "-" : peer.address(),
                peer.reason() == null ? "" : peer.reason()
            });
        }
        if (lastMinute == null) {
            rows.replaceAll(row -> without(row, 3));
        }
        int[] widths = new int[rows.get(0).length];
        for (String[] row : rows) {
            for (int i = 0; i < row.length; i++) {
                widths[i] = Math.max(widths[i], row[i].codePointCount(0, row[i].length()));
            }
        }
        StringBuilder table = new StringBuilder(headline()).append('\n');
        if (source.reason() != null) {
            table.append("peers by ").append(source.kind()).append(" (").append(source.state());
            if (source.ageMillis() != null) {
                table.append(" for ").append(period(Duration.ofMillis(source.ageMillis())));
            }
            table.append("): ").append(source.reason()).append('\n');
        }
        table.append('\n');
        for (String[] row : rows) {
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < row.length; i++) {
                String space = " ".repeat(widths[i] - row[i].codePointCount(0, row[i].length()));
                boolean number = NUMBERS.contains(rows.get(0)[i]);
                line.append(number ? space + row[i] : row[i] + space).append("  ");
            }
            table.append(line.toString().stripTrailing()).append('\n');
        }
        return table.toString();
    }

    /**
     * Returns the total in words: "visits: total 7, 3 of 3 replicas answered", with "at least"
     * instead of "total" if it is not complete. Losses and, if known, the growth of the last minute
     * are included: "visits: total 7 (and at least 5 lost), 3 of 3 replicas answered; 1 replaced; 2
     * in the last minute".
     */
    public String headline() {
        long replaced = count(State.REPLACED);
        long rolledBack = count(State.ROLLED_BACK);
        return Replica.escaped(counter) + ": " + (complete ? "total " : "at least ") + total
                + (lost > 0 ? " (and at least " + lost + " lost), " : ", ") + answered + " of " + expected
                + (expected == 1 ? " replica" : " replicas") + " answered"
                + (replaced + rolledBack > 0 ? "; " : "")
                + (replaced > 0 ? replaced + " replaced" : "")
                + (replaced > 0 && rolledBack > 0 ? ", " : "")
                + (rolledBack > 0 ? rolledBack + " rolled back" : "")
                + (lastMinute == null
                        ? ""
                        : (answered < expected ? "; at least " : "; ") + lastMinute + " in the last minute");
    }

    private static String[] without(String[] row, int column) {
        List<String> rest = new ArrayList<>(List.of(row));
        rest.remove(column);
        return rest.toArray(String[]::new);
    }

    private long count(State state) {
        return peers.stream().filter(peer -> peer.state() == state).count();
    }

    private static String age(Duration age) {
        return age.compareTo(Duration.ofSeconds(1)) < 0 ? "now" : period(age) + " ago";
    }

    static String period(Duration period) {
        long seconds = period.toSeconds();
        if (seconds < 1) {
            return period.toMillis() + " ms";
        } else if (seconds < 120) {
            return seconds + " s";
        } else if (seconds < 7_200) {
            return seconds / 60 + " min";
        } else if (seconds < 172_800) {
            return seconds / 3_600 + " h";
        }
        return seconds / 86_400 + " d";
    }
}
