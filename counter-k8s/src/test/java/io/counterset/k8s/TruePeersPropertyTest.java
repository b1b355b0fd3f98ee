// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.Membership.Revision;
import io.counterset.k8s.PeersPropertyTest.Happening;
import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Kind;
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
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.ShrinkingMode;
import org.jspecify.annotations.Nullable;

/**
 * A StatefulSet of real replicas whose true counts are known. Whatever happens, and whether or not
 * reports were requested in between, a complete report has the true total. Once every replica is
 * well again, the report is complete.
 */
class TruePeersPropertyTest {

    private static final int REPLICAS = 4;

    enum What {
        ADD,
        KILL_CONTAINER,
        START_CONTAINER,
        SCALE,
        END_IN_ORDER,
        END_UNHEARD,
        END_KILLED,
        SWAP_VOLUMES,
        COPY_VOLUME,
        EMPTY_VOLUME,
        SOURCE_GOES,
        SOURCE_COMES,
        ASKER_RESTARTS,
        ASK
    }

    @Provide
    Arbitrary<List<Happening<What>>> happenings() {
        return PeersPropertyTest.sequences(What.values(), 40);
    }

    @Property(tries = 40, shrinking = ShrinkingMode.BOUNDED)
    void aCompleteReportHasTheTrueTotal(@ForAll("happenings") List<Happening<What>> happenings) throws IOException {
        Path folder = Files.createTempDirectory("peers");
        try (Cluster cluster = new Cluster(folder)) {
            cluster.check();
            for (Happening<What> happening : happenings) {
                cluster.happen(happening);
            }
            cluster.check();
            cluster.becomeWell();
        } finally {
            LostVolumesTest.delete(folder);
        }
    }

    /** One pod and its volume. After the pod was scaled away, only the volume is left. */
    private static final class Pod {

        final LoopbackPeer process;
        boolean exists = true;
        boolean running = true;
        boolean terminating;

        Pod(LoopbackPeer process) {
            this.process = process;
        }

        void stop() {
            if (running) {
                process.stop();
                running = false;
            }
        }

        void start() {
            if (!running) {
                process.start();
                running = true;
            }
        }
    }

    private static final class Cluster implements AutoCloseable {

        private final Path folder;
        private final LoopbackPeer asker;
        private final Map<Integer, Pod> pods = new HashMap<>();
        private final Map<Integer, Long> volumes = new HashMap<>();
        private Peers peers;
        private int expected = REPLICAS;
        private long generation = 1;
        private @Nullable Membership frozen;

        Cluster(Path folder) throws IOException {
            this.folder = folder;
            asker = new LoopbackPeer(name(0), "127.0.0.1", folder.resolve("0"));
            asker.add(1_000);
            for (int i = 1; i < REPLICAS; i++) {
                pods.put(i, new Pod(new LoopbackPeer(name(i), "127.0.0." + (1 + i), folder.resolve("" + i))));
                volumes.put(i, 0L);
            }
            peers = peers();
        }

        private static String name(int ordinal) {
            return "app-" + ordinal;
        }

        private Peers peers() {
            Peers opened = TestSettings.list()
                    .in(folder.resolve("0"))
                    .open(asker.replica(), new Listed(), InstantSource.system(), Duration.ZERO);
            asker.hearWith(opened);
            return opened;
        }

        private final class Listed implements PeerSource {

            @Override
            public void start() {}

            @Override
            public CompletionStage<Membership> membership() {
                return CompletableFuture.completedStage(frozen != null ? frozen : list(Freshness.LIVE));
            }

            @Override
            public void close() {}
        }

        private Membership list(Freshness freshness) {
            List<Member> members = new ArrayList<>();
            members.add(new Member(name(0), asker.address(), Phase.SERVING));
            pods.forEach((ordinal, pod) -> {
                if (pod.exists) {
                    members.add(new Member(
                            name(ordinal), pod.process.address(), pod.terminating ? Phase.TERMINATING : Phase.SERVING));
                }
            });
            boolean live = freshness == Freshness.LIVE;
            return new Membership(
                    new PeersReport.Source(Kind.KUBERNETES, freshness, live ? null : "gone", live ? null : 1L, null),
                    Expected.statefulSet("app", 0, expected, new Revision("a-set", generation), false),
                    members);
        }

