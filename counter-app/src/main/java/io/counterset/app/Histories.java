// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import com.fasterxml.jackson.annotation.JsonInclude;
import io.counterset.Counter;
import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.counterset.k8s.Replica;
import io.micronaut.json.JsonMapper;
import io.micronaut.serde.annotation.Serdeable;
import jakarta.inject.Singleton;
import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * The histories of all replicas, and their sum.
 *
 * <p>A round asks each replica that answered in the peers' report for its own history, within the
 * deadline of a report. Rounds about one length of buckets begin at least five seconds apart, and
 * all requests in between share the same answer. A replica whose history is unknown is listed with
 * the reason. Buckets are added up by their start according to each replica's own clock; this
 * replica's clock decides which buckets are shown. Thread-safe; no method blocks.
 */
@Singleton
final class Histories {

    /**
     * The maximum number of peers whose histories are fetched. A day's history takes 100 KB on the
     * wire, and 10 KB of heap for some seconds.
     */
    static final int MOST_PEERS = 100;

    private static final long INTERVAL_NANOS = TimeUnit.SECONDS.toNanos(5);

    /** The most bytes of a bucket: with the largest numbers and every mark it has 110. */
    private static final int BUCKET_BYTES = 128;

    /**
     * The most bytes before the buckets: two names, with up to six bytes for each of their bytes,
     * and an identity.
     */
    private static final int HEAD_BYTES = 4_096;

    /**
     * The histories of all replicas.
     *
     * @param complete whether it includes the history of every expected replica
     * @param expected the expected number of replicas
     * @param answered how many of them have a known history
     * @param askedBy the replica that asked the others
     * @param at when it asked them
     * @param lastMinute how much the counter grew in the last 60 seconds on the replicas that
     *     answered
     * @param buckets the sums over all replicas that answered; oldest first, the last one is the
     *     current one
     * @param replicas each replica, in the order of the peers' report
     */
    @Serdeable
    record Report(
            String counter,
            History.Unit unit,
            boolean complete,
            int expected,
            int answered,
            String askedBy,
            Instant at,
            long lastMinute,
            List<Sum> buckets,
            List<Line> replicas) {}

    /**
     * One bucket of all replicas.
     *
     * @param start when it begins
     * @param count how much the counter grew in it on all replicas; null if none is known to have
     *     run
     * @param replicas how many of them ran for at least a part of it
     * @param marks the reasons to doubt the count; usually empty
     */
    @Serdeable
    record Sum(
            Instant start,

            @JsonInclude(JsonInclude.Include.ALWAYS) @Nullable
            Long count,

            int replicas,
            @JsonInclude(JsonInclude.Include.ALWAYS) List<History.Mark> marks) {}

    /**
     * One replica.
     *
     * @param instance its name; absent if it has never answered
     * @param address its host and port; absent if it has none
     * @param state its state in the peers' report
     * @param reason why its history is unknown; absent if it is known
     * @param store the identity of its store; absent if its history is unknown
     * @param lastMinute how much its counter grew in the last 60 seconds; absent if its history is
     *     unknown
     * @param counts how much its counter grew in each of {@code buckets}; null where it did not
     *     run. Absent if its history is unknown
     */
    @Serdeable
    record Line(
            @Nullable String instance,
            @Nullable String address,
            String state,
            @Nullable String reason,
            @Nullable UUID store,
            @Nullable Long lastMinute,
            @Nullable List<@Nullable Long> counts) {

        /** Returns the replica's name, or its address while the name is unknown. */
        String label() {
            return instance != null ? instance : address != null ? address : "?";
        }
    }

    /** The part of a replica's history that a report uses. */
    private record Known(long lastMinute, List<History.Bucket> buckets) {}

    private record Round(long began, CompletableFuture<Report> report) {}

    private final Peers peers;
    private final Replica replica;
    private final History history;
    private final JsonMapper json;

    /** The latest round of each unit; guarded by itself. */
    private final Map<History.Unit, Round> rounds = new EnumMap<>(History.Unit.class);

    private volatile @Nullable List<Report> latest;

    Histories(Peers peers, Replica replica, History history, JsonMapper json) {
        this.peers = peers;
        this.replica = replica;
        this.history = history;
        this.json = json;
    }

    /**
     * Returns the histories of all replicas, at most five seconds old. Fails as
     * {@link Peers#report()} does.
     */
    CompletionStage<Report> of(History.Unit unit) {
        CompletableFuture<Report> report;
        synchronized (rounds) {
            Round latest = rounds.get(unit);
            if (latest != null
                    && !latest.report().isCompletedExceptionally()
                    && (!latest.report().isDone() || System.nanoTime() - latest.began() < INTERVAL_NANOS)) {
                return latest.report().minimalCompletionStage();
            }
            report = new CompletableFuture<>();
            rounds.put(unit, new Round(System.nanoTime(), report));
        }
        CompletableFuture<?> unused = peers.report()
                .thenCompose(found -> ask(unit, found))
                .toCompletableFuture()
                .whenComplete((made, failure) -> {
                    if (failure == null) {
                        report.complete(made);
                    } else {
                        report.completeExceptionally(failure);
                    }
                });
        return report.minimalCompletionStage();
    }

