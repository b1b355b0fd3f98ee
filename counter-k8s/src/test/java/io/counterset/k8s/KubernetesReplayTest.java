// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.FakeApiServer.Cut;
import io.counterset.k8s.FakeApiServer.Event;
import io.counterset.k8s.FakeApiServer.Kind;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Replays what a real API server sent while a StatefulSet was created, scaled, updated, damaged and
 * repaired. Real replicas answer at the recorded addresses while the recording lists them as
 * serving.
 */
class KubernetesReplayTest {

    @TempDir
    Path folder;

    private FakeApiServer server;
    private Pods pods;
    private CounterStore store;
    private KubernetesSource source;
    private Peers peers;
    private List<Event> recording;

    @BeforeEach
    void start() throws IOException {
        server = new FakeApiServer(folder);
        pods = new Pods(folder);
        recording = FakeApiServer.recording(pods::onLoopback);
        store = CounterStore.open(folder.resolve("app-python-0"));
        store.counter("visits").add(1_000);
        Replica replica = new Replica("app-python-0", store, "visits", pods.port);
        TestSettings settings = TestSettings.list().in(folder.resolve("app-python-0"));
        source = new KubernetesSource(
                KubernetesSourceTest.settings(null), replica, server.access(), InstantSource.system());
        peers = settings.open(replica, source, InstantSource.system(), Duration.ZERO);
    }

    @AfterEach
    void stop() {
        peers.close();
        pods.close();
        store.close();
        server.close();
    }

    /**
     * The replicas other than the reporting one: processes that come and go, with volumes that
     * stay.
     */
    private static final class Pods implements AutoCloseable {

        private final Path folder;
        private final Map<Integer, LoopbackPeer> running = new TreeMap<>();
        private final Map<Integer, Long> counts = new TreeMap<>();
        final int port;

        Pods(Path folder) throws IOException {
            this.folder = folder;
            try (LoopbackPeer probe = new LoopbackPeer("probe", "127.244.0.1", folder.resolve("probe"))) {
                port = probe.address.getPort();
            }
        }

        /** Maps the recorded addresses to loopback addresses. */
        String onLoopback(String line) {
            return line.replace("\"10.244.", "\"127.244.").replace("\"port\":8080", "\"port\":" + port);
        }

        /** Makes exactly the pods answer that the slice lists as serving. */
        void follow(Event event) throws IOException {
            Map<Integer, String> serving = new TreeMap<>();
            if (!event.object().get("endpoints").isJsonNull()) {
                for (var endpoint : event.object().getAsJsonArray("endpoints")) {
                    var conditions = endpoint.getAsJsonObject().getAsJsonObject("conditions");
                    if (conditions.get("serving").getAsBoolean()) {
                        String name = endpoint.getAsJsonObject().get("hostname").getAsString();
                        serving.put(
                                Integer.parseInt(name.substring("app-python-".length())),
                                endpoint.getAsJsonObject()
                                        .getAsJsonArray("addresses")
                                        .get(0)
                                        .getAsString());
                    }
                }
            }
            Map.copyOf(running).forEach((ordinal, pod) -> {
                if (!pod.address.getAddress().getHostAddress().equals(serving.get(ordinal))) {
                    crash(ordinal);
                }
            });
            for (Map.Entry<Integer, String> wanted : serving.entrySet()) {
                int ordinal = wanted.getKey();
                if (ordinal != 0 && !running.containsKey(ordinal)) {
                    LoopbackPeer pod = new LoopbackPeer(
                            "app-python-" + ordinal,
                            new InetSocketAddress(InetAddress.getByName(wanted.getValue()), port),
                            folder.resolve("app-python-" + ordinal));
                    running.put(ordinal, pod);
                    counts.put(ordinal, pod.add(ordinal));
                }
            }
        }

        void crash(int ordinal) {
            LoopbackPeer pod = running.remove(ordinal);
            if (pod != null) {
                pod.close();
            }
        }

        long total() {
            return 1_000 + counts.values().stream().mapToLong(Long::longValue).sum();
        }

        @Override
        public void close() {
            running.values().forEach(LoopbackPeer::close);
        }
    }

    private PeersReport ask() {
        return peers.report().toCompletableFuture().join();
    }

