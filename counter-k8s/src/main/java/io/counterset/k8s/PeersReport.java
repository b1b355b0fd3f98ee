package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.JsonValue;
import io.micronaut.serde.annotation.Serdeable;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * What every replica counts, and how complete that picture is. Immutable.
 *
 * @param counter the counter asked for
 * @param total the sum of the best known counts of all {@code peers}; {@link Long#MAX_VALUE}, and not complete, if that sum
 *     does not fit
 * @param complete whether {@code total} is the truth: every expected replica answered just now, the list of them is current,
 *     and the count of every replica that is gone is final; when it is false, {@code total} is a lower bound
 * @param lost what is known to have been counted on volumes that were replaced or rolled back, as long as that is shown; at
 *     least, since it is what was last seen there. Not part of {@code total}
 * @param expected how many replicas there should be
 * @param answered how many of those answered just now, this one included
 * @param askedBy the replica that made this report
 * @param at when it was made
 * @param source where the list of peers comes from, and how good it is
 * @param peers one entry a replica, this one included, in the order of their names and ordinals
 */
@Serdeable
public record PeersReport(
        String counter,
        long total,
        boolean complete,
        long lost,
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

    /** What is known of one replica just now. Every state but {@link #LIVE} comes with a reason. */
    @Serdeable
    public enum State {
        /** It answered just now. */
        LIVE("live"),
        /** It is new and does not answer yet. */
        STARTING("starting"),
        /** It is being stopped; it may or may not have answered. */
        TERMINATING("terminating"),
        /** It has an address and did not answer there as itself; its count, if any, is the last one known. */
        UNREACHABLE("unreachable"),
        /** It is expected and has no address; its count, if any, is the last one known. */
        MISSING("missing"),
        /** It is no longer expected and has no address (scaled down); its count is the last one known. */
        RETIRED("retired"),
        /** It answered, from a store that has lost increments this replica had seen: an older copy of its volume. */
        ROLLED_BACK("rolled-back"),
        /** It answered, from another store than the one this replica knew under its name: its volume was replaced. */
        REPLACED("replaced"),
        /** As one of the two above, and all that this replica knows to be lost was given back since. */
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

    /** Where a list of peers can come from. */
    @Serdeable
    public enum Kind {
        /** Watches on the Kubernetes API. */
        KUBERNETES("kubernetes"),
        /** The records of a headless service. */
        DNS("dns"),
        /** A list of addresses among the settings. */
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

    /** How good a list of peers is. */
    @Serdeable
    public enum Freshness {
        /** As new as the source can give it. */
        LIVE("live"),
        /** The last one seen; the source does not answer, or not all of it. */
        STALE("stale"),
        /** There has been none since this replica started; peers are those remembered from before. */
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
     * @param kind which source it is
     * @param state how good the list is
     * @param reason why it is not live, or what is wrong with it; absent otherwise
     * @param ageMillis for how long it has not been live, in milliseconds; absent when it is live
     * @param chosen why this source was picked; absent when the settings name it
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
     * @param instance its name; absent if the replica at this address never told it
     * @param address its host and port; absent if it has none
     * @param state what is known of it just now
     * @param reason why it is in that state; absent when it is live
     * @param count its count: of just now if it answered, else the last one known; absent if none is known
     * @param countedAt when it had that count
     * @param isFinal {@code final} in JSON: whether the count cannot grow any more unless the replica is started again: its store is
     *     sealed
     * @param latencyMillis how long it took to answer just now; absent if it did not, and for the replica that asks
     * @param store the identity of its store
     * @param incarnation how often that store had been opened
     * @param former what was known of the store it had before; only while a replacement is reported
     * @param lost what was counted on its former volumes or before its volume was rolled back, at least; absent if nothing is known
     *     to be lost
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
            @Nullable Long lost) {

        /** Returns the instance's name, or its address as long as the name is not known. */
        public String label() {
            return instance != null ? instance : address != null ? address : "?";
        }
    }

    /**
     * The store that a replica had before the one it has now.
     *
     * @param store its identity
     * @param count the last count seen in it; absent if this counter was never seen in it
     * @param seenAt when it was last seen
     */
    @Serdeable
    public record Former(UUID store, @Nullable Long count, Instant seenAt) {}

    /**
     * Returns the report as an aligned table of plain text, for terminals: a line with the total, a line about the source if
     * something is wrong with it, an empty line, then one line a replica. Lines end in a line feed.
     */
    public String toTable() {
        List<String[]> rows = new ArrayList<>();
        rows.add(new String[] {"INSTANCE", "STATE", "COUNT", "COUNTED", "LATENCY", "ADDRESS", "REASON"});
        for (Peer peer : peers) {
            rows.add(new String[] {
                peer.label(),
                peer.state().toString(),
                peer.count() == null ? "-" : Long.toString(peer.count()),
                peer.countedAt() == null ? "-" : age(Duration.between(peer.countedAt(), at)),
                peer.latencyMillis() == null ? "-" : String.format(Locale.ROOT, "%.1f ms", peer.latencyMillis()),
                peer.address() == null ? "-" : peer.address(),
                peer.reason() == null ? "" : peer.reason()
            });
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
                boolean number = i == 2 || i == 4;
                line.append(number ? space + row[i] : row[i] + space).append("  ");
            }
            table.append(line.toString().stripTrailing()).append('\n');
        }
        return table.toString();
    }

    /**
     * Returns the total in words: "visits: total 7, 3 of 3 replicas answered", or "at least" while it is not complete. A loss
     * is named: "visits: total 7 (and at least 5 lost), 3 of 3 replicas answered; 1 replaced".
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
                + (rolledBack > 0 ? rolledBack + " rolled back" : "");
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
