// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.Known.Loss;
import io.counterset.k8s.Known.Seen;
import io.counterset.k8s.Known.Store;
import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.Membership.Revision;
import io.micronaut.json.JsonMapper;
import io.micronaut.serde.annotation.Serdeable;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What this replica last saw of every peer: its counts, when and in which store, and the losses
 * detected by comparing them. Thread-safe. Held in memory, bounded in number, and saved from time
 * to time to one file in this replica's own directory.
 *
 * <p>The counters of counter-core are unsuitable for this. They only grow, whereas this memory must
 * detect that a peer's count fell; and a count must change together with its store, incarnation and
 * time.
 */
final class PeerMemory {

    static final String NAME = "counters.peers";
    private static final int MOST_STORES = 3;
    private static final Duration TIMES_ALONE = Duration.ofMinutes(1);
    private static final Duration BETWEEN_LINES = Duration.ofHours(1);
    private static final Logger LOG = LoggerFactory.getLogger(PeerMemory.class);

    private final CheckedFile<Contents> file;
    private final String mainCounter;
    private final Duration lossShown;
    private final int mostPeers;
    private final int mostCounts;

    /**
     * The content of the file.
     *
     * @param peers what is known of each peer
     * @param listed the names that were listed and never answered
     */
    @Serdeable
    record Contents(List<Known> peers, Set<String> listed) {

        /** Accepts null for an empty collection, which JSON leaves out. */
        Contents {
            peers = peers == null ? List.of() : List.copyOf(peers);
            listed = listed == null ? Set.of() : Set.copyOf(listed);
        }
    }

    /** Held while the file is written. Always acquired before the lock of this object. */
    private final Object writing = new Object();

    private final Map<Known.Key, Known> peers = new HashMap<>();

    /** The names of replicas that were listed and never answered. */
    private final Set<String> listed = new HashSet<>();

    /** Since when each member has not been serving, by address. Not kept across restarts. */
    private final Map<String, Instant> starting = new HashMap<>();

    private final Map<Known.Key, Long> orders = new HashMap<>();
    private int counts;
    private boolean changed;
    private boolean timesChanged;
    private Instant savedAt = Instant.EPOCH;
    private boolean failing;
    private long saves;
    private long saveFailures;

    /**
     * Reads the memory from the directory, which is created if it does not exist. A damaged file is set aside and logged,
     * and the memory starts empty.
     *
     * @param mostPeers the maximum number of peers; the least recently seen are evicted
     * @param mostCounts the maximum number of counts of all peers; the least recently seen are
     *     evicted, but never the main counter's
     */
    PeerMemory(Path directory, JsonMapper json, String mainCounter, Duration lossShown, int mostPeers, int mostCounts) {
        this.file = new CheckedFile<>(directory, NAME, "counterset-peers 1", Contents.class, json);
        this.mainCounter = mainCounter;
        this.lossShown = lossShown;
        this.mostPeers = mostPeers;
        this.mostCounts = mostCounts;
        file.createDirectory();
        Contents contents = file.read().orElse(new Contents(List.of(), Set.of()));
        contents.peers().forEach(known -> put(null, known));
        listed.addAll(contents.listed());
    }