    private static String states(PeersReport report) {
        return report.peers().stream()
                .map(peer -> peer.label().replace("app-python-", "") + " " + peer.state())
                .collect(Collectors.joining(", "));
    }

    /** Applies an event and waits until the source has received it. */
    private void applyAndAwait(Event event, Set<String> versions) {
        server.apply(event);
        if (!event.isBookmark()) {
            versions.removeIf(version -> version.startsWith(event.kind() + " "));
            versions.add(event.kind() + " " + event.version());
        }
        Set<String> wanted = versions.stream()
                .map(version -> version.replaceFirst(".* ", ""))
                .collect(Collectors.toSet());
        TestSettings.await(() -> source.versions().equals(wanted));
    }

    /**
     * Returns whether a replica stopped without a farewell, as these pods do, so that it may have
     * counted after it was last asked.
     */
    private static boolean isInDoubt(PeersReport report) {
        return report.peers().stream()
                .filter(peer -> !peer.label().equals(report.askedBy()))
                .filter(peer -> peer.state() == State.RETIRED || peer.state() == State.TERMINATING)
                .anyMatch(peer -> peer.latencyMillis() == null && !peer.isFinal());
    }

    private static Map<Long, String> expectations() {
        Map<Long, String> expectations = new TreeMap<>();
        FakeApiServer.resource("expected.txt")
                .lines()
                .filter(line -> !line.startsWith("#"))
                .forEach(line -> expectations.put(
                        Long.parseLong(line.substring(0, 4).strip()),
                        line.substring(5).replaceAll(" +", " ")));
        return expectations;
    }

    @Test
    void theReportIsCorrectAfterEveryRecordedEvent() throws IOException {
        Map<Long, String> expectations = expectations();
        Set<String> versions = new HashSet<>();
        int compared = 0;
        for (Event event : recording) {
            if (event.version() == 935) {
                // The node crashed 50 s before Kubernetes noticed, so the slice still lists its pod
                // as serving.
                pods.crash(1);
                assertThat(states(ask())).isEqualTo("0 live, 1 unreachable, 2 live, 3 retired, 4 retired");
            }
            applyAndAwait(event, versions);
            if (event.kind() == Kind.SLICES && !event.isBookmark()) {
                pods.follow(event);
            }
            TestSettings.await(() -> ask().source().state() != PeersReport.Freshness.UNAVAILABLE);
            PeersReport report = DocumentedReasons.documented(ask());
            String expected = expectations.get(event.version());
            if (expected != null && !event.isBookmark()) {
                compared++;
                assertThat((report.complete() ? "complete " : "incomplete ") + report.answered() + " of "
                                + report.expected() + ": " + states(report))
                        .as("at version %d", event.version())
                        .isEqualTo(isInDoubt(report) ? expected.replaceFirst("^complete", "incomplete") : expected);
                assertThat(report.total()).as("no count is ever lost").isEqualTo(pods.total());
                assertThat(report.peers())
                        .allSatisfy(peer -> assertThat(peer.reason() == null)
                                .as("%s has a reason unless it is live", peer)
                                .isEqualTo(peer.state() == State.LIVE));
            }
        }
        assertThat(compared).isEqualTo(expectations.size());
        assertThat(server.lists(Kind.SLICES)).isEqualTo(1);
        assertThat(server.lists(Kind.SETS)).isEqualTo(1);
        assertThat(server.complaints()).isEmpty();
        assertThat(ask().peers())
                .filteredOn(peer -> peer.state() == State.RETIRED)
                .extracting(Peer::reason)
                .containsOnly("scaled down: 3 replicas are wanted; last known count");
    }

    /**
     * Brings the server and the pods to a version of the recording; returns the last slice.
     */
    private Event replayUntil(long version) throws IOException {
        Set<String> versions = new HashSet<>();
        Event last = recording.get(0);
        for (Event event : recording) {
            if (event.version() <= version) {
                applyAndAwait(event, versions);
                if (event.kind() == Kind.SLICES && !event.isBookmark()) {
                    pods.follow(event);
                    last = event;
                }
            }
        }
        return last;
    }

