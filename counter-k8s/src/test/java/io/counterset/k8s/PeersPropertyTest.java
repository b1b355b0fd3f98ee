// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Kind;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.ShrinkingMode;
import org.jspecify.annotations.Nullable;

/**
 * For any sequence of events that happen to replicas, their volumes and the list, the report
 * matches a model of a few lines. The replicas are real servers with real stores.
 */
class PeersPropertyTest {

    private static final int REPLICAS = 4;

    enum What {
        ADD,
        ADD_TO_OTHER_COUNTER,
        KILL,
        START,
        EMPTY_VOLUME,
        BACK_UP,
        RESTORE,
        FAIL,
        LIE,
        BE_WELL,
        UNLIST,
        TERMINATE,
        LIST,
        SCALE,
        SOURCE_GOES,
        SOURCE_COMES,
        RESTART_ASKER,
        ASK
    }

    /** An event that happens to a replica other than the asking one. */
    record Happening<W>(W what, int replica, int number) {}

    /** Returns sequences of 5 to {@code most} things that happen to four replicas. */
    static <W> Arbitrary<List<Happening<W>>> sequences(W[] all, int most) {
        return Combinators.combine(
                        Arbitraries.of(all),
                        Arbitraries.integers().between(1, REPLICAS - 1),
                        Arbitraries.integers().between(1, REPLICAS))
                .as((what, replica, number) -> new Happening<>(what, replica, number))
                .list()
                .ofMinSize(5)
                .ofMaxSize(most);
    }

    @Provide
    Arbitrary<List<Happening<What>>> happenings() {
        return sequences(What.values(), 30);
    }

    @Property(tries = 40, shrinking = ShrinkingMode.BOUNDED)
    void theReportMatchesTheModel(@ForAll("happenings") List<Happening<What>> happenings) throws IOException {
        Path folder = Files.createTempDirectory("peers");
        try (World world = new World(folder)) {
            for (Happening<What> happening : happenings) {
                world.happen(happening);
                world.compare();
            }
        } finally {
            LostVolumesTest.delete(folder);
        }
    }

    /** The state of one store of a replica, now or when it was last seen. */
    private record Copy(int store, long incarnation, long count) {}

    /** A replica as it is, and as the asking one last saw it. */
    private static final class Modelled {

        final LoopbackPeer process;
        boolean running = true;
        boolean lying;
        boolean failing;
        boolean listed = true;
        boolean everListed;
        boolean terminating;
        Copy now = new Copy(0, 1, 0);

        @Nullable
        Copy backup;

        /** Its stores as last seen, the latest first; at most three. */
        final List<Copy> seen = new ArrayList<>();

        final Map<Integer, Boolean> lost = new HashMap<>();

        Modelled(LoopbackPeer process) {
            this.process = process;
        }

        /** A new store at an address of a stale list is ignored. */
        boolean answers(boolean live) {
            return running
                    && !lying
                    && !failing
                    && listed
                    && (live || seen.isEmpty() || seen.get(0).store() == now.store());
        }

        void look() {
            Copy before = seen.stream()
                    .filter(copy -> copy.store() == now.store())
                    .findFirst()
                    .orElse(null);
            if (before == null) {
                lost.remove(now.store());
            } else if (now.count() < before.count() || now.incarnation() < before.incarnation()) {
                lost.put(now.store(), true);
            }
            seen.removeIf(copy -> copy.store() == now.store());
            seen.add(0, now);
            if (seen.size() > 3) {
                seen.remove(3);
            }
        }
    }

    private static final class World implements AutoCloseable {

        private final Path folder;
        private final CounterStore store;
        private final Map<Integer, Modelled> others = new HashMap<>();
        private Peers peers;
        private int expected = REPLICAS;
        private int stores = 1;
        private boolean live = true;

        World(Path folder) throws IOException {
            this.folder = folder;
            store = CounterStore.open(folder.resolve("0"));
            store.counter("visits").add(1_000);
            for (int i = 1; i < REPLICAS; i++) {
                others.put(i, new Modelled(new LoopbackPeer(name(i), "127.0.0." + (1 + i), folder.resolve("" + i))));
            }
            peers = peers();
        }

        private static String name(int ordinal) {
            return "app-" + ordinal;
        }

        private Peers peers() {
            return TestSettings.list()
                    .in(folder.resolve("0"))
                    .open(
                            new Replica(name(0), store, "visits", 1),
                            new Listed(),
                            InstantSource.system(),
                            Duration.ZERO);
        }

        /** The present list of peers. */
        private final class Listed implements PeerSource {

            @Override
            public void start() {}

            @Override
            public CompletionStage<Membership> membership() {
                List<Member> members = new ArrayList<>();
                others.forEach((ordinal, other) -> {
                    if (other.listed) {
                        members.add(new Member(
                                name(ordinal),
                                other.process.address(),
                                other.terminating ? Phase.TERMINATING : Phase.SERVING));
                    }
                });
                return CompletableFuture.completedStage(new Membership(
                        new PeersReport.Source(
                                Kind.KUBERNETES,
                                live ? Freshness.LIVE : Freshness.STALE,
                                live ? null : "gone",
                                live ? null : 1L,
                                null),
                        Expected.statefulSet("app", 0, expected, null, false),
                        members));
            }