    /**
     * Remembers an answer and returns what is now known of that peer. Rounds about different
     * counters overlap, and an answer may wait for the slowest of its round. An answer that arrived
     * before the last remembered one is therefore ignored, and is no sign of a loss.
     *
     * @param at when it arrived, by the clock
     * @param order when it arrived, by {@link System#nanoTime}, which never steps back
     * @param expected the expected replicas according to a current list; null if the list is not
     *     current
     * @param closed whether the store is sealed and the same pod cannot open it again
     */
    synchronized Known observe(
            Known.Key key,
            String address,
            Replica.Count answer,
            Instant at,
            long order,
            @Nullable Expected expected,
            boolean closed) {
        Known before = peers.get(key);
        Long last = orders.put(key, order);
        if (before != null && last != null && order - last < 0) {
            orders.put(key, last);
            return before;
        }
        Revision revision = expected == null ? null : expected.revision();
        if (before != null && expected != null && wasDeleted(before.store(), answer, expected)) {
            forget(before);
            before = null;
        }
        List<Store> stores = new ArrayList<>();
        Store store = null;
        if (before != null) {
            for (Store other : before.stores()) {
                if (other.id().equals(answer.store())) {
                    store = other;
                } else if (stores.size() < MOST_STORES - 1) {
                    stores.add(other);
                }
            }
        }
        boolean current = before != null && before.store().id().equals(answer.store());
        Seen seen = store == null ? null : store.seen(answer.counter());
        boolean lower = seen != null && answer.count() < seen.count();
        long restored = answer.restored() == null ? 0 : answer.restored();
        boolean older = store != null && answer.incarnation() < store.incarnation();
        Loss loss = store == null ? null : store.loss();
        if (lower || older) {
            loss = new Loss(
                    at,
                    answer.counter(),
                    answer.count(),
                    seen == null ? answer.count() : seen.count(),
                    answer.incarnation(),
                    store == null ? answer.incarnation() : store.incarnation());
        }
        logLoss(before, answer, store == null, store == null ? null : store.loss(), loss, at);
        boolean sameOpening = store != null && closed && store.closed() && store.incarnation() == answer.incarnation();
        Map<String, Seen> counts = store == null ? Map.of() : store.counts();
        Map<String, Seen> remembered = new HashMap<>(sameOpening ? counts : Store.opened(counts));
        // A count of 0 is remembered only for the main counter, because clients may ask for any
        // name.
        if (answer.count() > 0 || seen != null || answer.counter().equals(mainCounter)) {
            remembered.put(
                    answer.counter(),
                    seen == null
                            ? new Seen(answer.count(), at, closed, 0, restored, answer.count())
                            : seen.then(answer.count(), at, closed, restored));
        }
        Store now = new Store(
                answer.store(),
                answer.incarnation(),
                store == null || !current ? at : store.since(),
                at,
                remembered,
                loss,
                revision,
                closed);
        stores.add(0, now);
        Known after = new Known(key, answer.instance(), address, answer.group(), false, stores);
        put(before, after);
        listed.remove(answer.instance());
        boolean same = before != null
                && current
                && store != null
                && before.address().equals(address)
                && before.instance().equals(answer.instance())
                && store.incarnation() == answer.incarnation()
                && store.closed() == closed
                && Objects.equals(store.revision(), revision)
                && (seen == null
                        ? !remembered.containsKey(answer.counter())
                        : seen.count() == answer.count() && seen.restored() == restored && seen.isFinal() == closed);
        changed |= !same;
        timesChanged = true;
        return after;
    }

    /**
     * Returns whether the peer was scaled away and back under a policy that deletes volumes, so
     * that its new store is no loss.
     */
    private static boolean wasDeleted(Store store, Replica.Count answer, Expected expected) {
        Revision before = store.revision();
        Revision now = expected.revision();
        return expected.deletesClaims()
                && !store.id().equals(answer.store())
                && before != null
                && now != null
                && now.uid().equals(before.uid())
                && !now.follows(before);
    }

    /**
     * Applies a list if it is current. A final count stays final only while the StatefulSet proves
     * that the replica cannot have been restarted: it is listed only as terminating or not at all,
     * and no revision since has wanted it. A replica that was scaled away is forgotten if the
     * policy deletes its volume.
     */
    synchronized void follow(Membership membership, Replica replica) {
        Expected expected = membership.expected();
        if (!membership.isLive() || !expected.exact() || membership.isByAddress()) {
            return;
        }
        Map<String, Member> members = new HashMap<>();
        for (Member member : membership.members()) {
            if (member.instance() != null && !member.instance().equals(replica.instance())) {
                members.put(member.instance(), member);
            }
        }
        for (Known known : all()) {
            Known after = followed(known, members.get(known.instance()), expected);
            if (after == null) {
                forget(known);
            } else if (!after.equals(known)) {
                peers.put(after.key(), after);
            }
            changed |= !known.equals(after);
        }
        for (String name : members.keySet()) {
            if (!peers.containsKey(new Known.Key.Name(name)) && listed.size() < mostPeers) {
                changed |= listed.add(name);
            }
        }
        if (expected.deletesClaims()) {
            changed |= listed.removeIf(
                    name -> !members.containsKey(name) && !expected.names().contains(name));
        }
    }