    @Test
    void whatIsLostIsNamedAndWhatIsBackIsLiveWithinFiveSeconds() throws IOException {
        Event slice = replayUntil(464);
        TestSettings.await(() -> ask().complete());
        pods.crash(1);
        TestSettings.awaitWithinFiveSeconds(() -> states(ask()).equals("0 live, 1 unreachable, 2 live"));
        assertThat(ask().complete()).isFalse();
        pods.follow(slice);
        TestSettings.awaitWithinFiveSeconds(() -> ask().complete());

        server.fail(Kind.SLICES, 403);
        server.fail(Kind.SETS, 503);
        int refused = server.requests(Kind.SLICES).size(); // the index of the first request that is refused
        server.endWatches();
        TestSettings.awaitWithinFiveSeconds(
                () -> String.valueOf(ask().source().reason()).startsWith("the API server answered "));
        assertThat(ask().complete()).isFalse();
        TestSettings.await(() -> server.requests(Kind.SLICES).size() > refused + 1); // so the next one is 5 s away
        server.failAll(0);
        TestSettings.awaitWithinFiveSeconds(() -> ask().complete());
        List<Instant> requests = server.requests(Kind.SLICES);
        for (int i = refused + 1; i <= refused + 2; i++) {
            assertThat(Duration.between(requests.get(i - 1), requests.get(i)))
                    .as("not more than one request in 5 s while it is forbidden")
                    .isGreaterThan(Duration.ofSeconds(4)); // a request may reach the server late
        }

        server.stop();
        TestSettings.awaitWithinFiveSeconds(() -> ask().source().state() == PeersReport.Freshness.STALE);
        assertThat(ask().complete()).isFalse();
    }

    @Test
    void noReportCostsARequest() throws IOException {
        replayUntil(464);
        TestSettings.await(() -> ask().complete());
        int before = server.requests();
        for (int i = 0; i < 100; i++) {
            assertThat(ask().complete()).isTrue();
        }
        assertThat(server.requests()).isEqualTo(before);
    }

    @Test
    void theLastReportIsCorrectWhenWatchesAreCutAnywhere() throws IOException {
        Random random = new Random(20261122);
        Event last = recording.get(0);
        int cuts = 0;
        for (int i = 0; i < recording.size(); i++) {
            Event event = recording.get(i);
            boolean cut = i % 16 == 8 && !event.isBookmark();
            TestSettings.await(() -> !cut || server.openWatches() == 2);
            if (cut) {
                cuts++;
                server.cutNext(event.kind(), random.nextBoolean() ? Cut.CLEAN : Cut.ABORT, random.nextInt(1_500));
            }
            server.apply(event);
            last = event.kind() == Kind.SLICES && !event.isBookmark() ? event : last;
            TestSettings.await(() -> !cut || server.openWatches() < 2);
        }
        pods.follow(last);
        TestSettings.await(() -> {
            PeersReport report = ask();
            return report.complete() && states(report).equals("0 live, 1 live, 2 live");
        });
        assertThat(source.versions()).containsExactlyInAnyOrder("986", "987");
        assertThat(cuts).isGreaterThan(4);
        assertThat(server.watches(Kind.SLICES) + server.watches(Kind.SETS)).isGreaterThanOrEqualTo(2 + cuts);
        assertThat(server.complaints()).isEmpty();
    }

    @Test
    void readsTheRecordedLists() throws IOException {
        for (String list : List.of("endpointslices-list-3.json", "endpointslices-list-node-lost.json")) {
            var items = com.google.gson.JsonParser.parseString(pods.onLoopback(FakeApiServer.resource(list)
                            .replaceAll("\\s*\n\\s*", "")
                            .replace("\": ", "\":")))
                    .getAsJsonObject()
                    .getAsJsonArray("items");
            Event event = Event.of(
                    Kind.SLICES,
                    "{\"type\":\"ADDED\",\"object\":" + items.get(0).getAsJsonObject() + "}");
            applyAndAwait(event, new HashSet<>());
            assertThat(source.membership().toCompletableFuture().join().members())
                    .extracting(Membership.Member::instance)
                    .containsExactly("app-python-0", "app-python-1", "app-python-2");
        }
        assertThat(source.membership().toCompletableFuture().join().members())
                .extracting(Membership.Member::address)
                .containsExactly("127.244.2.5:" + pods.port, "127.244.3.4:" + pods.port, "127.244.1.6:" + pods.port);
    }
}