    /** Returns the histories of all lengths, the shortest buckets first. */
    CompletionStage<List<Report>> all() {
        List<Report> reports = new ArrayList<>();
        CompletionStage<List<Report>> all = CompletableFuture.completedStage(reports);
        for (History.Unit unit : History.Unit.values()) {
            CompletionStage<Report> one = of(unit); // all are asked at the same time
            all = all.thenCombine(one, (found, report) -> {
                found.add(report);
                return found;
            });
        }
        return all.thenApply(found -> {
            latest = found;
            return found;
        });
    }

    /** Returns the last result of {@link #all}, for callers that cannot wait. */
    Optional<List<Report>> latest() {
        return Optional.ofNullable(latest);
    }

    private CompletionStage<Report> ask(History.Unit unit, PeersReport found) {
        List<PeersReport.Peer> asked = found.peers().stream()
                .filter(peer -> peer.latencyMillis() != null)
                .limit(MOST_PEERS)
                .toList();
        Map<PeersReport.Peer, Known> known = new ConcurrentHashMap<>();
        return peers.ask(asked, "/history?unit=" + unit, HEAD_BYTES + unit.buckets * BUCKET_BYTES, (peer, body) -> {
                    try {
                        known.put(peer, read(peer, unit, body));
                        return null;
                    } catch (IOException | RuntimeException e) {
                        return "answered something other than its history";
                    }
                })
                .thenApply(reasons -> report(unit, found, known, reasons));
    }

    /** Parses and checks an untrusted answer that should be the history of {@code peer}. */
    private Known read(PeersReport.Peer peer, History.Unit unit, byte[] body) throws IOException {
        HistoryController.Answer answer = json.readValue(body, HistoryController.Answer.class);
        if (answer == null
                || !answer.instance().equals(peer.instance())
                || !answer.store().equals(peer.store())
                || !answer.counter().equals(replica.mainCounter())
                || answer.unit() != unit
                || !isTotal(answer.lastMinute())
                || answer.buckets().size() > unit.buckets) {
            throw new IOException("not its history");
        }
        for (History.Bucket bucket : answer.buckets()) {
            if (bucket.count() != null && !isTotal(bucket.count())) {
                throw new IOException("not a count");
            }
        }
        return new Known(answer.lastMinute(), answer.buckets());
    }

    private static boolean isTotal(long number) {
        return number >= 0 && number <= Counter.MAX_TOTAL;
    }

    private Report report(
            History.Unit unit,
            PeersReport found,
            Map<PeersReport.Peer, Known> known,
            Map<PeersReport.Peer, String> reasons) {
        List<History.Bucket> own = history.buckets(unit);
        Map<Instant, Integer> places = new HashMap<>();
        for (History.Bucket bucket : own) {
            places.put(bucket.start(), places.size());
        }
        long[] counts = new long[own.size()];
        int[] replicas = new int[own.size()];
        List<Set<History.Mark>> marks = new ArrayList<>();
        own.forEach(bucket -> marks.add(EnumSet.noneOf(History.Mark.class)));

        long lastMinute = 0;
        int answered = 0;
        List<Line> lines = new ArrayList<>();
        for (PeersReport.Peer peer : found.peers()) {
            Known its = isSelf(peer) ? new Known(history.lastMinute(), own) : known.get(peer);
            if (its == null) {
                lines.add(new Line(
                        peer.instance(),
                        peer.address(),
                        peer.state().toString(),
                        reason(peer, reasons),
                        null,
                        null,
                        null));
                continue;
            }
            answered++;
            lastMinute = sum(lastMinute, its.lastMinute());
            @Nullable Long[] line = new @Nullable Long[own.size()];
            for (History.Bucket bucket : its.buckets()) {
                Integer place = places.get(bucket.start());
                if (place == null) {
                    continue; // the peer's clock is off, so it has buckets that this replica does not show
                }
                marks.get(place).addAll(bucket.marks());
                Long count = bucket.count();
                if (count != null) {
                    line[place] = count;
                    counts[place] = sum(counts[place], count);
                    replicas[place]++;
                }
            }
            lines.add(new Line(
                    peer.instance(),
                    peer.address(),
                    peer.state().toString(),
                    null,
                    peer.store(),
                    its.lastMinute(),
                    Arrays.asList(line)));
        }
        List<Sum> buckets = new ArrayList<>();
        for (int i = 0; i < counts.length; i++) {
            buckets.add(new Sum(
                    own.get(i).start(),
                    replicas[i] == 0 ? null : (Long) counts[i],
                    replicas[i],
                    List.copyOf(marks.get(i))));
        }
        return new Report(
                found.counter(),
                unit,
                found.complete() && answered >= found.expected(),
                found.expected(),
                answered,
                found.askedBy(),
                found.at(),
                lastMinute,
                buckets,
                lines);
    }

    private boolean isSelf(PeersReport.Peer peer) {
        return replica.instance().equals(peer.instance())
                && replica.store().identity().id().equals(peer.store());
    }

    private static String reason(PeersReport.Peer peer, Map<PeersReport.Peer, String> reasons) {
        String asked = reasons.get(peer);
        if (asked != null) {
            return asked;
        } else if (peer.latencyMillis() != null) {
            return "not asked: this shows the histories of at most " + MOST_PEERS + " peers";
        }
        return peer.reason() == null ? peer.state().toString() : peer.reason();
    }

    /** Adds two counts. A sum that overflows is {@link Long#MAX_VALUE}. */
    private static long sum(long a, long b) {
        return a > Long.MAX_VALUE - b ? Long.MAX_VALUE : a + b;
    }
}