    private static @Nullable Known followed(Known known, @Nullable Member member, Expected expected) {
        boolean wanted = expected.names().contains(known.instance());
        if (!wanted && member == null && !known.kept()) {
            if (expected.deletesClaims() && Reconciliation.base(known.instance()) != null) {
                return null;
            }
            known = known.kept(true);
        } else if (wanted && known.kept()) {
            known = known.kept(false);
        }
        Store store = known.store();
        Revision now = expected.revision();
        if (store.closed()) {
            Revision before = store.revision();
            boolean away = !wanted && (member == null || member.phase() == Phase.TERMINATING);
            return known.with(
                    away && now != null && before != null && now.follows(before)
                            ? store.closedUpTo(now)
                            : store.opened());
        }
        return known;
    }

    /** Returns the counters remembered of that replica, the main counter first; at most ten. */
    synchronized List<String> countersOf(String instance) {
        return Stream.concat(
                        Stream.of(mainCounter),
                        peers.values().stream()
                                .filter(known -> known.instance().equals(instance))
                                .flatMap(known -> known.store().counts().keySet().stream())
                                .sorted())
                .distinct()
                .limit(10)
                .toList();
    }

    /** Returns whether the replica's last count is known to be final. */
    synchronized boolean isFinal(String instance) {
        return peers.values().stream()
                .anyMatch(known ->
                        known.instance().equals(instance) && known.store().isFinal(mainCounter));
    }

    /** Returns when a member that does not serve yet was first seen at that address. */
    synchronized Instant startingSince(String address, Instant now) {
        return starting.computeIfAbsent(address, unused -> now);
    }

    /** Forgets the start times of all addresses but these. */
    synchronized void stillStarting(Set<String> addresses) {
        starting.keySet().retainAll(addresses);
    }

    /** Returns the names that were listed but never answered. */
    synchronized Set<String> neverSeen() {
        return Set.copyOf(listed);
    }

    /**
     * Logs each loss once, when it is detected; the report drops it after {@code loss-shown}. If a
     * peer changes its store again within an hour, the report already shows it as replaced, and no
     * further line is logged.
     */
    private void logLoss(
            @Nullable Known before,
            Replica.Count answer,
            boolean otherStore,
            @Nullable Loss known,
            @Nullable Loss loss,
            Instant at) {
        if (before != null
                && before.stores().size() > 1
                && before.store().since().plus(BETWEEN_LINES).isAfter(at)) {
            return;
        }
        if (loss != null && known == null) {
            LOG.warn(
                    "{} is rolled back: its store {} counted {} = {} before, now {}",
                    answer.instance(),
                    answer.store(),
                    loss.counter(),
                    loss.formerCount(),
                    loss.count());
        } else if (before != null && otherStore) {
            Seen former = before.store().seen(answer.counter());
            LOG.warn(
                    "{} is replaced: store {} counted {} = {}, and its new store {} has {}",
                    answer.instance(),
                    before.store().id(),
                    answer.counter(),
                    former == null ? "unknown" : former.count(),
                    answer.store(),
                    answer.count());
        }
    }

    /**
     * Returns what that peer lost: the counts of its former stores, unless another replica has that
     * store now, and the decreases in its present one. The main counter comes first.
     *
     * @param own the store of this replica
     */
    synchronized Optional<Known> lossesOf(String instance, UUID own, List<Restoration.Loss> losses) {
        Optional<Known> latest = peers.values().stream()
                .filter(known -> known.instance().equals(instance))
                .max(Comparator.comparing(known -> known.store().seenAt()));
        latest.ifPresent(known -> {
            Set<UUID> present = new HashSet<>();
            present.add(own);
            peers.values().forEach(other -> present.add(other.store().id()));
            for (Store store : known.stores()) {
                boolean former = !store.id().equals(known.store().id());
                store.counts().forEach((counter, seen) -> {
                    long lost = !former ? seen.lost() : present.contains(store.id()) ? 0 : seen.ever();
                    if (lost > 0) {
                        losses.add(new Restoration.Loss(store.id(), counter, lost, seen.highest()));
                    }
                });
            }
        });
        losses.sort(
                Comparator.comparing((Restoration.Loss loss) -> !loss.counter().equals(mainCounter))
                        .thenComparing(Restoration.Loss::counter)
                        .thenComparing(Restoration.Loss::store));
        return latest;
    }