        void happen(Happening<What> happening) throws IOException {
            int ordinal = happening.replica();
            Pod pod = pods.getOrDefault(ordinal, pods.get(1));
            if (pod == null) {
                throw new AssertionError(happening);
            }
            switch (happening.what()) {
                case ADD -> {
                    if (pod.running) {
                        pod.process.add(happening.number());
                        volumes.merge(ordinal, (long) happening.number(), Long::sum);
                    }
                }
                case KILL_CONTAINER -> {
                    if (pod.exists) {
                        pod.stop();
                    }
                }
                case START_CONTAINER -> {
                    if (pod.exists && !pod.terminating) {
                        pod.start();
                    }
                }
                case SCALE -> scale(happening.number());
                case END_IN_ORDER -> {
                    if (pod.terminating) {
                        if (pod.running) {
                            pod.process.replica().seal();
                            bidFarewell(pod);
                        }
                        end(ordinal, pod);
                    }
                }
                case END_UNHEARD -> {
                    if (pod.terminating) {
                        if (pod.running) {
                            pod.process.replica().seal();
                        }
                        end(ordinal, pod);
                    }
                }
                case END_KILLED -> {
                    if (pod.terminating) {
                        end(ordinal, pod);
                    }
                }
                case SWAP_VOLUMES -> moveVolume(ordinal, happening.number() % (REPLICAS - 1) + 1, true);
                case COPY_VOLUME -> moveVolume(ordinal, happening.number() % (REPLICAS - 1) + 1, false);
                case EMPTY_VOLUME -> {
                    if (pod.exists && !pod.terminating) {
                        pod.stop();
                        LostVolumesTest.delete(pod.process.directory);
                        volumes.put(ordinal, 0L);
                        pod.start();
                    }
                }
                case SOURCE_GOES -> frozen = frozen != null ? frozen : list(Freshness.STALE);
                case SOURCE_COMES -> frozen = null;
                case ASKER_RESTARTS -> {
                    peers.close();
                    asker.stop();
                    asker.start();
                    peers = peers();
                }
                case ASK -> check();
            }
        }

        private void bidFarewell(Pod pod) throws IOException {
            Replica leaving = pod.process.replica();
            Path aside = Files.createTempDirectory(folder, "leaving");
            try (Peers leavingPeers =
                    TestSettings.list().in(aside).open(leaving, new Listed(), InstantSource.system(), Duration.ZERO)) {
                leavingPeers.bidFarewell().toCompletableFuture().join();
            }
        }

        private void scale(int number) {
            generation += number == expected ? 0 : 1;
            expected = number;
            pods.forEach((ordinal, pod) -> {
                if (ordinal >= expected) {
                    pod.terminating = pod.exists;
                } else if (!pod.exists) {
                    create(pod);
                }
            });
        }

        private static void create(Pod pod) {
            pod.exists = true;
            pod.terminating = false;
            pod.start();
        }

        private void end(int ordinal, Pod pod) {
            pod.stop();
            pod.exists = false;
            pod.terminating = false;
            if (ordinal < expected) {
                create(pod);
            }
        }

        /**
         * Swaps two volumes, or copies the first over the second if both have a pod, so that the
         * copy is visible.
         */
        private void moveVolume(int from, int to, boolean swap) throws IOException {
            Pod one = pods.get(from);
            Pod two = pods.get(to);
            if (one == null || two == null || one == two || (!swap && !(two.exists && !two.terminating))) {
                return;
            }
            boolean oneRan = one.running;
            boolean twoRan = two.running;
            one.stop();
            two.stop();
            Path spare = folder.resolve("spare");
            LostVolumesTest.copy(one.process.directory, spare);
            if (swap) {
                LostVolumesTest.copy(two.process.directory, one.process.directory);
                Long count = volumes.get(from);
                volumes.put(from, volumes.get(to));
                volumes.put(to, count);
            } else {
                volumes.put(to, volumes.get(from));
            }
            LostVolumesTest.copy(spare, two.process.directory);
            if (oneRan) {
                one.start();
            }
            if (twoRan) {
                two.start();
            }
        }

        /** Returns the sum of the counts on all volumes. */
        private long truth() {
            return 1_000 + volumes.values().stream().mapToLong(Long::longValue).sum();
        }

        void check() {
            PeersReport report = peers.report().toCompletableFuture().join();
            if (report.complete()) {
                assertThat(report.total()).as("%s", report).isEqualTo(truth());
            }
        }

        /**
         * Scales up until every volume has its replica, each with a store of its own. Then no count
         * is in doubt.
         */
        void becomeWell() throws IOException {
            frozen = null;
            scale(REPLICAS);
            Map<Object, Integer> stores = new HashMap<>();
            for (Map.Entry<Integer, Pod> entry : pods.entrySet()) {
                Pod pod = entry.getValue();
                pod.terminating = false;
                pod.start();
                if (stores.put(pod.process.store().identity().id(), entry.getKey()) != null) {
                    pod.stop();
                    LostVolumesTest.delete(pod.process.directory);
                    volumes.put(entry.getKey(), 0L);
                    pod.start();
                }
            }
            PeersReport report = peers.report().toCompletableFuture().join();
            assertThat(report.complete()).as("%s", report).isTrue();
            assertThat(report.total()).isEqualTo(truth());
        }

        @Override
        public void close() {
            peers.close();
            pods.values().forEach(pod -> pod.process.close());
            asker.close();
        }
    }
}