            @Override
            public void close() {}
        }

        void happen(Happening<What> happening) throws IOException {
            Modelled other = others.get(happening.replica());
            if (other == null) {
                throw new AssertionError(happening);
            }
            LoopbackPeer process = other.process;
            switch (happening.what()) {
                case ADD -> {
                    if (other.running) {
                        process.add(happening.number());
                        other.now = new Copy(
                                other.now.store(), other.now.incarnation(), other.now.count() + happening.number());
                    }
                }
                case ADD_TO_OTHER_COUNTER -> {
                    if (other.running) {
                        process.store().counter("others").add(happening.number());
                    }
                }
                case KILL -> kill(other);
                case START -> begin(other);
                case EMPTY_VOLUME -> {
                    kill(other);
                    LostVolumesTest.delete(process.directory);
                    other.now = new Copy(stores++, 0, 0);
                    begin(other);
                }
                case BACK_UP -> {
                    boolean ran = other.running;
                    kill(other);
                    LostVolumesTest.copy(process.directory, backup(happening.replica()));
                    other.backup = other.now;
                    if (ran) {
                        begin(other);
                    }
                }
                case RESTORE -> {
                    if (other.backup != null) {
                        kill(other);
                        LostVolumesTest.copy(backup(happening.replica()), process.directory);
                        other.now = other.backup;
                        begin(other);
                    }
                }
                case FAIL -> {
                    other.failing = true;
                    process.answerWith(500, "{}");
                }
                case LIE -> {
                    other.lying = true;
                    process.rename(name(happening.replica() - 1));
                }
                case BE_WELL -> {
                    other.failing = false;
                    other.lying = false;
                    process.answerWith(null);
                    process.rename(name(happening.replica()));
                }
                case UNLIST -> other.listed = false;
                case TERMINATE -> other.terminating = true;
                case LIST -> {
                    other.listed = true;
                    other.terminating = false;
                }
                case SCALE -> {
                    expected = happening.number();
                    others.forEach((ordinal, pod) -> pod.listed = ordinal < expected);
                }
                case SOURCE_GOES -> live = false;
                case SOURCE_COMES -> live = true;
                case RESTART_ASKER -> {
                    peers.close();
                    peers = peers();
                }
                case ASK -> {}
            }
        }

        private Path backup(int ordinal) {
            return folder.resolve("backup-" + ordinal);
        }

        private static void kill(Modelled other) {
            if (other.running) {
                other.process.stop();
                other.running = false;
            }
        }

        private static void begin(Modelled other) {
            if (!other.running) {
                other.process.start();
                other.running = true;
                other.now = new Copy(other.now.store(), other.now.incarnation() + 1, other.now.count());
            }
        }

        void compare() {
            PeersReport report = peers.report().toCompletableFuture().join();
            int answered = 1;
            boolean unknown = false;
            long total = 1_000;
            Map<String, Peer> rows = new HashMap<>();
            report.peers().forEach(row -> rows.put(row.label(), row));
            assertThat(rows).hasSameSizeAs(report.peers());
            for (Map.Entry<Integer, Modelled> entry : others.entrySet()) {
                Modelled other = entry.getValue();
                boolean wanted = entry.getKey() < expected;
                other.everListed |= other.listed && live;
                boolean answers = other.answers(live);
                if (answers) {
                    other.look();
                    answered += wanted ? 1 : 0;
                }
                Peer row = rows.remove(name(entry.getKey()));
                State state = state(other, wanted, answers);
                unknown |= !answers && !wanted && state != null;
                assertThat(row == null ? null : row.state()).as("%s", report).isEqualTo(state);
                if (row == null) {
                    continue;
                }
                Copy known = other.seen.isEmpty() ? null : other.seen.get(0);
                Long count = known == null ? null : known.count();
                assertThat(row.count()).as("%s", report).isEqualTo(count);
                assertThat(row.incarnation()).isEqualTo(known == null ? null : known.incarnation());
                assertThat(row.former() != null).as("%s", report).isEqualTo(other.seen.size() > 1);
                assertThat(row.latencyMillis() != null).isEqualTo(answers);
                assertThat(row.reason() == null).isEqualTo(state == State.LIVE);
                DocumentedReasons.documented(report);
                total += count == null ? 0 : count;
            }
            assertThat(rows).containsOnlyKeys("app-0");
            assertThat(report.total()).isEqualTo(total);
            assertThat(report.expected()).isEqualTo(expected);
            assertThat(report.answered()).isEqualTo(answered);
            assertThat(report.complete()).isEqualTo(live && answered == expected && !unknown);
        }

        private static @Nullable State state(Modelled other, boolean wanted, boolean answers) {
            boolean known = !other.seen.isEmpty() || other.everListed;
            if (answers) {
                return other.lost.containsKey(other.now.store())
                        ? State.ROLLED_BACK
                        : other.seen.size() > 1
                                ? State.REPLACED
                                : other.terminating || !wanted ? State.TERMINATING : State.LIVE;
            } else if (other.listed) {
                return other.terminating || !wanted ? State.TERMINATING : State.UNREACHABLE;
            }
            return wanted ? State.MISSING : known ? State.RETIRED : null;
        }

        @Override
        public void close() {
            peers.close();
            others.values().forEach(other -> other.process.close());
            store.close();
        }
    }
}