    /** Forgets everything about replicas of that name; returns whether anything was known. */
    synchronized boolean forgetInstance(String instance) {
        List<Known> known = peers.values().stream()
                .filter(peer -> peer.instance().equals(instance))
                .toList();
        known.forEach(this::forget);
        boolean forgotten = listed.remove(instance) || !known.isEmpty();
        changed |= forgotten;
        return forgotten;
    }

    synchronized @Nullable Known get(Known.Key key) {
        return peers.get(key);
    }

    synchronized List<Known> all() {
        return List.copyOf(peers.values());
    }

    synchronized int size() {
        return peers.size();
    }

    synchronized long saves() {
        return saves;
    }

    synchronized long saveFailures() {
        return saveFailures;
    }

    /** Returns how long a report shows a loss. */
    Duration lossShown() {
        return lossShown;
    }

    private void put(@Nullable Known before, Known after) {
        peers.put(after.key(), after);
        counts += counts(after) - (before == null ? 0 : counts(before));
        if (peers.size() > mostPeers) {
            peers.values().stream()
                    .filter(known -> !known.key().equals(after.key()))
                    .min(Comparator.comparing(known -> known.store().seenAt()))
                    .ifPresent(this::forget);
        }
        if (counts > mostCounts) {
            forgetOldCounts();
        }
    }

    private void forget(Known known) {
        peers.remove(known.key());
        orders.remove(known.key());
        counts -= counts(known);
    }

    /**
     * Evicts the oldest tenth of the counts. The main counter's are kept, being bounded by the
     * number of peers.
     */
    private void forgetOldCounts() {
        List<Instant> times = new ArrayList<>();
        for (Known known : peers.values()) {
            for (Store store : known.stores()) {
                store.counts().forEach((counter, seen) -> {
                    if (!counter.equals(mainCounter)) {
                        times.add(seen.at());
                    }
                });
            }
        }
        if (times.isEmpty()) {
            return;
        }
        times.sort(Comparator.naturalOrder());
        Instant limit = times.get(Math.min(times.size() - 1, mostCounts / 10));
        counts = 0;
        peers.replaceAll((key, known) -> {
            List<Store> stores = known.stores().stream()
                    .map(store -> {
                        Map<String, Seen> kept = new HashMap<>(store.counts());
                        kept.entrySet()
                                .removeIf(entry -> !entry.getKey().equals(mainCounter)
                                        && !entry.getValue().at().isAfter(limit));
                        return store.with(kept);
                    })
                    .toList();
            Known less = new Known(known.key(), known.instance(), known.address(), known.group(), known.kept(), stores);
            counts += counts(less);
            return less;
        });
    }

    private static int counts(Known known) {
        return known.stores().stream().mapToInt(store -> store.counts().size()).sum();
    }

    /**
     * Saves the memory to its file if it has changed; if only times changed, at most once a minute.
     * Blocks for a device flush, and while another call writes the same file. A failure is logged
     * once until a save succeeds again; the next call retries.
     */
    void save(Instant now) {
        synchronized (writing) {
            saveAlone(now);
        }
    }

    /** As above, but always saves if only times changed. */
    void saveAll(Instant now) {
        synchronized (this) {
            changed |= timesChanged;
        }
        save(now);
    }

    private void saveAlone(Instant now) {
        Contents contents;
        synchronized (this) {
            if (!changed && !(timesChanged && savedAt.plus(TIMES_ALONE).isBefore(now))) {
                return;
            }
            contents = new Contents(all(), listed);
            changed = false;
            timesChanged = false;
            savedAt = now;
        }
        try {
            file.write(contents);
            synchronized (this) {
                saves++;
                failing = false;
            }
        } catch (IOException e) {
            synchronized (this) {
                changed = true;
                saveFailures++;
                if (!failing) {
                    LOG.warn(
                            "{}: cannot be written; what is known of peers will not survive a restart: {}",
                            file.path(),
                            e.toString());
                }
                failing = true;
            }
        }
    }
}
